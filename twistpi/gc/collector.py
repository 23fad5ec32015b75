"""Sweeps of a running server: some time after removals, and when somebody asks for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from twistpi.changelog.writer import Writer
from twistpi.gc.garbage import GRACE, Collected, Collection, Garbage
from twistpi.model.changes import Change, IndexDeleted
from twistpi.model.errors import WriterStopped
from twistpi.model.release_changes import (
    AttachmentAdded,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    ProjectRemoved,
    ReleaseRemoved,
)
from twistpi.view.read import Reader, Readers

_MARGIN: Final = 60.0
"""Seconds from the end of the grace time after a removal to the sweep: what was uploaded just before is old enough then."""
_PAUSE: Final = 0.01
"""Seconds between two looks: others want the disk, too."""
_BY: Final = "+sweep"
"""The author of entries that are never written."""
_LOOSENING: Final = (
    AttachmentAdded,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    IndexDeleted,
    ProjectRemoved,
    ReleaseRemoved,
)
"""The changes after which a blob may have lost its last name; adding may overwrite."""


@attrs.define
class Report:
    """One sweep of a server."""

    number: int
    """The first one since the server started has the number 1."""
    swept: Collected
    ended: bool = False
    failure: str | None = None
    """Why it ended before its time."""


class _Hindered(Exception):
    """Nothing may be removed now; the text says why."""


@attrs.define(eq=False)
class GarbageCollector:
    """Sweeps, one after the other.  Only the reactor's thread calls its methods."""

    _blobs: Any
    """``blobs.interfaces.IBlobs``."""
    _readers: Readers
    _writer: Writer
    _clock: Any
    """``IReactorTime``."""
    _offload: Callable[..., Deferred[Any]] = attrs.field(kw_only=True)
    """Runs a function in a thread."""
    _now: Callable[[], float] = attrs.field(kw_only=True)
    """Unix seconds; ``SlowClock.now``."""
    _grace: float = attrs.field(default=GRACE, kw_only=True)
    """Seconds for which a blob is left alone after it was last kept."""
    _hindrance: Callable[[], str | None] | None = attrs.field(default=None, kw_only=True)
    """Where another server's log is followed: why nothing may be removed at this moment, or None.  What is not named yet because
    the log is not all here may be on the disk already."""
    running: Report | None = attrs.field(default=None, init=False)
    """The sweep that is under way."""
    last: Report | None = attrs.field(default=None, init=False)
    """The one that ended before."""
    _count: int = attrs.field(default=0, init=False)
    _again: bool = attrs.field(default=False, init=False)
    """Whether another sweep is to follow the running one at once."""
    _planned: Any = attrs.field(default=None, init=False)
    """The timer of the next sweep."""
    _pausing: Deferred[Any] | None = attrs.field(default=None, init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _stoppers: list[Deferred[None]] = attrs.field(factory=list, init=False)
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.gc"))

    def start(self) -> None:
        """Plan a sweep, for what the process before this one left behind."""
        self._plan()

    def stop(self) -> Deferred[None]:
        """Collection no more; fires when nothing is under way any more, in the view or on the disk."""
        self._stopping = True
        if self._planned is not None:
            self._planned.cancel()
            self._planned = None
        stopper: Deferred[None] = Deferred()
        if self.running is None:
            stopper.callback(None)
        else:
            self._stoppers.append(stopper)
            if self._pausing is not None:
                self._pausing.cancel()
        return stopper

    def changed(self, _serial: int, changes: Sequence[Change]) -> None:
        """Entries were committed."""
        if any(isinstance(change, _LOOSENING) for change in changes):
            self._plan()

    def ask(self) -> int:
        """Start a collection, now or after the one under way; return the number of the one that will see everything."""
        if self.running is None:
            self._begin()
            return self._count
        self._again = True
        return self._count + 1

    def _plan(self) -> None:
        if self._planned is None and not self._stopping:
            self._planned = self._clock.callLater(self._grace + _MARGIN, self._due)

    def _due(self) -> None:
        self._planned = None
        self.ask()

    def _begin(self) -> None:
        if self._stopping:
            return
        self._count += 1
        sweep = Collection(self._blobs, self._now() - self._grace, spares_listed=self._hindrance is not None)
        self.running = Report(self._count, sweep.swept)
        Deferred.fromCoroutine(self._run(sweep, self.running))

    async def _run(self, sweep: Collection, report: Report) -> None:
        try:
            await self._sweep(sweep)
        except (CancelledError, WriterStopped):
            report.failure = "the server stops"
        except _Hindered as hindered:
            report.failure = str(hindered)
        except Exception as error:
            report.failure = str(error)
            self._log.failure("Files that nothing names could not be removed")
        self._end(report)

    async def _sweep(self, sweep: Collection) -> None:
        def look() -> list[Garbage] | None:
            return sweep.look(self._readers.get())

        while (found := await self._offload(look)) is not None:
            if found:
                await self._take(sweep, found)
            if self._stopping:
                raise CancelledError
            self._pausing = deferLater(self._clock, _PAUSE)
            await self._pausing
            self._pausing = None

    async def _take(self, sweep: Collection, found: list[Garbage]) -> None:
        hindrance = None if self._hindrance is None else self._hindrance()
        if hindrance is not None:
            raise _Hindered(hindrance)

        def decide(reader: Reader) -> Sequence[Change]:
            """In the writer's thread, where nothing can be named meanwhile; there is nothing to say in the changelog."""
            sweep.take(found, reader, self._readers.get())
            return ()

        try:
            if self._hindrance is None:
                await self._writer.commit(decide, _BY)
            else:  # nothing is decided where another server's log is followed; to keep something writes to the view, for nothing
                await self._writer.keep(lambda view: decide(view.reader))
        finally:
            await self._offload(sweep.empty)

    def _end(self, report: Report) -> None:
        swept = report.swept
        report.ended = True
        self._pausing, self.running, self.last = None, None, report
        if swept.removed:
            self._log.info(
                "Removed {removed} files with {size} bytes that nothing named.", removed=swept.removed, size=swept.removed_bytes
            )
        stoppers, self._stoppers = self._stoppers, []
        for stopper in stoppers:
            stopper.callback(None)
        if swept.young or report.failure is not None:
            self._plan()
        if self._again:
            self._again = False
            self._begin()
