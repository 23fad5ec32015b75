"""A stream endpoint through an HTTP proxy: ``CONNECT host:port`` (RFC 9110, 9.3.6)."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

_LONGEST_ANSWER = 16 * 1024
"""Bytes of status line and headers a proxy may answer with."""


class ProxyRefused(Exception):
    """A proxy did not open the tunnel it was asked for."""


@implementer(IStreamClientEndpoint)
@attrs.define
class ConnectEndpoint:
    """Connects to ``host:port`` through the proxy that ``to_proxy`` leads to."""

    to_proxy: IStreamClientEndpoint
    host: str
    port: int
    authorization: str | None = attrs.field(default=None, repr=False)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """A Deferred with the protocol once the tunnel is open; fails with ``ProxyRefused`` or why the proxy is not reached."""
        factory = Factory.forProtocol(lambda: _Tunnel(self._request(), protocolFactory))
        factory.noisy = False
        return Deferred.fromCoroutine(self._open(factory))

    async def _open(self, factory: IProtocolFactory) -> IProtocol:
        tunnel = await self.to_proxy.connect(factory)
        assert isinstance(tunnel, _Tunnel)
        return await tunnel.opened

    def _request(self) -> bytes:
        target = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self.authorization is not None:
            lines.append(f"Proxy-Authorization: {self.authorization}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class _Tunnel(Protocol):
    """Asks for the tunnel, then passes everything on to the protocol inside."""

    def __init__(self, request: bytes, factory: IProtocolFactory) -> None:
        self.opened: Deferred[IProtocol] = Deferred(lambda _: self._close())
        """Fires with the protocol inside; cancelling it closes the connection."""
        self._request = request
        self._factory = factory
        self._answer = b""
        self._inner: IProtocol | None = None

    def connectionMade(self) -> None:
        """Ask for the tunnel."""
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """The proxy's answer, then whatever comes through the tunnel."""
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if not end:
            if len(self._answer) > _LONGEST_ANSWER:
                self._refuse("its answer is too long")
            return
        status = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or not status[1].startswith(b"2"):
            self._refuse(b" ".join(status[1:]).decode("latin-1") or "its answer is not HTTP")
            return
        self._open(rest)

    def _open(self, rest: bytes) -> None:
        assert self.transport is not None
        inner = self._factory.buildProtocol(self.transport.getPeer())
        if inner is None:
            self._refuse("nobody wants the connection any more")
            return
        self._inner = inner
        inner.makeConnection(self.transport)
        self.opened.callback(inner)
        if rest:
            inner.dataReceived(rest)

    def _refuse(self, reason: str) -> None:
        self._close()
        if not self.opened.called:
            self.opened.errback(ProxyRefused(f"the proxy refused: {reason}"))

    def _close(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection ended: the inner protocol's loss, or a tunnel that was never opened."""
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif not self.opened.called:
            self.opened.errback(ProxyRefused("the proxy closed the connection without an answer"))
