"""The page about the server itself: ``/+status`` in a browser.

Everybody sees whether the server is well, its role, and how far its replicas are: what ``+status`` and ``+ready`` tell programs.
How much is used, what failed, and the settings are for administrators.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.http.urls import origin_of
from twistpi.model.monitoring import Check, Measure
from twistpi.model.records import Index
from twistpi.model.text import in_words
from twistpi.model.urls import public_address
from twistpi.rules.permissions import may_read
from twistpi.statistics.history import HOUR, KEPT, History, Point
from twistpi.web.browser.charts import day_bars
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.browser.rendering import Renderer
from twistpi.web.browser.status_charts import Span, status_charts
from twistpi.web.components import Components
from twistpi.web.replies import Reply
from twistpi.web.request import parameter

_BUSIEST: Final = 10
_DAYS: Final = 30
_WORKER: Final = "twistpi_worker_"


@attrs.frozen
class Replica:
    """A server that follows this one."""

    name: str
    """Its public URL, or the beginning of its id."""
    lacks: int
    """Entries that it was not sent yet."""
    is_reading: bool
    """Whether it is connected."""
    last_request: datetime


@attrs.frozen
class Upstream:
    """What a mirror copies."""

    index: str
    address: str
    """Scheme, host and port."""
    failure: str
    """Why it did not answer when it was last asked; empty when it did."""
    milliseconds: float | None
    """The average time until it answers; None before its first answer."""


@attrs.frozen
class _Snapshot:
    """What is read in the reactor."""

    checks: Sequence[Check]
    replicas: Sequence[Replica]
    failing: Mapping[str, str]
    """Upstreams that failed, by index."""
    measures: Sequence[Measure]
    now: float

    def sum_of(self, *names: str) -> float | None:
        """Return the sum of the measures with these names; None without any."""
        found = [measure.value for measure in self.measures if measure.name in names]
        return sum(found) if found else None

    def workers(self) -> list[tuple[str, Mapping[str, float]]]:
        """Return the figures of each worker, by the end of their names."""
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for measure in self.measures:
            if measure.name.startswith(_WORKER):
                found[measure.labels[0][1]][measure.name.removeprefix(_WORKER)] = measure.value
        return sorted(found.items(), key=lambda worker: int(worker[0]))


@attrs.define(eq=False)
class StatusPage:
    """Makes the page."""

    _parts: Components
    _frames: Frames
    _renderer: Renderer

    async def show(self, request: Request) -> Reply:
        """The server as it is now, with charts of the last day, or with ``?span=month`` of the last month."""
        frame = await self._frames.of(request)
        span: Span = "month" if parameter(request, b"span") == "month" else "day"
        return await self._parts.offload(self._build, frame, span, self._look())

    def _look(self) -> _Snapshot:
        """Read what only the reactor may."""
        parts = self._parts
        feeds, serial = parts.replication.feeds, parts.responder.serial
        replicas = [
            Replica(
                follower.outside_url or f"{follower.node[:8]}…",
                max(0, serial - follower.reached),
                bool(follower.bodies),
                datetime.fromtimestamp(follower.last_request, UTC),
            )
            for follower in ([] if feeds is None else feeds.followers.values())
        ]
        return _Snapshot(
            [check for checked in parts.checking for check in checked()],
            replicas,
            parts.mirrors.pages.failing(),
            [measure for measured in parts.measuring for measure in measured()],
            parts.responder.now(),
        )

    def _build(self, frame: Frame, span: Span, seen: _Snapshot) -> Reply:
        parts = self._parts
        details = self._for_administrators(span, seen) if frame.is_administrator else None
        software, _, version = parts.software.partition("/")
        fencing = parts.replication.fencing
        following = parts.replication.following
        return self._renderer.page(
            frame,
            "status.html",
            checks=seen.checks,
            is_well=all(check.fine for check in seen.checks if check.needed),
            node=parts.node,
            software=f"{software} {version}",
            serial=parts.responder.serial,
            fence=None if fencing is None or fencing.fence is None else str(fencing.fence.error()),
            progress=None if following is None else following.progress,
            lag=None if following is None else following.progress.lag_seconds(seen.now),
            primary=None if parts.node.primary_url is None else public_address(parts.node.primary_url),
            replicas=seen.replicas,
            downloads=self._downloads(frame),
            details=details,
        )

    def _downloads(self, frame: Frame) -> dict[str, object]:
        """Return what was downloaded from indexes that the reader may read."""
        downloads, reader = self._parts.downloads, self._parts.access.reader
        if not downloads.is_counting:
            return {"busiest": [], "bars": None, "recent": 0}
        readable = {index.name for index in reader.indexes() if may_read(frame.caller, index)}
        total = downloads.of_everything(readable.__contains__, _DAYS)

        def is_shown(index: str, project: str) -> bool:
            return index in readable and reader.has_project(index, project)

        busiest = downloads.busiest(_DAYS, _BUSIEST, is_shown)
        return {"busiest": busiest, "bars": day_bars(total.days) if total.recent else None, "recent": total.recent}

    def _for_administrators(self, span: Span, seen: _Snapshot) -> dict[str, object]:
        parts, now = self._parts, int(seen.now)
        indexes = [index for index in parts.access.reader.indexes() if index.is_mirror]
        groups = groupby(parts.settings, key=lambda setting: setting.group)
        return {
            "span": span,
            "charts": [] if parts.history is None else status_charts(parts.history, span, now),
            "figures": [*_figures(seen), *_growth(parts.history, now)],
            "workers": seen.workers(),
            "has_gc": parts.collector is not None,
            "upstreams": list(self._upstreams(indexes, seen.failing)),
            "failures": [(datetime.fromtimestamp(one.at, UTC), one) for one in parts.failures.newest()],
            "settings": [(group, list(rows)) for group, rows in groups],
        }

    def _upstreams(self, indexes: Iterable[Index], failing: Mapping[str, str]) -> Iterable[Upstream]:
        for index in indexes:
            url = str(index.config.get("mirror_url") or "")
            try:
                seconds = self._parts.upstream_times.average(origin_of(url))
            except ValueError:  # it has no address of the web
                seconds = None
            milliseconds = None if seconds is None else 1000 * seconds
            yield Upstream(index.name, public_address(url), failing.get(index.name, ""), milliseconds)


def _figures(seen: _Snapshot) -> Iterable[tuple[str, str]]:
    """Yield what the server uses at this moment, in words."""
    connections, free, size = (
        seen.sum_of(*names)
        for names in (
            ("twistpi_connections", f"{_WORKER}connections"),
            ("twistpi_disk_free_bytes",),
            ("twistpi_disk_size_bytes",),
        )
    )
    if connections is not None:
        yield "Open connections", f"{connections:,.0f}"
    if free is not None and size:
        yield "Disk", f"{in_words(free)} of {in_words(size)} free"
    cached, evicted = seen.sum_of("twistpi_cached_bytes"), seen.sum_of("twistpi_evicted_bytes")
    if cached is not None:
        yield "Cached files", f"{in_words(cached)}; {in_words(evicted or 0)} evicted since the start"


def _growth(history: History | None, now: int) -> Iterable[tuple[str, str]]:
    """Yield how fast the disk fills, from the hours of the last month."""
    if history is None:
        return
    series = history.series(("disk_size", "disk_free", "log_size"), HOUR, now - KEPT[HOUR])
    free, log = series["disk_free"], series["log_size"]
    if log:
        yield "Changelog", in_words(log[-1].value)
    filled = _per_day(free)
    if filled is None:
        return
    if filled < 0:
        left = free[-1].value / -filled
        yield (
            "Disk fills by",
            f"{in_words(-filled)} a day: full in {left:,.0f} days" if left < 3650 else f"{in_words(-filled)} a day",
        )
    else:
        yield "Disk fills by", "nothing of late"


def _per_day(points: Sequence[Point]) -> float | None:
    """Return by how much a value grows in a day; None when it is known for less than a day."""
    if len(points) < 2 or points[-1].at - points[0].at < 24 * HOUR:
        return None
    return (points[-1].value - points[0].value) / (points[-1].at - points[0].at) * 24 * HOUR
