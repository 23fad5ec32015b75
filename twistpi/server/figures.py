"""The figures of a server that its history keeps, read from what is measured anyway."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import attrs

from twistpi.model.monitoring import Measure
from twistpi.statistics.history import Reading
from twistpi.web.components import Components

_COUNTERS: Final = {
    "twistpi_downloads": "downloads",
    "twistpi_upstream_requests": "upstream_requests",
    "twistpi_upstream_failures": "upstream_failures",
    "twistpi_upstream_answers": "upstream_answers",
    "twistpi_upstream_seconds": "upstream_seconds",
}
"""Measures, and what the history calls them."""
_GAUGES: Final = {
    "twistpi_disk_free_bytes": "disk_free",
    "twistpi_disk_size_bytes": "disk_size",
    "twistpi_changelog_serial": "serial",
    "twistpi_connections": "connections",
    "twistpi_worker_connections": "connections",
    "twistpi_replica_lag_seconds": "lag_seconds",
    "twistpi_worker_memory_bytes": "memory",
}
"""The same; of several processes the sum."""
_PAGE_SIZE: Final = os.sysconf("SC_PAGE_SIZE")


@attrs.define(eq=False)
class Figures:
    """Reads them."""

    _components: Components
    _changelog: str
    """The folder of the changelog."""

    def read(self) -> Reading:
        """Return the figures of all processes; in the reactor."""
        traffic = self._components.traffic
        counters, gauges = defaultdict[str, float](float), defaultdict[str, float](float)
        for _kind, status, number in traffic.answered:
            counters["requests"] += number
            counters["errors"] += number if status >= 500 else 0
        pages = traffic.pages_by_origin
        counters["pages_hit"] = pages.get("memory", 0) + pages.get("hit", 0)
        for origin in ("miss", "revalidated", "stale"):
            counters[f"pages_{origin}"] = pages.get(origin, 0)
        counters["sent"] = traffic.sent
        gauges["memory"] = resident_bytes(os.getpid())
        for measure in self._measures():
            if measure.name in _COUNTERS:
                counters[_COUNTERS[measure.name]] += measure.value
            elif measure.name in _GAUGES:
                gauges[_GAUGES[measure.name]] += measure.value
        feeds = self._components.replication.feeds
        if feeds is not None and feeds.followers:
            serial = self._components.responder.serial
            gauges["lag_entries"] = max(0, *(serial - follower.reached for follower in feeds.followers.values()))
        return Reading(counters, gauges)

    def measure(self) -> Mapping[str, float]:
        """Return the size of the changelog in bytes; blocking."""
        with os.scandir(self._changelog) as entries:
            return {"log_size": sum(entry.stat().st_size for entry in entries)}

    def _measures(self) -> list[Measure]:
        found: list[Measure] = []
        for measured in self._components.measuring:
            try:
                found += measured()
            except OSError:  # a disk that cannot be looked at
                continue
        return found


def resident_bytes(pid: int) -> int:
    """Return the memory of a process; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE_SIZE
    except (OSError, ValueError, IndexError):
        return 0
