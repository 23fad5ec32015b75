"""The fold of users, indexes and API tokens."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import orjson

from twistpi.model.changes import (
    Entry,
    IndexCreated,
    IndexModified,
    TokenCreated,
    TokenRevoked,
    UserCreated,
    UserDeleted,
    UserModified,
)
from twistpi.view.rows import entry_time, to_json


class AccountFold:
    """Folds changes to users, indexes and API tokens through one cursor."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor
        self.folds: dict[type, Callable[[Any, Entry], None]] = {
            UserCreated: self._user_created,
            UserModified: self._user_modified,
            UserDeleted: self._user_deleted,
            IndexCreated: self._index_created,
            IndexModified: self._index_modified,
            TokenCreated: self._token_created,
            TokenRevoked: self._token_revoked,
        }

    def _user_created(self, change: UserCreated, entry: Entry) -> None:
        row = (change.user, to_json(change.config), change.password_hash, entry_time(entry))
        self._cursor.execute("INSERT OR REPLACE INTO user (name, config, password_hash, created) VALUES (?, ?, ?, ?)", row)

    def _user_modified(self, change: UserModified, entry: Entry) -> None:
        row = self._cursor.execute("SELECT config, password_hash FROM user WHERE name = ?", (change.user,)).fetchone()
        if row is None:
            return
        config = _modified(row[0], change)
        password_hash = row[1] if change.password_hash is None else change.password_hash
        statement = "UPDATE user SET config = ?, password_hash = ?, modified = ? WHERE name = ?"
        self._cursor.execute(statement, (config, password_hash, entry_time(entry), change.user))

    def _user_deleted(self, change: UserDeleted, _entry: Entry) -> None:
        self._cursor.execute("DELETE FROM user WHERE name = ?", (change.user,))
        self._cursor.execute("DELETE FROM api_token WHERE user = ?", (change.user,))

    def _index_created(self, change: IndexCreated, _entry: Entry) -> None:
        self._cursor.execute("INSERT OR REPLACE INTO package_index VALUES (?, ?)", (change.index, to_json(change.config)))

    def _index_modified(self, change: IndexModified, _entry: Entry) -> None:
        row = self._cursor.execute("SELECT config FROM package_index WHERE name = ?", (change.index,)).fetchone()
        if row is not None:
            self._cursor.execute("UPDATE package_index SET config = ? WHERE name = ?", (_modified(row[0], change), change.index))

    def _token_created(self, change: TokenCreated, entry: Entry) -> None:
        self._cursor.execute(
            "INSERT OR REPLACE INTO api_token (token, user, digest, may, index_name, project, expires, title, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                change.token, change.user, change.digest, ",".join(change.may), change.index, change.project, change.expires,
                change.title, entry_time(entry),
            ),
        )  # fmt: skip

    def _token_revoked(self, change: TokenRevoked, _entry: Entry) -> None:
        self._cursor.execute("DELETE FROM api_token WHERE token = ?", (change.token,))


def _modified(config: str, change: UserModified | IndexModified) -> str:
    """The configuration ``config``, JSON, with what ``change`` says of it."""
    former = {**orjson.loads(config), **change.changed}
    return to_json({key: value for key, value in former.items() if key not in change.removed})
