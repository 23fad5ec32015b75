"""The way to upstreams: pooled connections, proxies and trusted certificates, behind Twisted's ``IAgent``.

Twisted's own ``Agent`` is used directly: the layers that are usually put above it double the processor time of a request, follow
redirects relative to the wrong page, and offer gzip for files too, where it would spoil ranges and digests.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    HostnameCachingHTTPSPolicy,
    HTTPConnectionPool,
    ProxyAgent,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from twistpi.mirror.connect import ConnectEndpoint
from twistpi.mirror.forbidden import ForbiddenNetworks, GuardedAgent, GuardedReactor
from twistpi.mirror.proxies import Proxy, ProxyRules

_PEM_END = b"-----END CERTIFICATE-----"


def make_agent(
    reactor: Any,
    environ: Mapping[str, str],
    *,
    extra_ca_file: str | None = None,
    forbidden: ForbiddenNetworks | None = None,
    connect_timeout: float = 10,
    connections_per_host: int = 32,
) -> IAgent:
    """An agent with a pool of persistent connections that obeys the proxy variables of ``environ``.

    ``extra_ca_file`` holds PEM certificates that are trusted beside the system's.  To ``forbidden`` networks (link-local ones and
    those of cloud metadata when None) it does not connect, except to a proxy.  ``connect_timeout`` is in seconds.  With 0
    ``connections_per_host`` none is kept for a later request.  Raises ``ValueError`` for a proxy variable that is no address,
    ``OSError`` for a file that cannot be read.
    """
    refusing = ForbiddenNetworks.parse() if forbidden is None else forbidden
    trusting = BrowserLikePolicyForHTTPS(_trust_root(extra_ca_file))  # type: ignore[no-untyped-call]
    policy = HostnameCachingHTTPSPolicy(trusting)
    pool = quiet_pool(reactor, connections_per_host)
    guarded = GuardedReactor(reactor, refusing)
    direct = Agent(guarded, policy, connectTimeout=connect_timeout, pool=pool)  # type: ignore[no-untyped-call]
    rules = ProxyRules.from_environment(environ)
    if not rules.proxies:
        return GuardedAgent(direct, refusing)
    # Where a proxy is comes from whoever runs the server, not from its users.
    routes = _ProxyRoutes(reactor, policy, connect_timeout, connections_per_host)
    return GuardedAgent(_RoutingAgent(rules, direct, routes), refusing)


def direct_endpoint(
    reactor: Any, url: str, *, extra_ca_file: str | None = None, connect_timeout: float = 10
) -> IStreamClientEndpoint:
    """What connects to the server of ``url`` (``http://…`` or ``https://…``), with the same trust and no proxy in between."""
    uri = URI.fromBytes(url.encode("ascii"))  # type: ignore[no-untyped-call]
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, uri.host.strip(b"[]"), uri.port, connect_timeout)
    if uri.scheme != b"https":
        return endpoint
    policy = BrowserLikePolicyForHTTPS(_trust_root(extra_ca_file))  # type: ignore[no-untyped-call]
    return wrapClientTLS(policy.creatorForNetloc(uri.host, uri.port), endpoint)


def quiet_pool(reactor: Any, connections_per_host: int) -> HTTPConnectionPool:
    """Connections that are kept for the next request, and whose opening and closing is not logged each time."""
    pool = HTTPConnectionPool(reactor, persistent=connections_per_host > 0)  # type: ignore[no-untyped-call]
    pool.maxPersistentPerHost = connections_per_host
    pool.cachedConnectionTimeout = 60
    pool._factory = _QuietFactory
    return pool


class _QuietFactory(HTTPConnectionPool._factory):  # type: ignore[misc,valid-type]
    noisy = False


def _trust_root(extra_ca_file: str | None) -> Any:
    """The system's authorities (None is Twisted's word for them), with those of ``extra_ca_file`` when there is one."""
    if extra_ca_file is None:
        return None
    with open(extra_ca_file, "rb") as file:
        extra = [Certificate.loadPEM(part + _PEM_END) for part in file.read().split(_PEM_END) if part.strip()]
    return trustRootFromCertificates([*_system_certificates(), *extra])  # type: ignore[no-untyped-call]


def _system_certificates() -> Iterator[Certificate]:
    paths = ssl.get_default_verify_paths()
    context = ssl.create_default_context()
    if paths.cafile is None and paths.capath is not None:
        for name in os.listdir(paths.capath):
            context.load_verify_locations(os.path.join(paths.capath, name))
    for encoded in context.get_ca_certs(binary_form=True):
        yield Certificate.load(encoded)


@implementer(IAgent)
@attrs.define
class _RoutingAgent:
    """Hands each request to the direct agent or to that of its proxy."""

    _rules: ProxyRules
    _direct: IAgent
    _routes: _ProxyRoutes

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """Issue a request; see ``IAgent``."""
        proxy = self._rules.proxy_for(uri.decode("ascii"))
        if proxy is None:
            return self._direct.request(method, uri, headers, bodyProducer)
        if uri.startswith(b"https:"):
            return self._routes.tunnel(proxy).request(method, uri, headers, bodyProducer)
        if proxy.credentials is not None:
            headers = Headers() if headers is None else headers.copy()
            headers.setRawHeaders("Proxy-Authorization", [proxy.credentials.authorization])
        return self._routes.forwarder(proxy).request(method, uri, headers, bodyProducer)


@attrs.define
class _ProxyRoutes:
    """The agents behind proxies, made when first needed."""

    _reactor: Any
    _policy: IPolicyForHTTPS
    _connect_timeout: float
    _connections: int
    _tunnels: dict[Proxy, IAgent] = attrs.field(factory=dict)
    _forwarders: dict[Proxy, IAgent] = attrs.field(factory=dict)

    def forwarder(self, proxy: Proxy) -> IAgent:
        """The agent that asks ``proxy`` for http addresses."""
        if proxy not in self._forwarders:
            self._forwarders[proxy] = ProxyAgent(  # type: ignore[no-untyped-call]
                self._endpoint(proxy), self._reactor, self._pool()
            )
        return self._forwarders[proxy]

    def tunnel(self, proxy: Proxy) -> IAgent:
        """The agent that reaches https addresses through ``proxy`` by CONNECT."""
        if proxy not in self._tunnels:
            factory = _TunnelEndpoints(self._endpoint(proxy), self._policy, proxy)
            self._tunnels[proxy] = Agent.usingEndpointFactory(  # type: ignore[no-untyped-call]
                self._reactor, factory, self._pool()
            )
        return self._tunnels[proxy]

    def _pool(self) -> HTTPConnectionPool:
        return quiet_pool(self._reactor, self._connections)

    def _endpoint(self, proxy: Proxy) -> IStreamClientEndpoint:
        host = proxy.host.encode("ascii")
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._reactor, host, proxy.port, self._connect_timeout)
        if proxy.secure:
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(host, proxy.port), endpoint)
        return endpoint


@implementer(IAgentEndpointFactory)
@attrs.define
class _TunnelEndpoints:
    """Endpoints of https addresses that lie behind a proxy."""

    _to_proxy: IStreamClientEndpoint
    _policy: IPolicyForHTTPS
    _proxy: Proxy

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """The endpoint for ``uri``: TLS with its host, inside a tunnel that the proxy opens."""
        authorization = self._proxy.credentials.authorization if self._proxy.credentials else None
        tunnel = ConnectEndpoint(self._to_proxy, uri.host.decode("ascii"), uri.port, authorization)
        return wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), tunnel)
