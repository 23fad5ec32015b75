"""Trusted publishers: which identities of which issuers may upload a project without a password.

An item of an index's setting ``trusted_publishers`` names a project, the issuer of tokens, and claims that a token must have::

    hello https://issuer.example repository=acme/hello workflow_ref=acme/hello/.github/workflows/release.yml@* environment=release

A ``*`` at the end of a value stands for anything.  Source: OpenID Connect Core 1.0, section 2; RFC 7519.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import attrs

from twistpi.model.changes import Change, TokenCreated
from twistpi.model.errors import BadRequest, InvalidName, TwistpiError
from twistpi.model.names import normalize_project
from twistpi.model.records import Index, Json
from twistpi.rules.json_bodies import shown
from twistpi.rules.permissions import MAY_UPLOAD
from twistpi.rules.token_requests import STAMP

KEY: Final = "trusted_publishers"
BY: Final = "+oidc"
"""The author of the entries."""
LIFETIME: Final = timedelta(minutes=15)
"""Of a token that is handed out."""
_CLAIM: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,63})=(\S{1,500})\Z")
_RESERVED: Final = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti"})
"""Claims that every token is checked for, or that say nothing of who publishes."""
_TOO_WIDE: Final = frozenset({"*"})
_MOST_TITLE: Final = 200
"""Characters."""


@attrs.frozen
class TrustedPublisher:
    """Whose tokens may upload a project."""

    project: str
    """The normalised name."""
    issuer: str
    """``https://…``, exactly as tokens have it."""
    claims: tuple[tuple[str, str], ...]
    """Names and values, at least one."""

    @classmethod
    def parse(cls, text: str) -> TrustedPublisher:
        """Read an item of the setting; raise ``ValueError``, which says what is wrong."""
        project, issuer, *rest = [*text.split(), "", ""][: max(2, len(text.split()))]
        claims = [found.groups() for part in rest if (found := _CLAIM.match(part))]
        try:
            normal = normalize_project(project)
        except InvalidName as error:
            raise ValueError(f"{shown(text)} does not begin with the name of a project") from error
        if not is_issuer(issuer):
            raise ValueError(f"{shown(issuer)} is no issuer: its address begins with https://")
        if len(claims) != len(rest) or any(name in _RESERVED for name, _value in claims):
            raise ValueError(f"{shown(text)} has something behind the issuer that is no claim: repository=owner/name")
        if not claims or any(value in _TOO_WIDE for _name, value in claims):
            raise ValueError(f"{shown(text)} trusts everybody whom the issuer knows; name a claim, such as repository=owner/name")
        return cls(normal, issuer, tuple((str(name), str(value)) for name, value in claims))

    def __str__(self) -> str:
        """Return the text that ``parse`` reads."""
        return " ".join([self.project, self.issuer, *(f"{name}={value}" for name, value in self.claims)])

    def trusts(self, claims: Mapping[str, Json]) -> bool:
        """Return whether ``claims``, of a token whose signature is right, are those of this publisher."""
        if claims.get("iss") != self.issuer:
            return False
        return all(_matches(wanted, claims.get(name)) for name, wanted in self.claims)


def _matches(wanted: str, value: Json) -> bool:
    if not isinstance(value, str):
        return isinstance(value, bool | int) and str(value).lower() == wanted
    return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted


def is_issuer(text: str) -> bool:
    """Return whether keys may be fetched from ``text``: over TLS, or from this machine."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not text.isprintable() or parts.query or parts.fragment or parts.username is not None or not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def publishers_of(index: Index) -> tuple[TrustedPublisher, ...]:
    """Return whom the private index ``index`` trusts."""
    return tuple(TrustedPublisher.parse(text) for text in index.config.get(KEY, ()))


@attrs.frozen
class Grant:
    """What a token may do."""

    index: str
    project: str
    """The normalised name."""

    @property
    def user(self) -> str:
        """The owner of the index, whose token it is."""
        return self.index.partition("/")[0]


def decide_grant(
    indexes: Iterable[Index], claims: Mapping[str, Json], index: str | None = None, project: str | None = None
) -> Grant:
    """Return what the holder of a token with these ``claims`` may do; raise ``TwistpiError``.

    ``index`` and ``project`` (normalised) choose where several are possible.
    """
    found = {
        Grant(one.name, publisher.project)
        for one in indexes
        if not one.is_mirror and index in (None, one.name)
        for publisher in publishers_of(one)
        if project in (None, publisher.project) and publisher.trusts(claims)
    }
    if not found:
        told = ", ".join(f"{name}={claims[name]}" for name in sorted(claims) if isinstance(claims[name], str))
        raise TwistpiError(f"No index here trusts this publisher. Its token says: {told[:1000]}", 422)
    if len(found) > 1:
        several = ", ".join(f"{grant.project} on {grant.index}" for grant in sorted(found, key=attrs.astuple))
        raise TwistpiError(f"This publisher may upload {several}; name one by index and project in the request.", 422)
    return found.pop()


def decide_issued(grant: Grant, claims: Mapping[str, Json], token: str, digest: str, now: datetime) -> tuple[Change, ...]:
    """Return the change that makes a token for ``grant``; ``token`` is its public half, ``digest`` of its secret half."""
    expires = (now + LIFETIME).strftime(STAMP)
    title = f"publisher {claims.get('sub') or claims['iss']}"[:_MOST_TITLE]
    return (TokenCreated(token, grant.user, digest, (MAY_UPLOAD,), grant.index, grant.project, expires, title),)


def trusted_publishers(key: str, value: Json) -> list[str]:
    """Accept items of the setting: a list, or the lines of a text."""
    items = value.splitlines() if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise BadRequest(f"'{key}' option must be a list, or a text of lines")
    try:
        return [str(TrustedPublisher.parse(item)) for item in items if item.strip()]
    except ValueError as error:
        raise BadRequest(f"'{key}' option: {error}") from error
