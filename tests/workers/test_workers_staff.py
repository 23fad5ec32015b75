"""Workers serve what the service serves, and are started anew once when that changes."""

from __future__ import annotations

from collections.abc import Callable
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
    """Runs from the beginning, and has unix sockets that lead nowhere."""

    def callWhenRunning(self, function: Callable[[], object]) -> None:
        function()

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
    return SimpleNamespace(services=services, announcements=[])


def test_a_change_of_roles_starts_the_workers_anew_once(tmp_path: Path) -> None:
    reactor = RunningReactor()
    workers = Workers(Settings(serverdir=str(tmp_path), workers=WORKERS), reactor)
    first, second = make_serving(), make_serving()
    workers.serves(first)
    workers.open(Any)  # type: ignore[arg-type]
    former = list(reactor.processes)
    assert len(former) == WORKERS

    # While the former workers end, the service is between its roles, and then in the next one.
    workers.serves(None)
    workers.serves(second)
    for process in former:
        process.die()
    assert len(reactor.processes) == 2 * WORKERS
    assert not any(process.said.rstrip().endswith(STOP) for process in reactor.processes[WORKERS:])
    assert second.services.workers_at == first.services.workers_at

    closed = workers.close()
    for process in reactor.processes[WORKERS:]:
        process.die()
    assert closed.called
    assert len(reactor.processes) == 2 * WORKERS


def test_what_is_written_when_no_worker_is_left_any_more_is_announced_to_nobody(tmp_path: Path) -> None:
    reactor, application = RunningReactor(), make_serving()
    workers = Workers(Settings(serverdir=str(tmp_path), workers=1), reactor)
    workers.serves(application)
    workers.open(Any)  # type: ignore[arg-type]
    (announce,) = application.announcements
    announce(8, (IndexDeleted("alice/dev"),))
    closed = workers.close()
    reactor.processes[0].die()
    assert closed.called
    announce(9, (IndexDeleted("alice/prod"),))
