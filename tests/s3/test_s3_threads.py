"""The reactor of a command runs when something needs it, and no earlier, because it runs once in a process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from tests.fakes.postgres import postgres
from twistpi.changelog.disk import Disk
from twistpi.s3.threads import OnDemand
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage


@attrs.define(eq=False)
class QueueReactor:
    """Runs what it is given, until it is stopped."""

    given: queue.Queue[Callable[[], object] | None] = attrs.field(factory=queue.Queue)
    runs: int = 0

    def run(self, installSignalHandlers: bool = True) -> None:
        assert not installSignalHandlers
        self.runs += 1
        while (work := self.given.get()) is not None:
            work()

    def stop(self) -> None:
        self.given.put(None)

    def callFromThread(self, function: Callable[[], object]) -> None:
        self.given.put(function)


def test_it_runs_in_a_thread_of_its_own_from_the_first_call_until_it_is_stopped() -> None:
    reactor = QueueReactor()
    on_demand = OnDemand(reactor)
    called: queue.Queue[tuple[int, str]] = queue.Queue()
    for number in range(3):
        on_demand.callFromThread(lambda one: called.put((one, threading.current_thread().name)), number)
    assert [called.get(timeout=60) for _ in range(3)] == [(number, "reactor") for number in range(3)]
    on_demand.stop()
    assert reactor.runs == 1
    assert "reactor" not in {thread.name for thread in threading.enumerate()}


def test_it_does_not_run_when_nothing_needs_it() -> None:
    reactor = QueueReactor()
    OnDemand(reactor).stop()
    assert reactor.runs == 0


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_commands_that_open_the_directory_of_a_node_twice_and_need_no_file_leave_the_bucket_alone(tmp_path: Path) -> None:
    """As ``twistpi passwd`` does, before and after it asks for a password."""
    settings = Settings(
        serverdir=str(tmp_path / "cache"),
        cache_dir=str(tmp_path / "cache"),
        changelog=postgres().new_schema(),
        blobs="s3://nowhere/files",
        s3_endpoint="http://127.0.0.1:9",
        no_root_pypi=True,
        bcrypt_cost=4,
    )
    for _ in range(2):
        Storage.open(settings, lambda: datetime.now(UTC), Disk()).close()
