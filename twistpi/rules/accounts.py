"""Users: what a request may say of one, and the changes when one is created, modified or removed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from twistpi.model.changes import (
    Change,
    IndexDeleted,
    IndexModified,
    UserCreated,
    UserDeleted,
    UserModified,
)
from twistpi.model.errors import BadRequest, PermissionDenied, TwistpiError, unknown_user
from twistpi.model.records import NOTHING, ROOT, Index, Json, User
from twistpi.rules.json_bodies import check_lengths, differing, is_storable, shown, unknown_keys

_FORBIDDEN_IN_NAMES: Final = re.compile(r"[ !\"#$%&'()*+,/:;<=>?\[\\\]^`{|}~]")
_LONGEST_NAME: Final = 200
"""Bytes: a name becomes the name of a folder."""

ACCESS_LISTS: Final = ("acl_read", "acl_upload", "acl_toxresult_upload")
"""The settings of an index that hold names of users."""

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
    removed: tuple[str, ...] = ()
    password: str | None = attrs.field(default=None, repr=False)
    """None when not given: then a new user cannot log in, and an existing one keeps the password."""


def check_name(what: str, name: str) -> str:
    """Return ``name`` when it is allowed for a new user, or for an index (the part after the slash)."""
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST_NAME:
        raise BadRequest(f"the {what} is longer than {_LONGEST_NAME} bytes")
    if not name or not name.isprintable() or name in (".", "..") or _FORBIDDEN_IN_NAMES.search(name):
        raise BadRequest(f"{what} {name!r} contains characters that aren't allowed. Any ascii symbol besides -.@_ is blocked.")
    return name


def read_new_user(body: Json) -> UserRequest:
    """Read the body of a request for a new user.

    It must have a password; with ``null`` the user cannot log in.
    """
    given = _object(body)
    if "password" not in given:
        raise BadRequest("password needs to be set")
    if (unknown := unknown_keys(given, {*_TEXTS, _CUSTOM, "password", *_INFORMATIONAL, *_FOREIGN})) is not None:
        raise BadRequest(f"Unknown keys in user config: {unknown}")
    return _request(given, None if given["password"] is None else _password(given["password"]))


def read_user_patch(body: Json) -> UserRequest:
    """Read the body of a request that modifies a user.

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


def decide_user_created(
    existing: User | None,
    name: str,
    request: UserRequest,
    password_hash: str | None,
    indexes: Sequence[Index],
    *,
    by_administrator: bool,
) -> tuple[Change, ...]:
    """Return the change that creates a user; ``password_hash`` is that of the request's password, None for none.

    A name that access lists or bases of ``indexes`` hold already is given away ``by_administrator`` alone.
    """
    if existing is not None:
        raise TwistpiError("user already exists", 409)
    if not by_administrator and any(without_user(index, name) for index in indexes):
        raise TwistpiError(
            f"only an administrator can create the user {name!r}: an index names it in an access list or among its bases", 403
        )
    check_lengths(request.changed, _TEXTS)
    return (UserCreated(check_name("username", name), dict(request.changed), password_hash),)


def decide_user_modified(user: User | None, name: str, request: UserRequest, password_hash: str | None) -> tuple[Change, ...]:
    """Return the change that modifies ``user``, none when nothing differs.

    ``password_hash`` is that of the request's password, None when it has none.
    """
    if user is None:
        raise unknown_user(name)
    changed, removed = _differences(request, user)
    if not changed and not removed and password_hash is None:
        return ()
    check_lengths(changed, _TEXTS)
    return (UserModified(user.name, changed, removed, password_hash),)


def decide_hash_replaced(user: User | None, former: str, password_hash: str) -> tuple[Change, ...]:
    """Return the change that gives ``user`` another hash of the same password, none if ``former`` is not the present one."""
    if user is None or user.password_hash != former:
        return ()
    return (UserModified(user.name, password_hash=password_hash),)


def decide_user_deleted(
    user: User | None, name: str, indexes: Sequence[Index], others: Sequence[Index]
) -> tuple[IndexDeleted | IndexModified | UserDeleted, ...]:
    """Return the changes that delete ``user`` and all its ``indexes``, and strike both from the lists of ``others``.

    Otherwise the next user of that name would have these rights.
    """
    if user is None:
        raise unknown_user(name)
    if user.name == ROOT:
        raise PermissionDenied(f"delete user {ROOT}")
    for index in indexes:
        if not index.config.get("volatile", True):
            raise TwistpiError(f"user {user.name!r} has non-volatile index: {index.name.partition('/')[2]}", 403)
    struck = [(index.name, without_user(index, user.name)) for index in others if index not in indexes]
    return (
        *(IndexDeleted(index.name) for index in indexes),
        *(IndexModified(index, changed) for index, changed in struck if changed),
        UserDeleted(user.name),
    )


def without_user(index: Index, user: str) -> dict[str, Json]:
    """Return the access lists and bases of ``index`` that name ``user`` or an index of that name's, by key, without those."""
    held = {key: index.config.get(key) or () for key in (*ACCESS_LISTS, "bases")}
    kept = {key: [name for name in names if name.partition("/")[0] != user] for key, names in held.items()}
    return {key: names for key, names in kept.items() if len(names) != len(held[key])}


def unknown_names(changed: Mapping[str, Json], exists: Callable[[str], bool]) -> list[str]:
    """Return the names in the access lists of ``changed``, settings of an index, that are no users."""
    names = dict.fromkeys(name for key in ACCESS_LISTS for name in changed.get(key) or ())
    return [name for name in names if not name.startswith(":") and not exists(name)]


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
