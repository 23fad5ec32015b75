"""When blobs were last asked for: noted while they are sent, and written to their access times.

The access time of a blob is local to a server and survives its restarts.  It is set by this module, at most once an hour for each
blob; a file system that keeps no access times by itself makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi.blobs.address import blob_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.offload import Offload
from twistpi.view.read import Readers

Row = Sequence[str | int]
"""Index, project, file name and more, as downloads are counted (``statistics.tally.Row``)."""
MOST: Final = 20_000
"""Blobs that are remembered; about 6 MB at the most."""
HOUR: Final = 3600.0
"""Seconds for which a blob that was noted is not noted again."""
_INTERVAL: Final = 30.0
"""Seconds between two times that access times are written: what a killed process forgets."""
_AT_ONCE: Final = 500
"""Access times that are written by one call of a thread."""


@attrs.define(eq=False)
class AccessTimes:
    """The blobs that were asked for within the last hour; for one thread."""

    most: int = MOST
    _noted: dict[str, float] = attrs.field(factory=dict)
    """By path: when it was taken; infinite before."""
    _waiting: list[str] = attrs.field(factory=list)
    """Those that nobody took yet."""

    def note(self, path: str) -> None:
        """Note that a client asked for the blob at ``path``.  For every file that is sent, so it is one look-up as a rule."""
        if path not in self._noted:
            self._begin(path)

    def _begin(self, path: str) -> None:
        if len(self._waiting) >= self.most:
            return  # it is noted again when somebody asks the next time
        if len(self._noted) >= self.most:
            del self._noted[next(iter(self._noted))]
        self._noted[path] = inf
        self._waiting.append(path)

    def take(self, now: float, most: int = MOST) -> Sequence[str]:
        """Return up to ``most`` paths that were noted since they were last taken; ``now`` is the time in seconds."""
        taken, self._waiting = self._waiting[:most], self._waiting[most:]
        noted = self._noted
        for path in taken:
            if path in noted:
                noted[path] = now
        while noted and noted[first := next(iter(noted))] <= now - HOUR:
            del noted[first]
        return taken


@attrs.define(eq=False)
class AccessRecorder:
    """Writes what is noted, in threads."""

    times: AccessTimes
    _blobs: IBlobs
    _readers: Readers
    _clock: IReactorTime
    _offload: Offload
    _now: Callable[[], float]
    """Unix seconds."""
    written: int = attrs.field(default=0, init=False)
    """Access times that were written since the start."""
    _writing: LoopingCall = attrs.field(init=False)
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.gc"))

    def __attrs_post_init__(self) -> None:
        self._writing = LoopingCall(lambda: Deferred.fromCoroutine(self.flush()).addErrback(self._not_written))
        self._writing.clock = self._clock

    def start(self) -> None:
        """Begin to write."""
        self._writing.start(_INTERVAL, now=False)

    async def stop(self) -> None:
        """Write what is left."""
        if self._writing.running:
            self._writing.stop()
        await self.flush()

    async def flush(self) -> None:
        """Write what was noted."""
        paths, now = self.times.take(self._clock.seconds()), self._now()
        for start in range(0, len(paths), _AT_ONCE):
            await self._offload(self._write, paths[start : start + _AT_ONCE], now)

    def downloaded(self, rows: Sequence[Row]) -> Deferred[None]:
        """Note what clients got from a replica, which counted it in ``rows``."""
        return self._offload(self._paths_of, rows).addCallbacks(self._note, self._not_written)

    def _note(self, paths: Iterable[str]) -> None:
        for path in paths:
            self.times.note(path)

    def _paths_of(self, rows: Sequence[Row]) -> list[str]:
        """Return the paths of the blobs that ``rows`` name; blocking."""
        reader = self._readers.get()
        return [
            self._blobs.path(blob_address(known.sha256, known.link.filename))
            for index, filename in {(str(row[0]), str(row[2])) for row in rows}
            for _project, known in reader.files_by_filename(index, filename)
            if known.sha256 is not None
        ]

    def _write(self, paths: Sequence[str], now: float) -> None:
        for path in paths:
            self.written += self._blobs.note_access(path, now)

    def _not_written(self, failure: Failure) -> None:
        """Let a failure not end the rounds."""
        self._log.failure("Access times of files could not be written", failure=failure)
