"""Keeps the cache of a node of a cluster within its budget: what it has of the bucket's files can be had again.

Nothing else has to know: no entry is written, and no other node is asked.  A file that is claimed, or came within the last
minute, stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.tree import Tree
from twistpi.http.offload import Offload
from twistpi.model.monitoring import Measure
from twistpi.model.text import counted, in_words

_LOOK: Final = 60.0
"""Seconds between two looks at all files."""
_NEW: Final = 60.0
"""Seconds for which a file stays that came."""
_DOWN_TO: Final = 0.9
"""Of the budget: what is left, so that the next file is not too much again."""
_log = Logger()


@attrs.define(eq=False)
class CacheBudget:
    """Removes the files that nobody asked for the longest."""

    _tree: Tree
    _budget: int
    """Bytes."""
    _clock: IReactorTime
    _offload: Offload
    _room: Callable[[], int] = lambda: 1 << 62
    """Returns the free bytes of the disk, less those that are to stay free.  Blocking."""
    _now: Callable[[], float] = time.time
    """Unix seconds."""
    size: int = attrs.field(default=0, init=False)
    """Bytes of all files, when they were last looked at."""
    _looking: LoopingCall = attrs.field(init=False)
    _running: Deferred[None] = attrs.field(factory=lambda: succeed(None), init=False)

    def __attrs_post_init__(self) -> None:
        self._looking = LoopingCall(self._look)
        self._looking.clock = self._clock

    def start(self) -> None:
        """Begin to look."""
        self._looking.start(_LOOK, now=False)

    async def stop(self) -> None:
        """Stop; return when nothing is being removed any more."""
        if self._looking.running:
            self._looking.stop()
        await self._running

    def measures(self) -> list[Measure]:
        """See ``Measured``."""
        return [Measure("twistpi_cache_dir_bytes", "gauge", "Bytes of the bucket's files in the cache of this node", self.size)]

    def trim(self) -> int:
        """Remove files while they are more than the budget; return how many bytes were removed.  Blocking."""
        found: list[tuple[float, int, BlobAddress]] = []
        size = 0
        for address, length in self._tree.walk():
            times = self._tree.times(address)
            if times is not None:
                size += length
                found.append((times.accessed, length, address))
        self.size = size
        budget = min(self._budget, max(0, size + self._room()))
        if size <= budget:
            return 0
        found.sort(key=lambda one: one[:2])
        before, removed, files = self._now() - _NEW, 0, 0
        for _, length, address in found:
            if size - removed <= budget * _DOWN_TO:
                break
            free = self._tree.withdraw(address, before)
            if free is not None:
                free()
                removed += length
                files += 1
        self.size -= removed
        if files:
            text = "Removed {files} with {size} from the cache; the bucket has them."
            _log.info(text, files=counted(files, "file"), size=in_words(removed))
        return removed

    def _look(self) -> Deferred[None]:
        self._running = self._offload(self.trim).addCallbacks(lambda _: None, self._failed)
        return self._running

    def _failed(self, failure: object) -> None:
        _log.error("The cache could not be trimmed: {failure}", failure=failure)
