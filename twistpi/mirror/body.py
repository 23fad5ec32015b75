"""Reading the body of an upstream's answer: silence is noticed, too much is refused, what broke off says so."""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from twistpi.mirror.trouble import Trouble


class BodyReader(Protocol):
    """Delivers a body to ``received`` until it ends, breaks off, falls silent or is given up."""

    def __init__(self, clock: Any, silence: float) -> None:
        self.ended: Deferred[None] = Deferred()
        """Fires when the body is complete; fails with ``Trouble`` when it is not."""
        self._clock = clock
        self._silence = silence
        self._watch: IDelayedCall | None = None

    def received(self, data: bytes) -> None:
        """A piece of the body; overridden by whoever wants it."""

    def connectionMade(self) -> None:
        """The body begins."""
        self.watch()

    def watch(self) -> None:
        """Start to expect bytes."""
        if self._watch is None and not self.ended.called:
            self._watch = self._clock.callLater(self._silence, self._fell_silent)

    def rest(self) -> None:
        """Expect nothing for a while, since we asked the sender to wait."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def dataReceived(self, data: bytes) -> None:
        """Bytes came: pass them on."""
        if self.ended.called:
            return
        if self._watch is not None:
            self._watch.reset(self._silence)
        self.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body is over, or the connection is."""
        self.rest()
        if self.ended.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):  # type: ignore[no-untyped-call]
            self.ended.callback(None)
        else:
            self.ended.errback(Trouble("the connection broke before the answer was complete"))

    def give_up(self, trouble: Exception) -> None:
        """Read no further; ``ended`` fails with ``trouble``."""
        self.rest()
        if not self.ended.called:
            self.ended.errback(trouble)
        abort(self.transport)

    def _fell_silent(self) -> None:
        self._watch = None
        self.give_up(Trouble(f"it fell silent for {self._silence:g} s in the middle of its answer", unreachable=True))


class Collector(BodyReader):
    """A whole body in memory, up to a limit."""

    def __init__(self, clock: Any, silence: float, limit: int) -> None:
        super().__init__(clock, silence)
        self._limit = limit
        self._size = 0
        self._pieces: list[bytes] = []

    def received(self, data: bytes) -> None:
        """Keep a piece."""
        self._size += len(data)
        if self._size > self._limit:
            self._pieces.clear()
            self.give_up(Trouble(f"its answer is longer than {self._limit:,} bytes"))
        else:
            self._pieces.append(data)

    async def body(self) -> bytes:
        """The whole body; raises ``Trouble``."""
        await self.ended
        return b"".join(self._pieces)


def read_at_once(transport: Any, size: int) -> None:
    """Have a plain connection read up to ``size`` bytes at a time.

    Twisted's 64 KiB cost more than to copy them when the sender is fast.
    """
    connection = getattr(transport, "_producer", transport)
    if isinstance(connection, tcp.Connection):
        connection.bufferSize = size


def abort(transport: Any) -> None:
    """Close a connection at once.

    What Twisted hands to the reader of a body can only be closed politely, which behind TLS waits for a peer that may be silent
    for ever; the connection behind it can be aborted.
    """
    connection = getattr(transport, "_producer", transport)
    if connection is not None:
        getattr(connection, "abortConnection", transport.loseConnection)()
