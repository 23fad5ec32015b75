"""The figures that the history of a server keeps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.web.web_asking import nobody
from tests.web.web_world import World
from twistpi.model.monitoring import Measure
from twistpi.server.figures import Figures, resident_bytes


def test_figures_are_sums_of_all_processes(tmp_path: Path) -> None:
    world = World(str(tmp_path))

    def measures() -> Iterator[Measure]:
        yield Measure("twistpi_upstream_requests", "counter", "", 7)
        yield Measure("twistpi_disk_free_bytes", "gauge", "", 2**30)
        for worker in ("1", "2"):
            yield Measure("twistpi_worker_memory_bytes", "gauge", "", 2**40, (("worker", worker),))
            yield Measure("twistpi_worker_connections", "gauge", "", 3, (("worker", worker),))
        yield Measure("twistpi_of_no_interest", "gauge", "", 1)

    def unreadable() -> Iterator[Measure]:
        raise OSError("the disk is gone")

    world.components.measuring += [unreadable, measures]
    nobody(world).get("/+api")
    world.components.traffic.count(b"GET", b"/x", 502, 0.1, 0)
    world.components.traffic.pages["hit"] += 3
    reading = Figures(world.components, str(tmp_path)).read()
    assert reading.counters["requests"] == 2
    assert reading.counters["errors"] == 1
    assert (reading.counters["pages_hit"], reading.counters["upstream_requests"]) == (3, 7)
    assert (reading.gauges["disk_free"], reading.gauges["connections"]) == (2**30, 6)
    assert 2 * 2**40 < reading.gauges["memory"] < 2 * 2**40 + 2**34
    assert "of_no_interest" not in reading.gauges
    world.close()


def test_the_size_of_the_changelog_is_that_of_its_files(tmp_path: Path) -> None:
    world = World(str(tmp_path))
    folder = tmp_path / "changelog"
    folder.mkdir()
    for name in ("1.log", "2.log"):
        (folder / name).write_bytes(b"x" * 1000)
    assert Figures(world.components, str(folder)).measure() == {"log_size": 2000}
    world.close()


def test_the_memory_of_a_process_that_is_gone_is_none() -> None:
    assert resident_bytes(os.getpid()) > 2**20
    assert resident_bytes(0) == 0
