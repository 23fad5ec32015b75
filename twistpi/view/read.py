"""Queries of the view, each answered from one snapshot.

A ``Reader`` is bound to a connection and belongs to one thread; ``Readers`` gives every thread its own.  Readers see committed
entries only, except the reader of the writing connection.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

import orjson

from twistpi.model.records import AdvisorySet, ApiToken, Freshness, Index, KnownFile, KnownProject, User
from twistpi.view.newest import Newest
from twistpi.view.read_releases import KeptBlob, NamedBlob
from twistpi.view.read_uses import UsesReader
from twistpi.view.rows import FILE_COLUMNS, Row, digest_paths, header_of, known_files
from twistpi.view.unrecorded import Unrecorded

__all__ = ["KeptBlob", "NamedBlob", "Reader", "Readers"]

_CACHE_KIB: Final = 1024
"""SQLite's page cache of one reading connection."""

_PROJECT: Final = "index_name = ? AND name = ?"
_USER_COLUMNS: Final = "name, config, password_hash, created, modified"
_TOKEN_COLUMNS: Final = "token, user, digest, may, index_name, project, expires, title, created"
_FILES: Final = "file LEFT JOIN kept ON kept.file = file.id"


class Reader(UsesReader):
    """The queries of one connection."""

    def __init__(
        self, connection: sqlite3.Connection, newest: Newest | None = None, unrecorded: Unrecorded | None = None
    ) -> None:
        """``newest`` spares reading new projects; not for a connection that sees its own open transaction.

        What is ``unrecorded`` is shown instead of what the tables have; not for the connection that changes are decided with.
        """
        super().__init__(connection)
        self._newest = newest
        self.unrecorded = Unrecorded() if unrecorded is None else unrecorded
        """What is shown instead of what the tables have."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside is of one moment."""
        if self._connection.in_transaction:
            yield
            return
        self._execute("BEGIN")
        try:
            yield
        finally:
            self._execute("COMMIT")

    # Users and indexes ---------------------------------------------------------------------------------------------

    def serial(self) -> int:
        """The serial of the last entry that is in the view."""
        return int(self._execute("SELECT serial FROM stamp").fetchone()[0])

    def epoch(self) -> int:
        """The present epoch: one more than how often another server became the primary."""
        return int(self._execute("SELECT coalesce(max(epoch), 1) FROM epoch").fetchone()[0])

    def epochs(self) -> list[tuple[int, str, int]]:
        """Each epoch but the first, with the id of its primary and the serial of its first entry; in order."""
        return self._execute("SELECT epoch, node_id, serial FROM epoch ORDER BY epoch").fetchall()

    def advisory_set(self) -> AdvisorySet | None:
        """The set of advisories that was accepted last, or None."""
        row = self._execute("SELECT sha256, size, count, source, modified, accepted FROM advisory_set").fetchone()
        return None if row is None else AdvisorySet(*row)

    def users(self) -> list[User]:
        """Every user, by name."""
        return [_user(row) for row in self._execute(f"SELECT {_USER_COLUMNS} FROM user ORDER BY name")]

    def user(self, name: str) -> User | None:
        """The user ``name``, or None."""
        row = self._execute(f"SELECT {_USER_COLUMNS} FROM user WHERE name = ?", (name,)).fetchone()
        return None if row is None else _user(row)

    def api_token(self, token: str) -> ApiToken | None:
        """The API token with the public half ``token``, expired or not; None when unknown or revoked."""
        row = self._execute(f"SELECT {_TOKEN_COLUMNS} FROM api_token WHERE token = ?", (token,)).fetchone()
        return None if row is None else _api_token(row)

    def api_tokens(self, user: str) -> list[ApiToken]:
        """The API tokens of ``user``, oldest first."""
        rows = self._execute(f"SELECT {_TOKEN_COLUMNS} FROM api_token WHERE user = ? ORDER BY created, token", (user,))
        return [_api_token(row) for row in rows]

    def indexes(self) -> list[Index]:
        """Every index, by name."""
        rows = self._execute("SELECT name, config FROM package_index ORDER BY name")
        return [Index(name, orjson.loads(config)) for name, config in rows]

    def indexes_of(self, user: str) -> list[Index]:
        """The indexes of ``user``, by name."""
        # "0" is what follows "/".
        statement = "SELECT name, config FROM package_index WHERE name > ? AND name < ? ORDER BY name"
        return [Index(name, orjson.loads(config)) for name, config in self._execute(statement, (f"{user}/", f"{user}0"))]

    def indexes_naming(self, user: str) -> list[Index]:
        """The indexes whose settings have a text that is ``user``, or begins so, by name."""
        statement = "SELECT name, config FROM package_index WHERE instr(config, ?) ORDER BY name"  # no name holds a quote
        return [Index(name, orjson.loads(config)) for name, config in self._execute(statement, (f'"{user}',))]

    def indexes_with_setting(self, key: str) -> list[Index]:
        """The indexes that have the setting ``key``, by name."""
        statement = "SELECT name, config FROM package_index WHERE instr(config, ?) ORDER BY name"
        found = (Index(name, orjson.loads(config)) for name, config in self._execute(statement, (f'"{key}":',)))
        return [index for index in found if key in index.config]

    def lacks_upload_times(self, index: str, project: str) -> bool:
        """Whether of a file that the upstream of ``index`` lists it is not known when it was uploaded."""
        statement = (
            "SELECT 1 FROM project JOIN file ON file.project = project.id "
            "WHERE index_name = ? AND name = ? AND upload_time IS NULL AND NOT gone LIMIT 1"
        )
        return self._execute(statement, (index, project)).fetchone() is not None

    def index(self, name: str) -> Index | None:
        """The index ``user/name``, or None."""
        row = self._execute("SELECT config FROM package_index WHERE name = ?", (name,)).fetchone()
        return None if row is None else Index(name, orjson.loads(row[0]))

    # Projects ------------------------------------------------------------------------------------------------------

    def project(self, index: str, project: str) -> KnownProject | None:
        """What ``index`` knows of ``project``, or None when it never had it.

        ``files`` are those the upstream lists, and the cached ones among the others, in the order of their first listing.  Of a
        vanished project they are the cached ones, each marked vanished.
        """
        if (found := self.unrecorded.project(index, project)) is not None:
            return found
        if (newest := self._newest_if_current()) is not None and (known := newest.take(index, project)) is not None:
            return known
        with self.snapshot():
            row = self._execute(f"SELECT id, vanished, header FROM project WHERE {_PROJECT}", (index, project)).fetchone()
            if row is None:
                return None
            number, vanished, header = row
            shown = "sha256 IS NOT NULL AND replaced = 0" if vanished else "(gone = 0 OR sha256 IS NOT NULL AND replaced = 0)"
            files = self._execute(f"SELECT {FILE_COLUMNS} FROM {_FILES} WHERE project = ? AND {shown} ORDER BY id", (number,))
            return KnownProject(
                index,
                project,
                tuple(known_files(files, vanished=vanished == 1)),
                tuple(version for (version,) in self._execute("SELECT version FROM version WHERE project = ?", (number,))),
                header_of(header),
                vanished == 1,
            )

    def _newest_if_current(self) -> Newest | None:
        """``newest``, except inside a snapshot, which may be older."""
        return None if self._connection.in_transaction else self._newest

    def has_project(self, index: str, project: str) -> bool:
        """Whether ``index`` knows ``project``; also when it vanished upstream."""
        if self.unrecorded.project(index, project) is not None:
            return True
        return self._execute(f"SELECT 1 FROM project WHERE {_PROJECT}", (index, project)).fetchone() is not None

    def header(self, index: str, project: str) -> tuple[str | None, bool] | None:
        """The project's status marker (PEP 792) and whether it vanished upstream; None when ``index`` never had it."""
        if (found := self.unrecorded.project(index, project)) is not None:
            return found.header.status, found.vanished
        row = self._execute(f"SELECT header, vanished FROM project WHERE {_PROJECT}", (index, project)).fetchone()
        return None if row is None else (header_of(row[0]).status, row[1] == 1)

    def link_count(self, index: str, project: str) -> int:
        """How many files ``index`` has of ``project``, hidden ones included: an estimate of a page's cost."""
        if (found := self.unrecorded.project(index, project)) is not None:
            return len(found.files)
        if (newest := self._newest_if_current()) is not None and (count := newest.link_count(index, project)) is not None:
            return count
        statement = f"SELECT count(*) FROM file WHERE project = (SELECT id FROM project WHERE {_PROJECT})"
        return int(self._execute(statement, (index, project)).fetchone()[0])

    def projects(self, index: str) -> list[str]:
        """The names of all projects that ``index`` knows, sorted."""
        return [name for (name,) in self._execute("SELECT name FROM project WHERE index_name = ? ORDER BY name", (index,))]

    def cached_projects(self, index: str) -> list[str]:
        """The names of the projects of which ``index`` has files here, sorted."""
        with_bytes = "SELECT project FROM kept CROSS JOIN file ON file.id = kept.file WHERE sha256 IS NOT NULL AND replaced = 0"
        statement = f"SELECT name FROM project WHERE index_name = ? AND id IN ({with_bytes}) ORDER BY name"
        return [name for (name,) in self._execute(statement, (index,))]

    # Files ---------------------------------------------------------------------------------------------------------

    def file_by_path(self, index: str, path: str) -> tuple[str, KnownFile] | None:
        """The project and the file at ``path`` below ``index``, which is not percent-encoded, or None.

        Every path that was ever listed is found; so are ``+f`` paths made of another digest than SHA-256 of the present link.
        """
        known = self.files_by_filename(index, path.rpartition("/")[2])
        return next((found for found in known if found[1].path == path), None) or next(
            (found for found in known if path in digest_paths(found[1].link)), None
        )

    def files_by_filename(self, index: str, filename: str) -> list[tuple[str, KnownFile]]:
        """The files ever called ``filename`` in ``index``, with their projects: cached first, then listed before vanished."""
        rows = self._execute(
            f"SELECT project.name, project.vanished, {FILE_COLUMNS} FROM {_FILES} CROSS JOIN project ON project.id = file.project"
            " WHERE filename = ? AND index_name = ? ORDER BY sha256 IS NULL, gone, replaced, file.id",
            (filename, index),
        ).fetchall()
        known = [(name, file) for name, vanished, *row in rows for file in known_files((tuple(row),), vanished=vanished == 1)]
        found = self.unrecorded.file(index, filename)
        return known if found is None else [found, *(one for one in known if one[1].path != found[1].path)]

    # Local facts ---------------------------------------------------------------------------------------------------

    def freshness(self, index: str, project: str) -> Freshness | None:
        """When ``index`` last checked ``project``; None for never, or when the view was folded anew since."""
        if (found := self.unrecorded.get(index, project)) is not None:
            return found.freshness
        row = self._execute(
            "SELECT checked_at, etag, last_modified, missing, source FROM freshness WHERE index_name = ? AND project = ?",
            (index, project),
        ).fetchone()
        return None if row is None else Freshness(row[0], row[1], row[2], row[3] == 1, row[4])

    def newest_page(self, index: str, source: str) -> str | None:
        """Return the project in ``index`` that the upstream ``source`` sent or confirmed last."""
        row = self._execute(
            "SELECT project FROM freshness WHERE index_name = ? AND source = ? AND NOT missing ORDER BY checked_at DESC LIMIT 1",
            (index, source),
        ).fetchone()
        return None if row is None else str(row[0])


class Readers:
    """One read-only connection for each thread that calls ``get``."""

    def __init__(self, path: str, newest: Newest | None = None) -> None:
        self._path = path
        self.unrecorded = Unrecorded()
        """What readers show instead of what the tables have."""
        self._newest = newest
        self._local = threading.local()
        self._all: weakref.WeakSet[Reader] = weakref.WeakSet()
        self._lock = threading.Lock()

    def get(self) -> Reader:
        """The calling thread's reader; its connection closes when the thread ends."""
        reader: Reader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = Reader(_connect(self._path), self._newest, self.unrecorded)
            with self._lock:
                self._all.add(reader)
        return reader

    def close(self) -> None:
        """Close the readers of all threads; none of them may be in use."""
        with self._lock:
            for reader in list(self._all):
                reader.close()
            self._all.clear()
        self._local = threading.local()


def _user(row: Row) -> User:
    name, config, *rest = row
    return User(name, orjson.loads(config), *rest)


def _api_token(row: Row) -> ApiToken:
    token, user, digest, may, *rest = row
    return ApiToken(token, user, digest, tuple(may.split(",")), *rest)


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection
