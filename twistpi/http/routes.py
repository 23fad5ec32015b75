"""Where connections may lead: forbidden networks, proxies, and tunnels through them.

Users set up mirrors, so they choose what the server requests, and what responds in some networks is not for them.  Addresses are
checked as they are connected to: what a name resolves to may change, and a redirect leads anywhere.  Behind a proxy
(``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``) only addresses that are spelled out can be checked.
"""

from __future__ import annotations

import socket
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, cast
from urllib.parse import unquote

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTCP,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.urls import Credentials, origin_of, split_credentials

SETTING: Final = "forbidden-networks"
"""The setting that a refusal names."""
NONE: Final = "none"
"""In place of networks: everything may be connected to."""
DEFAULT: Final = (
    "169.254.0.0/16",  # link-local; most clouds answer questions about a machine, keys included, at 169.254.169.254
    "fe80::/10",  # link-local
    "fd00:ec2::254/128",  # the metadata service of Amazon's cloud
    "fd20:ce::254/128",  # Google's
    "100.100.100.200/32",  # Alibaba's
    "168.63.129.16/32",  # Microsoft's
    "192.0.0.192/32",  # Oracle's
)
"""What is forbidden unless an administrator says otherwise."""

_NAT64: Final = ip_network("64:ff9b::/96")
_COMPATIBLE: Final = ip_network("::/96")
_LOWEST_32_BITS: Final = 0xFFFFFFFF


@attrs.frozen
class ForbiddenNetworks:
    """Networks to which no connection is made."""

    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def parse(cls, texts: Iterable[str] = ()) -> ForbiddenNetworks:
        """Return those of addresses and networks such as ``10.0.0.0/8``; the default for no text, nothing for ``none`` alone.

        Raise ``ValueError`` for another text.
        """
        given = tuple(texts) or DEFAULT
        return cls(tuple(ip_network(text, strict=False) for text in given if text != NONE))

    def check_address(self, address: str) -> None:
        """Raise ``RequestFailed`` when ``address``, an IP address as a socket takes it, is in one of the networks.

        The text does not name it: a user need not learn what a name resolves to here.
        """
        for meant in _meant_by(ip_address(address.partition("%")[0])):
            if any(meant in network for network in self.networks):
                reason = f"its address lies in a network where this server connects to nobody (setting {SETTING})"
                raise RequestFailed(reason, Cause.FORBIDDEN)

    def check_host(self, host: str) -> None:
        """Do the same for a host that spells out an IP address, in any way; names, which are to be resolved first, pass."""
        if (literal := _literal(host)) is not None:
            self.check_address(literal)


def _meant_by(address: IPv4Address | IPv6Address) -> Iterable[IPv4Address | IPv6Address]:
    """Yield the address, and those at which packets to it arrive in the end."""
    yield address
    if address.is_unspecified:
        # Connections to 0.0.0.0 or :: lead to the machine itself.
        yield from (IPv4Address("127.0.0.1"), IPv6Address("::1"))
    elif isinstance(address, IPv6Address):
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.ipv4_mapped is not None or address in _NAT64 or address in _COMPATIBLE:
            yield from _meant_by(IPv4Address(int(address) & _LOWEST_32_BITS))


def _literal(host: str) -> str | None:
    """Return the IP address that ``host`` spells out, None for a name.

    Some clients and proxies understand ``169.254.43518``, ``0xa9fea9fe``, other scripts' digits and percent-encoding as well.
    """
    text = unicodedata.normalize("NFKC", unquote(host)).replace("。", ".").strip("[]").rstrip(".")
    bare = text.partition("%")[0]
    with suppress(ValueError):
        return str(ip_address(bare))
    try:
        return socket.inet_ntoa(socket.inet_aton(bare))
    except (OSError, UnicodeError, ValueError):
        return None


class GuardedReactor:
    """A reactor that does not connect to forbidden networks; it leaves all else to the real one."""

    def __init__(self, reactor: IReactorTime, forbidden: ForbiddenNetworks) -> None:
        self._reactor = reactor
        self._forbidden = forbidden
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> object:
        return getattr(self._reactor, name)

    def connectTCP(self, host: str, port: int, *arguments: object, **keywords: object) -> object:
        """Connect to the IP address ``host``, as ``IReactorTCP`` has it; raise ``RequestFailed``."""
        self._forbidden.check_address(host)
        connect: Callable[..., object] = cast(IReactorTCP, self._reactor).connectTCP
        return connect(host, port, *arguments, **keywords)


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
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
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
        cast(ITCPTransport, self.transport).abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the protocol inside, or fail when the tunnel was never open."""
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif not self.opened.called:
            self.opened.errback(RequestFailed("the proxy closed the connection without an answer", Cause.CONNECT))
