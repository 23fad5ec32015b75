"""Bodies that come from a primary, read with an eye on silence, and small ones that go to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer


class BodyBroken(Exception):
    """A body ended before it was whole; the message says how."""


class BodyReader(Protocol):
    """Hands a body on to ``received`` until it ends, breaks off, falls silent or is given up."""

    def __init__(self, clock: Any, silence: float, received: Callable[[bytes], object]) -> None:
        """``clock`` is an ``IReactorTime``; after ``silence`` seconds without a byte, the body counts as broken."""
        self.ended: Deferred[None] = Deferred(lambda _: self._close())
        """Fires when the body is whole; fails with ``BodyBroken`` when it is not.  Cancelling it closes the connection, and it
        fails with ``CancelledError``: whoever was told to stop must not take that for a broken connection and try again."""
        self._clock = clock
        self._silence = silence
        self._received = received
        self._watch: IDelayedCall | None = None
        self._closed = False

    def connectionMade(self) -> None:
        """The body begins."""
        self._expect()

    def dataReceived(self, data: bytes) -> None:
        """A piece came."""
        if self._closed or self.ended.called:
            return
        if self._watch is not None:
            self._watch.reset(self._silence)
        self._received(data)

    def pause(self) -> None:
        """Ask the sender to wait; its silence is our wish until ``resume``."""
        self._rest()
        if not self.ended.called and self.transport is not None:
            self.transport.pauseProducing()  # type: ignore[attr-defined]

    def resume(self) -> None:
        """Go on after ``pause``."""
        if not self.ended.called and self.transport is not None:
            self._expect()
            self.transport.resumeProducing()  # type: ignore[attr-defined]

    def give_up(self, reason: str) -> None:
        """Read no further and close the connection; ``ended`` fails with ``BodyBroken``."""
        self._rest()
        if not self.ended.called:
            self.ended.errback(BodyBroken(reason))
        self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body is over, or the connection is."""
        self._rest()
        if self._closed or self.ended.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):  # type: ignore[no-untyped-call]
            self.ended.callback(None)
        else:
            self.ended.errback(BodyBroken("the connection broke before the answer was complete"))

    def _close(self) -> None:
        self._closed = True
        self._rest()
        abort(self.transport)

    def _expect(self) -> None:
        if self._watch is None and not self.ended.called:
            self._watch = self._clock.callLater(self._silence, self._fell_silent)

    def _rest(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _fell_silent(self) -> None:
        self._watch = None
        self.give_up(f"it fell silent for {self._silence:g} s in the middle of its answer")


def abort(transport: Any) -> None:
    """Close a connection at once, also when only Twisted's polite wrapper around it is at hand."""
    connection = getattr(transport, "_producer", transport)
    if connection is not None:
        getattr(connection, "abortConnection", transport.loseConnection)()


@implementer(IBodyProducer)
@attrs.define
class BytesBody:
    """A request's body that is in memory already."""

    _content: bytes
    length: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.length = len(self._content)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write all of it."""
        consumer.write(self._content)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to wait with."""

    def resumeProducing(self) -> None:
        """Nothing is left to go on with."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""
