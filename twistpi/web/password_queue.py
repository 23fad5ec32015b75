"""Where passwords wait to be hashed: a few at a time, in threads of their own, in a line that is never long.

A bcrypt takes a quarter of a second of a processor.  Without a line of their own, a handful of people who log in would keep
everybody from pages; without an end of the line, a flood of logins would fill the memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred

from twistpi.model.account_errors import TooBusy

THREADS = 2
"""How many hash at the same time."""
_LONGEST = 64
_LONGEST_OF_ONE = 32

_Result = TypeVar("_Result")


@attrs.define(eq=False)
class PasswordQueue:
    """Runs what takes long for passwords, first come, first served."""

    _offload: Callable[..., Deferred[Any]]
    """Runs a function in a thread, as ``deferToThread`` does; at least ``threads`` at the same time."""
    threads: int = THREADS
    longest: int = _LONGEST
    """How many may wait."""
    longest_of_one: int = _LONGEST_OF_ONE
    """How many of one address may wait, so that a single one never fills the line."""
    hashed: int = 0
    """How many were hashed so far."""
    _working: int = 0
    _waiting: deque[tuple[str, Deferred[None]]] = attrs.field(factory=deque)

    async def run(self, address: str, work: Callable[..., _Result], *arguments: object) -> _Result:
        """``work(*arguments)``, run in a thread for somebody at ``address``; ``TooBusy`` when the line is full.

        Must not be cancelled: the thread would go on, and others would take its place in line.
        """
        if self._working >= self.threads:
            if len(self._waiting) >= self.longest or self._count(address) >= self.longest_of_one:
                raise TooBusy
            turn: Deferred[None] = Deferred()
            self._waiting.append((address, turn))
            await turn
        else:
            self._working += 1
        self.hashed += 1
        try:
            result: _Result = await self._offload(work, *arguments)
            return result
        finally:
            self._next()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def _count(self, address: str) -> int:
        return sum(1 for other, _turn in self._waiting if other == address)

    def _next(self) -> None:
        if self._waiting:
            self._waiting.popleft()[1].callback(None)
        else:
            self._working -= 1
