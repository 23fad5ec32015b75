"""Addresses of other servers: origins, credentials, redirects.  Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

import attrs

from twistpi.model.urls import without_credentials

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PLAIN: Final = re.compile(r"(https?)://([a-z0-9][a-z0-9.-]*)(?::([1-9]\d{0,3}))?(?=[/?]|\Z)", re.ASCII)
"""The beginning of nearly every address; ``urlsplit`` takes several times as long."""
_QUOTED: Final = re.compile(r'[^\x00-\x20"<>\\^`{}\x7f-\U0010ffff]*\Z')
_TARGET: Final = re.compile(r"[^:/?#]+://[^/?#]*([^#]*)")
_SAFE_IN_URLS: Final = "%/:=&?~#+!$,;'@()*[]|"

Origin = tuple[str, str, int]
"""Scheme, host and port: where a request goes, and the only place its credentials go."""


@attrs.frozen
class Credentials:
    """User and password for one origin."""

    origin: Origin
    authorization: str = attrs.field(repr=False)
    """The value of the ``Authorization`` header; never logged, never shown."""


@lru_cache(maxsize=1024)
def origin_of(url: str) -> Origin:
    """Return the origin of an absolute http or https address; raise ``ValueError`` for anything else."""
    plain = _PLAIN.match(url)
    if plain is not None:
        scheme, host, port = plain.groups()
        return scheme, host, int(port or _DEFAULT_PORTS[scheme])
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError("it is not an http or https address")
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]


def basic_authorization(userinfo: str) -> str:
    """Return ``user:password``, percent-encoded as in an address, as the value of an ``Authorization`` header (RFC 7617)."""
    user, _, password = userinfo.partition(":")
    secret = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return "Basic " + b64encode(secret).decode("ascii")


def split_credentials(url: str) -> tuple[str, Credentials | None]:
    """Return ``url`` without user, password and fragment, and its credentials; raise ``ValueError`` as ``origin_of``."""
    origin = origin_of(url)
    if "@" not in url and "#" not in url:
        return url, None
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    clean = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    return clean, Credentials(origin, basic_authorization(userinfo)) if at else None


def resolve(base: str, location: str) -> str:
    """Return where a ``Location`` in a response from ``base`` leads, without user and password; raise ``ValueError``."""
    target = urljoin(base, location.strip())
    origin_of(target)
    return without_credentials(target)


def target_of(url: str) -> str:
    """Return the path and query of an absolute address as they stand."""
    match = _TARGET.match(url)
    target = match[1] if match else ""
    return target if target.startswith("/") else f"/{target}"


def quoted(url: str) -> str:
    """Return ``url`` in ASCII: what is not allowed in an address is percent-encoded as UTF-8, all else stays as it is."""
    return url if _QUOTED.match(url) else quote(url, safe=_SAFE_IN_URLS, errors="replace")
