"""Uploads that meet each other, a removal, or the end of their connection, at every moment at which they can."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, maybeDeferred

from tests.web.web_asking import Person, basic, serial_of
from tests.web.web_uploads import DEV, NAME, PROD, TYPE, files, form, wheel, with_stages
from tests.web.web_wire import Answer, Wire, read_answer
from tests.web.web_world import World, sha256
from twistpi.model.server_errors import StorageFull, SyncFailed

STEPS = 3
"""The pieces of work of one upload that happen in threads: reading, looking into it, keeping the wheel with its metadata."""


@attrs.define(eq=False)
class Threads:
    """Threads that do nothing until a test says so; whose work it is, is told by who waits for it."""

    turn: str = ""
    """Who is at work in the reactor."""
    held: dict[str, list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]]] = attrs.field(factory=dict)

    def offload(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        waiter: Deferred[Any] = Deferred()
        self.held.setdefault(self.turn, []).append((waiter, work, arguments))
        return waiter

    def step(self, who: str) -> None:
        """Do the next piece of work of ``who``, if there is one."""
        self.turn = who
        if self.held.get(who):
            waiter, work, arguments = self.held[who].pop(0)
            done = maybeDeferred(work, *arguments)
            if waiter.called:  # nobody waits any more
                done.addErrback(lambda _: None)
            else:
                done.addBoth(waiter.callback)


@attrs.define(eq=False)
class Meeting:
    """A server and those who upload to it."""

    world: World
    alice: Person
    threads: Threads
    number: int = 0

    @property
    def version(self) -> str:
        return f"{self.number}.0"

    @property
    def filename(self) -> str:
        return f"demo_pkg-{self.version}-py3-none-any.whl"

    def begin(self, who: str, index: str, payload: bytes) -> Wire:
        """Send a wheel of the present version; the answer will take its time."""
        body = form(self.filename, wheel(self.version, payload), version=self.version)
        assert self.alice.credentials is not None
        head = (
            f"POST /{index}/ HTTP/1.1\r\nHost: devpi.example\r\nContent-Type: {TYPE}\r\nContent-Length: {len(body)}\r\n"
            f"X-Devpi-Auth: {basic(self.alice.credentials)}\r\n\r\n"
        )
        wire = Wire(self.world)
        self.threads.turn = who
        assert wire.send(head.encode() + body) == b""
        return wire

    def finish(self, *everybody: str) -> None:
        for _ in range(3 * STEPS):
            for who in everybody:
                self.threads.step(who)
        assert not any(self.threads.held.values())
        assert os.listdir(Path(self.world.folder) / "incoming") == []


def answer_of(wire: Wire) -> Answer:
    return read_answer(bytes(wire.transport.value()))


@pytest.fixture
def meeting(tmp_path: Path) -> Iterator[Meeting]:
    threads = Threads()
    world = World(str(tmp_path), offload=threads.offload)
    yield Meeting(world, with_stages(world), threads)
    world.close()


def schedules(meeting: Meeting) -> Iterator[str]:
    """Every order in which the steps of ``a`` and ``b`` can come, each with a version of its own."""
    for places in combinations(range(2 * STEPS), STEPS):
        meeting.number += 1
        yield "".join("a" if place in places else "b" for place in range(2 * STEPS))


def test_of_two_uploads_of_one_name_one_wins_where_nothing_is_replaced(meeting: Meeting) -> None:
    for schedule in schedules(meeting):
        wires = {who: meeting.begin(who, PROD, who.encode()) for who in "ab"}
        for who in schedule:
            meeting.threads.step(who)
        meeting.finish("a", "b")
        statuses = {who: answer_of(wire).status for who, wire in wires.items()}
        assert sorted(statuses.values()) == [200, 409], schedule
        (winner,) = [who for who, status in statuses.items() if status == 200]
        digest = sha256(wheel(meeting.version, winner.encode()))
        assert files(meeting.world, PROD)[meeting.filename]["hashes"] == {"sha256": digest}


def test_R80_two_uploads_of_the_same_bytes_succeed_and_are_one_entry(meeting: Meeting) -> None:
    for schedule in schedules(meeting):
        before = serial_of(meeting.world)
        wires = [meeting.begin(who, PROD, b"same") for who in "ab"]
        for who in schedule:
            meeting.threads.step(who)
        meeting.finish("a", "b")
        assert [answer_of(wire).status for wire in wires] == [200, 200]
        assert serial_of(meeting.world) == before + 1, schedule


def test_of_two_uploads_of_one_name_the_later_stays_where_files_are_replaced(meeting: Meeting) -> None:
    for schedule in schedules(meeting):
        wires = [meeting.begin(who, DEV, who.encode()) for who in "ab"]
        for who in schedule:
            meeting.threads.step(who)
        meeting.finish("a", "b")
        assert [answer_of(wire).status for wire in wires] == [200, 200]
        shown = files(meeting.world, DEV)[meeting.filename]
        digests = {sha256(wheel(meeting.version, who.encode())) for who in "ab"}
        (other,) = digests - {shown["hashes"]["sha256"]}
        path = f"/{DEV}/+f/{other[:3]}/{other[3:16]}/{meeting.filename}"
        assert [Wire(meeting.world).ask(one).status for one in (f"/{DEV}/{shown['url'][6:]}", path)] == [200, 410]


def test_an_upload_and_the_removal_of_its_project_come_one_after_the_other(meeting: Meeting) -> None:
    world = meeting.world
    for moment in range(STEPS + 2):
        meeting.number += 1
        first = meeting.begin("a", DEV, b"first")
        meeting.finish("a")
        meeting.number += 1
        second = meeting.begin("a", DEV, b"second")
        for _ in range(moment):
            meeting.threads.step("a")
        assert meeting.alice.ask("DELETE", f"/{DEV}/{NAME}").status == 200
        meeting.finish("a")
        assert [answer_of(wire).status for wire in (first, second)] == [200, 200]
        if moment < STEPS:
            assert list(files(world, DEV)) == [meeting.filename]
            assert meeting.alice.ask("DELETE", f"/{DEV}/{NAME}").status == 200
        assert Wire(world).ask(f"/{DEV}/+simple/{NAME}/").status == 404


def test_an_upload_to_an_index_that_goes_away_is_refused(meeting: Meeting) -> None:
    for moment in range(STEPS):
        meeting.number += 1
        meeting.alice.ask("PUT", "/alice/brief", {})
        wire = meeting.begin("a", "alice/brief", b"")
        for _ in range(moment):
            meeting.threads.step("a")
        assert meeting.alice.ask("DELETE", "/alice/brief").status == 201
        meeting.finish("a")
        assert answer_of(wire).status == 404


def test_who_leaves_has_uploaded_all_or_nothing(meeting: Meeting) -> None:
    outcomes = []
    for moment in range(STEPS + 1):
        meeting.number += 1
        wire = meeting.begin("a", DEV, b"")
        for _ in range(moment):
            meeting.threads.step("a")
        wire.lose()
        meeting.finish("a")
        page = Wire(meeting.world).ask(f"/{DEV}/+simple/{NAME}/")
        outcomes.append(page.status == 200 and meeting.filename.encode() in page.content)
    assert outcomes == [False, False, True, True]


@pytest.mark.parametrize("error", [StorageFull("+files", "no room"), SyncFailed("+files", "the disk is broken")])
def test_an_upload_that_cannot_be_kept_changes_nothing(meeting: Meeting, error: Exception) -> None:
    meeting.number += 1
    told: list[Exception] = []
    meeting.world.components.storage.fail = told.append
    before = serial_of(meeting.world)
    wire = meeting.begin("a", DEV, b"")
    meeting.threads.step("a")
    meeting.threads.step("a")
    (waiter, _keep, _arguments) = meeting.threads.held["a"].pop()
    waiter.errback(error)
    meeting.finish("a")
    assert answer_of(wire).status >= 500
    assert serial_of(meeting.world) == before
    assert told == ([error] if isinstance(error, SyncFailed) else [])
