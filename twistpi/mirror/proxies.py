"""Through which proxy an address is asked: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``.  Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import attrs

from twistpi.mirror.addresses import Credentials, origin_of, split_credentials


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
