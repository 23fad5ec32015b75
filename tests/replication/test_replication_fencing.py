"""Servers that were primaries step back before a later epoch, however they learn of it, and remember that they did."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from tests.in_reactor import PATIENCE, in_reactor, wait_for
from tests.replication.fake_primary import FakePrimary, Spoken, client_for, reactor
from twistpi.http.agent import Agent
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import Epoch, FenceNote, Fork, Position, read_fence_note
from twistpi.model.server_errors import NotFenced, StrangePrimary, UnknownSerial
from twistpi.replication.fencing import Fencing, KnownFollowers, ServerFacts
from twistpi.replication.primary import Primary
from twistpi.replication.promotion import PromotionNotifier
from twistpi.rules.replication import Fence

LOG, OLD, NEW = "1" * 32, "a" * 32, "b" * 32
P = ParamSpec("P")
T = TypeVar("T")


def chain_of(serial: int) -> str:
    return f"{serial:064x}"


@attrs.define
class FakeLog:
    serial: int

    @property
    def last(self) -> Position:
        return self.position(self.serial)

    def position(self, serial: int) -> Position:
        if serial > self.serial:
            raise UnknownSerial(serial, 1, self.serial)
        return Position(serial, chain_of(serial), 1, serial * 100)


@attrs.define
class FakeGate:
    """Says what it was told; one last entry is finished when it is closed."""

    log: FakeLog
    under_way: int = 0
    told: list[str] = attrs.field(factory=list)
    reason: Exception | None = None
    waiting: list[Deferred[None]] | None = None
    """Who waits for what is under way, where that takes time."""

    def _finish(self) -> Deferred[None]:
        self.log.serial, self.under_way = self.log.serial + self.under_way, 0
        return succeed(None)

    def hold(self) -> Deferred[None]:
        self.told.append("hold")
        if self.waiting is None:
            return self._finish()
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def release(self) -> None:
        self.told.append("release")

    def deny(self, reason: Exception) -> Deferred[None]:
        self.told.append("deny")
        self.reason = reason
        return self._finish()


@attrs.define(eq=False)
class Server:
    """One of several servers, each of which the others can reach."""

    node: str
    serial: int
    role: str = "primary"
    epochs: list[tuple[int, str, int]] = attrs.field(factory=list)
    log_id: str = LOG
    primary_url: str | None = None
    written: list[Fence] = attrs.field(factory=list)
    heard: list[Fence] = attrs.field(factory=list)
    clock: Clock = attrs.field(factory=Clock)
    log: FakeLog = attrs.field(init=False)
    gate: FakeGate = attrs.field(init=False)
    site: FakePrimary = attrs.field(init=False)
    fencing: Fencing = attrs.field(init=False)
    agents: list[Agent] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.log = FakeLog(self.serial)
        self.gate = FakeGate(self.log)
        self.site = FakePrimary(self._answer).start()
        facts = ServerFacts(self.node, self.log_id, self.role, self.site.url, self.primary_url)

        def offload(work: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> Deferred[T]:
            return Deferred.fromCoroutine(_later(work, *arguments, **named))

        log: Any = self.log
        gate: Any = self.gate
        self.fencing = Fencing(facts, log, gate, lambda: self.epochs, self.clock, offload, self.written.append, self.heard.append)

    def reach(self, other: Server) -> Primary:
        client, agent = client_for(other.site.url)
        self.agents.append(agent)
        return Primary(other.site.url, self.node, client, Spoken(), lambda count: bytes(count))

    def promoted(self) -> FenceNote:
        """What it says once it was promoted behind what is here."""
        self.epochs.append((2, self.node, self.serial + 1))
        epoch_start = Epoch(2, self.node, Fork(self.serial, chain_of(self.serial)))
        self.log.serial += 1
        return FenceNote(self.node, LOG, epoch_start, self.site.url)

    def _answer(self, request: Any) -> None:
        Deferred.fromCoroutine(self._reply(request))

    async def _reply(self, request: Any) -> None:
        try:
            if request.method == b"POST":
                told = await self.fencing.note(read_fence_note(json.loads(self.site.seen[-1].body)))
            else:
                told = await self.fencing.peer()
            request.write(json.dumps(told.to_json()).encode())
        except NotFenced as error:
            request.setResponseCode(409)
            request.write(json.dumps({"reason": error.reason}).encode())
        request.finish()


async def _later(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    return work(*arguments, **named)


class Setup:
    """Makes servers, and ends them."""

    def __init__(self) -> None:
        self._servers: list[Server] = []

    def server(self, node: str, serial: int, **more: Any) -> Server:
        server = Server(node, serial, **more)
        self._servers.append(server)
        return server

    async def close(self) -> None:
        for server in self._servers:
            for agent in server.agents:
                agent.close()
            await server.site.stop()


@pytest.fixture
def setup() -> Iterator[Setup]:
    setup = Setup()
    yield setup
    wait_for(Deferred.fromCoroutine(setup.close()))


@in_reactor
async def test_a_primary_that_is_told_finishes_what_is_under_way_writes_the_fence_down_and_then_answers(setup: Setup) -> None:
    old, new = setup.server(OLD, 123), setup.server(NEW, 120)
    old.gate.under_way = 2
    note = new.promoted()
    told = await new.reach(old).notify(note, PATIENCE)
    fence = Fence(2, NEW, new.site.url, 120, 125)
    assert (told.fenced, told.serial) == (True, 125)
    assert old.written == old.heard == [fence]
    assert old.fencing.fence == fence
    assert isinstance(old.gate.reason, TwistpiError)
    assert "Entries 121 to 125 exist only here." in str(old.gate.reason)
    assert told.primary_url == new.site.url
    assert await new.reach(old).notify(note, PATIENCE) == told, "being told again changes nothing"
    assert set(old.written) == {fence}


@in_reactor
async def test_while_it_is_held_it_says_its_last_serial_and_goes_on_if_nothing_comes_of_it(setup: Setup) -> None:
    old, new = setup.server(OLD, 123), setup.server(NEW, 120)
    old.gate.under_way = 1
    epoch_start = Epoch(2, NEW, Fork(120, chain_of(120)))
    held = await new.reach(old).notify(FenceNote(NEW, LOG, epoch_start, new.site.url, hold=30), PATIENCE)
    assert (held.serial, held.fenced) == (124, False)
    old.clock.advance(29)
    assert old.gate.told == ["hold"]
    old.clock.advance(1)
    assert old.gate.told == ["hold", "release"]
    assert old.written == []


@in_reactor
async def test_a_hold_that_ends_in_a_promotion_is_not_released(setup: Setup) -> None:
    old, new = setup.server(OLD, 120), setup.server(NEW, 120)
    epoch_start = Epoch(2, NEW, Fork(120, chain_of(120)))
    await new.reach(old).notify(FenceNote(NEW, LOG, epoch_start, hold=30), PATIENCE)
    await new.reach(old).notify(new.promoted(), PATIENCE)
    old.clock.advance(60)
    assert "release" not in old.gate.told
    assert "Nothing exists only here." in str(old.gate.reason)


@in_reactor
async def test_who_knows_a_later_epoch_or_has_another_log_does_not_step_back(setup: Setup) -> None:
    new = setup.server(NEW, 120)
    new.promoted()
    late = FenceNote(OLD, LOG, Epoch(2, OLD, Fork(119, chain_of(119))))
    for note in (late, attrs.evolve(late, log_id="2" * 32), attrs.evolve(late, epoch_start=Epoch())):
        with pytest.raises(NotFenced):
            await setup.server("c" * 32, 1).reach(new).notify(note, PATIENCE)
    assert new.gate.told == []


@in_reactor
async def test_a_replica_takes_note_and_stays_what_it_is(setup: Setup) -> None:
    replica, new = setup.server("c" * 32, 110, role="replica"), setup.server(NEW, 120)
    told = await new.reach(replica).notify(new.promoted(), PATIENCE)
    assert (told.role, told.fenced) == ("replica", False)
    assert replica.gate.told == []


@in_reactor
async def test_a_follower_that_knows_a_later_epoch_fences_and_the_rest_is_learned_later(setup: Setup) -> None:
    old, new = setup.server(OLD, 123), setup.server(NEW, 120)
    old.fencing.epoch_seen(1)
    assert old.gate.told == []
    old.fencing.epoch_seen(2)
    assert old.fencing.fence == Fence(2, last=123)
    await new.reach(old).notify(new.promoted(), PATIENCE)
    assert old.written[-1] == old.fencing.fence == Fence(2, NEW, new.site.url, 120, 123)


@in_reactor
async def test_before_it_takes_writes_a_primary_asks_the_followers_it_knows(setup: Setup) -> None:
    old, new = setup.server(OLD, 125), setup.server(NEW, 120)
    other = setup.server("c" * 32, 118, role="replica")
    new.promoted()
    await old.fencing.start([old.reach(other), old.reach(new)])
    assert old.gate.told[0] == "hold"
    assert "release" not in old.gate.told
    assert old.fencing.fence == Fence(2, NEW, new.site.url, 120, 125)


@in_reactor
async def test_a_follower_of_the_promoted_server_is_enough(setup: Setup) -> None:
    old, new = setup.server(OLD, 125), setup.server(NEW, 120)
    new.promoted()
    other = setup.server("c" * 32, 121, role="replica", epochs=new.epochs, primary_url=new.site.url)
    await old.fencing.start([old.reach(other)])
    assert old.fencing.fence == Fence(2, NEW, new.site.url, 120, 125)


@in_reactor
async def test_a_primary_whose_followers_say_nothing_against_it_goes_on(setup: Setup) -> None:
    old, gone = setup.server(OLD, 125), setup.server(NEW, 120)
    to_gone = old.reach(gone)
    await gone.site.stop()
    foreign = setup.server("c" * 32, 130, log_id="2" * 32, epochs=[(5, "c" * 32, 100)])
    await old.fencing.start([to_gone, old.reach(foreign)])
    assert old.gate.told == ["hold", "release"]
    assert old.fencing.fence is None


@in_reactor
async def test_a_hold_that_comes_while_it_asks_is_not_ended_by_the_answers(setup: Setup) -> None:
    old, new = setup.server(OLD, 125), setup.server(NEW, 120, role="replica")
    asked: list[Any] = []
    answering, new.site.answering = new.site.answering, asked.append
    answered = Deferred.fromCoroutine(old.fencing.start([old.reach(new)]))
    await _until(Clock(), lambda: bool(asked))
    await new.reach(old).notify(FenceNote(NEW, LOG, Epoch(2, NEW, Fork(120, chain_of(120))), hold=30), PATIENCE)
    answering(asked[0])
    await answered
    assert "release" not in old.gate.told
    old.clock.advance(30)
    assert old.gate.told[-1] == "release"


@in_reactor
async def test_of_two_holds_that_come_at_once_the_later_one_counts(setup: Setup) -> None:
    old = setup.server(OLD, 125)
    old.gate.waiting = []
    note = FenceNote(NEW, LOG, Epoch(2, NEW, Fork(125, chain_of(125))))
    holds = [Deferred.fromCoroutine(old.fencing.note(attrs.evolve(note, hold=seconds))) for seconds in (10.0, 30.0)]
    for waiter in old.gate.waiting:
        waiter.callback(None)
    for hold in holds:
        await hold
    old.clock.advance(20)
    assert "release" not in old.gate.told
    old.clock.advance(10)
    assert old.gate.told == ["hold", "hold", "release"]


@in_reactor
async def test_a_primary_that_knows_nobody_takes_writes_at_once_and_a_fenced_one_never(setup: Setup) -> None:
    alone = setup.server(OLD, 125)
    await alone.fencing.start([])
    assert alone.gate.told == []
    alone.fencing.fence = Fence(2, NEW, None, 120, 125)
    await alone.fencing.start([])
    assert alone.gate.told == ["deny"]
    assert {measure.name: measure.value for measure in alone.fencing.measures()} == {"twistpi_epoch": 1, "twistpi_fenced": 1}


@in_reactor
async def test_what_is_no_server_of_ours_is_told_apart(setup: Setup) -> None:
    old = setup.server(OLD, 125)
    strange = FakePrimary(lambda request: (request.write(b'{"node_id": 7}'), request.finish())[-1]).start()
    client, agent = client_for(strange.url)
    with pytest.raises(StrangePrimary):
        await Primary(strange.url, old.node, client, Spoken(), lambda count: bytes(count)).peer(PATIENCE)
    agent.close()
    await strange.stop()


async def _until(clock: Clock, condition: Callable[[], bool]) -> None:
    """Let the real reactor turn until ``condition``, moving ``clock`` along."""
    while not condition():
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.005, turn.callback, None)
        await turn
        clock.advance(0.5)


def notifier(there: Server, here: Server, clock: Clock, done: list[bool]) -> PromotionNotifier:
    """What tells ``there``, begun."""

    async def note_done() -> None:
        done.append(True)

    made = PromotionNotifier(here.reach(there), here.fencing, note_done, clock)
    made.start()
    return made


@in_reactor
async def test_the_former_primary_is_told_until_it_answers(setup: Setup) -> None:
    old, new = setup.server(OLD, 125), setup.server(NEW, 120)
    new.promoted()
    silent: list[Any] = []
    answering = old.site.answering

    def hang_up(request: Any) -> None:
        silent.append(request)
        request.channel.abortConnection()

    old.site.answering = hang_up
    clock, done = Clock(), list[bool]()
    telling = notifier(old, new, clock, done)
    await _until(clock, lambda: len(silent) >= 3)
    assert (done, old.written) == ([], [])
    old.site.answering = answering
    await _until(clock, lambda: bool(done))
    assert old.fencing.fence is not None
    assert (len(done), new.fencing.fence) == (1, None)
    telling.stop()


@in_reactor
async def test_of_two_promoted_servers_the_one_that_is_not_heeded_steps_back_itself(setup: Setup) -> None:
    late, new = setup.server(OLD, 119), setup.server(NEW, 120)
    for server in (new, late):
        server.promoted()
    done = list[bool]()
    telling = notifier(new, late, Clock(), done)
    await _until(Clock(), lambda: bool(late.written))
    assert late.fencing.fence == Fence(2, NEW, new.site.url, 120, 120)
    assert (done, new.fencing.fence) == ([True], None)
    telling.stop()


def test_followers_are_remembered_over_a_restart_the_last_ones_when_there_are_many(tmp_path: Path) -> None:
    known = KnownFollowers.open(str(tmp_path))
    assert known.urls == {}
    known.came(OLD, None)
    assert not (tmp_path / "followers.json").exists()
    for number in range(105):
        known.came(f"{number:032x}", f"http://replica-{number}.example")
    known.came(f"{104:032x}", "http://elsewhere.example")
    again = KnownFollowers.open(str(tmp_path)).urls
    assert again == known.urls
    assert len(again) == 100
    assert again[f"{104:032x}"] == "http://elsewhere.example"
    (tmp_path / "followers.json").write_bytes(b"[1, 2")
    assert KnownFollowers.open(str(tmp_path)).urls == {}
