"""The history of a server's figures: a point for each minute of the last day, and for each hour of the last month.

A figure is a counter, of which a point has what was added in its time, or a gauge, of which it has the last value.  Points are
a ring in ``statistics.sqlite``: at most 1,440 and 744, about a megabyte.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import attrs
import orjson
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twistpi.http.offload import Offload
from twistpi.statistics.database import StatisticsFile

MINUTE: Final = 60
HOUR: Final = 3600
KEPT: Final[Mapping[int, int]] = {MINUTE: 24 * HOUR, HOUR: 31 * 24 * HOUR}
"""Seconds for which points are kept, by the seconds that each stands for."""
_log = Logger()


@attrs.frozen
class Reading:
    """Figures as they are at a moment."""

    counters: Mapping[str, float]
    """What only grows while the process lives."""
    gauges: Mapping[str, float]


@attrs.frozen
class Point:
    """A figure in a minute or an hour."""

    at: int
    """Unix seconds of its beginning."""
    value: float


@attrs.define(eq=False)
class History:
    """Reads figures each minute and keeps them."""

    _file: StatisticsFile
    _clock: IReactorTime
    """Its seconds are Unix time."""
    _offload: Offload
    _read: Callable[[], Reading]
    """Called in the reactor."""
    _measure: Callable[[], Mapping[str, float]] = dict
    """Returns gauges that are read from the disk; called in a thread."""
    _before: Mapping[str, float] | None = attrs.field(default=None, init=False)
    _sampling: LoopingCall = attrs.field(init=False)
    _failing: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._sampling = LoopingCall(lambda: Deferred.fromCoroutine(self.sample()))
        self._sampling.clock = self._clock

    def start(self) -> None:
        """Begin to read."""
        self._before = self._read().counters
        self._sampling.start(MINUTE, now=False)

    async def stop(self) -> None:
        """Read once more, so that a restart does not lose the last minute."""
        if self._sampling.running:
            self._sampling.stop()
            await self.sample()

    async def sample(self) -> None:
        """Write what happened since the last time."""
        reading, now = self._read(), int(self._clock.seconds())
        before, self._before = self._before or {}, reading.counters
        added = {name: value - before.get(name, 0) for name, value in reading.counters.items()}
        try:
            await self._offload(self._write, now, added, reading.gauges)
        except (sqlite3.Error, OSError) as error:
            if not self._failing:
                _log.warn("The history of figures cannot be written: {reason}", reason=str(error))
            self._failing = True
        else:
            self._failing = False

    def series(self, names: Iterable[str], length: int = MINUTE, since: float = 0.0) -> Mapping[str, Sequence[Point]]:
        """Return the points of the figures ``names``, oldest first; any thread.

        ``length`` is ``MINUTE`` or ``HOUR``; points before ``since``, in Unix seconds, are left out.
        """
        found: dict[str, list[Point]] = {name: [] for name in names}
        for at, figures in self._rows(length, since):
            for name, points in found.items():
                value = figures.get(name)
                if value is not None:
                    points.append(Point(at, value))
        return found

    def _rows(self, length: int, since: float) -> Sequence[tuple[int, Mapping[str, float]]]:
        asked = "SELECT at, figures FROM points WHERE length = ? AND at >= ? ORDER BY at"
        try:
            with self._file.reading() as connection:
                rows = connection.execute(asked, (length, since)).fetchall()
        except sqlite3.Error:  # there is no file yet
            return []
        return [(at, orjson.loads(figures)) for at, figures in rows]

    def _write(self, now: int, added: Mapping[str, float], gauges: Mapping[str, float]) -> None:
        """Blocking."""
        gauges = {**gauges, **self._measure()}
        self._file.write(lambda connection: _write_point(connection, now, added, gauges))


def _write_point(connection: sqlite3.Connection, now: int, added: Mapping[str, float], gauges: Mapping[str, float]) -> None:
    """Put figures into the points of this minute and this hour, and forget old points."""
    for length, kept in KEPT.items():
        at = (now - 1) // length * length  # what is read at the end of a minute happened in it
        found = connection.execute("SELECT figures FROM points WHERE length = ? AND at = ?", (length, at)).fetchone()
        before: dict[str, float] = {} if found is None else orjson.loads(found[0])
        figures = {**before, **{name: before.get(name, 0) + value for name, value in added.items()}, **gauges}
        connection.execute("INSERT OR REPLACE INTO points VALUES (?, ?, ?)", (length, at, orjson.dumps(figures).decode()))
        # Points of the future are from a clock that was wrong.
        connection.execute("DELETE FROM points WHERE length = ? AND (at < ? OR at > ?)", (length, now - kept, now))
