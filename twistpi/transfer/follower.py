"""Imports from a running devpi-server again and again, until the user says that it takes no more uploads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from twistpi.model.errors import BadRequest
from twistpi.transfer.importer import Importer
from twistpi.transfer.live_source import LiveSource
from twistpi.transfer.records import Remark
from twistpi.transfer.report import Report
from twistpi.transfer.target import Target

_POLL: Final = 1.0
"""Seconds between two questions for the serial."""
_REST: Final = 5.0
"""After a look at everything the other server is left alone for so many times as long as that took,"""
_LONGEST_REST: Final = 60.0
"""but no more seconds than these."""
_MOST_LAST: Final = 3
"""Last looks, where its serial still changes meanwhile: what its mirrors learn changes it, too."""


@attrs.frozen
class Look:
    """One look at everything that the source has."""

    serial: str
    """That of the source before the look: all up to there is here."""
    seconds: float
    report: Report

    @property
    def took_something(self) -> bool:
        """Whether something changed here."""
        return any(self.report.taken().values())


@attrs.define(eq=False)
class Follower:
    """Keeps a target like a running devpi-server."""

    _source: LiveSource
    _target: Target
    _seconds: Callable[[], float]
    """A steady clock."""
    _wait: Callable[[float], bool]
    """Waits so many seconds; returns True, at once, when the last look is due."""
    _report: Callable[[Look | str], object]
    """Called with each look, and with what keeps it from looking."""

    def run(self) -> Look:
        """Follow until the last look was made, and return it with the seconds that all of the end took.  Blocking.

        Raise ``BadRequest`` when the source cannot be read at the first or last look, and what the disk raises.
        """
        last, pause = self._look(), _POLL
        while not self._wait(pause):
            pause = _POLL
            try:
                if self._source.serial() == last.serial:
                    continue
                last = self._look()
                pause = min(_LONGEST_REST, max(_POLL, _REST * last.seconds))
            except BadRequest as failed:
                self._source.memory.look_again()
                pause = _LONGEST_REST
                self._report(f"{failed}; asked again in {_LONGEST_REST:.0f} seconds")
        return self._last(last)

    def _last(self, last: Look) -> Look:
        began = self._seconds()
        for _ in range(_MOST_LAST):
            if last.report.is_complete and self._source.serial() == last.serial:
                break
            last = self._look()
            if self._source.serial() == last.serial:
                break
        else:
            if last.took_something:
                text = "still took uploads during the last look: have it refuse them, and run the command again"
                last.report.remark(Remark("the old server", text))
        return attrs.evolve(last, seconds=self._seconds() - began)

    def _look(self) -> Look:
        began, serial, report = self._seconds(), self._source.serial(), Report()
        Importer(self._target, report, lambda _done: None).run(self._source)
        if not report.is_complete:
            self._source.memory.look_again()
        look = Look(serial, self._seconds() - began, report)
        self._report(look)
        return look
