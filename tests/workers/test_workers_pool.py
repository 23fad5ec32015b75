"""The pool of workers: restarted with growing pauses, stopped together; without any, the first process answers."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twistpi.gc.access_times import AccessTimes
from twistpi.model.changes import IndexDeleted
from twistpi.server.announcements import Announcements
from twistpi.server.settings import Settings
from twistpi.web.components import NodeFacts
from twistpi.web.pages import Invalidation, InvalidationKind
from twistpi.web.refused_requests import RefusedRequests
from twistpi.web.traffic import Traffic
from twistpi.workers.control_channel import ASKED_FOR, READY, REFUSED, STOP, TRAFFIC, encode_message
from twistpi.workers.pool import WorkerPool
from twistpi.workers.shared_state import SharedState, Slot

DIED = Failure(ProcessTerminated(signal=9))


@attrs.define(eq=False)
class FakeProcess:
    """A process as far as its parent sees it."""

    protocol: Any
    descriptors: dict[int, Any]
    said: bytes = b""
    killed: bool = False
    pid: int = 0

    def write(self, data: bytes) -> None:
        self.said += data

    def signalProcess(self, number: int) -> None:
        self.killed = True
        self.protocol.processEnded(DIED)

    def ready(self) -> None:
        self.protocol.outReceived(encode_message({READY: 4711}))

    def die(self) -> None:
        self.protocol.processEnded(DIED)


class FakeReactor(Clock):
    """Spawns processes that do nothing by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.refuses = False

    def listenUNIX(self, _path: str, _factory: object, **_more: object) -> Any:
        return SimpleNamespace(stopListening=lambda: None)

    def spawnProcess(self, protocol: Any, *words: Any, childFDs: dict[int, Any]) -> FakeProcess:
        if self.refuses:
            raise OSError("no more processes")
        self.processes.append(FakeProcess(protocol, childFDs))
        return self.processes[-1]


class FakePort:
    """A port that can be left alone."""

    connected = True
    disconnecting = False

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.fileno = self.socket.fileno
        self.reads = True

    def startReading(self) -> None:
        self.reads = True

    def stopReading(self) -> None:
        self.reads = False


@pytest.fixture
def reactor() -> FakeReactor:
    return FakeReactor()


@pytest.fixture
def port() -> Iterator[FakePort]:
    made = FakePort()
    yield made
    made.socket.close()


def make_application() -> Any:
    """As much of ``server.application.Application`` as the workers' pool uses."""
    components = SimpleNamespace(
        trusted_peers=SimpleNamespace(workers_at=None),
        traffic=Traffic(),
        downloads=SimpleNamespace(tally=None),
        access_times=AccessTimes(),
        policies=SimpleNamespace(refused=RefusedRequests()),
        measuring=[],
        responder=SimpleNamespace(serial=7),
        node=NodeFacts("1" * 32),
        mirrors=SimpleNamespace(offline=False),
        advisories=SimpleNamespace(loader=SimpleNamespace(listeners=[])),
    )
    return SimpleNamespace(components=components, announcements=Announcements(), site=None)


@pytest.fixture
def application() -> Any:
    return make_application()


@pytest.fixture
def pool(reactor: FakeReactor, port: FakePort, application: Any, tmp_path: Path) -> WorkerPool:
    """A pool whose two workers were started."""
    fake: Any = reactor
    ports: Any = {"tcp:0": port}
    made = WorkerPool(Settings(serverdir=str(tmp_path), workers=2), fake)
    made.start(application, ports)
    assert len(reactor.processes) == 2
    return made


def state_of(pool: WorkerPool) -> SharedState:
    assert pool.shared_state is not None
    return pool.shared_state


def test_the_first_process_serves_until_a_worker_does_and_while_none_does(
    pool: WorkerPool, reactor: FakeReactor, port: FakePort
) -> None:
    first, second = reactor.processes
    assert port.reads
    first.ready()
    assert not port.reads
    second.ready()
    first.die()
    assert not port.reads
    second.die()
    assert port.reads


def test_workers_inherit_the_shared_memory_and_the_sockets(pool: WorkerPool, reactor: FakeReactor, port: FakePort) -> None:
    for process in reactor.processes:
        assert process.descriptors == {0: "w", 1: "r", 2: "r", 3: state_of(pool).descriptor, 4: port.fileno()}


def pauses(reactor: FakeReactor, times: int) -> list[float]:
    """How long it takes each time until a worker that died is there again."""
    found = []
    for _ in range(times):
        reactor.processes[-1].die()
        (call,) = reactor.getDelayedCalls()
        pause = call.getTime() - reactor.seconds()
        found.append(round(pause, 3))
        reactor.advance(pause)
    return found


