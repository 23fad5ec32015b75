"""Bringing the view up to date at start: for a second before the ports are open, then in a thread while they answer with 503."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from twistpi.http.offload import Offload
from twistpi.model.records import Json
from twistpi.server.storage import Storage

PATIENCE: Final = 1.0
"""Seconds that a start takes for it before it listens."""
_SHORTEST, _LONGEST = 1, 60
"""Seconds after which a client is told to ask again."""
_log = Logger()


@attrs.define(eq=False)
class Rebuild:
    """Folds into a view what it lacks, and knows how far that is.

    Each transaction carries the serial it ends at, so a process that was killed goes on where it was.
    """

    _storage: Storage
    _report_progress: Callable[[int, int], object] = lambda _serial, _last: None
    """Called after each transaction, perhaps in a thread, with ``Storage.folded`` and the last serial of the log."""
    _seconds: Callable[[], float] = time.monotonic
    _first: int = attrs.field(init=False)
    """The serial of the view at the beginning."""
    _began: float = attrs.field(init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _ended: Deferred[None] | None = attrs.field(default=None, init=False)
    """Fires when the thread has ended."""

    def __attrs_post_init__(self) -> None:
        self._first, self._began = self._storage.folded, self._seconds()
        if self._storage.missing > 1:
            _log.info("Folding {missing} entries into the view.", missing=self._storage.missing)

    def begin(self, patience: float) -> bool:
        """Work for about ``patience`` seconds; return whether the view is up to date.

        Blocking.  Raise as ``Storage.catch_up``.
        """
        until = self._began + patience
        self._storage.catch_up(lambda serial: self._note_progress(serial) and self._seconds() < until)
        return self._storage.missing == 0

    async def finish(self, offload: Offload) -> None:
        """Do the rest in a thread.  Raise as ``Storage.catch_up``, and ``CancelledError`` after ``stop``."""
        self._ended = Deferred()
        try:
            await offload(self._storage.catch_up, self._note_progress)
        finally:
            self._ended.callback(None)
        if self._stopped:
            raise CancelledError
        _log.info("The view is built.")

    async def stop(self) -> None:
        """Make the thread end after its present transaction; return when it has."""
        self._stopped = True
        if self._ended is not None:
            await self._ended

    def _note_progress(self, serial: int) -> bool:
        self._report_progress(serial, self._storage.changelog.last.serial)
        return not self._stopped

    @property
    def percent(self) -> int:
        """How much of the log is in the view."""
        return 100 * self._storage.folded // max(1, self._storage.changelog.last.serial)

    @property
    def sentence(self) -> str:
        """Why nothing is served yet."""
        return f"This server is rebuilding its view from the changelog, {self.percent} % so far. Try again in a moment."

    @property
    def retry_after(self) -> int:
        """The seconds that the rest will take, as far as it can be estimated; at most a minute."""
        done, missing = self._storage.folded - self._first, self._storage.changelog.last.serial - self._storage.folded
        seconds = (self._seconds() - self._began) * missing / done if done else _LONGEST
        return max(_SHORTEST, min(_LONGEST, round(seconds)))

    def facts(self) -> Mapping[str, Json]:
        """Return what the status says of it."""
        serial, last = self._storage.folded, self._storage.changelog.last.serial
        return {"serial": serial, "rebuilding": {"serial": serial, "last-serial": last, "percent": self.percent}}
