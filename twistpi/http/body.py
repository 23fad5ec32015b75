"""Bodies of responses: read with an eye on silence and length, written to what blocks, decompressed; and bodies in memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer, IDelayedCall, IProtocol, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from twistpi.http.errors import Cause, RequestFailed, too_large
from twistpi.http.single_flight import Waiters

_FIRST_AHEAD: Final = 128 * 1024
"""Bytes that may wait for the thread before the sender is held back, at first: the first must not be late because of the next."""
_MOST_AHEAD: Final = 2 * 1024 * 1024
"""The same after several batches; as many bytes again may be on their way to the disk."""

Deliver = Callable[[IProtocol], object]
"""``IResponse.deliverBody``."""


Offload = Callable[..., "Deferred[Any]"]
"""Runs a blocking function with its arguments in another thread, as ``deferToThread`` does."""


class BodyReader(Protocol):
    """Passes a body on to ``received`` until it ends, breaks off, falls silent or is given up."""

    def __init__(self, clock: IReactorTime, silence: float, received: Callable[[bytes], object]) -> None:
        """``silence`` is the longest time without a byte, in seconds."""
        self.ended: Deferred[None] = Deferred(lambda _: self._abort())
        """Fires when the body is complete; fails with ``RequestFailed`` when it is not.  Cancelling it closes the connection."""
        self._clock = clock
        self._silence = silence
        self._received = received
        self._watch: IDelayedCall | None = None
        self._closed = False

    def connectionMade(self) -> None:
        """The body begins."""
        self._expect()

    def dataReceived(self, data: bytes) -> None:
        """Pass a piece on."""
        if self._closed or self.ended.called:
            return
        if self._watch is not None:
            self._watch.reset(self._silence)
        self._received(data)

    def pause(self) -> None:
        """Hold the sender back; until ``resume`` it may be silent."""
        self._rest()
        if not self.ended.called and self.transport is not None:
            self.transport.pauseProducing()  # type: ignore[attr-defined]

    def resume(self) -> None:
        """Go on after ``pause``."""
        if not self.ended.called and self.transport is not None:
            self._expect()
            self.transport.resumeProducing()  # type: ignore[attr-defined]

    def give_up(self, error: Exception) -> None:
        """Close the connection; ``ended`` fails with ``error``."""
        self._rest()
        if not self.ended.called:
            self.ended.errback(error)
        self._abort()

    def read_size(self, size: int) -> None:
        """Have a connection read up to ``size`` bytes at a time, where it can: Twisted's 64 KiB are slow for a fast sender."""
        set_size = getattr(self.transport, "read_size", None)
        if set_size is not None:
            set_size(size)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body ended, or the connection."""
        self._rest()
        if self._closed or self.ended.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):  # type: ignore[no-untyped-call]
            self.ended.callback(None)
        elif isinstance(reason.value, RequestFailed):
            self.ended.errback(reason.value)
        else:
            self.ended.errback(RequestFailed("the connection broke before the answer was complete"))

    def _abort(self) -> None:
        self._closed = True
        self._rest()
        if self.transport is not None:
            # Closing politely would wait, behind TLS, for a peer that may be silent for ever.
            getattr(self.transport, "abortConnection", self.transport.loseConnection)()

    def _expect(self) -> None:
        if self._watch is None and not self.ended.called:
            self._watch = self._clock.callLater(self._silence, self._fell_silent)

    def _rest(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _fell_silent(self) -> None:
        self._watch = None
        reason = f"it fell silent for {self._silence:g} s in the middle of its answer"
        self.give_up(RequestFailed(reason, Cause.SILENT))


async def read_body(deliver: Deliver, clock: IReactorTime, silence: float, limit: int) -> bytes:
    """Return a whole body; raise ``RequestFailed``, also for more than ``limit`` bytes."""
    pieces: list[bytes] = []
    size = 0

    def received(data: bytes) -> None:
        nonlocal size
        size += len(data)
        if size > limit:
            pieces.clear()
            reader.give_up(too_large(limit))
        else:
            pieces.append(data)

    reader = BodyReader(clock, silence, received)
    deliver(reader)
    await reader.ended
    return b"".join(pieces)


async def read_beginning(deliver: Deliver, clock: IReactorTime, silence: float, enough: int) -> bytes:
    """Return what comes of a body until it is ``enough`` bytes, or breaks off."""
    came = bytearray()

    def received(data: bytes) -> None:
        came.extend(data)
        if len(came) >= enough:
            reader.give_up(too_large(enough))

    reader = BodyReader(clock, silence, received)
    deliver(reader)
    with suppress(RequestFailed):
        await reader.ended
    return bytes(came)


class BodyWriter:
    """Writes a body with a function that blocks, in another thread, one batch at a time; a fast sender is held back.

    The thread takes the next batch itself: the reactor is busy receiving and sending, and writing must not wait for it.
    """

    def __init__(
        self,
        clock: IReactorTime,
        silence: float,
        offload: Offload,
        call_in_reactor: Callable[[Callable[[], object]], object],
        write: Callable[[list[bytes]], object],
        written: Callable[[], object] = lambda: None,
    ) -> None:
        """``write`` gets the pieces of a batch in another thread; ``written`` is called in the reactor after each batch.

        ``silence`` is in seconds, ``call_in_reactor`` is ``IReactorFromThreads.callFromThread``.
        """
        self._offload = offload
        self._call_in_reactor = call_in_reactor
        self._write = write
        self._written = written
        self._lock = Lock()
        """Held to touch the next three."""
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._taking = False
        """Whether a thread will look for pieces again."""
        self._ahead = _FIRST_AHEAD
        self._works = 0
        """Threads that were started and have not returned: a second one when pieces come just as the first leaves."""
        self._paused = False
        self._outcome: Failure | None = None
        self._over = False
        """Whether no more will come."""
        self._settled: Waiters[None] = Waiters()
        """Who waits until no more will come and no thread is at work."""
        self._reader = BodyReader(clock, silence, self._received)
        self._reader.ended.addCallbacks(lambda _: self._end(None), self._end)

    async def take(self, deliver: Deliver) -> None:
        """Take the body that ``deliver`` sends; return when all of it came and was written.

        Raise ``RequestFailed`` when not all came, after writing what did; or what ``write`` raised.  When this is cancelled, it
        ends only when no thread writes any more, so that the file may be closed then.
        """
        deliver(self._reader)
        self._reader.read_size(self._ahead // 2)
        try:
            await self._settle()
        except CancelledError:
            self._reader.give_up(RequestFailed("nobody wants it any more"))
            await self._settle()
            raise
        if self._outcome is not None:
            self._outcome.raiseException()

    async def _settle(self) -> None:
        if self._works or not self._over:
            await self._settled.wait()

    def _received(self, data: bytes) -> None:
        with self._lock:
            self._pieces.append(data)
            self._waiting += len(data)
            is_enough = self._waiting >= self._ahead
            is_taken, self._taking = self._taking, True
        if not is_taken:
            self._works += 1
            self._offload(self._work).addCallbacks(self._done, self._failed)
        elif is_enough and not self._paused:
            self._paused = True
            self._reader.pause()

    def _work(self) -> None:
        """Write for as long as there is something to write; in the thread."""
        while pieces := self._take():
            self._write(pieces)
            self._call_in_reactor(self._advance)

    def _take(self) -> list[bytes]:
        with self._lock:
            pieces, self._pieces, self._waiting = self._pieces, [], 0
            self._taking = bool(pieces)
            return pieces

    def _advance(self) -> None:
        """A batch was written, and what came meanwhile taken."""
        if self._ahead < _MOST_AHEAD:
            self._ahead *= 2
            self._reader.read_size(self._ahead // 2)
        if self._paused:
            self._paused = False
            self._reader.resume()
        self._written()

    def _done(self, _: object) -> None:
        self._works -= 1
        self._look()

    def _failed(self, failure: Failure) -> None:
        self._outcome = failure
        self._reader.give_up(RequestFailed("nothing more can be written"))
        self._done(None)

    def _end(self, failure: Failure | None) -> None:
        self._over = True
        self._outcome = self._outcome or failure
        self._look()

    def _look(self) -> None:
        if self._over and not self._works:
            self._settled.fire(None)


@implementer(IBodyProducer)
@attrs.define
class BytesBody:
    """A request body in memory, which can be sent again."""

    content: bytes
    length: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.length = len(self.content)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write all of it."""
        consumer.write(self.content)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to wait with."""

    def resumeProducing(self) -> None:
        """Nothing is left to go on with."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


