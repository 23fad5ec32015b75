"""How long it is put up with that nothing moves between two servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_LOOKS: Final = 4
"""How often, within the seconds of silence that are put up with, it is looked whether anything moved."""
CallLater = Callable[[float, Callable[[], object]], Any]
"""See ``IReactorTime``."""


class Silence:
    """Looks now and then whether anything moved."""

    def __init__(self, call_later: CallLater, seconds: float, moved: Callable[[], int | None], end: Callable[[], object]) -> None:
        """``moved`` is another number whenever something moved, and None while nothing has to; ``end`` is called once, after
        ``seconds`` in which nothing did.
        """
        self._call_later = call_later
        self._pause = seconds / _LOOKS
        self._moved, self._end = moved, end
        self._seen: int | None = None
        self._quiet = 0
        """Looks since which nothing moved."""
        self._next = call_later(self._pause, self._look)

    def stop(self) -> None:
        """Look no more.  May be called again."""
        if self._next.active():
            self._next.cancel()

    def _look(self) -> None:
        before, self._seen = self._seen, self._moved()
        self._quiet = self._quiet + 1 if self._seen is not None and self._seen == before else 0
        if self._quiet < _LOOKS:
            self._next = self._call_later(self._pause, self._look)
        else:
            self._end()
