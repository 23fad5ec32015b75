"""Downloads: counted in the reactor, read by pages and reports in any thread.

For pages::

    downloads.of_project("alice/dev", "demo", days=30).days      # a number for each day, oldest first
    downloads.busiest(30, 10, is_shown)                          # the most downloaded projects

What was counted within the last half minute may be missing, and so may be everything when the file cannot be read: statistics
never keep a page from being shown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import islice
from threading import Lock
from typing import Final, TypeVar, cast

import attrs
from twisted.logger import Logger

from twistpi.statistics.database import StatisticsFile
from twistpi.statistics.download_queries import (
    Count,
    Report,
    Scope,
    busiest_projects,
    counted_indexes,
    daily_numbers,
    file_numbers,
    report,
    rows_of,
)
from twistpi.statistics.tally import Tally

_REMEMBERED: Final = 60.0
"""Seconds for which an answer about more than one project is used again: finding it may take a second."""
_MOST_ANSWERS: Final = 20
"""Remembered; a report has at most half a megabyte."""
_MOST_BUSY: Final = 1_000
"""Projects that are ranked, before those are left out that the reader may not see."""
_NO_NUMBERS: Final[tuple[int, Mapping[str, int]]] = (0, {})
_Found = TypeVar("_Found")
_log = Logger()


@attrs.frozen
class ProjectDownloads:
    """The downloads of a project."""

    total: int
    """Of all time."""
    days: Sequence[Count]
    """Of each of the last days, oldest first, those without any too; ``name`` is the day: ``2026-11-29``."""

    @property
    def recent(self) -> int:
        """The downloads of these days."""
        return sum(day.number for day in self.days)


@attrs.frozen
class BusyProject:
    """A project that was downloaded."""

    index: str
    project: str
    number: int


@attrs.frozen
class _Answer:
    """What was found, and when, in Unix seconds."""

    found: object
    at: float

    def is_fresh(self, now: float) -> bool:
        """Return whether it can be used again; never after the clock was set back."""
        return 0 <= now - self.at < _REMEMBERED


@attrs.define(eq=False)
class Downloads:
    """What was downloaded."""

    _file: StatisticsFile | None = None
    """None where nothing is kept."""
    _now: Callable[[], datetime] = lambda: datetime.fromtimestamp(0)
    """The time in UTC."""
    tally: Tally | None = None
    """Where downloads are counted until they are written; None where they are not counted."""
    _answers: dict[object, _Answer] = attrs.field(factory=dict, init=False)
    _lock: Lock = attrs.field(factory=Lock, init=False)
    """Held by the one thread that looks for an answer to remember."""

    @property
    def is_counting(self) -> bool:
        """Whether downloads are counted (the setting ``no-downloads``)."""
        return self.tally is not None

    def of_project(self, index: str, project: str, days: int = 30) -> ProjectDownloads:
        """Return the downloads of a project in all, and of each of the last ``days``; any thread."""
        scope = Scope((index,), project)
        total, numbers = self._read(lambda connection: daily_numbers(connection, scope, self._first_day(days)), _NO_NUMBERS)
        return ProjectDownloads(total, [Count(day, numbers.get(day, 0)) for day in self._last_days(days)])

    def of_files(self, scope: Scope) -> Mapping[tuple[str, str], int]:
        """Return the downloads of all time in ``scope``, by index and file name; any thread."""
        nothing: Mapping[tuple[str, str], int] = {}
        return self._read(lambda connection: file_numbers(connection, scope), nothing)

    def of_everything(self, is_readable: Callable[[str], bool], days: int = 30) -> ProjectDownloads:
        """Return the same of all projects of the indexes that ``is_readable`` takes; any thread."""
        scope = self.readable(is_readable)
        first = self._first_day(days)
        total, numbers = self._remembered(
            ("days", scope, first), lambda connection: daily_numbers(connection, scope, first), _NO_NUMBERS
        )
        return ProjectDownloads(total, [Count(day, numbers.get(day, 0)) for day in self._last_days(days)])

    def busiest(
        self, days: int, limit: int, is_shown: Callable[[str, str], bool] = lambda index, project: True
    ) -> Sequence[BusyProject]:
        """Return the most downloaded projects of the last ``days``; any thread.

        ``is_shown`` takes index and project, and says whether the reader may see that: it may also be gone by now.
        """
        first = self._first_day(days)
        nothing: Sequence[tuple[str, str, int]] = ()
        ranked = self._remembered(("busiest", first), lambda found: busiest_projects(found, first, _MOST_BUSY), nothing)
        shown = (BusyProject(*row) for row in ranked if is_shown(row[0], row[1]))
        return list(islice(shown, limit))

    def readable(self, is_readable: Callable[[str], bool]) -> Scope:
        """Return the scope of all indexes with downloads that ``is_readable`` takes; any thread."""
        nothing: Sequence[str] = ()
        return Scope(tuple(filter(is_readable, self._remembered("indexes", counted_indexes, nothing))))

    def report(self, scope: Scope, days: int) -> Report:
        """Return what is known of the downloads in ``scope``, in detail of the last ``days``; any thread."""
        first = self._first_day(days)
        if scope.project is not None:
            return self._read(lambda connection: report(connection, scope, first), Report())
        return self._remembered(("report", scope, first), lambda connection: report(connection, scope, first), Report())

    def rows(self, scope: Scope, days: int) -> Iterable[Sequence[str | int]]:
        """Return the same as rows of a table (``download_queries.COLUMNS``); any thread."""
        first = self._first_day(days)
        return self._read(lambda connection: rows_of(connection, scope, first), [])

    def _last_days(self, days: int) -> Sequence[str]:
        today: date = self._now().date()
        return [(today - timedelta(ago)).isoformat() for ago in range(days - 1, -1, -1)]

    def _first_day(self, days: int) -> str:
        return self._last_days(days)[0]

    def _remembered(self, key: object, find: Callable[[sqlite3.Connection], _Found], nothing: _Found) -> _Found:
        """Return the answer to ``key``: a former one while it is fresh, and while another thread finds something."""
        now = self._now().timestamp()
        former = self._answers.get(key)
        if former is not None and former.is_fresh(now):
            return cast(_Found, former.found)
        if not self._lock.acquire(blocking=former is None):
            assert former is not None
            return cast(_Found, former.found)
        try:
            former = self._answers.get(key)  # another thread may have found it just now
            if former is not None and former.is_fresh(now):
                return cast(_Found, former.found)
            if len(self._answers) >= _MOST_ANSWERS:
                self._answers.clear()
            found = self._read(find, nothing)
            self._answers[key] = _Answer(found, now)
            return found
        finally:
            self._lock.release()

    def _read(self, find: Callable[[sqlite3.Connection], _Found], nothing: _Found) -> _Found:
        if self._file is None:
            return nothing
        try:
            with self._file.reading() as connection:
                return find(connection)
        except sqlite3.Error as error:  # before the first download there is no file
            _log.debug("Nothing is known of downloads: {reason}", reason=str(error))
            return nothing
