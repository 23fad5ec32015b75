"""How long other servers take to answer."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs

from twistpi.http.urls import Origin

_MOST: Final = 100
"""Servers that are remembered; the one that was asked longest ago is forgotten first."""
_WEIGHT: Final = 0.125
"""Of the newest answer in the average."""


@attrs.define(eq=False)
class AnswerTimes:
    """Times from a request to the head of its answer, in seconds."""

    answers: int = 0
    """The number of all answers."""
    seconds: float = 0.0
    """The times of all answers together."""
    _averages: OrderedDict[Origin, float] = attrs.field(factory=OrderedDict)

    def add(self, origin: Origin, seconds: float) -> None:
        """Note that ``origin`` took so many ``seconds``."""
        self.answers += 1
        self.seconds += seconds
        before = self._averages.pop(origin, seconds)
        self._averages[origin] = before + _WEIGHT * (seconds - before)
        if len(self._averages) > _MOST:
            self._averages.popitem(last=False)

    def average(self, origin: Origin) -> float | None:
        """Return the average of the last answers of ``origin``; None without any."""
        return self._averages.get(origin)
