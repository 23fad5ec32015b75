"""What the changelog tells about the releases of a project: yanks, removals, pushes, status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twistpi.changelog.rare_changes import RareChanges
from twistpi.http.offload import Offload
from twistpi.http.single_flight import SingleFlight
from twistpi.model.changes import Entry
from twistpi.model.server_errors import LogDamaged
from twistpi.rules.release_history import MARKS, historical_changes

_PATIENCE: Final = 1.0
"""Seconds that a page waits for the log to be read, which takes longer only once, where it is very large."""


@attrs.frozen
class Events:
    """What was found for a project."""

    entries: Sequence[Entry] = ()
    """What ``rules.release_history.historical_changes`` selects, in order."""
    is_whole: bool = True
    """Whether the log was read from its beginning to its end."""


@attrs.define(eq=False)
class ReleaseEvents:
    """Reads a changelog when a page first asks, and then what was appended since.  For the reactor's thread."""

    _directory: str
    _offload: Offload
    _clock: IReactorTime
    _reading: SingleFlight[str, None] = attrs.field(factory=SingleFlight, init=False)
    _found: RareChanges = attrs.field(init=False)
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.history"))

    @_found.default
    def _nothing(self) -> RareChanges:
        return RareChanges(self._directory, MARKS, historical_changes)

    async def of(self, project: str, serial: int) -> Events:
        """Return what happened to ``project`` (normalised) up to ``serial``, which is in the view; empty without a changelog."""
        if not self._directory:
            return Events()
        waited: Deferred[None] = Deferred.fromCoroutine(self._read(serial))
        try:
            await waited.addTimeout(_PATIENCE, self._clock)
        except TookTooLong:
            return Events(is_whole=False)
        except (OSError, LogDamaged) as error:
            self._log.warn("The history of {project} is not shown: {reason}", project=project, reason=str(error))
            return Events(is_whole=False)
        return Events((*self._found.of(""), *self._found.of(project)), self._found.is_whole)

    async def _read(self, serial: int) -> None:
        while self._found.serial < serial:

            async def read() -> None:
                await self._offload(self._found.read, serial)

            await self._reading.join("", read)
