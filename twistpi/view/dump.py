"""The folded tables as plain rows: two views of the same log are equal when their dumps are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

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
    connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("BEGIN")
        for table, order in _FOLDED.items():
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}"):
                yield (table, *row)
    finally:
        connection.close()
