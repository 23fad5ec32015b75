"""Leaving a failing upstream in peace for a moment, so that a dead one costs one timeout and not one per request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator

import attrs

_MOST_REMEMBERED = 10_000


@attrs.frozen
class Pause:
    """Why something is not tried, and for how long."""

    until: float
    """Unix seconds."""
    reason: str
    unreachable: bool
    """Whether nobody answered at all."""


@attrs.define
class Breaker:
    """What failed lately, and when it may be tried again.  Keys are origins, or single projects."""

    _pause: float
    """Seconds."""
    _blocked: OrderedDict[Hashable, Pause] = attrs.field(factory=OrderedDict)
    _worked: dict[Hashable, float] = attrs.field(factory=dict)

    def blocked(self, key: Hashable, now: float) -> Pause | None:
        """Why ``key`` is left alone at ``now``; None when it may be asked."""
        pause = self._blocked.get(key)
        return pause if pause is not None and pause.until - self._pause <= now < pause.until else None

    def failing(self) -> Iterator[tuple[Hashable, Pause]]:
        """Whatever failed when it was last asked, even if it may be asked again."""
        yield from self._blocked.items()

    def failed(self, key: Hashable, started: float, now: float, reason: str, unreachable: bool) -> None:
        """``key`` was asked at ``started`` and failed, unless it answered somebody else since then."""
        if self._worked.get(key, -1.0) >= started:
            return
        self._blocked[key] = Pause(now + self._pause, reason, unreachable)
        self._blocked.move_to_end(key)
        while len(self._blocked) > _MOST_REMEMBERED:
            self._blocked.popitem(last=False)

    def answered(self, key: Hashable, now: float) -> None:
        """``key`` answered."""
        self._worked[key] = now
        self._blocked.pop(key, None)

    def forget(self, key: Hashable) -> None:
        """``key`` may be asked again."""
        self._blocked.pop(key, None)
