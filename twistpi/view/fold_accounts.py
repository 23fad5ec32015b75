"""The fold of users, indexes and API tokens."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

import orjson

from twistpi.model.changes import (
    IndexCreated,
    IndexDeleted,
    IndexModified,
    TokenCreated,
    TokenRevoked,
    UserCreated,
    UserDeleted,
    UserModified,
)
from twistpi.model.errors import UnknownChange
from twistpi.view.rows import to_json

_SECONDS: Final = len("2026-11-22T17:00:00")


class AccountFold:
    """Folds what happens to users, indexes and API tokens through one cursor."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor
        self._folds: dict[type, Callable[[Any, str], None]] = {
            UserCreated: self._user_created,
            UserModified: self._user_modified,
            UserDeleted: self._user_deleted,
            IndexCreated: self._index_created,
            IndexModified: self._index_modified,
            TokenCreated: self._token_created,
            TokenRevoked: self._token_revoked,
        }

    def apply(self, change: object, at: str) -> None:
        """Fold ``change``, which happened ``at`` (as an entry says it); ``UnknownChange`` for a kind that has no fold."""
        fold = self._folds.get(type(change))
        if fold is None:
            raise UnknownChange(type(change).__name__)
        fold(change, f"{at[:_SECONDS]}Z")

    def index_deleted(self, change: IndexDeleted) -> None:
        """Forget the index itself, and the API tokens that are good for it alone: one of the same name is another index."""
        self._cursor.execute("DELETE FROM package_index WHERE name = ?", (change.index,))
        self._cursor.execute("DELETE FROM api_token WHERE index_name = ?", (change.index,))

    def _user_created(self, change: UserCreated, at: str) -> None:
        row = (change.user, to_json(change.config), change.password_hash, at)
        self._cursor.execute("INSERT OR REPLACE INTO user (name, config, password_hash, created) VALUES (?, ?, ?, ?)", row)

    def _user_modified(self, change: UserModified, at: str) -> None:
        row = self._cursor.execute("SELECT config, password_hash FROM user WHERE name = ?", (change.user,)).fetchone()
        if row is None:
            return
        config = _modified(row[0], change)
        password_hash = row[1] if change.password_hash is None else change.password_hash
        statement = "UPDATE user SET config = ?, password_hash = ?, modified = ? WHERE name = ?"
        self._cursor.execute(statement, (config, password_hash, at, change.user))

    def _user_deleted(self, change: UserDeleted, _at: str) -> None:
        self._cursor.execute("DELETE FROM user WHERE name = ?", (change.user,))
        self._cursor.execute("DELETE FROM api_token WHERE user = ?", (change.user,))

    def _index_created(self, change: IndexCreated, _at: str) -> None:
        self._cursor.execute("INSERT OR REPLACE INTO package_index VALUES (?, ?)", (change.index, to_json(change.config)))

    def _index_modified(self, change: IndexModified, _at: str) -> None:
        row = self._cursor.execute("SELECT config FROM package_index WHERE name = ?", (change.index,)).fetchone()
        if row is not None:
            self._cursor.execute("UPDATE package_index SET config = ? WHERE name = ?", (_modified(row[0], change), change.index))

    def _token_created(self, change: TokenCreated, at: str) -> None:
        self._cursor.execute(
            "INSERT OR REPLACE INTO api_token (token, user, digest, may, index_name, project, expires, title, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                change.token, change.user, change.digest, ",".join(change.may), change.index, change.project, change.expires,
                change.title, at,
            ),
        )  # fmt: skip

    def _token_revoked(self, change: TokenRevoked, _at: str) -> None:
        self._cursor.execute("DELETE FROM api_token WHERE token = ?", (change.token,))


def _modified(config: str, change: UserModified | IndexModified) -> str:
    """The configuration ``config``, JSON, with what ``change`` says of it."""
    former = {**orjson.loads(config), **change.changed}
    return to_json({key: value for key, value in former.items() if key not in change.removed})
