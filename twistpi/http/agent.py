"""The lean ``IAgent``: kept connections, proxies, TLS with our trust roots, forbidden networks, unix sockets.

Twisted's own client spends several times as long on a small response as httptools does.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, cast

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import BrowserLikePolicyForHTTPS, HostnameCachingHTTPSPolicy
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from twistpi.http.body import BytesBody
from twistpi.http.connection import Connection
from twistpi.http.errors import Cause, RequestFailed, request_failed
from twistpi.http.messages import Line, Request, lines_of
from twistpi.http.routes import ConnectEndpoint, ForbiddenNetworks, GuardedReactor, Proxy, ProxyRules
from twistpi.http.urls import Origin, origin_of, target_of
from twistpi.http.wire_response import WireResponse

_REPEATABLE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})
"""Methods of requests that may be sent twice (RFC 9110, 9.2.2)."""
_CONNECT_TIMEOUT: Final = 10.0
"""Seconds."""
_IDLE: Final = 60.0
"""Seconds for which an unused connection is kept."""
_PEM_END: Final = b"-----END CERTIFICATE-----"


@attrs.frozen
class Route:
    """Where the connection of a request leads; requests on the same route can share one."""

    origin: Origin | None
    """None for a proxy that itself connects to the origins."""
    proxy: Proxy | None = None


@attrs.define(eq=False)
class Pool:
    """Connections that wait for their next request, by route."""

    _clock: IReactorTime
    _most: int
    """Per route."""
    _idle: float = _IDLE
    """Seconds."""
    _kept: dict[Route, dict[Connection, float]] = attrs.field(factory=dict, init=False)
    """The connections of a route in the order in which they began to wait, with that time."""
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)

    def take(self, route: Route) -> Connection | None:
        """Return the connection that was used last, which the server may be closing just now; None without any."""
        kept = self._kept.get(route)
        return kept.popitem()[0] if kept else None

    def keep(self, route: Route, connection: Connection) -> None:
        """Keep ``connection`` for a later request, unless there are enough."""
        kept = self._kept.setdefault(route, {})
        if len(kept) >= self._most:
            connection.abort()
            return
        kept[connection] = self._clock.seconds()
        if self._timer is None:
            self._timer = self._clock.callLater(self._idle, self._close_idle)

    def forget(self, route: Route, connection: Connection) -> None:
        """Drop ``connection``, which was closed."""
        self._kept.get(route, {}).pop(connection, None)

    def close(self) -> None:
        """Close all."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        for connection in [one for connections in self._kept.values() for one in connections]:
            connection.abort()
        self._kept.clear()

    def _close_idle(self) -> None:
        """Close what waited too long, and look again when the next one may have."""
        self._timer = None
        now = self._clock.seconds()
        waiting = [item for connections in self._kept.values() for item in connections.items()]
        for connection, since in waiting:
            if not now - self._idle < since <= now:
                connection.abort()
        self._kept = {route: connections for route, connections in self._kept.items() if connections}
        if self._kept:
            oldest = min(next(iter(connections.values())) for connections in self._kept.values())
            self._timer = self._clock.callLater(max(0.0, oldest + self._idle - now), self._close_idle)


@implementer(IAgent)
@attrs.define(eq=False)
class Agent:
    """Sends requests over kept or new connections.  ``make_agent`` and ``unix_agent`` make one."""

    _connect: Callable[[Route], IStreamClientEndpoint]
    """Raises ``RequestFailed`` for where it may not connect to."""
    _pool: Pool
    _rules: ProxyRules = attrs.field(factory=ProxyRules)
    _forbidden: ForbiddenNetworks = attrs.field(factory=lambda: ForbiddenNetworks(()))

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """Issue a request; see ``IAgent``.  Fails with ``RequestFailed``, ``ValueError``, or what the producer failed with."""
        lines = [] if headers is None else lines_of(headers)
        return cast(Deferred[IResponse], self.send(method, uri, lines, bodyProducer))

    def send(
        self,
        method: bytes,
        uri: bytes,
        lines: list[Line],
        body: IBodyProducer | None = None,
        informed: Callable[[int, list[Line]], object] | None = None,
    ) -> Deferred[WireResponse]:
        """Issue a request with exactly these headers, ``Host`` and the length of the body added.

        ``informed`` gets status and headers of each 1xx response.  A request that may be repeated is sent again when a kept
        connection was closed before any byte of a response.
        """
        try:
            target, lines, route = self._prepare(uri.decode("ascii"), lines)
        except (RequestFailed, ValueError) as error:
            return fail(error)
        return self._send(route, Request(method, target.encode("ascii"), tuple(lines), body, informed))

    def exchange(self, request: Request, origin: Origin, *, fresh: bool = False) -> Deferred[WireResponse]:
        """Send ``request`` to ``origin`` exactly as it is, straight, whatever the proxies; ``Host`` is among its headers.

        With ``fresh`` over a new connection, which is kept afterwards.  Fails as ``send`` does.
        """
        route = Route(origin)
        return Deferred.fromCoroutine(self._send_anew(route, request)) if fresh else self._send(route, request)

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.close()

    def _prepare(self, url: str, lines: list[Line]) -> tuple[str, list[Line], Route]:
        """Return the target of a request, its headers and the route."""
        origin = origin_of(url)
        target = target_of(url)
        proxy = self._rules.proxy_for(url) if self._rules.proxies else None
        route = Route(origin, proxy)
        if proxy is not None:
            # The proxy connects, so that only an address that is spelled out can be checked here.
            self._forbidden.check_host(origin[1])
            if origin[0] == "http":
                route = Route(None, proxy)
                target = f"http://{_netloc(origin)}{target}"
                if proxy.credentials is not None:
                    lines = [*lines, (b"Proxy-Authorization", proxy.credentials.authorization.encode("latin-1"))]
        if not any(name.lower() == b"host" for name, _ in lines):
            lines = [(b"Host", _netloc(origin).encode("ascii")), *lines]
        return target, lines, route

    def _send(self, route: Route, request: Request) -> Deferred[WireResponse]:
        connection = self._pool.take(route)
        if connection is None:
            return Deferred.fromCoroutine(self._send_anew(route, request))

        def repeat(failure: Failure) -> Failure | Deferred[WireResponse]:
            is_closed = isinstance(failure.value, RequestFailed) and failure.value.cause is Cause.CLOSED
            return Deferred.fromCoroutine(self._send_anew(route, request)) if is_closed else failure

        response = connection.send(request)
        if request.method in _REPEATABLE and isinstance(request.body, BytesBody | None):
            response.addErrback(repeat)
        return response

    async def _send_anew(self, route: Route, request: Request) -> WireResponse:
        """Send ``request`` over a new connection."""
        if route.origin is not None and route.proxy is None:
            self._forbidden.check_host(route.origin[1])
        pool = self._pool
        connection = Connection(lambda one: pool.keep(route, one), lambda one: pool.forget(route, one))
        factory = Factory.forProtocol(lambda: connection)
        factory.noisy = False
        try:
            await self._connect(route).connect(factory)
        except Exception as error:  # refused, timed out, no such name, certificates: Twisted raises a large family
            failed = request_failed(error)
            if isinstance(failed, RequestFailed) and failed.cause is Cause.BROKEN:
                failed = RequestFailed(failed.reason, Cause.CONNECT)
            raise failed from error
        return await connection.send(request)


