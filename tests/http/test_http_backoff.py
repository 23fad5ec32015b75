"""Growing delays."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from twistpi.http.backoff import Backoff, Pause, backoff_delay, sleep


def test_a_delay_doubles_up_to_its_limit() -> None:
    assert [backoff_delay(failures, 0.5, 10.0) for failures in (1, 2, 3, 5, 6, 1000)] == [0.5, 1.0, 2.0, 8.0, 10.0, 10.0]
    backoff = Backoff(1.0, 4.0)
    assert [backoff.next() for _ in range(4)] == [1.0, 2.0, 4.0, 4.0]
    backoff.reset()
    assert backoff.next() == 1.0


def test_chance_takes_up_to_half_of_it() -> None:
    assert Backoff(1.0, 4.0, lambda: 0.0).next() == 0.5
    assert Backoff(1.0, 4.0, lambda: 0.5).next() == 0.75


def test_it_can_be_waited_for_and_left() -> None:
    clock = Clock()
    waiting = Deferred.fromCoroutine(Backoff(1.0, 4.0).wait(clock))
    clock.advance(0.9)
    assert not waiting.called
    clock.advance(0.1)
    assert waiting.called
    left = sleep(clock, 1.0)
    left.addErrback(lambda failure: failure.trap(CancelledError))
    left.cancel()
    assert not clock.getDelayedCalls()


def test_there_is_one_pause_at_a_time_and_each_is_longer() -> None:
    clock = Clock()
    ends: list[float] = []
    pause = Pause(clock, Backoff(1.0, 4.0), lambda: ends.append(clock.seconds()))
    assert not pause.until
    pause.begin()
    pause.begin()
    assert float(pause.until or 0) == 1.0
    clock.advance(1)
    pause.begin()
    assert ends == [1.0]
    assert float(pause.until or 0) == 3.0
    clock.advance(2)
    pause.begin(0.5)
    clock.advance(0.5)
    pause.reset()
    pause.begin()
    assert ends == [1.0, 3.0, 3.5]
    assert float(pause.until or 0) == 4.5
    pause.stop()
    clock.advance(10)
    assert len(ends) == 3
    assert not pause.until
