"""Users: which names and settings they may have, and what creating, modifying and deleting one changes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from twistpi.model.account_errors import BadRequest, Forbidden, InvalidUserConfig, InvalidUserName, UserExists, UserKept
from twistpi.model.accounts import ROOT, User
from twistpi.model.changes import Change, IndexDeleted, UserCreated, UserDeleted, UserModified
from twistpi.model.errors import UnknownUser
from twistpi.model.records import NOTHING, Index, Json
from twistpi.rules.json_bodies import is_same, is_storable, shown

_FORBIDDEN_IN_NAMES: Final = re.compile(r"[ !\"#$%&'()*+,/:;<=>?\[\\\]^`{|}~]")
_LONGEST_NAME: Final = 200
"""Bytes: a name becomes that of a folder."""

_TEXTS: Final = ("email", "title", "description")
_CUSTOM: Final = "custom_data"
_INFORMATIONAL: Final = frozenset({"username", "indexes", "created", "modified"})
"""What ``GET`` shows beside the settings; clients send it back."""
_FOREIGN: Final = frozenset({"pwhash", "pwsalt"})
"""Digests of passwords that other servers made; without meaning here."""


@attrs.frozen
class UserRequest:
    """What somebody asks a user to become."""

    changed: Mapping[str, Json] = NOTHING
    """Settings with their new values."""
    removed: tuple[str, ...] = ()
    """Settings that shall be set no more."""
    password: str | None = attrs.field(default=None, repr=False)
    """None when not given: a new user cannot log in then, an old one keeps the password."""


def is_name_allowed(name: str) -> bool:
    """Whether a user or an index (the part behind the slash) may be called ``name``: nothing in it may be invisible."""
    return bool(name) and name.isprintable() and name not in (".", "..") and not _FORBIDDEN_IN_NAMES.search(name)


def is_name_too_long(name: str) -> bool:
    """Whether ``name`` does not fit where names of users and indexes have to."""
    return len(name.encode("utf-8", "surrogatepass")) > _LONGEST_NAME


def check_user_name(name: str) -> str:
    """``name`` itself when a new user may be called so; else ``InvalidUserName``, or ``InvalidUserConfig`` for its length."""
    if is_name_too_long(name):
        raise InvalidUserConfig(f"the username is longer than {_LONGEST_NAME} bytes")
    if not is_name_allowed(name):
        raise InvalidUserName(name)
    return name


def read_new_user(body: Json) -> UserRequest:
    """What ``body`` asks for a new user; raises ``BadRequest`` when it is no object, ``InvalidUserConfig`` for what is in it.

    A password has to be there; ``null`` is one with which nobody can log in.
    """
    given = _object(body)
    if "password" not in given:
        raise InvalidUserConfig("password needs to be set")
    unknown = sorted(set(given) - {*_TEXTS, _CUSTOM, "password"} - _INFORMATIONAL - _FOREIGN)
    if unknown:
        raise InvalidUserConfig(f"Unknown keys in user config: {shown(', '.join(unknown), quoted=False)}")
    return _request(given, None if given["password"] is None else _password(given["password"]))


def read_user_patch(body: Json) -> UserRequest:
    """What ``body`` asks of a user; raises ``BadRequest`` when it is no object, ``InvalidUserConfig`` for what is in it.

    Keys without meaning are passed over: clients send back whatever they were shown.
    """
    given = _object(body)
    return _request(given, _password(given["password"]) if "password" in given else None)


def needs_full_rights(request: UserRequest, user: User) -> bool:
    """Whether more than the right to change ``user``'s password is needed: not when nothing but the password really changes.

    Clients that change a password send all they were shown along with it.
    """
    changed, removed = _differences(request, user)
    return request.password is None or bool(changed) or bool(removed)


def decide_user_created(existing: User | None, name: str, request: UserRequest, password_hash: str | None) -> tuple[Change, ...]:
    """The change that makes a user; ``password_hash`` is of the request's password, None for none.

    Raises ``UserExists``, ``InvalidUserName`` and ``InvalidUserConfig``.
    """
    if existing is not None:
        raise UserExists(name)
    return (UserCreated(check_user_name(name), dict(request.changed), password_hash),)


def decide_user_modified(user: User | None, name: str, request: UserRequest, password_hash: str | None) -> tuple[Change, ...]:
    """The change that gives ``user`` what ``request`` asks for, none when nothing differs; raises ``UnknownUser``.

    ``password_hash`` is of the request's password, None when it has none.
    """
    if user is None:
        raise UnknownUser(name)
    changed, removed = _differences(request, user)
    if not changed and not removed and password_hash is None:
        return ()
    return (UserModified(user.name, changed, removed, password_hash),)


def decide_user_deleted(user: User | None, name: str, indexes: Sequence[Index]) -> tuple[Change, ...]:
    """The changes that remove ``user`` and all its ``indexes``.

    Raises ``UnknownUser``, ``UserKept`` when an index is not volatile, and ``Forbidden`` for root, without whom nobody could
    administer the server.
    """
    if user is None:
        raise UnknownUser(name)
    if user.name == ROOT:
        raise Forbidden(f"delete user {ROOT}")
    for index in indexes:
        if not index.config.get("volatile", True):
            raise UserKept(user.name, index.name.partition("/")[2])
    return (*(IndexDeleted(index.name) for index in indexes), UserDeleted(user.name))


def _object(body: Json) -> Mapping[str, Json]:
    if not isinstance(body, dict):
        raise BadRequest('a user is described by a JSON object, like {"password": "...", "email": "..."}')
    return body


def _password(value: Json) -> str:
    if not isinstance(value, str):
        raise InvalidUserConfig("the password has to be a string")
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
            raise InvalidUserConfig(f"the {key} has to be a string, not {shown(value)}")
        elif not is_storable(value):
            raise InvalidUserConfig(f"the {key} is nested too deeply or holds numbers that are too large")
        else:
            changed[key] = value
    return UserRequest(changed, tuple(removed), password)


def _differences(request: UserRequest, user: User) -> tuple[dict[str, Json], tuple[str, ...]]:
    """What of ``request`` is not so already."""
    former = user.config
    changed = {key: value for key, value in request.changed.items() if key not in former or not is_same(former[key], value)}
    return changed, tuple(key for key in request.removed if key in former)
