"""Evicts cached files in a running server: when a budget is exceeded, when the disk is nearly full, and on demand.

On a primary, files are evicted by entries of up to ``eviction.BUNCH`` files.  Each says what the removal of a mirrored file says:
the bytes are no longer here, and the page lists the file still, so it is fetched again when it is requested next.  The blobs are
withdrawn after the entry, by the rules of garbage collection: a blob that is claimed, or that anything else names, stays.  A
request that has opened a file reads it to its end.

A replica has the entries of its primary.  A budget of its own is local: blobs are withdrawn without an entry, and fetched from
the primary when they are requested.  Files of indexes that it fetches in advance stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twistpi.blobs.interfaces import IBlobs
from twistpi.changelog.writer import Writer
from twistpi.gc.collector import GarbageCollector
from twistpi.gc.eviction import BUNCH, BY, Evicted, Eviction, decide_evicted, garbage_of, garbage_of_links
from twistpi.gc.garbage import GRACE, Garbage
from twistpi.http.backoff import sleep
from twistpi.http.offload import Offload
from twistpi.model.changes import Change, FileCached, IndexModified
from twistpi.model.monitoring import Measure
from twistpi.model.releases import FileRemoved
from twistpi.model.server_errors import StorageFull, WriterStopped
from twistpi.model.text import counted, in_words
from twistpi.rules.eviction import Budget, CachedFile, Limits
from twistpi.view.read import Reader, Readers

_LOOK: Final = 30.0
"""Seconds between two looks at the free space."""
_LOOK_AGAIN: Final = 2.0
"""The same, while files are not kept for want of room."""
_WEIGH: Final = 300.0
"""Seconds between two sums of all cached bytes, while more is cached."""
_AGES: Final = 6 * 3600.0
"""Seconds between two passes because of the ages of files."""
_VAIN: Final = 1800.0
"""Seconds after a pass in which nothing could go."""
_MOST_FOLLOWED: Final = 20_000
"""Evictions of the primary that a replica remembers; what is forgotten stays until its own budget, or forever."""
_PAUSE: Final = 0.005
"""Seconds between two bunches that are looked at: requests need the processor, too."""
_PAUSE_AFTER_ENTRY: Final = 0.02


@attrs.define
class Report:
    """The state of one pass."""

    number: int
    """1 for the first pass since the server started."""
    evicted: Evicted
    """Named as in the JSON of ``/+evict``."""
    ended: bool = False
    failure: str | None = None
    """Why it ended early; None when it did not."""


@attrs.define(eq=False, kw_only=True)
class Evictor:
    """Runs passes, one at a time.  Its methods are called in the reactor's thread."""

    _blobs: IBlobs
    _readers: Readers
    _writer: Writer
    _collector: GarbageCollector
    _clock: IReactorTime
    _offload: Offload
    _now: Callable[[], float]
    """Unix seconds; ``SlowClock.now``."""
    _budget: Budget
    """The server's own."""
    _min_free: int
    """Bytes of the disk below which files are evicted."""
    _free: Callable[[], int]
    """Returns the free bytes of the disk; blocking."""
    _unavailable: Callable[[], Collection[str]]
    """Returns the indexes of which nothing can be fetched again at the moment."""
    _is_replica: bool = False
    _leads: Callable[[], bool] = lambda: True
    """Whether it is up to this server to begin passes by itself; of the nodes of a cluster, one does."""
    running: Report | None = attrs.field(default=None, init=False)
    """The pass under way."""
    last: Report | None = attrs.field(default=None, init=False)
    """The last pass that ended."""
    evicted: Evicted = attrs.field(factory=Evicted, init=False)
    """The sums of all passes."""
    _count: int = attrs.field(default=0, init=False)
    _usage: dict[str, int] = attrs.field(factory=dict, init=False)
    """Bytes that were cached for each index when they were last summed."""
    _has_grown: bool = attrs.field(default=True, init=False)
    """Whether anything was cached, or a budget changed, since that."""
    _weighed_at: float = attrs.field(default=float("-inf"), init=False)
    _aged_at: float = attrs.field(default=float("-inf"), init=False)
    _looked_at: float = attrs.field(default=float("-inf"), init=False)
    _vain_until: float = attrs.field(default=float("-inf"), init=False)
    _looking: LoopingCall = attrs.field(init=False)
    _ended: Deferred[None] = attrs.field(factory=lambda: succeed(None), init=False)
    """The pass under way, or the last one."""
    _removed: list[FileRemoved] = attrs.field(factory=list, init=False)
    """Of the entries of the primary: what may have no bytes here any more."""
    _following: Deferred[None] = attrs.field(factory=lambda: succeed(None), init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _pausing: Deferred[None] | None = attrs.field(default=None, init=False)
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.gc"))

    def __attrs_post_init__(self) -> None:
        self._looking = LoopingCall(lambda: Deferred.fromCoroutine(self._look()))
        self._looking.clock = self._clock

    def start(self) -> None:
        """Begin to look whether anything has to go."""
        self._looking.start(_LOOK, now=False)

    async def stop(self) -> None:
        """Stop; return when nothing is under way any more."""
        self._stopping = True
        if self._looking.running:
            self._looking.stop()
        if self._pausing is not None:
            self._pausing.cancel()
        for work in (self._ended, self._following):
            await work

    def changed(self, _serial: int, changes: Sequence[Change]) -> None:
        """Note that more is cached, or that a budget may be another one."""
        if not self._has_grown:
            self._has_grown = any(isinstance(change, FileCached | IndexModified) for change in changes)
        if self._is_replica:
            room = _MOST_FOLLOWED - len(self._removed)
            is_idle = not self._removed
            self._removed += [change for change in changes if isinstance(change, FileRemoved)][:room]
            if self._removed and is_idle and not self._stopping:
                self._following = Deferred.fromCoroutine(self._follow())

    def ask(self) -> int:
        """Start a pass, unless one is under way; return its number."""
        if self.running is None and not self._stopping:
            self._begin()
        return self._count

    def look(self) -> None:
        """Look at once whether anything has to go: a file was not kept for want of room."""
        now = self._clock.seconds()
        if not self._looked_at <= now < self._looked_at + _LOOK_AGAIN:
            self._looked_at = now
            Deferred.fromCoroutine(self._look())

    def measures(self) -> list[Measure]:
        """See ``Measured``."""
        help = "Bytes of the files that mirrors cached, when they were last summed"
        return [
            Measure("twistpi_evicted_files", "counter", "Cached files that were evicted", self.evicted.files),
            Measure("twistpi_evicted_bytes", "counter", "Their bytes", self.evicted.bytes),
            *(Measure("twistpi_cached_bytes", "gauge", help, size, (("index", name),)) for name, size in self._usage.items()),
        ]

    async def _look(self) -> None:
        """Begin a pass if one is due."""
        if self.running is not None or self._stopping or not self._leads():
            return
        try:
            if await self._offload(self._is_due, self._clock.seconds()):
                self.ask()
        except Exception:
            self._log.failure("It could not be found out whether cached files have to be evicted")

    def _is_due(self, now: float) -> bool:
        """Return whether anything has to go; blocking."""
        if now < self._vain_until:
            return False
        if self._free() < self._min_free:
            return True
        limits = self._limits(self._readers.get())
        if not limits.is_limited:
            return False
        if limits.has_ages and now >= self._aged_at + _AGES:
            return True
        if not self._has_grown or now < self._weighed_at + _WEIGH:
            return False
        self._weighed_at, self._has_grown = now, False
        self._usage = dict(self._readers.get().cached_bytes())
        return limits.exceeded(self._usage)

    def _limits(self, reader: Reader, unavailable: Collection[str] = ()) -> Limits:
        limits = Limits.of(self._budget, reader.indexes(), unavailable)
        return limits.local() if self._is_replica else limits

    def _begin(self) -> None:
        self._count += 1
        eviction = Eviction.of(self._blobs, self._limits(self._readers.get(), self._unavailable()), self._now())
        self.running = Report(self._count, eviction.counts)
        self._ended = Deferred.fromCoroutine(self._run(eviction, self.running))

    async def _run(self, eviction: Eviction, report: Report) -> None:
        try:
            await self._evict_all(eviction)
        except (CancelledError, WriterStopped):
            report.failure = "the server stops"
        except StorageFull as full:
            report.failure = str(full)
            self._log.warn("Cached files could not be evicted: {reason}", reason=str(full))
        except Exception as error:
            report.failure = str(error)
            self._log.failure("Cached files could not be evicted")
        counts, now = eviction.counts, self._clock.seconds()
        self._usage, self._aged_at = eviction.usage, now
        self._vain_until = float("-inf") if counts.files else now + _VAIN
        self.evicted.files += counts.files
        self.evicted.bytes += counts.bytes
        if counts.files:
            files, size = counted(counts.files, "cached file"), in_words(counts.bytes)
            self._log.info("Evicted {files} with {size} that nobody had asked for the longest.", files=files, size=size)
        report.ended, self.running, self.last = True, None, report

    async def _evict_all(self, eviction: Eviction) -> None:
        while await self._offload(lambda: eviction.weigh(self._readers.get())):
            await self._pause(_PAUSE)
        missing = self._min_free - await self._offload(self._free)
        if not eviction.choose(missing):
            return
        bunch: list[CachedFile] = []
        while (found := await self._offload(lambda: eviction.find(self._readers.get()))) is not None:
            bunch += found
            if len(bunch) >= BUNCH:
                await self._evict(eviction, bunch[:BUNCH])
                del bunch[:BUNCH]
            await self._pause(_PAUSE)
        if bunch:
            await self._evict(eviction, bunch)

    async def _evict(self, eviction: Eviction, files: Sequence[CachedFile]) -> None:
        if self._is_replica:
            files = await self._offload(self._withdraw, files)
        else:

            def decide(reader: Reader) -> Sequence[Change]:
                return decide_evicted(reader, files, self._limits(reader))

            try:
                committed = await self._writer.commit(decide, BY)
            except StorageFull:  # no room for the entry: the bytes go first, as what is missing here is fetched again
                await self._offload(self._withdraw, files)
                committed = await self._writer.commit(decide, BY)
            gone = {(change.index, change.filename) for change in committed.changes if isinstance(change, FileRemoved)}
            files = [file for file in files if (file.index, file.filename) in gone]
            await self._collector.collect([garbage for file in files for garbage in garbage_of(file)])
        eviction.count(files)
        await self._pause(_PAUSE_AFTER_ENTRY)

    def _withdraw(self, files: Sequence[CachedFile]) -> list[CachedFile]:
        """Remove the blobs of ``files``, though the view names them; return the files whose bytes are gone.  Blocking."""
        before, withdrawn = self._now() - GRACE, []
        for file in files:
            for garbage in garbage_of(file):
                free = self._blobs.withdraw(garbage.address, before)
                if free is not None:
                    free()
                    if garbage.size:
                        withdrawn.append(file)
        return withdrawn

    def _find_removed(self, removed: Sequence[FileRemoved]) -> list[Garbage]:
        return garbage_of_links(self._readers.get(), removed)

    async def _follow(self) -> None:
        """Remove the blobs of what the primary evicted: garbage collection spares what mirrors list on a replica."""
        try:
            while self._removed and not self._stopping:
                bunch = self._removed[:BUNCH]
                found = await self._offload(self._find_removed, bunch)
                await self._collector.collect(found)
                del self._removed[: len(bunch)]
                await self._pause(_PAUSE_AFTER_ENTRY)
        except (CancelledError, WriterStopped):
            pass
        except Exception:
            self._removed.clear()
            self._log.failure("Files that the primary evicted could not be removed")

    async def _pause(self, seconds: float) -> None:
        if self._stopping:
            raise CancelledError
        self._pausing = sleep(self._clock, seconds)
        try:
            await self._pausing
        finally:
            self._pausing = None
