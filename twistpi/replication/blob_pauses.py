"""Times in which nothing is asked, because it would be in vain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Of one pause after the other, while nothing gets better in between."""


@attrs.define(eq=False)
class Pauses:
    """Pauses that grow; one at a time."""

    _clock: Any
    """``IReactorTime``."""
    _over: Callable[[], object]
    """Called at the end of each."""
    _count: int = attrs.field(default=0, init=False)
    _timer: Any = attrs.field(default=None, init=False)

    @property
    def until(self) -> float | None:
        """When the present one ends, in Unix seconds; None when there is none."""
        return None if self._timer is None else float(self._timer.getTime())

    def begin(self, seconds: float | None = None) -> None:
        """Pause, unless there is a pause already; longer than the last time, where ``seconds`` are not said."""
        if self._timer is not None:
            return
        if seconds is None:
            seconds = _SECONDS[min(self._count, len(_SECONDS) - 1)]
            self._count += 1
        self._timer = self._clock.callLater(seconds, self._end)

    def reset(self) -> None:
        """Something got better: the next one is short again."""
        self._count = 0

    def stop(self) -> None:
        """Forget the present one."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _end(self) -> None:
        self._timer = None
        self._over()
