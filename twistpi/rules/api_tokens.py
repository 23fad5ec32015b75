"""API tokens: what one may be asked to be, and what creating and revoking one changes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from twistpi.model.account_errors import InvalidTokenRequest, UnknownToken
from twistpi.model.accounts import ApiToken, User
from twistpi.model.changes import Change, TokenCreated, TokenRevoked
from twistpi.model.errors import InvalidIndexName, InvalidProjectName, UnknownIndex, UnknownUser
from twistpi.model.names import IndexName, normalize_project
from twistpi.model.records import Index, Json
from twistpi.rules.json_bodies import shown
from twistpi.rules.permissions import MAY_READ, MAY_UPLOAD

_KEYS: Final = frozenset({"may", "index", "project", "days", "title"})
_MOST_DAYS: Final = 36500
_LONGEST_TITLE: Final = 200
_DAYS: Final = re.compile(r"\s*[0-9]{1,6}(\.[0-9]{1,6})?\s*\Z")
_STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"


@attrs.frozen
class TokenRequest:
    """What a new API token shall be good for."""

    may: tuple[str, ...]
    """``read``, ``upload`` or both, in this order."""
    index: str | None = None
    """The one index it is good for, ``user/name``; None for all."""
    project: str | None = None
    """The one project (normalised) it may upload to; None for all."""
    days: float | None = None
    """How long it is good; None for ever."""
    title: str = ""
    """What it is for, for people."""


def read_token_request(body: Json) -> TokenRequest:
    """The request in ``body``: ``{"may": ["read", "upload"], "index": "u/i", "project": "p", "days": 90, "title": "ci"}``.

    Only ``may`` is needed, which can be text (``read,upload``) too.  Raises ``InvalidTokenRequest``.
    """
    if not isinstance(body, dict):
        raise InvalidTokenRequest('a JSON object is needed, like {"may": ["read"], "days": 90}')
    unknown = sorted(set(body) - _KEYS)
    if unknown:
        raise InvalidTokenRequest(f"unknown: {shown(', '.join(unknown), quoted=False)}; known: {', '.join(sorted(_KEYS))}")
    may = _may(body.get("may"))
    project = _project(body.get("project"))
    if project is not None and MAY_UPLOAD not in may:
        raise InvalidTokenRequest("a project narrows what may be uploaded, and nothing may be")
    return TokenRequest(may, _index(body.get("index")), project, _days(body.get("days")), _title(body.get("title")))


def decide_token_created(
    user: User | None, name: str, index: Index | None, request: TokenRequest, token: str, digest: str, now: datetime
) -> tuple[Change, ...]:
    """The change that gives the user ``name`` an API token with the public half ``token`` and a secret half of ``digest``.

    ``index`` is that of the request, where it names one.  Raises ``UnknownUser`` and ``UnknownIndex``.
    """
    if user is None:
        raise UnknownUser(name)
    if request.index is not None and index is None:
        raise UnknownIndex(request.index)
    expires = None if request.days is None else (now.astimezone(UTC) + timedelta(days=request.days)).strftime(_STAMP)
    return (TokenCreated(token, user.name, digest, request.may, request.index, request.project, expires, request.title),)


def decide_token_revoked(token: ApiToken | None, user: str, public: str) -> tuple[Change, ...]:
    """The change that makes ``token``, with the public half ``public``, void; raises ``UnknownToken`` unless it is ``user``'s."""
    if token is None or token.user != user:
        raise UnknownToken(user, public)
    return (TokenRevoked(token.token),)


def is_expired(token: ApiToken, now: datetime) -> bool:
    """Whether the time of ``token`` is over."""
    return token.expires is not None and now >= datetime.strptime(token.expires, _STAMP).replace(tzinfo=UTC)


def token_facts(token: ApiToken) -> dict[str, Json]:
    """What may be shown of ``token``: all but the digest of its secret half."""
    return {
        "token": token.token,
        "user": token.user,
        "title": token.title,
        "may": list(token.may),
        "index": token.index,
        "project": token.project,
        "created": token.created,
        "expires": token.expires,
    }


def _may(value: Json) -> tuple[str, ...]:
    given = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(given, list) or not given or not all(one in (MAY_READ, MAY_UPLOAD) for one in given):
        raise InvalidTokenRequest('"may" says what it may do: "read", "upload" or "read,upload"')
    return tuple(one for one in (MAY_READ, MAY_UPLOAD) if one in given)


def _index(value: Json) -> str | None:
    if value is None:
        return None
    try:
        return str(IndexName.parse(value if isinstance(value, str) else ""))
    except InvalidIndexName:
        raise InvalidTokenRequest(f"{shown(value)} is not an index, which reads user/index") from None


def _project(value: Json) -> str | None:
    if value is None:
        return None
    try:
        return normalize_project(value if isinstance(value, str) else "")
    except InvalidProjectName:
        raise InvalidTokenRequest(f"{shown(value)} is not a project's name") from None


def _days(value: Json) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and _DAYS.match(value)):
        # Of numbers too large for a float, none is smaller than the limit.
        days = float(value) if isinstance(value, str | float) or value <= _MOST_DAYS else _MOST_DAYS + 1.0
        if 0 < days <= _MOST_DAYS:
            return days
    raise InvalidTokenRequest(f"{shown(value)} is not a number of days above 0 and up to {_MOST_DAYS}")


def _title(value: Json) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST_TITLE:
        raise InvalidTokenRequest(f"the title is a text of up to {_LONGEST_TITLE} characters")
    return value
