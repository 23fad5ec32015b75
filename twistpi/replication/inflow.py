"""One connection to a primary's feed: its lines go to the writer in batches, and no faster than that takes them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from twistpi.http.body import BodyReader
from twistpi.http.errors import RequestFailed
from twistpi.model.following_errors import PrimaryUnreachable, StrangePrimary
from twistpi.model.peers import Position
from twistpi.replication.feed import FeedLines, Heartbeat, NotAFeed
from twistpi.replication.primary import PrimaryAnswer

BATCH_BYTES = 1024 * 1024
"""Of lines, handed to the writer at a time; but always one line."""
_WAITING_BYTES = 2 * 1024 * 1024
"""Of lines that wait for the writer, beyond which the primary is asked to wait."""
_INFLATED_BYTES = 256 * 1024
"""That are decompressed at a time, whatever a few bytes may grow to."""
_GZIP = 16 + zlib.MAX_WBITS

Receive = Callable[[Sequence[bytes]], "Deferred[Position]"]
"""Checks, appends and folds lines (``changelog.writer.Writer.receive``)."""


@attrs.define(eq=False)
class Inflow:
    """Reads one feed; ``run`` ends with the connection, or with what makes it useless."""

    _url: str
    _receive: Receive
    _clock: Any
    _silence: float
    """Seconds without a byte after which the primary counts as gone."""
    _beat: Callable[[Heartbeat], object]
    """Told of each heartbeat."""
    _feed: FeedLines = attrs.field(factory=FeedLines, init=False)
    _inflate: Callable[[bytes], Iterator[bytes]] = attrs.field(init=False)
    _waiting: list[bytes] = attrs.field(factory=list, init=False)
    _waiting_bytes: int = attrs.field(default=0, init=False)
    _is_paused: bool = attrs.field(default=False, init=False)
    _at_work: bool = attrs.field(default=False, init=False)
    """Whether the writer has a batch."""
    _ending: Exception | None = attrs.field(default=None, init=False)
    """Why nothing more comes, once that is so."""
    _reader: BodyReader = attrs.field(init=False)
    _done: Deferred[None] = attrs.field(init=False)

    async def run(self, answer: PrimaryAnswer) -> None:
        """Feed on the body of ``answer``; always raises in the end.

        ``PrimaryUnreachable`` when the connection is over, ``StrangePrimary`` when what comes is no feed, and what the writer
        raises.  Whole lines that came before the end are handed over before it is told.
        """
        encoding = (answer.header("Content-Encoding") or "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise StrangePrimary(self._url, f"the encoding {encoding}, which nobody asked for")
        self._inflate = _inflater() if encoding == "gzip" else _as_it_is
        self._done = Deferred(lambda _: self._give_up())
        self._reader = BodyReader(self._clock, self._silence, self._received)
        answer.deliver(self._reader)
        self._reader.ended.addCallbacks(self._ended, self._broken)
        await self._done

    def _give_up(self) -> None:
        """Nobody follows it any more: what the writer was not handed yet it never will be."""
        self._waiting.clear()
        self._waiting_bytes = 0
        self._reader.ended.cancel()

    def _received(self, data: bytes) -> None:
        try:
            for piece in self._inflate(data):
                lines, beat = self._feed.take(piece)
                self._waiting += lines
                self._waiting_bytes += sum(map(len, lines))
                if beat is not None:
                    self._beat(beat)
        except (NotAFeed, zlib.error) as error:
            self._end(StrangePrimary(self._url, str(error)))
            return
        if self._waiting_bytes > _WAITING_BYTES and not self._is_paused:
            self._is_paused = True
            self._reader.pause()
        self._pump()

    def _pump(self) -> None:
        """Have the writer take the next batch, when it has none."""
        if self._at_work:
            return
        if not self._waiting:
            if self._ending is not None and not self._done.called:
                self._done.errback(self._ending)
            return
        self._at_work = True
        self._receive(self._next_batch()).addCallbacks(self._kept, self._refused)

    def _next_batch(self) -> Sequence[bytes]:
        if self._waiting_bytes <= BATCH_BYTES:
            batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
            return batch
        size = count = 0
        while count == 0 or size + len(self._waiting[count]) <= BATCH_BYTES:
            size += len(self._waiting[count])
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        self._waiting_bytes -= size
        return batch

    def _kept(self, _position: Position) -> None:
        self._at_work = False
        if self._is_paused and self._waiting_bytes <= BATCH_BYTES:
            self._is_paused = False
            self._reader.resume()
        self._pump()

    def _refused(self, failure: Failure) -> None:
        """The writer did not take a batch: what comes after it is of no use."""
        self._at_work = False
        error = failure.value
        self._end(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def _end(self, error: Exception) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0
        self._ending = error
        self._reader.give_up(error)
        self._pump()

    def _ended(self, _: None) -> None:
        self._over("the primary ended the feed")

    def _broken(self, failure: Failure) -> None:
        if failure.trap(RequestFailed, CancelledError) is RequestFailed:  # type: ignore[no-untyped-call]
            self._over(failure.getErrorMessage())

    def _over(self, reason: str) -> None:
        self._ending = self._ending or PrimaryUnreachable(self._url, reason)
        self._pump()


def _as_it_is(data: bytes) -> Iterator[bytes]:
    yield data


def _inflater() -> Callable[[bytes], Iterator[bytes]]:
    """What decompresses a gzip stream piece by piece, each of bounded size."""
    stream = zlib.decompressobj(_GZIP)

    def inflate(data: bytes) -> Iterator[bytes]:
        while data:
            yield stream.decompress(data, _INFLATED_BYTES)
            data = stream.unconsumed_tail
        # What one call leaves inside the stream comes with the next flush of the sender, or now.
        while piece := stream.decompress(b"", _INFLATED_BYTES):
            yield piece

    return inflate
