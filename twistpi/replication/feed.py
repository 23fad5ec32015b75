"""The feed of a primary: lines of its changelog, with heartbeats between them.

A feed is the changelog's own bytes, with lines in between that begin with ``+``, which no line of the changelog does:
``+ SERIAL TIME`` is a heartbeat, with the primary's last serial and its clock.  A ``FeedConnection`` hands the lines to the
writer in batches, and reads no faster than the writer takes them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from twistpi.http.body import BodyReader
from twistpi.http.errors import RequestFailed
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import Position
from twistpi.model.server_errors import PrimaryUnreachable, StrangePrimary
from twistpi.replication.primary import PrimaryAnswer

LONGEST_LINE = 256 * 1024 * 1024
"""Bytes."""

_HEARTBEAT = re.compile(rb"\+ (0|[1-9][0-9]{0,17}) ([0-9]{1,18}(?:\.[0-9]{1,18})?)")
BATCH_BYTES = 1024 * 1024
"""Of lines that the writer is handed at a time; at least one line, however long."""
_WAITING_BYTES = 2 * 1024 * 1024
"""Of lines that wait for the writer, beyond which nothing is read from the connection."""
_INFLATED_BYTES = 256 * 1024
"""That are decompressed at a time."""
_GZIP = 16 + zlib.MAX_WBITS

Receive = Callable[[Sequence[bytes]], "Deferred[Position]"]
"""Checks, appends and folds lines (``changelog.writer.Writer.receive``)."""


@attrs.frozen
class Heartbeat:
    """A sign of life of the primary."""

    serial: int
    """The last one that readers of the primary see."""
    time: float
    """Its clock, in Unix seconds."""


@attrs.define
class FeedLines:
    """Parses a feed that arrives in pieces into whole lines."""

    _rest: list[bytes] = attrs.field(factory=list, init=False)
    """Pieces of the line that is not complete yet."""
    _length: int = attrs.field(default=0, init=False)

    def take(self, data: bytes) -> tuple[list[bytes], Heartbeat | None]:
        """Return the lines of the changelog that ``data`` completes, without line feeds, and the last heartbeat among them.

        Raise ``ValueError`` for what is no feed.
        """
        begin, feed, end = data.rpartition(b"\n")
        if not feed:
            self._keep(data)
            return [], None
        self._rest.append(begin)
        lines = b"".join(self._rest).split(b"\n")
        self._rest, self._length = [], 0
        self._keep(end)
        if not any(line.startswith(b"+") for line in lines):
            return lines, None
        beats = [line for line in lines if line.startswith(b"+")]
        return [line for line in lines if not line.startswith(b"+")], _heartbeat(beats[-1])

    def _keep(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length > LONGEST_LINE:
            raise ValueError(f"a line is longer than {LONGEST_LINE:,} bytes")
        if piece:
            self._rest.append(piece)


def _heartbeat(line: bytes) -> Heartbeat:
    found = _HEARTBEAT.fullmatch(line)
    if found is None:
        raise ValueError(f"{line[:80]!r} is no heartbeat")
    return Heartbeat(int(found[1]), float(found[2]))


@attrs.define(eq=False)
class FeedConnection:
    """Reads one feed, until the connection ends or is of no use any more."""

    _url: str
    _receive: Receive
    _clock: IReactorTime
    _silence: float
    """Seconds without a byte after which the primary counts as gone."""
    _heartbeat: Callable[[Heartbeat], object]
    """Called with each heartbeat."""
    _feed: FeedLines = attrs.field(factory=FeedLines, init=False)
    _inflate: Callable[[bytes], Iterator[bytes]] = attrs.field(init=False)
    _waiting: list[bytes] = attrs.field(factory=list, init=False)
    _waiting_bytes: int = attrs.field(default=0, init=False)
    _is_paused: bool = attrs.field(default=False, init=False)
    _ending: TwistpiError | None = attrs.field(default=None, init=False)
    """Why the feed ends, once it does."""
    _reader: BodyReader = attrs.field(init=False)
    _news: Deferred[None] = attrs.field(factory=Deferred, init=False)
    """Fires when lines came, or the end."""

    async def run(self, answer: PrimaryAnswer) -> None:
        """Read the body of ``answer``, and raise in the end.

        Raise ``PrimaryUnreachable`` when the connection ends, ``StrangePrimary`` for what is no feed, and what the writer raises.
        Whole lines that came before the end of the connection are handed to the writer first.
        """
        encoding = (answer.header("Content-Encoding") or "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise StrangePrimary(self._url, f"the encoding {encoding}, which was not asked for")
        self._inflate = _inflater() if encoding == "gzip" else _as_it_is
        self._reader = BodyReader(self._clock, self._silence, self._received)
        answer.deliver(self._reader)
        self._reader.ended.addCallbacks(lambda _: self._end("the primary ended the feed"), self._broken)
        try:
            while self._waiting or self._ending is None:
                if self._waiting:
                    await self._receive(self._next_batch())
                    self._resume()
                else:
                    self._news = Deferred()
                    await self._news
            raise self._ending
        finally:
            self._reader.ended.cancel()

    def _received(self, data: bytes) -> None:
        try:
            for piece in self._inflate(data):
                lines, beat = self._feed.take(piece)
                self._waiting += lines
                self._waiting_bytes += sum(map(len, lines))
                if beat is not None:
                    self._heartbeat(beat)
        except (ValueError, zlib.error) as error:
            self._ending, self._waiting = StrangePrimary(self._url, str(error)), []
            self._reader.ended.cancel()
        if self._waiting_bytes > _WAITING_BYTES and not self._is_paused:
            self._is_paused = True
            self._reader.pause()
        self._wake()

    def _next_batch(self) -> Sequence[bytes]:
        size = count = 0
        while count < len(self._waiting) and (count == 0 or size + len(self._waiting[count]) <= BATCH_BYTES):
            size += len(self._waiting[count])
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        self._waiting_bytes -= size
        return batch

    def _resume(self) -> None:
        if self._is_paused and self._waiting_bytes <= BATCH_BYTES:
            self._is_paused = False
            self._reader.resume()

    def _broken(self, failure: Failure) -> None:
        if failure.check(RequestFailed):  # else it was given up from here
            self._end(failure.getErrorMessage())

    def _end(self, reason: str) -> None:
        self._ending = self._ending or PrimaryUnreachable(self._url, reason)
        self._wake()

    def _wake(self) -> None:
        if (self._waiting or self._ending) and not self._news.called:
            self._news.callback(None)


def _as_it_is(data: bytes) -> Iterator[bytes]:
    yield data


def _inflater() -> Callable[[bytes], Iterator[bytes]]:
    """Return what decompresses a gzip stream in pieces of bounded size."""
    stream = zlib.decompressobj(_GZIP)

    def inflate(data: bytes) -> Iterator[bytes]:
        while data:
            yield stream.decompress(data, _INFLATED_BYTES)
            data = stream.unconsumed_tail
        # What one call leaves inside the stream comes with the next flush of the sender, or now.
        while piece := stream.decompress(b"", _INFLATED_BYTES):
            yield piece

    return inflate
