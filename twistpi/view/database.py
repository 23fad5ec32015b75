"""The view's file: its one writing connection, copies for other servers, and dumps to compare two views."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from importlib.resources import files
from typing import Final, NoReturn
from urllib.parse import quote

import attrs

from twistpi.model.changes import Entry
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.records import Freshness
from twistpi.model.server_errors import ServerdirRefused, StorageFull
from twistpi.view.fold import Fold
from twistpi.view.fold_many import ManyFold
from twistpi.view.newest import Newest
from twistpi.view.read import Reader
from twistpi.view.rows import Row

FOLD_VERSION: Final = 4
"""To be raised with every change to ``schema.sql`` or to what the fold writes: older files are then dropped and folded again.

Avoid that, or have ``_upgrade`` make of the older file what folding would: a replica whose log begins later cannot fold its older
state again, and does not start.  Servers also refuse snapshots of another version.
"""


@attrs.frozen
class Stamp:
    """The log that a view was folded from, by which version of the fold, and up to where."""

    log_id: str
    fold_version: int
    position: Position


def read_stamp(connection: sqlite3.Connection) -> Stamp:
    """The stamp of a view; ``sqlite3.Error`` or ``ValueError`` when the file has none."""
    row = connection.execute("SELECT log_id, fold_version, serial, chain, segment, position FROM stamp").fetchone()
    if row is None:
        raise ValueError("the view carries no stamp")
    return Stamp(row[0], row[1], Position(*row[2:]))


_CACHE_KIB: Final = 4 * 1024
"""SQLite's page cache of the writing connection."""
_CHECKED_BELOW: Final = 32 * 1024 * 1024
"""Bytes.  Smaller files are checked as a whole when they are opened; larger ones only where they are read."""
_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class ViewDatabase:
    """The view's writing connection: transactions of entries, each stamped with the position it ends at.

    For one thread at a time.  After ``StorageFull`` from any method nothing of the transaction stays: ``rollback`` and try again
    later.  ``ServerdirRefused`` means that the file was damaged and has been removed: stop, and start anew.
    """

    def __init__(self, path: str, connection: sqlite3.Connection, position: Position) -> None:
        self._path = path
        self._connection = connection
        self._fold = Fold(connection)
        self.position = position
        """The end of the last entry that is committed."""
        self.reader = Reader(connection)
        """Sees the open transaction."""

    def keep_newest(self) -> Newest:
        """Keep new projects in memory from now on, for ``Readers``; to be called once."""
        self._fold.newest = newest = Newest()
        return newest

    def begin(self) -> None:
        """Open a transaction."""
        self._execute("BEGIN IMMEDIATE")

    def apply(self, entry: Entry) -> None:
        """Fold ``entry`` into the open transaction; ``MalformedChange`` for a change that has no fold."""
        try:
            self._fold.apply(entry)
        except sqlite3.Error as error:
            self._fail(error)

    def apply_many(self, first: int, bodies: Sequence[bytes]) -> None:
        """Fold the entries from serial ``first`` on, whose JSON is in ``bodies``, into the open transaction.

        In less than half the time that decoding and applying each of them takes.
        Raises ``MalformedChange`` with a note of the serial.
        """
        try:
            with closing(self._connection.cursor()) as cursor:
                ManyFold(self._fold, cursor).apply(first, bodies)
        except sqlite3.Error as error:
            self._fail(error)

    def commit(self, position: Position) -> None:
        """Make the transaction visible to readers, with the stamp ``position`` in it."""
        values = (position.serial, position.chain, position.segment, position.offset)
        self._execute("UPDATE stamp SET serial = ?, chain = ?, segment = ?, position = ?", values)
        self._execute("COMMIT")
        self.position = position
        if self._fold.newest is not None:
            self._fold.newest.committed()

    def rollback(self) -> None:
        """Undo everything since ``begin``; does nothing when no transaction is open."""
        if self._fold.newest is not None:
            self._fold.newest.rolled_back()
        if self._connection.in_transaction:  # a full disk may have ended it already
            self._execute("ROLLBACK")

    def remember_freshness(self, index: str, project: str, freshness: Freshness) -> None:
        """Store when ``index`` last checked ``project``: a local fact, in the open transaction or in one of its own."""
        validators = (freshness.etag, freshness.last_modified)
        self._execute(
            "INSERT OR REPLACE INTO freshness (index_name, project, checked_at, etag, last_modified, missing, source)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (index, project, freshness.checked_at, *validators, freshness.missing, freshness.source),
        )

    def forget_missing(self, before: float) -> int:
        """Drop the freshness of missing projects from before ``before`` (Unix seconds), which would pile up; return how many."""
        return self._execute("DELETE FROM freshness WHERE missing AND checked_at < ?", (before,)).rowcount

    def close(self) -> None:
        """Close the file; an open transaction is undone."""
        self._fold.close()
        self._connection.close()

    def _execute(self, statement: str, values: Row = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            self._fail(error)

    def _fail(self, error: sqlite3.Error) -> NoReturn:
        code = _primary_code(error)
        if code in _FULL:
            raise StorageFull(self._path, str(error)) from error
        if code in _DAMAGED:
            drop_view(self._path)
            reason = f"it is damaged ({error}), and was removed; the next start builds it anew from the changelog"
            raise ServerdirRefused(self._path, reason) from error
        raise error


def open_view(path: str, log_id: str) -> ViewDatabase:
    """The view at ``path`` of the log ``log_id``, or an empty one in place of a file that is damaged or no view of that log.

    Blocking.  Raises ``ServerdirRefused`` when the file cannot be opened, ``StorageFull`` when there is no room for a new one.
    """
    opened = _open_existing(path, log_id) if os.path.exists(path) else None
    return opened if opened is not None else _create(path, log_id)


def drop_view(path: str) -> None:
    """Remove the view at ``path`` with all its files; the changelog holds everything that was in it."""
    # The database last: alone it is still a view, its log without it is not.
    for suffix in ("-wal", "-shm", "-journal", ""):
        with suppress(FileNotFoundError):
            os.remove(path + suffix)


def _open_existing(path: str, log_id: str) -> ViewDatabase | None:
    """The view at ``path``, or None after dropping a file that cannot be used."""
    connection: sqlite3.Connection | None = None
    try:
        connection = _connect(path)
        _upgrade(connection)
        stamp = read_stamp(connection)
        if stamp.log_id == log_id and stamp.fold_version == FOLD_VERSION and _is_whole(path, connection):
            return ViewDatabase(path, connection, stamp.position)
    except ValueError:
        pass  # a view that was being born
    except sqlite3.Error as error:
        if _primary_code(error) not in _DAMAGED | {sqlite3.SQLITE_ERROR}:  # the latter: no such table
            raise ServerdirRefused(path, str(error)) from error  # locked, not ours to read: it may be a good one
    if connection is not None:
        connection.close()
    drop_view(path)
    return None


def _upgrade(connection: sqlite3.Connection) -> None:
    """Make a view of version 3 one of version 4, which has one more table: no entry that it was folded from fills that."""
    if connection.execute("SELECT fold_version FROM stamp").fetchone() == (3,):
        schema = files("twistpi.view").joinpath("schema.sql").read_text("utf-8")
        start = schema.index("CREATE TABLE advisory_set")
        table = schema[start : schema.index(");", start) + 2]
        connection.executescript(f"BEGIN IMMEDIATE; {table} UPDATE stamp SET fold_version = 4; COMMIT;")


def _is_whole(path: str, connection: sqlite3.Connection) -> bool:
    if os.path.getsize(path) > _CHECKED_BELOW:
        return True
    answer = connection.execute("PRAGMA quick_check(1)").fetchone()
    connection.execute("PRAGMA shrink_memory")  # every page was just read
    return bool(answer == ("ok",))


def _create(path: str, log_id: str) -> ViewDatabase:
    drop_view(path)  # a stray -wal would be taken for the new file's
    try:
        connection = _connect(path)
        connection.executescript("BEGIN IMMEDIATE;" + files("twistpi.view").joinpath("schema.sql").read_text("utf-8"))
        connection.execute("INSERT INTO stamp VALUES (?, ?, ?, ?, ?, ?)", (log_id, FOLD_VERSION, *attrs.astuple(BEGINNING)))
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if _primary_code(error) in _FULL:
            raise StorageFull(path, str(error)) from error
        raise ServerdirRefused(path, str(error)) from error
    return ViewDatabase(path, connection, BEGINNING)


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=128)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # Losing the last transactions with the power is fine: they are folded again.  A torn file would not be.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        # 16 MB at a time: a page that many transactions write is then carried into the database once.
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        # Debian's SQLite overwrites what is deleted; nothing here is a secret.
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA journal_size_limit = 67108864")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _primary_code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