@attrs.frozen
class BufferedBody:
    """The body of a response that was read already, to be read again."""

    content: bytes

    def take_content(self) -> bytes:
        """Return it."""
        return self.content

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver all of it at once."""
        protocol.makeConnection(_NoTransport())  # type: ignore[arg-type]
        if self.content:
            protocol.dataReceived(self.content)
        protocol.connectionLost(BODY_DONE)


BODY_DONE: Final = Failure(ResponseDone())  # type: ignore[no-untyped-call]
"""The end of a complete body."""


class _NoTransport:
    """The transport of a body that is in memory."""

    def pauseProducing(self) -> None:
        """Nothing more comes anyway."""

    def resumeProducing(self) -> None:
        """Nothing more comes anyway."""

    def abortConnection(self) -> None:
        """There is no connection."""

    def loseConnection(self) -> None:
        """There is no connection."""


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Return ``body`` without its content coding.

    Raise ``RequestFailed`` for a coding that is unknown or broken, and for a result of more than ``limit`` bytes.
    """
    coding = encoding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise RequestFailed(f"its answer is encoded as {coding!r}, which nobody asked for", Cause.MALFORMED)
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = decoder.decompress(body, limit)
    except zlib.error as error:
        raise RequestFailed(f"its answer cannot be decompressed ({error})", Cause.MALFORMED) from error
    if decoder.unconsumed_tail:
        raise too_large(limit)
    if not decoder.eof:
        raise RequestFailed("its compressed answer breaks off", Cause.MALFORMED)
    return plain
