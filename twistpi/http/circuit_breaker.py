"""A pause after a server failed, so that a dead one costs one time limit and not one per request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Final, TypeVar

import attrs

_MOST_REMEMBERED: Final = 10_000
Value = TypeVar("Value")


@attrs.frozen
class Blocked:
    """Why a key is not tried, and for how long."""

    until: float
    """Unix seconds."""
    reason: str
    unreachable: bool
    """As in ``RequestFailed``."""


@attrs.define
class CircuitBreaker:
    """Keys (origins, or single projects) that failed lately; at most 10,000."""

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
        _remember(self._blocked, key, Blocked(now + self._pause, reason, unreachable))

    def answered(self, key: Hashable, now: float) -> None:
        """Unblock ``key``: an attempt succeeded."""
        _remember(self._answered, key, now)
        self.forget(key)

    def forget(self, key: Hashable) -> None:
        """Unblock ``key``."""
        self._blocked.pop(key, None)


def _remember(known: OrderedDict[Hashable, Value], key: Hashable, value: Value) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > _MOST_REMEMBERED:
        known.popitem(last=False)
