"""The older history of a log that began with a snapshot: brought in the background, the newest part first.

Each segment has to lead, line by line, to the one that is here; then the log begins with it.  A replica that has all of it is
the same in every byte as one that followed from the first line.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi.changelog.files import FileChangelog
from twistpi.changelog.reader import segment_path
from twistpi.http.backoff import Backoff
from twistpi.http.body import Offload
from twistpi.model.errors import TwistpiError
from twistpi.replication.primary import Primary
from twistpi.replication.segments import NotThere, SegmentFacts, look_over, transfer

_SHORTEST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 600.0
"""Seconds between two attempts, while the primary cannot give what is missing."""
_log = Logger()


@attrs.define(eq=False)
class History:
    """Brings what is missing before the beginning of ``changelog``."""

    _primary: Primary
    _changelog: FileChangelog
    _folder: str
    """That of the changelog."""
    _incoming: str
    _clock: IReactorTime
    _offload: Offload
    _chance: Callable[[], float]
    _pause: float = _SHORTEST_PAUSE
    whole: Deferred[None] = attrs.field(factory=Deferred, init=False)
    """Fires when the log goes back to its first line."""
    _running: Deferred[None] | None = attrs.field(default=None, init=False)

    @property
    def missing(self) -> int:
        """How many entries before the first one here are not here."""
        return self._changelog.begins_after.serial

    def start(self) -> None:
        """Begin, where anything is missing."""
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._ended)

    def stop(self) -> None:
        """Leave the rest for the next start."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("The older history is not fetched", failure=failure)

    async def _run(self) -> None:
        backoff = Backoff(self._pause, _LONGEST_PAUSE, self._chance)
        told = ""
        while self.missing:
            try:
                await self._fetch_one()
                backoff.reset()
            except (TwistpiError, OSError) as error:  # the latter: the disk, which may have room another time
                if str(error) != told:
                    told = str(error)
                    _log.warn("The older history is put off: {reason}", reason=told)
                await backoff.wait(self._clock)
        self.whole.callback(None)

    async def _fetch_one(self) -> None:
        """Bring the segment that ends where the log begins."""
        overview = await look_over(self._primary)
        known = [segment for segment in overview.segments if segment.first <= self.missing]
        if not known:
            raise TwistpiError(
                f"The server at {self._primary.url} has no entries before serial {self.missing} itself, so "
                "they are not here either."
            )
        segment = known[-1]
        target = os.path.join(self._incoming, f"segment-{segment.first}")
        try:
            await transfer(self._primary, f"/+changelog/segments/{segment.first}", target, segment.size)
        except NotThere:
            raise TwistpiError(
                f"The server at {self._primary.url} has no entries before serial {self.missing} itself, so "
                "they are not here either."
            ) from None
        await self._offload(self._prepend, segment, target)
        _log.info("The changelog begins after serial {serial} now.", serial=self.missing)

    def _prepend(self, segment: SegmentFacts, fetched: str) -> None:
        """In a thread: the file gets its name, which nobody looks at yet, and then belongs to the log, or is dropped again."""
        path = segment_path(self._folder, segment.first)
        os.replace(fetched, path)
        try:
            self._changelog.prepend(segment.first, segment.before)
        except BaseException:
            with suppress(OSError):
                os.remove(path)
            raise
