"""Queries of the tables of downloads."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

COLUMNS: Final = ("day", "index", "project", "version", "file", "installer", "installer_version", "python", "downloads")
"""Of ``rows_of``; an index has nothing about its files and installers, and a server nothing about its projects, either."""
_MOST: Final = 1_000
"""Lines of each list of a report."""
_MOST_ROWS: Final = 50_000
_TABLES: Final = "downloads JOIN files ON files.id = file"


@attrs.frozen
class Count:
    """How often what ``name`` says was downloaded."""

    name: str
    number: int


@attrs.frozen
class Scope:
    """Some indexes, or a project."""

    indexes: tuple[str, ...]
    project: str | None = None

    @property
    def condition(self) -> str:
        """The condition in SQL."""
        places = ", ".join("?" * len(self.indexes))
        return f"index_name IN ({places})" + ("" if self.project is None else " AND project = ?")

    @property
    def values(self) -> tuple[str, ...]:
        """The values in it."""
        return self.indexes if self.project is None else (*self.indexes, self.project)


@attrs.frozen
class Report:
    """The downloads of a scope.  Lists have at most a thousand lines; all but days and months begin with the largest number."""

    total: int = 0
    """Of all time."""
    days: Sequence[Count] = ()
    """Of those of the asked days that have some, oldest first."""
    months: Sequence[Count] = ()
    """Of months whose days are not known any more, oldest first."""
    indexes: Sequence[Count] = ()
    """This and what follows is of the asked days."""
    projects: Sequence[Count] = ()
    """``name`` is ``user/index/project``."""
    versions: Sequence[Count] = ()
    """This and the files are of a project only."""
    files: Sequence[Count] = ()
    installers: Sequence[Count] = ()
    """``name`` is ``pip 24.0``."""
    pythons: Sequence[Count] = ()
    """``name`` is ``3.12``; empty where it is not known."""


def daily_numbers(connection: sqlite3.Connection, scope: Scope, first: str) -> tuple[int, Mapping[str, int]]:
    """Return the number of all time, and those of the days from ``first`` on that have some."""
    found = connection.execute(
        f"SELECT period, sum(number) FROM {_TABLES} WHERE {scope.condition} GROUP BY period", scope.values
    ).fetchall()
    return sum(number for _, number in found), {day: number for day, number in found if len(day) == 10 and day >= first}


def busiest_projects(connection: sqlite3.Connection, first: str, limit: int) -> Sequence[tuple[str, str, int]]:
    """Return index, project and number of those with the most downloads from the day ``first`` on."""
    return connection.execute(
        f"SELECT index_name, project, sum(number) AS total FROM {_TABLES} WHERE length(period) = 10 AND period >= ?"
        " GROUP BY index_name, project ORDER BY total DESC, project, index_name LIMIT ?",
        (first, limit),
    ).fetchall()


def file_numbers(connection: sqlite3.Connection, scope: Scope) -> Mapping[tuple[str, str], int]:
    """Return the numbers of all time, by index and file name."""
    found = connection.execute(
        f"SELECT index_name, filename, sum(number) FROM {_TABLES} WHERE {scope.condition} GROUP BY files.id", scope.values
    )
    return {(index, filename): number for index, filename, number in found}


def counted_indexes(connection: sqlite3.Connection) -> Sequence[str]:
    """Return the indexes that have downloads."""
    return [name for (name,) in connection.execute("SELECT DISTINCT index_name FROM files ORDER BY index_name")]


def report(connection: sqlite3.Connection, scope: Scope, first: str) -> Report:
    """Return the report of the days from ``first`` on."""

    def numbers(what: str, *, tables: str = _TABLES, order: str = "total DESC, name") -> Sequence[Count]:
        found = connection.execute(
            f"SELECT {what} AS name, sum(number) AS total FROM {tables} WHERE {scope.condition}"
            f" AND length(period) = 10 AND period >= ? GROUP BY name ORDER BY {order} LIMIT {_MOST}",
            (*scope.values, first),
        )
        return [Count(name, number) for name, number in found]

    periods = connection.execute(
        f"SELECT period, sum(number) FROM {_TABLES} WHERE {scope.condition} GROUP BY period ORDER BY period", scope.values
    ).fetchall()
    with_agents = f"{_TABLES} JOIN agents ON agents.id = agent"
    is_project = scope.project is not None
    return Report(
        total=sum(number for _, number in periods),
        days=[Count(period, number) for period, number in periods if len(period) == 10 and period >= first],
        months=[Count(period, number) for period, number in periods if len(period) == 7],
        indexes=numbers("index_name") if not is_project else (),
        projects=numbers("index_name || '/' || project") if not is_project else (),
        versions=numbers("files.version") if is_project else (),
        files=numbers("filename") if is_project else (),
        installers=numbers("trim(installer || ' ' || agents.version)", tables=with_agents),
        pythons=numbers("python", tables=with_agents),
    )


def rows_of(connection: sqlite3.Connection, scope: Scope, first: str) -> Sequence[Sequence[str | int]]:
    """Return the columns ``COLUMNS`` of the days from ``first`` on, oldest first, at most 50,000 rows."""
    if scope.project is None:
        columns, tables = "period, index_name, project, '', '', '', '', ''", _TABLES
    else:
        columns = "period, index_name, project, files.version, filename, installer, agents.version, python"
        tables = f"{_TABLES} JOIN agents ON agents.id = agent"
    return connection.execute(
        f"SELECT {columns}, sum(number) FROM {tables} WHERE {scope.condition} AND length(period) = 10 AND period >= ?"
        f" GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 3, 5 LIMIT {_MOST_ROWS}",
        (*scope.values, first),
    ).fetchall()
