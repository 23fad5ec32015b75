"""Leaving a server that fails alone for a moment, so that a dead one costs one time limit and not one per request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Final

import attrs

_MOST_REMEMBERED: Final = 10_000


@attrs.frozen
class Blocked:
    """Why a key is not tried, and for how long."""

    until: float
    """Unix seconds."""
    reason: str
    unreachable: bool
    """Whether nobody answered at all."""


@attrs.define
class CircuitBreaker:
    """Keys (origins, or single projects) that failed lately.  At most 10,000 are remembered."""

    _pause: float
    """Seconds."""
    _blocked: OrderedDict[Hashable, Blocked] = attrs.field(factory=OrderedDict)
    _answered: OrderedDict[Hashable, float] = attrs.field(factory=OrderedDict)
    """When each key answered last, in Unix seconds."""

    def blocked(self, key: Hashable, now: float) -> Blocked | None:
        """Return why ``key`` is left alone at ``now``; None when it may be tried."""
        blocked = self._blocked.get(key)
        # A clock that was set back must not prolong a pause.
        return blocked if blocked is not None and blocked.until - self._pause <= now < blocked.until else None

    def failing(self) -> Iterator[tuple[Hashable, Blocked]]:
        """Yield the keys whose last attempt failed, also those that may be tried again."""
        yield from self._blocked.items()

    def failed(self, key: Hashable, started: float, now: float, reason: str, unreachable: bool) -> None:
        """Block ``key``, whose attempt began at ``started`` and failed; not when another attempt succeeded since then."""
        if self._answered.get(key, -1.0) >= started:
            return
        self._blocked[key] = Blocked(now + self._pause, reason, unreachable)
        self._blocked.move_to_end(key)
        if len(self._blocked) > _MOST_REMEMBERED:
            self._blocked.popitem(last=False)

    def answered(self, key: Hashable, now: float) -> None:
        """Unblock ``key``: an attempt succeeded."""
        self._answered[key] = now
        self._answered.move_to_end(key)
        if len(self._answered) > _MOST_REMEMBERED:
            self._answered.popitem(last=False)
        self._blocked.pop(key, None)

    def forget(self, key: Hashable) -> None:
        """Unblock ``key``."""
        self._blocked.pop(key, None)
