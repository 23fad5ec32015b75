"""The page about the server: what everybody sees of it, and what administrators do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogLevel

from tests.web.web_asking import Person, add_stage, logged_in, nobody
from tests.web.web_world import MIRROR, NOW, MakeWorld, World, link
from twistpi.model.monitoring import Check, ConfiguredSetting, Measure
from twistpi.statistics.database import StatisticsFile
from twistpi.statistics.download_tables import add_rows
from twistpi.statistics.downloads import Downloads
from twistpi.statistics.failures import RecentFailures
from twistpi.statistics.history import History, Reading
from twistpi.statistics.tally import Tally

LEVEL = LogLevel.warn
BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture
def world(make_world: MakeWorld, tmp_path: Path) -> World:
    """A server with a history of two minutes, downloads from an open and a closed index, a worker, and a failure."""
    file = StatisticsFile(str(tmp_path / "statistics.sqlite"))
    failures = RecentFailures()
    world = make_world(
        downloads=Downloads(file, tally=Tally()),
        failures=failures,
        settings=[ConfiguredSetting("The server", "port", "4040", "the command line, --port")],
        checking=[lambda: [Check("disk", False, "Only 1 MiB of the disk are free: make room.")]],
        measuring=[
            lambda: [
                Measure("twistpi_worker_connections", "gauge", "", 17, (("worker", "1"),)),
                Measure("twistpi_cached_bytes", "gauge", "", 3 << 30, (("index", MIRROR),)),
                Measure("twistpi_evicted_bytes", "counter", "", 1 << 30),
            ]
        ],
    )
    parts = world.components
    parts.downloads._now = parts.now
    requests = iter(range(0, 1000, 120))
    offload: Any = lambda work, *arguments: world.offload(work, *arguments)  # noqa: E731
    parts.history = History(file, world.clock, offload, lambda: Reading({"requests": next(requests)}, {"memory": 2**20}))
    parts.history.start()
    world.clock.pump([60, 60])
    world.add_user("root", "secret")
    world.add_user("alice", "secret")
    add_stage(world, "alice/closed", acl_read=["alice"])
    for index, project in ((MIRROR, "demo"), ("alice/closed", "hush")):
        world.list_links(project, [link(f"{project}-1.0.zip")], index=index)
    rows = [
        (MIRROR, "demo", "demo-1.0.zip", "pip", "24.0", "", 5),
        ("alice/closed", "hush", "hush-1.0.zip", "pip", "24.0", "", 7),
    ]
    file.write(lambda connection: add_rows(connection, parts.now().date().isoformat(), rows))
    failures({"log_namespace": "twistpi.x", "log_level": LEVEL, "log_format": "the <upstream> failed", "log_time": NOW})
    return world


def page(person: Person, query: str = "") -> str:
    answer = person.get(f"/+status{query}", accept=BROWSER)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.body.decode()


def test_everybody_sees_how_the_server_is_and_nothing_of_its_use(world: World) -> None:
    for person in (nobody(world), logged_in(world, "alice")):
        shown = page(person)
        assert "Only 1 MiB of the disk are free" in shown
        assert "not ready" in shown
        for secret in ("4040", "--port", "upstream&gt; failed", "per minute", "Worker", "Recent failures"):
            assert secret not in shown, secret


def test_downloads_are_those_of_indexes_that_the_reader_may_read(world: World) -> None:
    assert "hush" not in page(nobody(world))
    assert "5 in 30 days" in page(nobody(world))
    shown = page(logged_in(world, "alice"))
    assert "12 in 30 days" in shown
    assert shown.index("hush") < shown.index(">demo<")


def test_administrators_see_charts_workers_failures_and_settings(world: World) -> None:
    root = logged_in(world, "root")
    shown = page(root)
    for told in ("120 per minute", "1 MiB", "the &lt;upstream&gt; failed", "4040", "the command line, --port", "17", MIRROR):
        assert told in shown, told
    assert "3 GiB; 1 GiB evicted since the start" in shown
    assert "The last day" in shown
    assert "The last month" in page(root, "?span=month")
    assert len(shown) < 300_000


def test_a_server_that_keeps_nothing_has_a_page_too(make_world: MakeWorld) -> None:
    world = make_world()
    world.add_user("root", "secret")
    assert "Downloads" not in page(nobody(world))
    assert "None since the server was started." in page(logged_in(world, "root"))


def test_programs_get_what_they_got_before(world: World) -> None:
    for accept in ("*/*", "application/json"):
        assert nobody(world).get("/+status", accept=accept).json()["type"] == "status"
