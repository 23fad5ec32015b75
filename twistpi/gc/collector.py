"""Garbage collection in a running server: some time after removals, and on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twistpi.blobs.interfaces import IBlobs
from twistpi.changelog.writer import Writer
from twistpi.gc.garbage import GRACE, Collected, Collection, Garbage
from twistpi.http.backoff import sleep
from twistpi.http.offload import Offload
from twistpi.model.changes import AdvisoriesAccepted, Change, IndexDeleted
from twistpi.model.releases import (
    AttachmentAdded,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    ProjectRemoved,
    ReleaseRemoved,
)
from twistpi.model.server_errors import WriterStopped
from twistpi.model.text import counted
from twistpi.view.read import Reader, Readers

_MARGIN: Final = 60.0
"""Seconds from the end of the grace time after a removal to the pass: what was uploaded just before is old enough then."""
_PAUSE: Final = 0.003
"""Seconds between two bunches: requests need the disk, too."""
_BY: Final = "+gc"
"""The author for commits that never write an entry."""
LOOSENING: Final = (
    AdvisoriesAccepted,
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
    """The state of one pass."""

    number: int
    """1 for the first pass since the server started."""
    swept: Collected
    """Named as in the JSON of ``/+gc``."""
    ended: bool = False
    failure: str | None = None
    """Why it ended early; None when it did not."""


@attrs.frozen
class Preview:
    """What a pass would remove."""

    counts: Collected
    is_whole: bool
    """Whether all blobs were looked at."""


@attrs.define(eq=False)
class GarbageCollector:
    """Runs passes, one after the other.  Its methods are called in the reactor's thread."""

    _blobs: IBlobs
    _readers: Readers
    _writer: Writer
    _clock: IReactorTime
    _offload: Offload = attrs.field(kw_only=True)
    _now: Callable[[], float] = attrs.field(kw_only=True)
    """Unix seconds; ``SlowClock.now``."""
    _grace: float = attrs.field(default=GRACE, kw_only=True)
    """Seconds for which a blob is left alone after it was last stored."""
    _blocked: Callable[[], str | None] | None = attrs.field(default=None, kw_only=True)
    """On a replica: returns why nothing may be removed now, or None.  Blobs may be on disk before the entries that name them."""
    _leads: Callable[[], bool] = attrs.field(default=lambda: True, kw_only=True)
    """Whether it is up to this server to begin passes by itself; of the nodes of a cluster, one does."""
    running: Report | None = attrs.field(default=None, init=False)
    """The pass under way."""
    last: Report | None = attrs.field(default=None, init=False)
    """The last pass that ended."""
    _count: int = attrs.field(default=0, init=False)
    _again: bool = attrs.field(default=False, init=False)
    """Whether another pass is to follow at once."""
    _planned: IDelayedCall | None = attrs.field(default=None, init=False)
    """Starts the next pass."""
    _pausing: Deferred[None] | None = attrs.field(default=None, init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _stopped: Deferred[None] = attrs.field(factory=Deferred, init=False)
    """Fires after ``stop``, when nothing is under way any more."""
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.gc"))

    def start(self) -> None:
        """Plan a pass, for what the former process left behind."""
        self._plan()

    def stop(self) -> Deferred[None]:
        """Stop; fire when nothing is under way any more, in the view or on disk."""
        self._stopping = True
        if self._planned is not None:
            self._planned.cancel()
            self._planned = None
        if self._pausing is not None:
            self._pausing.cancel()
        if self.running is None and not self._stopped.called:
            self._stopped.callback(None)
        return self._stopped

    def changed(self, _serial: int, _changes: Sequence[Change]) -> None:
        """Plan a pass; to be called after entries with changes of the kinds in ``LOOSENING``."""
        self._plan()

    def ask(self) -> int:
        """Start a pass, now or after the one under way; return the number of the one that sees everything."""
        if self.running is None:
            self._begin()
            return self._count
        self._again = True
        return self._count + 1

    async def preview(self, patience: float) -> Preview:
        """Return what a pass would remove, as far as it is known within ``patience`` seconds.  Nothing is changed."""
        collection, until = self._collection(), self._clock.seconds() + patience

        def find() -> list[Garbage] | None:
            return collection.find(self._readers.get())

        while (found := await self._offload(find)) is not None:
            for garbage in found:
                collection.count(garbage)
            if self._clock.seconds() >= until:
                return Preview(collection.counts, False)
        return Preview(collection.counts, True)

    def _collection(self) -> Collection:
        return Collection(self._blobs, self._now() - self._grace, spares_listed=self._blocked is not None)

    async def collect(self, found: list[Garbage]) -> None:
        """Remove those of ``found`` that nothing names, unless they were stored lately, now instead of in the next pass."""
        await self._take(Collection(self._blobs, self._now() - self._grace), found)

    def _plan(self) -> None:
        if self._planned is None and not self._stopping:
            self._planned = self._clock.callLater(self._grace + _MARGIN, self._due)

    def _due(self) -> None:
        self._planned = None
        if self._leads():
            self.ask()
        else:
            self._plan()

    def _begin(self) -> None:
        if self._stopping:
            return
        self._count += 1
        collection = self._collection()
        self.running = Report(self._count, collection.counts)
        Deferred.fromCoroutine(self._run(collection, self.running))

    async def _run(self, collection: Collection, report: Report) -> None:
        try:
            report.failure = await self._collect(collection)
        except (CancelledError, WriterStopped):
            report.failure = "the server stops"
        except Exception as error:
            report.failure = str(error)
            self._log.failure("Files that nothing names could not be removed")
        self._end(report)

    async def _collect(self, collection: Collection) -> str | None:
        """Return why nothing may be removed now, or None at the end."""

        def find() -> list[Garbage] | None:
            return collection.find(self._readers.get())

        while (found := await self._offload(find)) is not None:
            if found:
                blocked = None if self._blocked is None else self._blocked()
                if blocked is not None:
                    return blocked
                await self._take(collection, found)
            if self._stopping:
                raise CancelledError
            self._pausing = sleep(self._clock, _PAUSE)
            await self._pausing
            self._pausing = None
        return None

    async def _take(self, collection: Collection, found: list[Garbage]) -> None:
        def decide(reader: Reader) -> Sequence[Change]:
            """Withdraw blobs in the writer's thread, where none can be named meanwhile; nothing is written to the changelog."""
            collection.take(found, reader, self._readers.get())
            return ()

        try:
            if self._blocked is None:
                await self._writer.commit(decide, _BY)
            else:  # a replica decides nothing; ``keep`` writes to the view only
                await self._writer.keep(lambda view: decide(view.reader))
        finally:
            await self._offload(collection.empty)

    def _end(self, report: Report) -> None:
        counts = report.swept
        report.ended = True
        self._pausing, self.running, self.last = None, None, report
        if counts.removed:
            self._log.info(
                "Removed {files} with {size} bytes that nothing named.",
                files=counted(counts.removed, "file"),
                size=counts.removed_bytes,
            )
        if self._stopping and not self._stopped.called:
            self._stopped.callback(None)
        if counts.young or report.failure is not None:
            self._plan()
        if self._again:
            self._again = False
            self._begin()
