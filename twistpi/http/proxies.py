"""Proxies: which one serves an address (``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``), and tunnels through it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.urls import Credentials, origin_of, split_credentials

_LONGEST_ANSWER = 16 * 1024
"""Bytes of status line and headers a proxy may answer with."""


@attrs.frozen
class Proxy:
    """One proxy server."""

    secure: bool
    """Whether the proxy itself is spoken to over TLS."""
    host: str
    port: int
    credentials: Credentials | None = None


@attrs.frozen
class ProxyRules:
    """Which proxy serves which addresses."""

    proxies: Mapping[str, Proxy] = attrs.field(factory=dict)
    """Scheme of the address asked for -> proxy."""
    exceptions: tuple[str, ...] = ()
    """Entries of ``NO_PROXY``, lower case."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ProxyRules:
        """The rules ``environ`` states; lower-case names win over upper-case ones, as curl and pip have it.

        Raises ``ValueError`` for a proxy that is not an http or https address.
        """
        proxies = {}
        for scheme in ("http", "https"):
            address = _lookup(environ, f"{scheme}_proxy") or _lookup(environ, "all_proxy")
            if address:
                proxies[scheme] = parse_proxy(address)
        exceptions = tuple(entry.strip().lower() for entry in _lookup(environ, "no_proxy").split(",") if entry.strip())
        return cls(proxies, exceptions)

    def proxy_for(self, url: str) -> Proxy | None:
        """The proxy for an absolute address, None when it is asked directly."""
        scheme, host, port = origin_of(url)
        proxy = self.proxies.get(scheme)
        if proxy is None or any(_is_covered(host, port, entry) for entry in self.exceptions):
            return None
        return proxy


def parse_proxy(address: str) -> Proxy:
    """``http://user:password@proxy.example:3128`` (the scheme may be left out) as a ``Proxy``; raises ``ValueError``."""
    url = address if "://" in address else f"http://{address}"
    clean, credentials = split_credentials(url)
    scheme, host, port = origin_of(clean)
    return Proxy(scheme == "https", host, port, credentials)


def _lookup(environ: Mapping[str, str], name: str) -> str:
    return (environ.get(name) or environ.get(name.upper()) or "").strip()


def _is_covered(host: str, port: int, entry: str) -> bool:
    """Whether ``entry`` of ``NO_PROXY`` names ``host``: ``*``, a host, a domain, ``host:port``, an address or a network."""
    if entry == "*":
        return True
    name, colon, digits = entry.rpartition(":")
    if colon and digits.isdigit() and ":" not in name:
        if int(digits) != port:
            return False
        entry = name
    domain = entry.lstrip("*").lstrip(".")
    return host == domain or (bool(domain) and host.endswith(f".{domain}")) or _in_network(host, entry)


def _in_network(host: str, entry: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False


@implementer(IStreamClientEndpoint)
@attrs.define
class ConnectEndpoint:
    """Connects to ``host:port`` through the proxy that ``to_proxy`` leads to."""

    to_proxy: IStreamClientEndpoint
    host: str
    port: int
    authorization: str | None = attrs.field(default=None, repr=False)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """A Deferred with the protocol once the tunnel is open; fails with ``RequestFailed`` or why the proxy is not reached."""
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
            self.opened.errback(RequestFailed(f"the proxy refused: {reason}", Cause.CONNECT))

    def _close(self) -> None:
        assert self.transport is not None
        self.transport.abortConnection()  # type: ignore[attr-defined]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection ended: the inner protocol's loss, or a tunnel that was never opened."""
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif not self.opened.called:
            self.opened.errback(RequestFailed("the proxy closed the connection without an answer", Cause.CONNECT))
