"""A clock that is set back makes nothing late that was planned before."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from twistpi.server.process import ClockWatch

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