@attrs.frozen
class Copy:
    """A file that holds a view."""

    path: str
    stamp: Stamp
    size: int
    """Bytes."""
    sha256: str


def is_empty_view(path: str, log_id: str) -> bool:
    """Return whether the view at ``path`` has nothing of the log ``log_id``, folded by this version.  Blocking."""
    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)) as connection:
            stamp = read_stamp(connection)
    except (sqlite3.Error, ValueError):
        return True
    return (stamp.log_id, stamp.fold_version) != (log_id, FOLD_VERSION) or stamp.position.serial == 0


def copy_view(source: str, target: str) -> Copy:
    """Copy the view at ``source``, which may be written meanwhile, to the new file ``target``, which only its owner can read.

    Without freshness, which is local to a server.  Blocking, for as long as it takes to read and write the view; readers and
    writers of the view do not wait.  Raises ``StorageFull``.
    """
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(f"file:{quote(source)}?mode=ro", uri=True, isolation_level=None)) as connection:
            connection.execute("VACUUM INTO ?", (target,))
        with closing(sqlite3.connect(target, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("DELETE FROM freshness")
            stamp = read_stamp(connection)
        with open(target, "rb") as file:
            os.fsync(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return Copy(target, stamp, file.tell(), sha256)
    except BaseException as error:
        for suffix in ("", "-journal"):
            with suppress(OSError):
                os.remove(target + suffix)
        if isinstance(error, sqlite3.OperationalError | OSError):
            raise StorageFull(target, str(error)) from error
        raise


_PROJECT_OF: Final = "LEFT JOIN project ON project.id ="
_FOLDED: Final = {
    "stamp": "SELECT * FROM stamp",
    "epoch": "SELECT * FROM epoch ORDER BY epoch",
    "user": "SELECT * FROM user ORDER BY name",
    "api_token": "SELECT * FROM api_token ORDER BY token",
    "package_index": "SELECT * FROM package_index ORDER BY name",
    "project": "SELECT index_name, name, vanished, header FROM project ORDER BY id",
    "version": f"SELECT index_name, name, version FROM version {_PROJECT_OF} version.project ORDER BY version.project, version",
    "file": "SELECT index_name, name, filename, path, gone, replaced <> 0, url, link_sha256, hashes, link_size, requires_python,"
    " upload_time, yanked, core_metadata, provenance, extra, sha256, size, metadata_sha256, metadata_size,"
    f" coalesce(metadata_missing, 0) FROM file LEFT JOIN kept ON kept.file = file.id {_PROJECT_OF} file.project"
    " ORDER BY file.project, file.id",
    "kept": "SELECT * FROM kept WHERE NOT EXISTS (SELECT 1 FROM file WHERE file.id = kept.file) ORDER BY file",
    "release": f"SELECT index_name, name, version, metadata FROM release {_PROJECT_OF} release.project"
    " ORDER BY release.project, release.id",
    "uploaded": "SELECT index_name, name, version, filename, log, provenance_sha256, provenance_size FROM uploaded"
    f" LEFT JOIN release ON release.id = uploaded.release {_PROJECT_OF} release.project"
    " LEFT JOIN file ON file.id = uploaded.file ORDER BY uploaded.file",
    "attachment": "SELECT index_name, name, version, file.filename, kind, attachment.filename, attachment.path, sha256, size, log"
    f" FROM attachment LEFT JOIN release ON release.id = attachment.release {_PROJECT_OF} release.project"
    " LEFT JOIN file ON file.id = attachment.file ORDER BY attachment.id",
    "removed": "SELECT * FROM removed ORDER BY index_name, path",
    "advisory_set": "SELECT * FROM advisory_set",
}
"""Each folded table with the rows that are compared, in an order that means something; ``freshness`` is not folded.

No row has an id: what was folded from a summary has others, in the same order.  What is kept of a file stands with the file, so
``kept`` is what has none.
"""


def dump(path: str) -> Iterator[Row]:
    """What the folded tables of the view at ``path`` say, the table's name first; what is committed at this moment.

    Two views with the same dump answer every question alike.  Constant memory.  Blocking.
    """
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for table, statement in _FOLDED.items():
            for row in connection.execute(statement):
                yield (table, *row)
