"""What a server has to do with its process: a clock that is set back, what systemd is told, and what signals do."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from zope.interface import implementer

from twistpi.server.process import ClockWatch, Notifier, on_hangup, on_second_stop

HOUR = 3600.0


class Wall(Clock):
    """A clock on the wall beside one that never jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.steady = 17.0
        self.rightNow = 1_795_000_000.0

    def run(self, seconds: float) -> None:
        self.steady += seconds
        self.advance(seconds)

    def set_back(self, seconds: float) -> None:
        self.rightNow -= seconds


def watch_over(wall: Wall) -> ClockWatch:
    reactor: Any = wall
    watch = ClockWatch(reactor, lambda: wall.steady)
    watch.look()
    return watch


def test_timers_of_before_a_jump_back_come_when_they_were_meant_to_and_so_do_those_of_after_it() -> None:
    wall = Wall()
    watch = watch_over(wall)
    came: list[str] = []
    for name, seconds in (("overdue", 0.5), ("soon", 5.0), ("late", 30.0)):
        wall.callLater(seconds, came.append, name)
    wall.set_back(HOUR)
    wall.callLater(20.0, came.append, "made since")
    wall.run(1.0)
    assert came == []
    watch.make_up_for(watch.look())
    wall.run(0.0)
    assert came == ["overdue"]
    wall.run(4.0)
    assert came == ["overdue", "soon"]
    wall.run(15.0)
    assert came == ["overdue", "soon", "made since"]
    wall.run(10.0)
    assert came == ["overdue", "soon", "made since", "late"]
    assert watch.look() == 0.0


def test_a_clock_that_is_set_forward_or_runs_a_little_slower_has_not_jumped_back() -> None:
    wall = Wall()
    watch = watch_over(wall)
    wall.set_back(-HOUR)
    assert watch.look() == 0.0
    wall.set_back(0.5)
    assert watch.look() == 0.0
    wall.run(10.0)
    assert watch.look() == 0.0


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def _heard(ear: socket.socket) -> list[str]:
    words = []
    while True:
        try:
            words.append(ear.recv(1000).decode())
        except BlockingIOError:
            return words


def _notifier(clock: Clock, **environment: str) -> Notifier:
    return Notifier.from_environment(environment, clock, os.getpid(), lambda: 12.5)


def test_ready_reloading_and_stopping_are_told(ear: socket.socket, tmp_path: Path) -> None:
    notifier = _notifier(Clock(), NOTIFY_SOCKET=str(tmp_path / "notify"))
    notifier.ready()
    assert _heard(ear) == [f"READY=1\nMAINPID={os.getpid()}\nSTATUS=Answering."]
    notifier.reloading()
    assert _heard(ear) == ["RELOADING=1\nMONOTONIC_USEC=12500000"]
    notifier.stopping()
    assert _heard(ear)[0].startswith("STOPPING=1\n")


def test_a_long_start_asks_for_more_time_every_ten_seconds(ear: socket.socket, tmp_path: Path) -> None:
    now = iter([100.0, 109.9, 110.0, 119.9, 131.0])
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "notify")}, Clock(), os.getpid(), lambda: next(now))
    for done in (1, 300, 421, 500, 1000):
        notifier.starting(done, 1000)
    assert _heard(ear) == [f"EXTEND_TIMEOUT_USEC=120000000\nSTATUS=Building the view: {percent} %." for percent in (42, 100)]


def test_a_watched_process_says_twice_in_its_time_that_it_is_alive(ear: socket.socket, tmp_path: Path) -> None:
    clock = Clock()
    address = str(tmp_path / "notify")
    notifier = _notifier(clock, NOTIFY_SOCKET=address, WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
    notifier.ready()
    assert _heard(ear)[1:] == ["WATCHDOG=1"]
    clock.advance(14.9)
    assert _heard(ear) == []
    clock.advance(0.2)
    assert _heard(ear) == ["WATCHDOG=1"]
    notifier.stopped()
    clock.advance(60)
    assert _heard(ear) == []


@pytest.mark.parametrize(
    "watch", [{"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}, {}]
)
def test_who_is_not_watched_says_nothing_more(ear: socket.socket, tmp_path: Path, watch: dict[str, str]) -> None:
    clock = Clock()
    _notifier(clock, NOTIFY_SOCKET=str(tmp_path / "notify"), **watch).ready()
    clock.advance(1000)
    assert len(_heard(ear)) == 1


def test_nobody_listening_is_no_trouble(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "nowhere")}, {"NOTIFY_SOCKET": "@twistpi-nobody"}):
        notifier = _notifier(Clock(), **environment)
        notifier.ready()
        notifier.stopping()


@implementer(IReactorFromThreads)
@attrs.define
class Reactor:
    """As much of one as signals need; it does not run until ``run``."""

    waiting: list[Callable[[], object]] = attrs.field(factory=list)

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        self.waiting.append(callable)

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
