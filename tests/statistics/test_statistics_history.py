"""The history of figures, and what went wrong of late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure

from twistpi.statistics.database import StatisticsFile
from twistpi.statistics.failures import RecentFailures
from twistpi.statistics.history import HOUR, KEPT, MINUTE, History, Point, Reading

NOON = 1_795_003_200
"""The beginning of an hour."""


@attrs.define(eq=False)
class Server:
    """A server whose figures a test sets."""

    path: str
    clock: Clock = attrs.field(factory=Clock)
    requests: int = 100
    memory: int = 10
    history: History = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.clock.advance(NOON)
        offload: Any = maybeDeferred
        self.history = History(StatisticsFile(self.path), self.clock, offload, self.read, lambda: {"log_size": 7})
        self.history.start()

    def read(self) -> Reading:
        return Reading(Counter(requests=self.requests), {"memory": self.memory})

    def pass_minutes(self, number: int, requests: int = 0) -> None:
        for _ in range(number):
            self.requests += requests
            self.clock.advance(MINUTE)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(str(tmp_path / "statistics.sqlite"))


def points(history: History, name: str, length: int = MINUTE, since: float = 0.0) -> Sequence[Point]:
    return history.series([name], length, since)[name]


def test_a_point_has_what_was_added_to_counters_and_the_last_value_of_gauges(server: Server) -> None:
    server.pass_minutes(1, requests=5)
    server.memory = 20
    server.pass_minutes(1, requests=7)
    history = server.history
    assert points(history, "requests") == [Point(NOON, 5), Point(NOON + MINUTE, 7)]
    assert points(history, "memory", since=NOON + 1) == [Point(NOON + MINUTE, 20)]
    assert history.series(["requests", "memory", "log_size", "unknown"], HOUR) == {
        "requests": [Point(NOON, 12)],
        "memory": [Point(NOON, 20)],
        "log_size": [Point(NOON, 7)],
        "unknown": [],
    }


def test_hours_end_and_go_on_after_a_restart(server: Server, tmp_path: Path) -> None:
    server.pass_minutes(59, requests=1)
    server.requests += 1
    server.clock.advance(30)
    Deferred.fromCoroutine(server.history.stop())
    restarted = Server(server.path, requests=0)
    restarted.clock.advance(HOUR - 30)
    restarted.pass_minutes(30, requests=2)
    assert [point.value for point in points(restarted.history, "requests", HOUR)] == [60, 60]


def test_old_points_are_forgotten(server: Server) -> None:
    server.pass_minutes(KEPT[MINUTE] // MINUTE + 50, requests=1)
    assert len(points(server.history, "requests")) == KEPT[MINUTE] // MINUTE
    server.clock.advance(KEPT[HOUR] - HOUR)
    server.pass_minutes(1, requests=1)
    assert 1 <= len(points(server.history, "requests", HOUR)) <= KEPT[HOUR] // HOUR


def test_a_clock_that_was_wrong_leaves_nothing(server: Server) -> None:
    ahead = Server(server.path)
    ahead.clock.advance(KEPT[HOUR])
    ahead.pass_minutes(1, requests=1)
    server.pass_minutes(1, requests=3)
    assert points(server.history, "requests") == [Point(NOON, 3)]


def test_what_cannot_be_written_is_left_out(tmp_path: Path) -> None:
    server = Server(str(tmp_path / "missing" / "statistics.sqlite"))
    server.pass_minutes(2, requests=1)
    assert points(server.history, "requests") == []
    (tmp_path / "missing").mkdir()
    server.pass_minutes(1, requests=1)
    assert points(server.history, "requests") == [Point(NOON + 2 * MINUTE, 1)]


def test_recent_failures_are_warnings_and_worse_of_this_program_without_secrets() -> None:
    failures = RecentFailures()
    publisher = LogPublisher(failures)
    ours, other = Logger("twistpi.web.errors", observer=publisher), Logger("asyncio", observer=publisher)
    ours.info("all is well")
    other.error("somebody else's")
    ours.warn("{path} answered {status}: {reason}", path="/root/pypi/x", status=502, reason="https://me:secret@upstream.example/")
    ours.failure("{path} failed", failure=Failure(ValueError("no\nway")), path="/y")
    first, second = failures.newest()
    assert (first.is_error, first.sentence) == (True, "/y failed: ValueError: no way")
    assert (second.is_error, "502" in second.sentence, "secret" in second.sentence) == (False, True, False)
    for number in range(150):
        ours.warn("warning {number} {text}", number=number, text="x" * 1000)
    assert len(failures.newest()) == 100
    assert failures.newest()[0].sentence.startswith("warning 149 ")
    assert len(failures.newest()[0].sentence) <= 500
