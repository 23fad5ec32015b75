"""Bodies of responses: reading them within limits of time and length, decompression; and bodies in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Final, cast

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IDelayedCall, IProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from twistpi.http.codings import decode
from twistpi.http.errors import Cause, RequestFailed, too_large

Deliver = Callable[[IProtocol], object]
"""``IResponse.deliverBody``."""


class BodyReader(TwistedProtocol):
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
            cast(IPushProducer, self.transport).pauseProducing()

    def resume(self) -> None:
        """Go on after ``pause``."""
        if not self.ended.called and self.transport is not None:
            self._expect()
            cast(IPushProducer, self.transport).resumeProducing()

    def give_up(self, error: Exception) -> None:
        """Close the connection; ``ended`` fails with ``error``."""
        self._rest()
        if not self.ended.called:
            self.ended.errback(error)
        self._abort()

    def read_size(self, size: int) -> None:
        """Let a connection read up to ``size`` bytes at a time, where it can: Twisted's 64 KiB are slow for a fast sender."""
        getattr(self.transport, "read_size", lambda _: None)(size)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body ended, or the connection."""
        self._rest()
        if self._closed or self.ended.called:
            return
        if isinstance(reason.value, ResponseDone | PotentialDataLoss):
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


async def read_body(deliver: Deliver, clock: IReactorTime, silence: float, limit: int, *, beginning: bool = False) -> bytes:
    """Return a whole body; raise ``RequestFailed``, also for more than ``limit`` bytes.

    With ``beginning`` return at most the first ``limit`` bytes of it, or those before it broke off.
    """
    pieces: list[bytes] = []
    size = 0

    def received(data: bytes) -> None:
        nonlocal size
        size += len(data)
        pieces.append(data)
        if size > limit or (beginning and size == limit):
            reader.give_up(too_large(limit))

    reader = BodyReader(clock, silence, received)
    deliver(reader)
    with suppress(RequestFailed) if beginning else nullcontext():
        await reader.ended
    return b"".join(pieces)[:limit]


@implementer(IBodyProducer)
@attrs.define
class BytesBody:
    """A request body in memory, which can be sent again."""

    content: bytes

    @property
    def length(self) -> int:
        """Bytes of it."""
        return len(self.content)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write all of it."""
        consumer.write(self.content)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing, as the next two: all is written."""

    def resumeProducing(self) -> None:
        """Do nothing."""

    def stopProducing(self) -> None:
        """Do nothing."""


BODY_DONE: Final = Failure(ResponseDone())
"""The end of a complete body."""


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Return ``body`` without its content codings.

    Raise ``RequestFailed`` for a coding that is unknown or broken, and for a result of more than ``limit`` bytes.
    """
    if encoding.strip().lower() in ("", "identity"):
        return body
    pieces, size = [], 0
    for piece in decode((body,), encoding, limit + 1):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise too_large(limit)
    return b"".join(pieces)
