"""Delays between attempts that fail: each twice as long as the one before, up to a limit, until an attempt succeeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

_MOST_DOUBLINGS: Final = 30


def backoff_delay(failures: int, shortest: float, longest: float) -> float:
    """Return the seconds to wait after so many failures in a row (1 or more)."""
    return min(longest, shortest * 2.0 ** min(max(failures - 1, 0), _MOST_DOUBLINGS))


@attrs.define(eq=False)
class Backoff:
    """The delays of one repeated attempt."""

    shortest: float
    """Seconds."""
    longest: float
    """Seconds."""
    chance: Callable[[], float] | None = None
    """Returns a number from 0 up to 1, which shortens a delay by up to a half: many clients do not ask at the same moment."""
    failures: int = attrs.field(default=0, init=False)

    def next(self) -> float:
        """Count a failure; return the seconds to wait."""
        self.failures += 1
        delay = backoff_delay(self.failures, self.shortest, self.longest)
        return delay if self.chance is None else delay * (1 + self.chance()) / 2

    def reset(self) -> None:
        """Forget the failures: the next delay is the shortest again."""
        self.failures = 0

    async def wait(self, clock: IReactorTime) -> None:
        """Count a failure, and wait."""
        await sleep(clock, self.next())


def sleep(clock: IReactorTime, seconds: float) -> Deferred[None]:
    """Return a Deferred that fires after ``seconds``; it can be cancelled."""
    done: Deferred[None] = Deferred(lambda _: timer.cancel())
    timer = clock.callLater(seconds, done.callback, None)
    return done


@attrs.define(eq=False)
class Pause:
    """A time in which nothing is attempted, and a call at its end.  There is one at a time."""

    _clock: IReactorTime
    _backoff: Backoff
    _ended: Callable[[], object]
    """Called at the end of each pause."""
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)

    @property
    def until(self) -> float | None:
        """When the present pause ends, in Unix seconds; None when there is none."""
        return None if self._timer is None else self._timer.getTime()

    def begin(self, seconds: float | None = None) -> None:
        """Pause for ``seconds``, or else for the next delay of the backoff; without effect during a pause."""
        if self._timer is None:
            self._timer = self._clock.callLater(self._backoff.next() if seconds is None else seconds, self._end)

    def reset(self) -> None:
        """An attempt succeeded: the next pause is short again."""
        self._backoff.reset()

    def stop(self) -> None:
        """Drop the present pause without the call at its end."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _end(self) -> None:
        self._timer = None
        self._ended()
