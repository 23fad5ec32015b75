"""A view that lacks much is brought up to date while the ports are open; they say how far it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
import treq
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

from tests.in_reactor import in_reactor, until, wait_for
from twistpi.changelog.compaction import find_cut
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.cli.compaction import make_summary
from twistpi.model.changes import UserCreated, UserModified
from twistpi.model.codec import encode_content
from twistpi.model.server_errors import LogDamaged
from twistpi.server.application import Application
from twistpi.server.directory import ServerDirectory
from twistpi.server.node import read_node
from twistpi.server.process import Process
from twistpi.server.server import Server
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage
from twistpi.view.database import drop_view
from twistpi.web.transport.connections import Connections

reactor: Any = _reactor
ENTRIES = 9_000
"""Beside the first one: two transactions of 4,000, and a last one."""


def _now() -> datetime:
    return datetime(2026, 3, 14, tzinfo=UTC)


def _settings(path: Path) -> Settings:
    return Settings(serverdir=str(path), no_root_pypi=True, bcrypt_cost=4)


@attrs.define(eq=False)
class Scene:
    """A server over a log that its view lacks, held after each transaction of the thread that folds."""

    path: Path
    damaged: bool = False
    """Whether a line changes on the disk once the log is open."""
    is_compacted: bool = False
    """Whether a summary stands for all but the last entries."""
    server: Server = attrs.field(init=False)
    port: Any = attrs.field(init=False)
    answering: Deferred[Application] = attrs.field(factory=Deferred, init=False)
    failures: list[Exception] = attrs.field(factory=list, init=False)
    seen: list[tuple[int, int]] = attrs.field(factory=list, init=False)
    going_on: threading.Event = attrs.field(factory=threading.Event, init=False)

    def __attrs_post_init__(self) -> None:
        storage = Storage.open(_settings(self.path), _now, Disk())
        bodies = (encode_content("2026-03-14T00:00:00Z", "root", [UserCreated(f"user{number}")]) for number in range(ENTRIES))
        storage.changelog.append(list(bodies), expect=1)
        storage.close()
        if self.is_compacted:
            _compact(self.path)
        process = Process(reactor, {}, _now, self.failures.append, lambda: None)
        rest = (Disk(), lambda _storage: None, self.answering.callback, Connections(reactor))
        self.server = Server(_settings(self.path), process, *rest, folded=self._fold, patience=0.0)
        self.server.open()
        self.port = reactor.listenTCP(0, self.server.factory, interface="127.0.0.1")

    def _fold(self, serial: int, last: int) -> None:
        self.seen.append((serial, last))
        if threading.current_thread() is not threading.main_thread():
            assert serial == 0 or self.going_on.wait(60), "nothing is folded while the digest is computed"
        elif self.damaged:
            (segment,) = (self.path / "changelog").iterdir()
            segment.write_bytes(segment.read_bytes().replace(b'"user8500"', b'"user850x"'))

    async def get(self, path: str, accept: str = "*/*") -> tuple[int, Any, Any]:
        """Status, headers and body."""
        url = f"http://127.0.0.1:{self.port.getHost().port}{path}"
        answer = await treq.get(url, headers=Headers({"Accept": [accept]}), persistent=False)
        return answer.code, answer.headers, await (treq.json_content(answer) if "json" in accept else treq.text_content(answer))

    async def close(self) -> None:
        self.going_on.set()
        await self.port.stopListening()
        await self.server.stop()


def _compact(path: Path) -> None:
    """Have a summary of a few MiB, which no view has."""
    folder = str(path / "changelog")
    with closing(FileChangelog.open(folder, Disk(), segment_limit=1)) as log:
        users = [UserModified(f"user{number}", {"description": "long " * 60}) for number in range(ENTRIES)]
        log.append([encode_content("2026-03-14T00:00:00Z", "root", users)], log.last.serial)
        log.append([encode_content("2026-03-14T00:00:00Z", "root", [UserCreated("last")])], log.last.serial)
        cut = find_cut(folder, Disk(), log.last.serial)
        node = read_node(str(path))
        assert cut is not None
        assert node is not None
        log.compact(cut.serial, make_summary(folder, node.log_id, cut, lambda _done, _total: None))
    drop_view(str(path / "view.sqlite"))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "data")
    yield scene
    wait_for(Deferred.fromCoroutine(scene.close()))


@in_reactor
async def test_clients_are_told_how_far_it_is_and_when_to_come_back_until_it_answers(scene: Scene) -> None:
    await until(lambda: len(scene.seen) == 2)
    status, headers, text = await scene.get("/root/pypi/+simple/six/")
    assert (status, text) == (
        503,
        "This server is rebuilding its view from the changelog, 88 % so far. Try again in a moment.\n",
    )
    assert 1 <= int(headers.getRawHeaders("Retry-After")[0]) <= 60
    status, _headers, ready = await scene.get("/+ready", "application/json")
    assert (status, ready["ready"], ready["checks"][0]["result"]) == (503, False, "failed")
    assert "88 %" in ready["checks"][0]["message"]
    assert (await scene.get("/+health"))[0] == 200
    told = (await scene.get("/+status", "application/json"))[2]["result"]
    assert (told["role"], told["rebuilding"]) == ("MASTER", {"serial": 8001, "last-serial": ENTRIES + 1, "percent": 88})
    scene.going_on.set()
    await scene.answering
    assert (await scene.get(f"/user{ENTRIES - 1}", "application/json"))[0] == 200
    assert scene.seen == [(4001, ENTRIES + 1), (8001, ENTRIES + 1), (ENTRIES + 1, ENTRIES + 1)]


@in_reactor
async def test_a_server_that_is_told_to_stop_ends_in_order_and_the_next_one_goes_on_from_there(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "data")
    await until(lambda: len(scene.seen) == 2)
    stopping = Deferred.fromCoroutine(scene.server.stop())
    scene.going_on.set()
    await stopping
    await scene.port.stopListening()
    assert not scene.answering.called
    assert scene.failures == []
    storage = Storage.over(ServerDirectory.open(str(scene.path)), _settings(scene.path), _now, Disk())
    assert (storage.view.position.serial, storage.missing) == (8001, ENTRIES - 8000)
    storage.close()


@in_reactor
async def test_damage_that_is_found_then_ends_the_server_with_its_place(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "data", damaged=True)
    scene.going_on.set()
    await until(lambda: scene.failures)
    (failure,) = scene.failures
    assert isinstance(failure, LogDamaged)
    assert failure.serial == 8502
    assert not scene.answering.called
    assert scene.seen[-1] == (8001, ENTRIES + 1)
    await scene.close()


@in_reactor
async def test_a_summary_is_folded_with_a_percentage_and_the_next_start_goes_on_within_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "data", is_compacted=True)
    await until(lambda: sum(serial > 0 for serial, _last in scene.seen) == 1)
    status, headers, text = await scene.get("/root/pypi/+simple/six/")
    percent = 100 * scene.seen[-1][0] // (ENTRIES + 3)
    assert (status, f"{percent} % so far" in text, 1 <= percent < 100) == (503, True, True)
    assert 1 <= int(headers.getRawHeaders("Retry-After")[0]) <= 60
    assert f"{percent} %" in (await scene.get("/+ready", "application/json"))[2]["checks"][0]["message"]
    stopping = Deferred.fromCoroutine(scene.server.stop())
    scene.going_on.set()
    await stopping
    await scene.port.stopListening()

    storage = Storage.over(ServerDirectory.open(str(scene.path)), _settings(scene.path), _now, Disk())
    assert storage.folded == scene.seen[-1][0], "what was folded is kept"
    assert storage.view.position.serial == 0
    storage.catch_up()
    assert storage.folded == storage.changelog.last.serial == ENTRIES + 3
    whole = [user.name for user in storage.view.reader.users()]
    assert sorted(whole) == sorted(["root", "last", *(f"user{number}" for number in range(ENTRIES))])
    storage.close()
    assert [serial for serial, _last in scene.seen] == sorted(serial for serial, _last in scene.seen)
