"""Signals call what they are for in the reactor, whether it runs yet or not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import attrs
import pytest

from twistpi.server.process import on_hangup, on_second_stop


@attrs.define
class Reactor:
    """As much of one as signals need; it does not run until ``run``."""

    waiting: list[Callable[[], object]] = attrs.field(factory=list)

    def callFromThread(self, work: Callable[[], object]) -> None:
        self.waiting.append(work)

    def run(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    former = {number: signal.getsignal(number) for number in numbers}
    yield Reactor()
    for number, handler in former.items():
        signal.signal(number, handler)


def _send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_a_hangup_before_the_reactor_runs_ends_nothing_and_is_heeded_when_it_does(reactor: Reactor) -> None:
    heard: list[str] = []
    on_hangup(reactor, lambda: heard.append("reopen"))
    _send(signal.SIGHUP)
    assert heard == []
    reactor.run()
    assert heard == ["reopen"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_first_stop_is_the_reactors_and_the_second_hurries(reactor: Reactor, second: signal.Signals) -> None:
    heard: list[str] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: heard.append("stop"))
    on_second_stop(reactor, lambda: heard.append("hurry"))
    _send(signal.SIGTERM)
    assert heard == ["stop"]
    _send(second)
    reactor.run()
    assert heard == ["stop", "hurry"]
