"""One piece of work, many waiters: each has its own Deferred, and one that leaves never stops the work (law 11)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


@attrs.define
class Waiters(Generic[Result]):
    """Deferreds that will all get the same result."""

    _waiting: list[Deferred[Result]] = attrs.field(factory=list)

    def wait(self) -> Deferred[Result]:
        """A Deferred of its own; cancelling it affects nobody else."""
        waiter: Deferred[Result] = Deferred(self._leave)
        self._waiting.append(waiter)
        return waiter

    def _leave(self, waiter: Deferred[Result]) -> None:
        # Identity, not equality: the list may be in the middle of being fired.
        self._waiting[:] = [other for other in self._waiting if other is not waiter]

    def fire(self, result: Result) -> None:
        """Give everybody who waits ``result``."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(result)

    def fail(self, failure: Failure) -> None:
        """Give everybody who waits an exception."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.errback(failure.value)


@attrs.define
class Inflight(Generic[Key, Result]):
    """Work by key, each done once at a time."""

    _work: dict[Key, tuple[Deferred[Result], Waiters[Result]]] = attrs.field(factory=dict)

    def join(self, key: Key, start: Callable[[], Coroutine[Any, Any, Result]]) -> Deferred[Result]:
        """Wait for the work under ``key``, started by ``start`` unless it is on its way.

        An exception of the work reaches every waiter.  With nobody waiting any more it goes on, and its exception is dropped:
        work that matters beyond its waiters says so itself.
        """
        if key in self._work:
            return self._work[key][1].wait()
        waiters: Waiters[Result] = Waiters()
        first = waiters.wait()
        work = Deferred.fromCoroutine(start())
        self._work[key] = (work, waiters)
        # The key is free again before anybody hears of the end: who asks anew gets new work.
        work.addBoth(self._ended, key).addCallbacks(waiters.fire, waiters.fail)
        return first

    def _ended(self, outcome: Any, key: Key) -> Any:
        del self._work[key]
        return outcome

    def __contains__(self, key: object) -> bool:
        return key in self._work

    def __len__(self) -> int:
        return len(self._work)

    def cancel_all(self) -> None:
        """Stop everything, because the server stops; waiters get ``CancelledError``."""
        for work, _ in list(self._work.values()):
            work.cancel()
