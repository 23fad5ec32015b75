"""Addresses of requests: the public URL of this server, and where clients come from.

This is the one place that reads forwarding headers (``Forwarded``, ``X-Forwarded-*``, ``X-Real-IP``, ``X-Outside-Url``).  A proxy
is trusted if the settings name it, or if it connects through a unix socket, whose file permissions say who may.  From anybody
else, these headers only show that a request was forwarded.  What another server of this installation says of a request that it
forwards (``passed_on``) counts before all that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

import attrs
from twisted.internet.address import UNIXAddress
from twisted.web.server import Request

from twistpi.model.errors import TwistpiError
from twistpi.web.forwarded import Element, outermost, parse_forwarded
from twistpi.web.forwarding.headers import PassedOn
from twistpi.web.paths import READS, is_host, segments_of, without_prefix
from twistpi.web.request import header, passed_on_of

Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address

UNIX: Final = "unix"
"""What stands for the address of a client at a unix socket."""

_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*\Z", re.ASCII)
_PORT = re.compile(r"[1-9]\d{0,4}\Z", re.ASCII)
_UNKNOWN = IPv4Address(0)
_SIGNS_OF_A_PROXY = (b"forwarded", b"via", b"x-real-ip", b"x-outside-url")


@attrs.define
class Addresses:
    """What is configured about the addresses of this server and of the proxies in front of it."""

    trusted_proxies: tuple[Network, ...] = ()
    """The networks of the proxies whose forwarding headers are trusted."""
    outside_url: str = ""
    """The public URL of this server, without a slash at the end; empty if it is not configured."""
    absolute_urls: bool = False
    """Whether links to files on simple pages are absolute for every client."""


def outside_url(request: Request, addresses: Addresses) -> str:
    """Return the URL of this server as the client knows it, without a slash at the end; absolute URLs begin with it.

    In this order: what a server says that passed the request on, ``X-Outside-Url`` of a trusted proxy, the setting, ``Forwarded``
    or ``X-Forwarded-Proto`` and ``-Host``, with ``-Port`` and ``-Prefix``, of a trusted proxy, and what the request itself says.
    """
    passed_on = passed_on_of(request)
    return _own_outside_url(request, addresses) if passed_on is None else passed_on.outside


def wants_absolute_urls(request: Request, addresses: Addresses) -> bool:
    """Return whether the links to files on a simple page have to be absolute; an empty header is enough."""
    return addresses.absolute_urls or request.requestHeaders.hasHeader(b"X-Devpi-Absolute-Urls")


def outside_prefix(request: Request, addresses: Addresses) -> str:
    """Return the prefix of the paths of this server where ``request`` was sent: empty, or with a slash before and none after it.

    It is the path of ``outside_url``, unless another server forwards the request, which may use another URL of this one.
    """
    return urlsplit(_own_outside_url(request, addresses)).path


def path_parts(request: Request, address: str, addresses: Addresses) -> list[str]:
    """Return the decoded segments of the path of ``address``, as ``request`` has it, without the prefix of this server.

    Raise ``TwistpiError``.
    """
    return [part.decode() for part in without_prefix(segments_of(address), outside_prefix(request, addresses))]


def bare_path(raw: bytes, prefix: str) -> bytes:
    """``raw``, a path as it came, with or without query, without ``prefix``, if it begins with that."""
    bare = raw.removeprefix(prefix.encode("ascii"))
    return bare if bare.startswith(b"/") else raw


def principal_of(request: Request, addresses: Addresses) -> PassedOn:
    """Return what another server is to be told of the client of ``request``."""
    return passed_on_of(request) or PassedOn(
        outside_url(request, addresses), client_address(request, addresses), is_local(request)
    )


def _own_outside_url(request: Request, addresses: Addresses) -> str:
    is_trusted = is_trusted_peer(request, addresses)
    if is_trusted and (told := _web_address(header(request, "x-outside-url"))):
        return told
    if addresses.outside_url:
        return addresses.outside_url
    scheme = "https" if request.isSecure() else "http"
    host, prefix = header(request, "host") or "", ""
    if is_trusted:
        chain = outermost(_forwarded(request) or (), lambda text: _is_trusted(_ip(text) or _UNKNOWN, addresses))
        scheme = _known_scheme(_first(chain, "proto") if chain else _last(request, "x-forwarded-proto")) or scheme
        host = _valid_host(_first(chain, "host") or _last(request, "x-forwarded-host")) or host
        host = _with_port(host, _last(request, "x-forwarded-port"))
        prefix = _valid_prefix(_last(request, "x-forwarded-prefix"))
    return f"{scheme}://{_valid_host(host) or _own_host(request)}{prefix}"


def check_site(request: Request, method: bytes, addresses: Addresses) -> None:
    """Raise ``TwistpiError`` for a change that a page of another site makes a browser ask for, with the login that it remembers.

    Browsers tell it in ``Sec-Fetch-Site`` or ``Origin``; other clients send neither.
    """
    site, origin = header(request, "sec-fetch-site"), header(request, "origin")
    if method in READS or site in ("same-origin", "none") or (site is None and origin is None):
        return
    if site is None and is_own_host(request, origin or "", addresses):
        return
    raise TwistpiError(
        f"This change is refused, because a page of another site ({(origin or site or '')[:200]}) made the browser ask for it. "
        "If the page is one of this server, set outside-url to the address that users see.",
        403,
    )


def is_own_host(request: Request, url: str, addresses: Addresses) -> bool:
    """Return whether ``url`` has the host and port of this server, as users or ``request`` know it; a proxy may have changed the
    scheme, so usual ports count as none.
    """
    host = _host_of(url)
    return bool(host) and host in (_host_of(outside_url(request, addresses)), _bare_host(header(request, "host") or ""))


def _host_of(url: str) -> str:
    return _bare_host(url.partition("://")[2].partition("/")[0].rpartition("@")[2])


def _bare_host(host: str) -> str:
    return host.lower().removesuffix(":80").removesuffix(":443")


def client_address(request: Request, addresses: Addresses) -> str:
    """Return where the request comes from: an IP address, or ``unix``.

    Behind a trusted proxy it is what the proxy tells; when its headers contradict each other, somebody made one of them up, and
    the address is the proxy's own.
    """
    passed_on = passed_on_of(request)
    if passed_on is not None:
        return passed_on.address
    peer = _peer(request)
    if is_trusted_peer(request, addresses):
        claimed = _claimed_addresses(request)
        outside = {named[-1] for chain in claimed if (named := [one for one in chain if not _is_trusted(one, addresses)])}
        clients = outside or {chain[-1] for chain in claimed}
        if len(clients) == 1:
            return str(clients.pop())
    return UNIX if peer is None else str(peer)


def is_local(request: Request) -> bool:
    """Return whether the request comes from this machine, at an address of it alone, and was forwarded by nobody.

    A page can lead its visitor's browser here under a name of its own (DNS rebinding), so ``Host`` counts as well.
    """
    peer = _peer(request)
    passed_on = passed_on_of(request)
    if passed_on is not None:
        return passed_on.is_local and (peer is None or peer.is_loopback)
    return not _was_forwarded(request) and (peer is None or peer.is_loopback) and _is_loopback(header(request, "host") or "")


def _is_loopback(host: str) -> bool:
    """Return whether ``host``, as ``Host`` has it, always means the machine itself."""
    name = host.rpartition(":")[0] or host
    address = _ip(host)
    return name.lower() == "localhost" if address is None else address.is_loopback


def _peer(request: Request) -> _Address | None:
    """Return the other end of the connection; None for a unix socket."""
    address = request.getClientAddress()
    if isinstance(address, UNIXAddress):
        return None
    return _parsed(str(getattr(address, "host", "")))


@lru_cache(maxsize=1000)  # each request asks several times
def _parsed(host: str) -> _Address:
    return _ip(host) or _UNKNOWN


def is_trusted_peer(request: Request, addresses: Addresses) -> bool:
    """Return whether the other end of the connection is a trusted proxy."""
    peer = _peer(request)
    return peer is None or _is_trusted(peer, addresses)


def _is_trusted(address: _Address, addresses: Addresses) -> bool:
    return any(address.version == network.version and address in network for network in addresses.trusted_proxies)


def _ip(text: str) -> _Address | None:
    """Return an address as headers spell it (``[::1]:80``, ``192.0.2.1:80``); one IPv4 address has one form."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _was_forwarded(request: Request) -> bool:
    names = [name.lower() for name, _values in request.requestHeaders.getAllRawHeaders()]
    return any(name in _SIGNS_OF_A_PROXY or name.startswith(b"x-forwarded") for name in names)


