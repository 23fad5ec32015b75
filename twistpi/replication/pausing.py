"""Pauses between attempts that fail: each up to twice as long as the one before, until something goes right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.task import deferLater

_MOST_DOUBLINGS: Final = 16


@attrs.define(eq=False)
class GrowingPauses:
    """The pauses of one who tries again and again."""

    _clock: Any
    """``IReactorTime``."""
    _chance: Callable[[], float]
    """A number from 0 up to 1, which keeps many from asking at the same moment."""
    _shortest: float
    _longest: float
    """Seconds."""
    _count: int = attrs.field(default=0, init=False)

    async def pause(self) -> None:
        """Wait for some time."""
        longest = min(self._longest, self._shortest * 2 ** min(self._count, _MOST_DOUBLINGS))
        self._count += 1
        await deferLater(self._clock, longest * (1 + self._chance()) / 2)

    def reset(self) -> None:
        """Something went right: the next one is short again."""
        self._count = 0
