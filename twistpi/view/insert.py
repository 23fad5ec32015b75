"""Inserting many rows with few statements: to begin and end one for each row takes a quarter of the time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Final

from twistpi.view.rows import LINK_COLUMNS, Row

_AT_ONCE: Final = 20
"""Rows in one statement."""


def insert_files(cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None:
    """Insert ``rows`` of ``LINK_COLUMNS``, whose names are new, without the columns that are None in all rows of a statement."""
    for start in range(0, len(rows), _AT_ONCE):
        bunch = rows[start : start + _AT_ONCE]
        used = tuple(place for place, values in enumerate(zip(*bunch, strict=True)) if values.count(None) < len(bunch))
        statement, pick = _insert_columns(used, len(bunch))
        cursor.execute(statement, tuple(chain.from_iterable(map(pick, bunch))))


def insert_versions(cursor: sqlite3.Cursor, rows: Sequence[tuple[int, str]]) -> None:
    """Insert ``rows`` of projects and their versions, some of which may be known."""
    for start in range(0, len(rows), _AT_ONCE):
        bunch = rows[start : start + _AT_ONCE]
        statement = f"INSERT OR IGNORE INTO version VALUES {_places(2, len(bunch))}"
        cursor.execute(statement, tuple(chain.from_iterable(bunch)))


def _places(columns: int, count: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * count)


@cache
def _insert_columns(used: tuple[int, ...], count: int) -> tuple[str, Callable[[Row], Row]]:
    """The statement that inserts some of ``LINK_COLUMNS`` for ``count`` rows, and what picks them from a row."""
    names = LINK_COLUMNS.split(", ")
    columns = ", ".join(names[place] for place in used)
    return f"INSERT INTO file ({columns}) VALUES {_places(len(used), count)}", itemgetter(*used)