def _claimed_addresses(request: Request) -> list[list[_Address]]:
    """Return the addresses in each forwarding header that has any, the client's first; 0.0.0.0 for unreadable ones."""
    lists = [
        (header(request, "x-forwarded-for") or "").split(","),
        _forwarded_for(request),
        [header(request, "x-real-ip") or ""],
    ]
    return [[_ip(text) or _UNKNOWN for text in texts if text.strip()] for texts in lists if any(map(str.strip, texts))]


def _forwarded(request: Request) -> tuple[Element, ...] | None:
    """Return the elements of ``Forwarded``, nearest proxy last; None if it is malformed."""
    return parse_forwarded(header(request, "forwarded") or "")


def _forwarded_for(request: Request) -> list[str]:
    """Return the ``for`` values of ``Forwarded``; an unreadable one if the header is malformed."""
    elements = _forwarded(request)
    return ["unknown"] if elements is None else [element["for"] for element in elements if "for" in element]


def _first(elements: Sequence[Element], name: str) -> str | None:
    """Return the value of ``name`` in the first element that has one."""
    return next((element[name] for element in elements if name in element), None)


def _with_port(host: str, port: str | None) -> str:
    """``host`` with ``port``, when it has none.

    Not with a usual one: proxies behind others tell the port that they listen at themselves, which says nothing of the outside.
    """
    if port is None or port in ("80", "443") or not _PORT.match(port) or not _valid_host(host):
        return host
    return host if ":" in host.rpartition("]")[2] else f"{host}:{port}"


def _last(request: Request, name: str) -> str | None:
    """Return the last value of a list, which the nearest proxy wrote."""
    value = header(request, name)
    return None if value is None else value.rpartition(",")[2].strip()


def _known_scheme(text: str | None) -> str | None:
    return text.lower() if text and text.lower() in ("http", "https") else None


def _valid_host(text: str | None) -> str | None:
    return text if text and is_host(text) else None


def _valid_prefix(text: str | None) -> str:
    text = (text or "").rstrip("/")
    return text if _PREFIX.match(text) and not text.startswith("//") else ""


def _web_address(text: str | None) -> str | None:
    """Return ``text`` as an ``http`` or ``https`` URL without query and slash at the end; None if it is none."""
    scheme, mark, rest = (text or "").strip().partition("://")
    host, slash, path = rest.partition("/")
    path = (slash + path).rstrip("/")
    if not mark or _known_scheme(scheme) is None or not _valid_host(host) or not _PREFIX.match(path):
        return None
    return f"{scheme.lower()}://{host}{path}"


def _own_host(request: Request) -> str:
    """Return where the connection arrived, for requests without a valid ``Host``."""
    address = request.getHost()
    host, port = getattr(address, "host", "localhost"), getattr(address, "port", None)
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"
