"""Addresses of upstreams: what of them is secret, and where the secret may be sent.  Pure."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import unquote_to_bytes, urljoin, urlsplit, urlunsplit

import attrs

_DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]
"""Scheme, host and port: where a request goes, and the only place a password may go."""


@attrs.frozen
class Credentials:
    """User and password for one origin."""

    origin: Origin
    authorization: str = attrs.field(repr=False)
    """The value of the ``Authorization`` header; never logged, never shown."""


def origin_of(url: str) -> Origin:
    """The origin of an absolute http or https address; raises ``ValueError`` for anything else."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError("it is not an http or https address")
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]


def basic_authorization(userinfo: str) -> str:
    """``user:password``, percent-encoded as in an address, as the value of an ``Authorization`` header (RFC 7617)."""
    user, _, password = userinfo.partition(":")
    secret = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return "Basic " + b64encode(secret).decode("ascii")


def split_credentials(url: str) -> tuple[str, Credentials | None]:
    """``url`` without its user and password, and these for the origin of ``url``; raises ``ValueError`` as ``origin_of``."""
    origin = origin_of(url)
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    clean = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    return clean, Credentials(origin, basic_authorization(userinfo)) if at else None


def without_credentials(url: str) -> str:
    """``url`` as it may be shown: without user, password and fragment, whatever else is wrong with it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def page_url(mirror_url: str, project: str) -> str:
    """Where the upstream ``mirror_url`` keeps the page of ``project`` (a normalised name, so nothing needs quoting)."""
    return f"{mirror_url.rstrip('/')}/{project}/"


def resolve(base: str, location: str) -> str:
    """Where a ``Location`` header of ``base`` leads; raises ``ValueError`` when not to http or https."""
    target = urljoin(base, location.strip())
    origin_of(target)
    return target
