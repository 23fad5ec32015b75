"""Workers serve what the service serves, and end with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.workers.test_workers_crew import FakeReactor
from twistpi.model.changes import IndexDeleted
from twistpi.server.settings import Settings
from twistpi.web.services import NodeFacts
from twistpi.web.traffic import Traffic
from twistpi.workers.control_channel import STOP
from twistpi.workers.workers import Workers

WORKERS = 2


class RunningReactor(FakeReactor):
    """Has unix sockets that lead nowhere."""

    def listenUNIX(self, _place: str, _factory: object, **_more: object) -> Any:
        return SimpleNamespace(stopListening=lambda: None)


def make_serving() -> Any:
    """As much of ``server.application.Application`` as workers are told of."""
    services = SimpleNamespace(
        workers_at=None,
        traffic=Traffic(),
        measuring=[],
        standing=SimpleNamespace(serial=7),
        node=NodeFacts("1" * 32),
        offline=False,
    )
    return SimpleNamespace(services=services, announcements=[], site=None)


def test_workers_are_started_and_told_to_end_once(tmp_path: Path) -> None:
    reactor, application = RunningReactor(), make_serving()
    workers = Workers(Settings(serverdir=str(tmp_path), workers=WORKERS), reactor)
    workers.start(application, {})
    assert len(reactor.processes) == WORKERS
    assert application.services.workers_at == str(tmp_path / "workers.sock")
    closed = workers.close()
    assert not closed.called
    for process in reactor.processes:
        assert process.said.rstrip().endswith(STOP)
        process.die()
    assert closed.called
    assert len(reactor.processes) == WORKERS


def test_what_is_written_when_no_worker_is_left_any_more_is_announced_to_nobody(tmp_path: Path) -> None:
    reactor, application = RunningReactor(), make_serving()
    workers = Workers(Settings(serverdir=str(tmp_path), workers=1), reactor)
    workers.start(application, {})
    (announce,) = application.announcements
    announce(8, (IndexDeleted("alice/dev"),))
    closed = workers.close()
    reactor.processes[0].die()
    assert closed.called
    announce(9, (IndexDeleted("alice/prod"),))