def test_a_worker_that_dies_again_and_again_is_started_ever_later_and_another_one_soon(
    pool: WorkerPool, reactor: FakeReactor
) -> None:
    grown = pauses(reactor, 11)
    assert grown[:4] == [0.1, 0.2, 0.4, 0.8]
    assert grown[-2:] == [30.0, 30.0]
    reactor.advance(61)
    assert pauses(reactor, 1) == [0.1]


def test_the_slot_of_a_worker_that_is_gone_is_empty(pool: WorkerPool, reactor: FakeReactor) -> None:
    first, _ = reactor.processes
    state_of(pool).set(1, Slot.ALIVE, 1)
    state_of(pool).set(1, Slot.CONNECTIONS, 7)
    first.die()
    assert (state_of(pool).get(1, Slot.ALIVE), state_of(pool).get(1, Slot.CONNECTIONS)) == (0, 0)


def test_a_process_that_cannot_be_started_is_tried_again(pool: WorkerPool, reactor: FakeReactor) -> None:
    first, _ = reactor.processes
    reactor.refuses = True
    first.die()
    reactor.pump([0.1, 0.2])
    assert len(reactor.processes) == 2
    reactor.refuses = False
    reactor.pump([0.2, 0.3])
    assert len(reactor.processes) == 3


def test_stopping_ends_all_and_kills_who_does_not_end(pool: WorkerPool, reactor: FakeReactor) -> None:
    first, second = reactor.processes
    ended: list[None] = []
    pool.close().addCallback(ended.append)
    pool.hurry()
    assert first.said.endswith(b"stop\nhurry\n")
    first.die()
    assert not ended
    reactor.advance(3600)
    assert second.killed
    assert ended == [None]
    reactor.advance(3600)
    assert len(reactor.processes) == 2, "nobody is started any more"


def test_stopping_while_a_worker_waits_to_be_started_starts_none(pool: WorkerPool, reactor: FakeReactor) -> None:
    first, second = reactor.processes
    first.die()
    ended: list[None] = []
    pool.close().addCallback(ended.append)
    second.die()
    assert ended == [None]
    reactor.advance(3600)
    assert len(reactor.processes) == 2


def test_what_workers_are_told_and_what_they_count(pool: WorkerPool, reactor: FakeReactor, application: Any) -> None:
    first, second = reactor.processes
    pool.reopen()
    assert first.said.endswith(b"reopen\n")
    state_of(pool).set(2, Slot.ANSWERED, 12)
    row = [1.0, "192.0.2.1", "uv/0.9", "a/b", "c", "c-1.zip", "deny", "a/b", "it is denied", True]
    first.protocol.outReceived(b"no json\n5\n")
    first.protocol.outReceived(encode_message({TRAFFIC: Traffic().take(), ASKED_FOR: ["/srv/+files/a"], REFUSED: [row]}))
    second.protocol.outReceived(b'{"ready"')
    second.protocol.outReceived(b": 12}\n")
    told = {(measure.name, measure.labels[0][1]): measure.value for measure in pool.measures()}
    assert told["twistpi_worker_requests", "2"] == 12
    assert told["twistpi_worker_starts", "1"] == 1
    assert application.components.access_times.take(0.0) == ["/srv/+files/a"]
    assert [list(kept) for kept in application.components.policies.refused.take(9)] == [row]


def test_workers_hear_of_other_advisories(pool: WorkerPool, application: Any) -> None:
    worker = SharedState(os.dup(state_of(pool).descriptor))
    (listener,) = application.components.advisories.loader.listeners
    listener(frozenset({"hello"}))
    listener(None)
    announced = worker.announced()
    assert announced is not None
    assert announced.invalidations == [Invalidation(InvalidationKind.ADVISORIES, "", name) for name in ("hello", "")]
    worker.close()


def test_workers_are_told_to_end_once(pool: WorkerPool, reactor: FakeReactor, application: Any, tmp_path: Path) -> None:
    assert application.components.trusted_peers.workers_at == str(tmp_path / "workers.sock")
    closed = pool.close()
    assert not closed.called
    for process in reactor.processes:
        assert process.said.rstrip().endswith(STOP)
        process.die()
    assert closed.called
    assert len(reactor.processes) == 2


def test_what_is_written_when_no_worker_is_left_any_more_is_announced_to_nobody(
    pool: WorkerPool, reactor: FakeReactor, application: Any
) -> None:
    announce = application.announcements.announce
    announce(8, (IndexDeleted("alice/dev"),))
    closed = pool.close()
    for process in reactor.processes:
        process.die()
    assert closed.called
    announce(9, (IndexDeleted("alice/prod"),))
