"""The file of the search index: its one writing connection.  Everything here blocks, and is for one thread at a time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import Final

import attrs

from twistpi.blobs.interfaces import IBlobs
from twistpi.model.server_errors import StorageFull
from twistpi.search.documents import DocsPage, Document, read_docs_pages, read_document
from twistpi.search.expressions import ANY, COLUMNS, endings, place_words, squash
from twistpi.view.read import Reader

SCHEMA_VERSION: Final = 2
"""To be raised with every change of ``schema.sql`` and of what is written: files of other versions are dropped and made anew."""
_CACHE_KIB: Final = 2 * 1024
"""SQLite's page cache of the writing connection."""
_MIRRORED: Final = 1 << 40
"""The first id of mirrored projects, which so come after own ones."""
_INSERT: Final = f"INSERT INTO words (rowid, {', '.join(COLUMNS)}) VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"
_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})

Project = tuple[str, str]
"""Index and normalised name."""


class SearchDatabase:
    """The writing connection."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._execute = connection.execute

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what happens inside visible as a whole, or nothing of it; raise ``StorageFull``."""
        try:
            self._execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self.connection.in_transaction:
                    self._execute("ROLLBACK")
                raise
            self._execute("COMMIT")
        except sqlite3.Error as error:
            if (error.sqlite_errorcode or 0) & 0xFF in _FULL:
                raise StorageFull(self.path, str(error)) from error
            raise

    def serial(self) -> int:
        """The serial up to which the documents are complete; 0 while they are not."""
        return int(self._execute("SELECT serial FROM stamp").fetchone()[0])

    def stamp(self, serial: int) -> None:
        """Say that the documents are complete up to ``serial``, or with 0 that they are not."""
        self._execute("UPDATE stamp SET serial = ?", (serial,))

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    # Documents -------------------------------------------------------------------------------------------------------

    def projects(self, index: str) -> list[str]:
        """The projects of ``index`` that are here, sorted."""
        rows = self._execute(
            "SELECT project FROM document WHERE place = (SELECT id FROM place WHERE name = ?) AND path = '' ORDER BY project",
            (index,),
        )
        return [project for (project,) in rows]

    def places(self) -> list[str]:
        """The indexes that have something here."""
        return [name for (name,) in self._execute("SELECT name FROM place ORDER BY name")]

    def partial(self, limit: int) -> list[Project]:
        """Projects of which files were missing."""
        rows = self._execute(
            "SELECT place.name, project FROM document JOIN place ON place.id = place WHERE is_partial LIMIT ?", (limit,)
        )
        return [(index, project) for index, project in rows]

    def has_project(self, index: str, project: str) -> bool:
        """Whether ``project`` of ``index`` is here."""
        row = self._execute(
            "SELECT 1 FROM document WHERE project = ? AND place = (SELECT id FROM place WHERE name = ?) AND path = ''",
            (project, index),
        ).fetchone()
        return row is not None

    def drop_project(self, index: str, project: str) -> None:
        """Forget ``project`` of ``index``."""
        self._drop("place = (SELECT id FROM place WHERE name = ?) AND project = ?", (index, project))

    def drop_place(self, index: str, limit: int) -> bool:
        """Forget up to ``limit`` documents of ``index``; return whether that were all."""
        ids = "SELECT id FROM document WHERE place = (SELECT id FROM place WHERE name = ?) LIMIT ?"
        self._drop(f"id IN ({ids})", (index, limit))
        if self._execute(ids, (index, 1)).fetchone() is not None:
            return False
        self._execute("DELETE FROM place WHERE name = ?", (index,))
        return True

    def update(self, view: Reader, blobs: IBlobs, index: str, project: str, *, is_mirror: bool) -> None:
        """Make what is here of ``project`` equal to what the view and the disk say."""
        document = read_document(view, blobs, index, project, is_mirror=is_mirror)
        if document is None:
            self.drop_project(index, project)
            return
        place = self._place(index)
        known = self._execute(
            "SELECT id, digest, docs FROM document WHERE project = ? AND place = ? AND path = ''", (project, place)
        ).fetchone()
        if known is not None and known[1] == document.digest:
            return
        pages: Sequence[DocsPage] = ()
        docs = None if document.docs is None else f"{document.docs_version} {document.docs.path}"
        is_other = known is None or known[2] != docs
        if is_other and document.docs is not None:
            found = read_docs_pages(blobs, document.docs)
            pages = () if found is None else tuple(found)
            if found is None:
                document, docs = attrs.evolve(document, is_partial=True), None
        of_project = "place = ? AND project = ?"
        self._drop(of_project if is_other else f"{of_project} AND path = ''", (place, project))
        self._insert(place, document, docs)
        for page in pages:
            self._insert_page(place, document, page)

    def _place(self, index: str) -> int:
        self._execute("INSERT OR IGNORE INTO place (name) VALUES (?)", (index,))
        return int(self._execute("SELECT id FROM place WHERE name = ?", (index,)).fetchone()[0])

    def _drop(self, condition: str, values: Sequence[str | int]) -> None:
        ids = self._execute(f"SELECT id FROM document WHERE {condition}", values).fetchall()
        self.connection.executemany("DELETE FROM words WHERE rowid = ?", ids)
        self.connection.executemany("DELETE FROM document WHERE id = ?", ids)

    def _insert(self, place: int, document: Document, docs: str | None) -> None:
        squashed, fields = squash(document.project), document.fields
        named = (document.is_own, document.name, document.version)
        number = self._execute(
            "INSERT INTO document (id, place, project, path, is_own, name, version, digest, docs, is_partial)"
            " VALUES (?, ?, ?, '', ?, ?, ?, ?, ?, ?)",
            (self._next_id(document), place, document.project, *named, document.digest, docs, document.is_partial),
        ).lastrowid
        texts = [fields.get(column, "") for column in COLUMNS[2:8]]
        kinds = " ".join((ANY, "project", *fields))
        where = place_words(document.index, document.project)
        self._execute(_INSERT, (number, squashed, endings(squashed), *texts, "", "", where, kinds))

    def _next_id(self, document: Document) -> int:
        first, end = (1, _MIRRORED) if document.is_own else (_MIRRORED, 2 * _MIRRORED)
        query = "SELECT coalesce(max(id) + 1, ?) FROM document WHERE id >= ? AND id < ?"
        return int(self._execute(query, (first, first, end)).fetchone()[0])

    def _insert_page(self, place: int, document: Document, page: DocsPage) -> None:
        number = self._execute(
            "INSERT INTO document (id, place, project, path, is_own, name, version) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._next_id(document), place, document.project, page.path, document.is_own, document.name, document.docs_version),
        ).lastrowid
        where = place_words(document.index, document.project)
        self._execute(_INSERT, (number, "", "", *[""] * 6, page.title, page.text, where, f"{ANY} title page"))


