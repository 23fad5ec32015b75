"""Timers of a process whose clock is set back.

Twisted keeps its timers by the clock on the wall.  When that is set back by an hour, all of them come an hour late: heartbeats,
the pause before a primary is asked again, the end of a connection that fell silent.  A thread compares that clock with one that
never jumps, and has timers come sooner by what was lost.  A clock that is set forward needs no help: what is due then is done
early.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Final

import attrs
from twisted.logger import Logger

_LOOK: Final = 1.0
"""Seconds between two looks."""
_JUMP: Final = 1.0
"""Seconds; whoever sets a clock right by less lets it run slower for a while."""
_log = Logger()


@attrs.define(eq=False)
class ClockWatch:
    """Watches the clock, from ``start`` to ``stop``."""

    _reactor: Any
    """Its ``seconds`` are those of the clock."""
    _steady: Callable[[], float] = time.monotonic
    """A clock that never jumps."""
    _ahead: float = attrs.field(default=0.0, init=False)
    """By how much the one clock was ahead of the other at the last look."""
    _ended: Event = attrs.field(factory=Event, init=False)

    def start(self) -> None:
        """Begin."""
        self._ahead = self._reactor.seconds() - self._steady()
        Thread(target=self._run, name="twistpi clock", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK):
            lost = self.look()
            if lost:
                self._reactor.callFromThread(self.make_up_for, lost)

    def look(self) -> float:
        """The seconds by which the clock was set back since the last look; 0 for what is no jump, or one forward."""
        before, self._ahead = self._ahead, self._reactor.seconds() - self._steady()
        return max(0.0, before - self._ahead) if before - self._ahead > _JUMP else 0.0

    def make_up_for(self, lost: float) -> None:
        """Have every timer come ``lost`` seconds sooner that was made before they were lost; in the reactor.

        Those made since the jump are told from others by being due before others can be.
        """
        _log.warn("The clock was set back by {lost:.0f} s; what was planned before comes as it was planned.", lost=lost)
        since = self._reactor.seconds() + lost - 2 * _LOOK
        for call in self._reactor.getDelayedCalls():
            if call.getTime() > since:
                call.delay(-lost)
