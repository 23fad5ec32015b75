"""API tokens: what a request may say of one, and the changes when one is created or revoked."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from twistpi.model.changes import (
    Change,
    TokenCreated,
    TokenRevoked,
)
from twistpi.model.errors import BadRequest, InvalidName, TwistpiError, UnknownIndex, unknown_user
from twistpi.model.names import IndexName, normalize_project
from twistpi.model.records import ApiToken, Index, Json, User
from twistpi.model.text import one_line
from twistpi.rules.json_bodies import shown, unknown_keys
from twistpi.rules.permissions import MAY_READ, MAY_UPLOAD

_KEYS: Final = frozenset({"may", "index", "project", "days", "title"})
_MOST_DAYS: Final = 36500
_LONGEST_TITLE: Final = 200
_LONGEST_LABEL: Final = 100
"""Characters."""
_DAYS: Final = re.compile(r"\s*[0-9]{1,6}(\.[0-9]{1,6})?\s*\Z")
STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"


@attrs.frozen
class TokenRequest:
    """The rights that a new API token is to have."""

    may: tuple[str, ...]
    """``read``, ``upload`` or both, in this order."""
    index: str | None = None
    """The only index it is valid for, ``user/name``; None for all."""
    project: str | None = None
    """The only project (normalised) it may upload to; None for all."""
    days: float | None = None
    """For how long it is valid; None for ever."""
    title: str = ""


def read_token_request(body: Json) -> TokenRequest:
    """Read a request: ``{"may": ["read", "upload"], "index": "u/i", "project": "p", "days": 90, "title": "ci"}``.

    Only ``may`` is required, which can also be text (``read,upload``).
    """
    if not isinstance(body, dict):
        raise BadRequest('The API token cannot be created: the body must be a JSON object, like {"may": ["read"], "days": 90}.')
    if (unknown := unknown_keys(body, _KEYS)) is not None:
        raise BadRequest(f"The API token cannot be created: unknown keys: {unknown}; known keys: {', '.join(sorted(_KEYS))}.")
    may = _may(body.get("may"))
    project = _project(body.get("project"))
    if project is not None and MAY_UPLOAD not in may:
        raise BadRequest("The API token cannot be created: a project needs the right to upload.")
    return TokenRequest(may, _index(body.get("index")), project, _days(body.get("days")), _title(body.get("title")))


def label_of(token: ApiToken) -> str:
    """Return what log lines and figures call ``token``: its title, in one line and not endless, else its public half."""
    return one_line(token.title)[:_LONGEST_LABEL] or token.token


def decide_token_created(
    user: User | None, name: str, index: Index | None, request: TokenRequest, token: str, digest: str, now: datetime
) -> tuple[Change, ...]:
    """Return the change that creates an API token of the user ``name``.

    ``token`` is its public half, ``digest`` is of its secret half, ``index`` is that of the request, if it names one.  Raise
    ``TwistpiError`` or ``UnknownIndex``.
    """
    if user is None:
        raise unknown_user(name)
    if request.index is not None and index is None:
        raise UnknownIndex(request.index)
    expires = None if request.days is None else (now.astimezone(UTC) + timedelta(days=request.days)).strftime(STAMP)
    return (TokenCreated(token, user.name, digest, request.may, request.index, request.project, expires, request.title),)


def decide_token_revoked(token: ApiToken | None, user: str, public: str) -> tuple[Change, ...]:
    """Return the change that revokes ``token``."""
    if token is None or token.user != user:
        raise TwistpiError(f"The user {user} has no API token {public}; list them with twistpi token list --user {user}.", 404)
    return (TokenRevoked(token.token),)


def is_expired(token: ApiToken, now: datetime) -> bool:
    """Whether ``token`` has expired."""
    return token.expires is not None and now >= datetime.strptime(token.expires, STAMP).replace(tzinfo=UTC)


def token_facts(token: ApiToken) -> dict[str, Json]:
    """Return what may be shown of ``token``: all but the digest of its secret half."""
    shown_fields = ("token", "user", "title", "may", "index", "project", "created", "expires")
    return {**{name: getattr(token, name) for name in shown_fields}, "may": list(token.may)}


def _may(value: Json) -> tuple[str, ...]:
    given = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(given, list) or not given or not all(one in (MAY_READ, MAY_UPLOAD) for one in given):
        raise BadRequest('The API token cannot be created: "may" must be "read", "upload" or "read,upload".')
    return tuple(one for one in (MAY_READ, MAY_UPLOAD) if one in given)


def _index(value: Json) -> str | None:
    if value is None:
        return None
    try:
        return str(IndexName.parse(value if isinstance(value, str) else ""))
    except InvalidName:
        raise BadRequest(f"The API token cannot be created: {shown(value)} is not an index: write user/index.") from None


def _project(value: Json) -> str | None:
    if value is None:
        return None
    try:
        return normalize_project(value if isinstance(value, str) else "")
    except InvalidName:
        raise BadRequest(f"The API token cannot be created: {shown(value)} is not a project's name.") from None


def _days(value: Json) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and _DAYS.match(value)):
        # Of numbers too large for a float, none is smaller than the limit.
        days = float(value) if isinstance(value, str | float) or value <= _MOST_DAYS else _MOST_DAYS + 1.0
        if 0 < days <= _MOST_DAYS:
            return days
    raise BadRequest(f"The API token cannot be created: {shown(value)} is not a number of days above 0 and up to {_MOST_DAYS}.")


def _title(value: Json) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST_TITLE:
        raise BadRequest(f"The API token cannot be created: the title must be text of up to {_LONGEST_TITLE} characters.")
    return value