def open_database(path: str, log_id: str) -> SearchDatabase:
    """Return the database at ``path``, made anew if it is not of the log ``log_id`` and this version, or damaged.

    Raise ``StorageFull`` and ``sqlite3.Error``.
    """
    if os.path.exists(path):
        connection = None
        with suppress(sqlite3.Error):
            connection = _connect(path)
            row = connection.execute("SELECT schema_version, log_id FROM stamp").fetchone()
            if row == (SCHEMA_VERSION, log_id):
                return SearchDatabase(path, connection)
        if connection is not None:
            connection.close()
    drop_database(path)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))  # it has texts of closed indexes, too
        connection = _connect(path)
        connection.executescript(f"BEGIN IMMEDIATE;{files('twistpi.search').joinpath('schema.sql').read_text('utf-8')}")
        connection.execute("INSERT INTO stamp VALUES (?, ?, 0)", (SCHEMA_VERSION, log_id))
        connection.execute("COMMIT")
    except OSError as error:
        raise StorageFull(path, str(error)) from error
    return SearchDatabase(path, connection)


def drop_database(path: str) -> None:
    """Remove the file at ``path`` with those beside it."""
    for suffix in ("-wal", "-shm", "-journal", ""):
        with suppress(FileNotFoundError):
            os.remove(path + suffix)


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA journal_size_limit = 16777216")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