def make_agent(
    reactor: IReactorTime,
    environ: Mapping[str, str],
    *,
    extra_ca_file: str | None = None,
    forbidden: ForbiddenNetworks | None = None,
    connections_per_host: int = 32,
) -> Agent:
    """Return an agent that obeys the proxy variables of ``environ``; an empty one means no proxies.

    ``extra_ca_file`` holds PEM certificates that are trusted beside the system's.  To ``forbidden`` networks (link-local ones and
    those of cloud metadata when None) it does not connect, except to a proxy.  With 0 ``connections_per_host`` none is kept.
    Raise ``ValueError`` for a proxy variable that is no address, ``OSError`` for a file that cannot be read.
    """
    refusing = ForbiddenNetworks.parse() if forbidden is None else forbidden
    trusting = BrowserLikePolicyForHTTPS(_trust_root(extra_ca_file))
    policy = HostnameCachingHTTPSPolicy(trusting)
    guarded = GuardedReactor(reactor, refusing)

    def secured(host: str, port: int, plain: IStreamClientEndpoint) -> IStreamClientEndpoint:
        return wrapClientTLS(policy.creatorForNetloc(host.encode("ascii"), port), plain)

    def direct(connecting: IReactorTime | GuardedReactor, is_secure: bool, host: str, port: int) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = HostnameEndpoint(connecting, host.encode("ascii"), port, _CONNECT_TIMEOUT)
        return secured(host, port, endpoint) if is_secure else endpoint

    def endpoint(route: Route) -> IStreamClientEndpoint:
        if route.proxy is None:
            assert route.origin is not None
            scheme, host, port = route.origin
            return direct(guarded, scheme == "https", host, port)
        # The administrator names the proxies, so no network is forbidden to them.
        to_proxy = direct(reactor, route.proxy.secure, route.proxy.host, route.proxy.port)
        if route.origin is None:
            return to_proxy
        _, host, port = route.origin
        return secured(host, port, ConnectEndpoint(to_proxy, host, port, route.proxy.credentials))

    return Agent(endpoint, Pool(reactor, connections_per_host), ProxyRules.from_environment(environ), refusing)


def unix_agent(reactor: IReactorTime, path: str, *, connections: int = 32, idle: float = _IDLE) -> Agent:
    """Return an agent that reaches every origin through the unix socket at ``path``."""
    return Agent(lambda _route: UNIXClientEndpoint(reactor, path), Pool(reactor, connections, idle))


@lru_cache(maxsize=256)
def _netloc(origin: Origin) -> str:
    scheme, host, port = origin
    shown = f"[{host}]" if ":" in host else host
    return shown if port == {"http": 80, "https": 443}[scheme] else f"{shown}:{port}"


def _trust_root(extra_ca_file: str | None) -> object:
    """Return the system's authorities (None is Twisted's word for them), with those of ``extra_ca_file`` when there is one."""
    if extra_ca_file is None:
        return None
    with open(extra_ca_file, "rb") as file:
        extra = [Certificate.loadPEM(part + _PEM_END) for part in file.read().split(_PEM_END) if part.strip()]
    paths = ssl.get_default_verify_paths()
    context = ssl.create_default_context()
    if paths.cafile is None and paths.capath is not None:
        for name in os.listdir(paths.capath):
            context.load_verify_locations(os.path.join(paths.capath, name))
    system = [Certificate.load(encoded) for encoded in context.get_ca_certs(binary_form=True)]
    return trustRootFromCertificates([*system, *extra])
