"""``/+gc`` and ``/+evict``: who administers the server may have files removed, and see how far that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.web.web_asking import logged_in, nobody, with_api_token
from tests.web.web_world import World
from twistpi.gc.collector import Report
from twistpi.gc.eviction import Evicted
from twistpi.gc.evictor import Report as EvictionReport
from twistpi.gc.garbage import Collected
from twistpi.rules.permissions import Policy

Make = Callable[..., World]


@attrs.define(eq=False)
class FakeCollector:
    """Collects garbage when a test says so."""

    running: Report | None = None
    last: Report | EvictionReport | None = None
    asked: int = 0

    def ask(self) -> int:
        self.asked += 1
        self.running = Report(self.asked, Collected(0x123, 7, 1, 100, 2))
        return self.asked


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    worlds: list[World] = []

    def make_world(**settings: Any) -> World:
        folder = tmp_path / str(len(worlds))
        folder.mkdir()
        worlds.append(World(str(folder), **settings))
        worlds[-1].add_user("alice", "secret")
        return worlds[-1]

    yield make_world
    for world in worlds:
        world.close()


def test_root_begins_a_pass_and_sees_how_far_it_is(make: Make) -> None:
    collector = FakeCollector()
    root = logged_in(make(collector=collector), "root")
    assert root.get("/+gc").json()["result"] == {"running": None, "last": None, "folders": 4096}
    begun = root.ask("POST", "/+gc")
    assert begun.status == 202
    facts = {
        "number": 1, "ended": False, "failure": None,
        "swept": {"folders": 0x123, "blobs": 7, "removed": 1, "removed_bytes": 100, "young": 2},
    }  # fmt: skip
    assert begun.json() == {"type": "gc", "result": {"running": facts, "last": None, "folders": 4096, "number": 1}}
    collector.running, collector.last = None, Report(1, Collected(), ended=True, failure="the disk is gone")
    last = root.get("/+gc/").json()["result"]["last"]
    assert (last["ended"], last["failure"]) == (True, "the disk is gone")


def test_root_begins_an_eviction_and_sees_how_far_it_is(make: Make) -> None:
    root = logged_in(make(evictor=FakeCollector(last=EvictionReport(1, Evicted(), ended=True))), "root")
    last = {
        "number": 1,
        "ended": True,
        "failure": None,
        "evicted": dict.fromkeys(("examined", "cached_bytes", "files", "bytes"), 0),
    }
    assert root.get("/+evict").json() == {"type": "evict", "result": {"running": None, "last": last}}
    begun = root.ask("POST", "/+evict")
    assert (begun.status, begun.json()["result"]["number"]) == (202, 1)


@pytest.mark.parametrize("path", ["/+gc", "/+evict"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nobody_else_may(make: Make, method: str, path: str) -> None:
    collector = FakeCollector()
    world = make(collector=collector, evictor=collector)
    for person in (nobody(world), logged_in(world, "alice"), with_api_token(world, "root", "read", "upload")):
        answer = person.ask(method, path)
        assert answer.status == 403
        assert "no permission to administer this server" in answer.json()["message"]
    assert collector.asked == 0


def test_where_rights_are_restricted_those_who_have_them_may_and_root_still(make: Make) -> None:
    world = make(collector=FakeCollector(), policy=Policy(("alice",)))
    assert logged_in(world, "alice").ask("POST", "/+gc").status == 202
    assert logged_in(world, "root").ask("POST", "/+gc").status == 202


def test_where_nothing_is_collected_there_is_nothing(make: Make) -> None:
    assert logged_in(make(), "root").ask("POST", "/+gc").status == 404
