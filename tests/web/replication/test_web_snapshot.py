"""Snapshots of the view for new replicas: made once for many, given out in parts, and removed when nobody asks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.web.web_asking import ask_raw
from tests.web.web_wire import Answer
from tests.web.web_world import NOW, World, at_once, link
from twistpi.auth.tokens import NodeTokens
from twistpi.model.errors import TwistpiError
from twistpi.view.database import FOLD_VERSION, dump
from twistpi.web.replication.authentication import NodeAuthenticator
from twistpi.web.replication.snapshots import KEPT, SHARED, Snapshot, Snapshots

NODE = "5" * 32
TOKENS = NodeTokens(b"s" * 32)


class Site:
    """A site with snapshots, and another server that asks for one."""

    def __init__(self, folder: Path) -> None:
        self.view = str(folder / "view.sqlite")
        self.incoming = folder / "kept"
        self.incoming.mkdir()
        self.clock = Clock()
        self.elapsed = 7.0
        self.nodes = NodeAuthenticator(TOKENS, lambda: self.elapsed, NOW)
        self._nonces = iter(range(10**9))
        self.snapshots = self.of(at_once)
        self.world = World(str(folder), nodes=self.nodes, snapshots=self.snapshots)
        self.snapshots.start()

    def of(self, offload: Callable[..., Deferred[Any]]) -> Snapshots:
        """Snapshots that are made by ``offload``."""
        return Snapshots(self.view, str(self.incoming), self.clock, offload, os.urandom)

    def ask(self, method: str, target: str, **headers: str) -> Answer:
        """What another server is answered."""
        self.elapsed += 1.5
        token = TOKENS.make(NODE, method, target, self.nodes.now(), f"{next(self._nonces):x}")
        return ask_raw(self.world, method, target, b"", {"authorization": f"Twistpi-Node {token}", **headers})

    def files(self) -> int:
        """How many are kept."""
        return len(list(self.incoming.iterdir()))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.snapshots.stop()
    made.world.close()


@pytest.mark.directory("tells the place in a log of its own")
def test_a_snapshot_is_the_view_with_its_place_in_the_log(site: Site, tmp_path: Path) -> None:
    site.world.list_links("demo", [link("demo-1.tar.gz")])
    answer = site.ask("POST", "/+snapshot")
    told = answer.json()
    assert answer.status == 200
    assert {name: told[name] for name in ("serial", "chain", "segment", "offset", "fold_version", "log_id")} == {
        "serial": 2, "chain": f"{2:064x}", "segment": 1, "offset": 2, "fold_version": FOLD_VERSION, "log_id": "1" * 32,
    }  # fmt: skip
    content = site.ask("GET", f"/+snapshot/{told['id']}").body
    assert (len(content), hashlib.sha256(content).hexdigest()) == (told["size"], told["sha256"])
    copy = tmp_path / "copied.sqlite"
    copy.write_bytes(content)
    assert list(dump(str(copy))) == list(dump(site.view))


def test_a_snapshot_comes_in_parts(site: Site) -> None:
    told = site.ask("POST", "/+snapshot").json()
    target = f"/+snapshot/{told['id']}"
    whole = site.ask("GET", target)
    etag = whole.headers["etag"]
    part = site.ask("GET", target, range="bytes=1000-1999", if_range=etag)
    assert (part.status, part.body, part.headers["content-range"]) == (
        206, whole.body[1000:2000], f"bytes 1000-1999/{told['size']}",
    )  # fmt: skip
    assert site.ask("GET", target, range="bytes=1000-", if_range='"another"').body == whole.body
    assert site.ask("HEAD", target).headers["content-length"] == str(told["size"])
    assert site.ask("GET", target, range=f"bytes={told['size']}-").status == 416


def test_a_snapshot_is_shared_for_a_minute_and_removed_after_an_hour_that_nobody_asked(site: Site) -> None:
    first = site.ask("POST", "/+snapshot").json()
    site.world.list_links("demo", [link("demo-1.tar.gz")])
    site.clock.advance(SHARED - 1)
    assert site.ask("POST", "/+snapshot").json() == first
    site.clock.advance(1)
    second = site.ask("POST", "/+snapshot").json()
    assert second["serial"] == first["serial"] + 1
    assert site.files() == 2
    site.clock.pump([60] * 59)
    assert site.ask("GET", f"/+snapshot/{first['id']}").status == 200
    site.clock.pump([60] * 10)
    assert site.files() == 1
    gone = site.ask("GET", f"/+snapshot/{second['id']}")
    assert gone.status == 404
    assert gone.json()["message"].startswith("There is no snapshot")
    assert site.ask("GET", f"/+snapshot/{first['id']}").status == 200
    site.snapshots.stop()
    assert site.files() == 0


def test_no_more_than_three_are_kept(site: Site) -> None:
    ids = []
    for _ in range(6):
        ids.append(site.ask("POST", "/+snapshot").json()["id"])
        site.clock.advance(SHARED)
    assert len(set(ids)) == site.files() == 3
    assert ids[2:] == [ids[2]] * 4, "the newest is shared, however old"


def test_one_that_is_being_sent_stays(site: Site) -> None:
    told = site.ask("POST", "/+snapshot").json()
    snapshot = site.snapshots.find(told["id"])
    body = site.snapshots.read(snapshot)
    site.clock.pump([300] * 30)
    assert site.snapshots.find(told["id"]) is snapshot
    body.close()
    site.snapshots.was_read(snapshot)
    site.clock.pump([300] * 13)
    with pytest.raises(TwistpiError, match="There is no snapshot"):
        site.snapshots.find(told["id"])


def test_one_whose_file_is_gone_has_no_reader(site: Site) -> None:
    name = site.ask("POST", "/+snapshot").json()["id"]
    snapshot = site.snapshots.find(name)
    os.remove(snapshot.copy.path)
    with pytest.raises(FileNotFoundError):
        site.snapshots.read(snapshot)
    assert snapshot.readers == 0


def slow_threads() -> tuple[list[tuple[Deferred[Any], Callable[[], Any]]], Callable[..., Deferred[Any]]]:
    """Work that was begun, each with what it fires at its end; and what begins it."""
    started: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def later(work: Callable[[], Any]) -> Deferred[Any]:
        started.append((Deferred(), work))
        return started[-1][0]

    return started, later


def test_one_is_made_at_a_time_for_all_who_wait_and_whoever_leaves_stops_nothing(site: Site) -> None:
    started, later = slow_threads()
    snapshots = site.of(later)
    waiting = [Deferred.fromCoroutine(snapshots.get()) for _ in range(3)]
    waiting[0].addErrback(lambda _: None)
    waiting[0].cancel()
    assert len(started) == 1
    started[0][0].callback(started[0][1]())
    results: list[Snapshot] = []
    for waiter in waiting[1:]:
        waiter.addCallback(results.append)
    assert len(results) == 2
    assert results[0] is results[1]
    stopped = Deferred.fromCoroutine(site.of(later).get())
    assert not stopped.called
    snapshots.stop()


def test_a_snapshot_that_was_being_made_when_the_server_stopped_is_removed(site: Site) -> None:
    started, later = slow_threads()
    snapshots = site.of(later)
    Deferred.fromCoroutine(snapshots.get())
    snapshots.stop()
    started[0][0].callback(started[0][1]())
    assert site.files() == 0


def test_where_there_is_no_room_the_asker_is_told(site: Site) -> None:
    site.incoming.rmdir()
    answer = site.ask("POST", "/+snapshot")
    assert (answer.status, answer.json()["error"]) == (507, "StorageFull")


def test_nobody_else_gets_a_snapshot(site: Site) -> None:
    told = site.ask("POST", "/+snapshot").json()
    for method, target in (("POST", "/+snapshot"), ("GET", f"/+snapshot/{told['id']}"), ("GET", "/+snapshot/x")):
        answer = ask_raw(site.world, method, target)
        assert (answer.status, answer.json()["reason"]) == (403, "missing")
        other = TOKENS.make(NODE, method, "/+snapshot/y", site.nodes.now(), "ff")
        answer = ask_raw(site.world, method, target, b"", {"authorization": f"Twistpi-Node {other}"})
        assert (answer.status, answer.json()["reason"]) == (403, "other request")
    assert site.files() == 1
    assert KEPT > SHARED
