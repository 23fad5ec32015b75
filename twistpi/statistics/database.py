"""The file of the statistics: made when it is missing, and begun anew when it is damaged.

A commit is not synced: a killed process loses nothing that was committed, a computer without power perhaps the last minutes.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib.resources import files
from threading import Lock
from typing import Final, TypeVar

import attrs
from twisted.logger import Logger

_FORMAT: Final = 1
"""``user_version`` of the file; one of another format is begun anew."""
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BESIDE: Final = ("-wal", "-shm", "-journal")
_TIMEOUT: Final = 10.0
"""Seconds that a writing process waits for another one."""
_Found = TypeVar("_Found")
_log = Logger()


class _OtherFormat(sqlite3.DatabaseError):
    """The file is one of another version of this program, or of another program."""


@attrs.define(eq=False)
class StatisticsFile:
    """``statistics.sqlite``.  All methods block; any thread may call them."""

    path: str
    entropy: Callable[[int], bytes] = os.urandom
    _lock: Lock = attrs.field(factory=Lock)

    def write(self, work: Callable[[sqlite3.Connection], _Found]) -> _Found:
        """Return what ``work`` does in a transaction; a damaged file is put aside and begun anew.  Raise ``sqlite3.Error``."""
        with self._lock:
            try:
                return self._write_once(work)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._put_aside(str(error))
                return self._write_once(work)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Return a connection that only reads what was written last; raise ``sqlite3.Error``, also when there is no file."""
        address = f"file:{_quoted(self.path)}?mode=ro"
        with closing(sqlite3.connect(address, _TIMEOUT, uri=True, check_same_thread=False)) as connection:
            yield connection

    def _write_once(self, work: Callable[[sqlite3.Connection], _Found]) -> _Found:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # for nobody else: it names projects
        with closing(sqlite3.connect(self.path, _TIMEOUT, isolation_level=None, check_same_thread=False)) as connection:
            _prepare(connection, self.entropy)
            connection.execute("BEGIN IMMEDIATE")
            try:
                found = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk may have ended the transaction
                    connection.execute("ROLLBACK")
                raise
            return found

    def _put_aside(self, reason: str) -> None:
        aside = f"{self.path}.damaged"
        _log.warn(
            "The statistics in {path} cannot be used ({reason}): they begin anew, and the old file is kept as {aside}.",
            path=self.path,
            reason=reason,
            aside=aside,
        )
        os.replace(self.path, aside)
        for suffix in _BESIDE:
            with suppress(FileNotFoundError):
                os.unlink(self.path + suffix)


def _prepare(connection: sqlite3.Connection, entropy: Callable[[int], bytes]) -> None:
    """Make the tables of a new file."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == _FORMAT:
        connection.execute("PRAGMA synchronous = OFF")
        return
    if version or connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise _OtherFormat(f"it has the format {version}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    schema = files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    about = f"INSERT INTO about VALUES ('{entropy(16).hex()}', 0)"
    connection.executescript(f"BEGIN; {schema}; {about}; PRAGMA user_version = {_FORMAT}; COMMIT")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return isinstance(error, _OtherFormat) or (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
