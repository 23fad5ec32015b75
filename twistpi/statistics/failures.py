"""The last things that went wrong: what is logged as a warning or worse, also by workers, kept in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import attrs
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from twistpi.model.text import one_line, without_secrets

_MOST: Final = 100
_LONGEST: Final = 500
"""Characters of a sentence."""
_OURS: Final = "twistpi"


@attrs.frozen
class RecentFailure:
    """Something that went wrong."""

    at: float
    """Unix seconds."""
    is_error: bool
    """Whether it is worse than a warning, such as something unforeseen."""
    sentence: str
    """For administrators: it may name projects, paths and users, but no secrets."""


@implementer(ILogObserver)
@attrs.define(eq=False)
class RecentFailures:
    """A log observer that remembers the last hundred."""

    _failures: deque[RecentFailure] = attrs.field(factory=lambda: deque(maxlen=_MOST))

    def __call__(self, event: LogEvent) -> None:
        """Remember ``event`` if it is one of this program's and a warning at least."""
        level = event.get("log_level", LogLevel.info)
        if level < LogLevel.warn or not str(event.get("log_namespace", "")).startswith(_OURS):
            return
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}: {failure.type.__name__}: {failure.getErrorMessage()}"
        sentence = one_line(without_secrets(text.partition("\nTraceback ")[0]))[:_LONGEST]
        self._failures.append(RecentFailure(event["log_time"], level > LogLevel.warn, sentence))

    def newest(self) -> Sequence[RecentFailure]:
        """Return them, the newest first."""
        return list(reversed(self._failures))
