"""One piece of work, many waiters: each has its own Deferred, and a waiter that leaves never stops the work."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Generic, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


@attrs.define
class Waiters(Generic[Result]):
    """Deferreds that all get the same result."""

    _waiting: list[Deferred[Result]] = attrs.field(factory=list)

    def wait(self) -> Deferred[Result]:
        """Return a new Deferred; cancelling it affects no other waiter."""
        waiter: Deferred[Result] = Deferred(self._leave)
        self._waiting.append(waiter)
        return waiter

    def _leave(self, waiter: Deferred[Result]) -> None:
        # Identity, not equality: the list may be in the middle of being fired.
        self._waiting[:] = [other for other in self._waiting if other is not waiter]

    def fire(self, result: Result) -> None:
        """Give every waiter ``result``."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(result)

    def fail(self, failure: Failure) -> None:
        """Give every waiter the exception of ``failure``."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.errback(failure.value)


@attrs.define
class SingleFlight(Generic[Key, Result]):
    """Work by key; for each key at most one piece of work runs at a time."""

    _work: dict[Key, tuple[Deferred[Result], Waiters[Result]]] = attrs.field(factory=dict)

    def join(self, key: Key, start: Callable[[], Coroutine[Deferred[object], object, Result]]) -> Deferred[Result]:
        """Wait for the work under ``key``; call ``start`` to begin it unless it runs already.

        An exception of the work reaches every waiter.  When all waiters have left, the work goes on and its exception is
        dropped: work that matters to others must report it itself.
        """
        running = self._work.get(key)
        if running is not None:
            return running[1].wait()
        waiters: Waiters[Result] = Waiters()
        first = waiters.wait()
        work = Deferred.fromCoroutine(start())
        self._work[key] = (work, waiters)
        work.addBoth(self._ended, key, waiters)
        return first

    def _ended(self, outcome: Result | Failure, key: Key, waiters: Waiters[Result]) -> None:
        # The key is released before the waiters hear of the end, so that joining again starts new work.
        del self._work[key]
        if isinstance(outcome, Failure):
            waiters.fail(outcome)
        else:
            waiters.fire(outcome)

    def cancel_all(self) -> None:
        """Stop all work, because the server stops; waiters get ``CancelledError``."""
        for work, _ in list(self._work.values()):
            work.cancel()
