"""Delays between attempts that fail, each twice as long as the one before; and pauses after a server failed.

After a pause a dead server costs one time limit, and not one per request.  One slow page does not make a dead server.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Final, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twistpi.http.errors import Cause, RequestFailed

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


_MOST_REMEMBERED: Final = 10_000
_SEVERAL: Final = 3
"""Of so many parts of a server none responds, and no other: it is dead."""
Value = TypeVar("Value")


@attrs.frozen
class Blocked:
    """Why a key is not tried, and for how long."""

    until: float
    """Unix seconds."""
    reason: str
    unreachable: bool
    """As in ``RequestFailed``."""
    since: float = float("-inf")
    """Unix seconds."""
    is_asked_for: bool = False
    """Whether the server said itself how long to wait."""


@attrs.define
class CircuitBreaker:
    """Keys (origins, or single projects) that failed lately; at most 10,000."""

    _pause: float
    """Seconds."""
    _blocked: OrderedDict[Hashable, Blocked] = attrs.field(factory=OrderedDict)
    _answered: OrderedDict[Hashable, float] = attrs.field(factory=OrderedDict)
    """When each key answered last, in Unix seconds."""
    _silent: OrderedDict[Hashable, frozenset[Hashable]] = attrs.field(factory=OrderedDict)
    """The parts of each key that failed since it answered last, up to three."""

    def blocked(self, key: Hashable, now: float) -> Blocked | None:
        """Return why ``key`` is left alone at ``now``; None when it may be tried."""
        blocked = self._blocked.get(key)
        # A clock that was set back must not prolong a pause.
        return blocked if blocked is not None and blocked.since <= now < blocked.until else None

    def failing(self) -> Iterator[tuple[Hashable, Blocked]]:
        """Yield the keys whose last attempt failed, also those that may be tried again."""
        yield from self._blocked.items()

    def failed(self, key: Hashable, started: float, now: float, failure: RequestFailed) -> None:
        """Block ``key``, whose attempt began at ``started`` and failed; not when another attempt succeeded since then."""
        if self._answered.get(key, -1.0) >= started:
            return
        until = now + max(self._pause, failure.retry_after or 0.0)
        blocked = Blocked(until, failure.reason, failure.unreachable, now, failure.retry_after is not None)
        _remember(self._blocked, key, blocked)

    def failed_in_part(self, key: Hashable, part: Hashable, started: float, now: float, failure: RequestFailed) -> None:
        """Note a failure of ``part`` of ``key``, a page of a server, that may concern all of it: no response, or "later".

        Block ``key`` when it is the third part in a row, or when there was not even a connection.  Other failures, and those of
        attempts that began (``started``) before the server last answered, do not count.
        """
        if not failure.unreachable and failure.retry_after is None:
            return
        if self._answered.get(key, -1.0) >= started:
            return
        parts = self._silent.get(key, frozenset())
        if len(parts) < _SEVERAL:
            parts |= {part}
            _remember(self._silent, key, parts)
        if len(parts) == _SEVERAL or failure.cause is Cause.CONNECT:
            self.failed(key, started, now, failure)

    def answered(self, key: Hashable, now: float) -> None:
        """Unblock ``key``: an attempt succeeded."""
        _remember(self._answered, key, now)
        self._silent.pop(key, None)
        self.forget(key)

    def forget(self, key: Hashable) -> None:
        """Unblock ``key``."""
        self._blocked.pop(key, None)


def _remember(known: OrderedDict[Hashable, Value], key: Hashable, value: Value) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > _MOST_REMEMBERED:
        known.popitem(last=False)
