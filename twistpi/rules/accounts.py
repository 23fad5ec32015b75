"""Users: their names and settings, and the changes when one is created, modified or deleted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from twistpi.model.accounts import ROOT, User
from twistpi.model.changes import Change, IndexDeleted, UserCreated, UserDeleted, UserModified
from twistpi.model.errors import BadRequest, Conflict, Forbidden, PermissionDenied, unknown_user
from twistpi.model.records import NOTHING, Index, Json
from twistpi.rules.json_bodies import differing, is_storable, shown, unknown_keys

_FORBIDDEN_IN_NAMES: Final = re.compile(r"[ !\"#$%&'()*+,/:;<=>?\[\\\]^`{|}~]")
_LONGEST_NAME: Final = 200
"""Bytes: a name becomes the name of a folder."""

_TEXTS: Final = ("email", "title", "description")
_CUSTOM: Final = "custom_data"
_INFORMATIONAL: Final = frozenset({"username", "indexes", "created", "modified"})
"""Keys that ``GET`` shows beside the settings, and that clients send back."""
_FOREIGN: Final = frozenset({"pwhash", "pwsalt"})
"""Password hashes of other servers, which have no meaning here."""


@attrs.frozen
class UserRequest:
    """What a request wants to change of a user."""

    changed: Mapping[str, Json] = NOTHING
    """Settings with their new values."""
    removed: tuple[str, ...] = ()
    """Settings to remove."""
    password: str | None = attrs.field(default=None, repr=False)
    """None when not given: then a new user cannot log in, and an existing one keeps the password."""


def is_name_allowed(name: str) -> bool:
    """Whether ``name`` is allowed for a user, or for an index (the part after the slash)."""
    return bool(name) and name.isprintable() and name not in (".", "..") and not _FORBIDDEN_IN_NAMES.search(name)


def is_name_too_long(name: str) -> bool:
    """Whether ``name`` is too long for a user or an index."""
    return len(name.encode("utf-8", "surrogatepass")) > _LONGEST_NAME


def check_user_name(name: str) -> str:
    """Return ``name`` when it is allowed for a new user.  Raise ``BadRequest`` for its length."""
    if is_name_too_long(name):
        raise BadRequest(f"the username is longer than {_LONGEST_NAME} bytes")
    if not is_name_allowed(name):
        raise BadRequest(f"username {name!r} contains characters that aren't allowed. Any ascii symbol besides -.@_ is blocked.")
    return name


def read_new_user(body: Json) -> UserRequest:
    """Read the body of a request for a new user.  Raise ``BadRequest`` when it is no object, else ``BadRequest``.

    It must have a password; with ``null`` the user cannot log in.
    """
    given = _object(body)
    if "password" not in given:
        raise BadRequest("password needs to be set")
    if (unknown := unknown_keys(given, {*_TEXTS, _CUSTOM, "password", *_INFORMATIONAL, *_FOREIGN})) is not None:
        raise BadRequest(f"Unknown keys in user config: {unknown}")
    return _request(given, None if given["password"] is None else _password(given["password"]))


def read_user_patch(body: Json) -> UserRequest:
    """Read the body of a request that modifies a user.  Raise ``BadRequest`` when it is no object, else ``BadRequest``.

    Unknown keys are ignored: clients send back all that ``GET`` showed.
    """
    given = _object(body)
    return _request(given, _password(given["password"]) if "password" in given else None)


def needs_full_rights(request: UserRequest, user: User) -> bool:
    """Whether more than the right to change the password of ``user`` is needed: not when nothing but the password differs.

    Clients that change a password send all other settings with it.
    """
    changed, removed = _differences(request, user)
    return request.password is None or bool(changed) or bool(removed)


def decide_user_created(existing: User | None, name: str, request: UserRequest, password_hash: str | None) -> tuple[Change, ...]:
    """Return the change that creates a user; ``password_hash`` is that of the request's password, None for none.

    Raise ``Conflict``, ``BadRequest``.
    """
    if existing is not None:
        raise Conflict("user already exists")
    return (UserCreated(check_user_name(name), dict(request.changed), password_hash),)


def decide_user_modified(user: User | None, name: str, request: UserRequest, password_hash: str | None) -> tuple[Change, ...]:
    """Return the change that modifies ``user``, none when nothing differs.  Raise ``NotFound``.

    ``password_hash`` is that of the request's password, None when it has none.
    """
    if user is None:
        raise unknown_user(name)
    changed, removed = _differences(request, user)
    if not changed and not removed and password_hash is None:
        return ()
    return (UserModified(user.name, changed, removed, password_hash),)


def decide_user_deleted(user: User | None, name: str, indexes: Sequence[Index]) -> tuple[Change, ...]:
    """Return the changes that delete ``user`` and all its ``indexes``.

    Raise ``NotFound``, ``Forbidden`` when an index is not volatile, or ``PermissionDenied`` for root, who administers the server.
    """
    if user is None:
        raise unknown_user(name)
    if user.name == ROOT:
        raise PermissionDenied(f"delete user {ROOT}")
    for index in indexes:
        if not index.config.get("volatile", True):
            raise Forbidden(f"user {user.name!r} has non-volatile index: {index.name.partition('/')[2]}")
    return (*(IndexDeleted(index.name) for index in indexes), UserDeleted(user.name))


def _object(body: Json) -> Mapping[str, Json]:
    if not isinstance(body, dict):
        raise BadRequest('Bad request: a user is described by a JSON object, like {"password": "...", "email": "..."}')
    return body


def _password(value: Json) -> str:
    if not isinstance(value, str):
        raise BadRequest("the password has to be a string")
    return value


def _request(given: Mapping[str, Json], password: str | None) -> UserRequest:
    changed: dict[str, Json] = {}
    removed: list[str] = []
    for key in (*_TEXTS, _CUSTOM):
        if key not in given:
            continue
        value = given[key]
        if value is None or value == "" or (key == _CUSTOM and not value):
            removed.append(key)
        elif key in _TEXTS and not isinstance(value, str):
            raise BadRequest(f"the {key} has to be a string, not {shown(value)}")
        elif not is_storable(value):
            raise BadRequest(f"the {key} is nested too deeply or holds numbers that are too large")
        else:
            changed[key] = value
    return UserRequest(changed, tuple(removed), password)


def _differences(request: UserRequest, user: User) -> tuple[dict[str, Json], tuple[str, ...]]:
    """Return what ``request`` changes and removes of the settings of ``user``."""
    return differing(request.changed, user.config), tuple(key for key in request.removed if key in user.config)
