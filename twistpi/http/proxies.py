"""Proxies: which one serves an address (``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``), and tunnels through it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import cast

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
    """Whether connections to the proxy itself use TLS."""
    host: str
    port: int
    credentials: Credentials | None = None


@attrs.frozen
class ProxyRules:
    """Which proxy serves which addresses."""

    proxies: Mapping[str, Proxy] = attrs.field(factory=dict)
    """By the scheme of the requested URL."""
    exceptions: tuple[str, ...] = ()
    """Entries of ``NO_PROXY``, lower case."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ProxyRules:
        """Return the rules of ``environ``; lower-case names win over upper-case ones, as with curl and pip.

        A proxy is ``http://user:password@proxy.example:3128``, perhaps without the scheme.  Raise ``ValueError`` for another.
        """
        proxies = {}
        for scheme in ("http", "https"):
            if address := _lookup(environ, f"{scheme}_proxy") or _lookup(environ, "all_proxy"):
                url, credentials = split_credentials(address if "://" in address else f"http://{address}")
                spoken, host, port = origin_of(url)
                proxies[scheme] = Proxy(spoken == "https", host, port, credentials)
        exceptions = tuple(entry.strip().lower() for entry in _lookup(environ, "no_proxy").split(",") if entry.strip())
        return cls(proxies, exceptions)

    def proxy_for(self, url: str) -> Proxy | None:
        """Return the proxy for an absolute URL; None when requests go there directly."""
        scheme, host, port = origin_of(url)
        proxy = self.proxies.get(scheme)
        if proxy is None or any(_is_covered(host, port, entry) for entry in self.exceptions):
            return None
        return proxy


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
    if host == domain or (domain and host.endswith(f".{domain}")):
        return True
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
    credentials: Credentials | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Return a Deferred with the protocol once the tunnel is open.

        It fails with ``RequestFailed``, or as the connection to the proxy failed.
        """
        target = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self.credentials is not None:
            lines.append(f"Proxy-Authorization: {self.credentials.authorization}")
        request = "\r\n".join([*lines, "", ""]).encode("latin-1")
        factory = Factory.forProtocol(lambda: _Tunnel(request, protocolFactory))
        factory.noisy = False
        return self.to_proxy.connect(factory).addCallback(lambda tunnel: cast(_Tunnel, tunnel).opened)


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
        """Take the proxy's answer, and then pass on what comes through the tunnel."""
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if not end:
            if len(self._answer) > _LONGEST_ANSWER:
                self._refuse("its answer is too long")
            return
        version, *status = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if not status or not version.startswith(b"HTTP/1.") or not status[0].startswith(b"2"):
            self._refuse(b" ".join(status).decode("latin-1") or "its answer is not HTTP")
            return
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
        """Tell the protocol inside, or fail when the tunnel was never open."""
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif not self.opened.called:
            self.opened.errback(RequestFailed("the proxy closed the connection without an answer", Cause.CONNECT))
