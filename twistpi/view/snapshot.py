"""Copies and dumps of a view: a compact copy for another server, and the folded rows for comparing two views."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any, Final
from urllib.parse import quote

import attrs

from twistpi.model.server_errors import StorageFull
from twistpi.view.database import Stamp, read_stamp


@attrs.frozen
class Copy:
    """A file that holds a view."""

    path: str
    stamp: Stamp
    size: int
    """Bytes."""
    sha256: str


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


_FOLDED: Final = {
    "stamp": "serial",
    "epoch": "epoch",
    "user": "name",
    "api_token": "token",
    "package_index": "name",
    "project": "id",
    "version": "project, version",
    "file": "id",
    "kept": "file",
    "release": "id",
    "uploaded": "file",
    "attachment": "id",
    "removed": "index_name, path",
}
"""Each folded table with the columns that order it; ``freshness`` is not folded."""


def dump(path: str) -> Iterator[tuple[Any, ...]]:
    """Every row of every folded table of the view at ``path``, the table's name first; what is committed at this moment.

    Constant memory.  Blocking.
    """
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for table, order in _FOLDED.items():
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}"):
                yield (table, *row)
