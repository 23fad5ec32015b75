"""The connections to the server that answers: they carry one exchange after the other, and wait in between, a few of them and not
for long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IPushProducer
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twistpi.web.forwarding.exchange import Exchange

_IDLE: Final = 20.0
"""Seconds after which a connection that nobody used is closed; well before the other server would close it."""
_DONE = Failure(CONNECTION_DONE)  # type: ignore[no-untyped-call]


@implementer(IPushProducer)
class Link(Protocol):
    """One connection, for one exchange at a time."""

    transport: Any

    def __init__(self, links: Links) -> None:
        self._links = links
        self._exchange: Exchange | None = None

    def connectionMade(self) -> None:
        """The other server took it."""
        for option in ("setTcpNoDelay", "setTcpKeepAlive"):
            getattr(self.transport, option, lambda on: None)(True)
        self.transport.registerProducer(self, True)

    def carry(self, exchange: Exchange) -> None:
        """Begin ``exchange``; nothing else is on its way."""
        self._exchange = exchange
        exchange.begin(self)

    # For the exchange (``exchange.Connection``) -----------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """See ``Connection``."""
        self.transport.write(data)

    def pause(self) -> None:
        """See ``Connection``."""
        self.transport.pauseProducing()

    def resume(self) -> None:
        """See ``Connection``."""
        self.transport.resumeProducing()

    def release(self) -> None:
        """See ``Connection``."""
        self._exchange = None
        self.resume()  # also while idle, to hear when the other server closes it
        self._links.keep(self)

    def abort(self) -> None:
        """See ``Connection``."""
        self._exchange = None
        self._links.forget(self)
        self.transport.abortConnection()

    # From the transport -----------------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Some of an answer came, or what nobody asked for, after which nothing on this connection could be trusted."""
        if self._exchange is None:
            self.abort()
        else:
            self._exchange.came(data)

    def connectionLost(self, reason: Failure = _DONE) -> None:
        """It is closed."""
        exchange, self._exchange = self._exchange, None
        self._links.forget(self)
        if exchange is not None:
            exchange.lost(reason)

    def pauseProducing(self) -> None:
        """The transport holds enough."""
        if self._exchange is not None:
            self._exchange.full()

    def resumeProducing(self) -> None:
        """The transport takes more."""
        if self._exchange is not None:
            self._exchange.drained()

    def stopProducing(self) -> None:
        """The connection is gone; ``connectionLost`` tells."""


@attrs.define(eq=False)
class Links:
    """Makes connections, and keeps those that are idle."""

    _connect: Callable[[IProtocolFactory], Deferred[Any]]
    _clock: Any
    most_idle: int
    """How many are kept; with 0, each carries one exchange."""
    _idle: dict[Link, float] = attrs.field(factory=dict, init=False)
    """When each was used last; in that order."""
    _sweeping: Any = attrs.field(default=None, init=False)

    def take(self) -> Link | None:
        """The idle one that was used last; None without any.  The other server may just be closing it."""
        return self._idle.popitem()[0] if self._idle else None

    def make(self) -> Deferred[Link]:
        """A new one; fails with what makes that impossible."""
        link = Link(self)
        factory = Factory.forProtocol(lambda: link)
        factory.noisy = False
        return self._connect(factory).addCallback(lambda _: link)

    def keep(self, link: Link) -> None:
        """``link`` is idle from now on."""
        if len(self._idle) >= self.most_idle:
            link.abort()
            return
        self._idle[link] = self._clock.seconds()
        if self._sweeping is None:
            self._sweeping = self._clock.callLater(_IDLE, self._sweep)

    def forget(self, link: Link) -> None:
        """``link`` is of no use any more."""
        self._idle.pop(link, None)

    def _sweep(self) -> None:
        """Close those that nobody used for long, and look again when the next one may have to go."""
        self._sweeping = None
        now = self._clock.seconds()
        for link in [link for link, since in self._idle.items() if since + _IDLE <= now]:
            link.abort()
        if self._idle:
            oldest = next(iter(self._idle.values()))
            self._sweeping = self._clock.callLater(oldest + _IDLE - now, self._sweep)
