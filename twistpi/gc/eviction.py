"""One pass that evicts cached files; ``rules/eviction.py`` decides which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from twistpi.blobs.address import blob_address, metadata_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.gc.garbage import Garbage
from twistpi.model.releases import FileRemoved
from twistpi.rules.eviction import CachedFile, Limits, Selection
from twistpi.view.read import Reader

BY: Final = "+eviction"
"""The author of entries that evict files."""
BUNCH: Final = 100
"""Files of one entry: the writer needs some ten milliseconds for it, and for its blobs, in which other commits wait."""
_READ: Final = 100
"""Files looked at in one call of a thread: some milliseconds."""


@attrs.define
class Evicted:
    """What a pass has done so far."""

    examined: int = 0
    """Cached files that were looked at."""
    cached_bytes: int = 0
    """Their bytes, before the pass."""
    files: int = 0
    """Those that were evicted."""
    bytes: int = 0


@attrs.define(eq=False)
class Eviction:
    """One pass over all cached files, bunch by bunch.  Blocking; no two threads at a time."""

    _blobs: IBlobs
    _selection: Selection
    counts: Evicted = attrs.field(factory=Evicted, init=False)
    _after: int = attrs.field(default=0, init=False)

    @classmethod
    def of(cls, blobs: IBlobs, limits: Limits, now: float) -> Eviction:
        """Return a pass at ``now`` (Unix seconds)."""
        return cls(blobs, Selection(limits, now))

    @property
    def usage(self) -> dict[str, int]:
        """Index -> bytes of its cached files, as far as they were weighed."""
        return dict(self._selection.usage)

    def weigh(self, reader: Reader) -> bool:
        """Look at the next files; return False when there are none."""
        files = self._next(reader)
        for file in files:
            times = self._blobs.times(blob_address(file.sha256, file.filename))
            if times is not None:  # else it was lost, or a replica does not have it
                self._selection.weigh(file, times.kept, times.accessed)
                self.counts.examined += 1
                self.counts.cached_bytes += file.size
        return bool(files)

    def choose(self, missing: int = 0) -> bool:
        """After all were weighed, decide what goes, so that the disk has ``missing`` bytes more; return whether anything does."""
        self._after = 0
        return self._selection.choose(missing)

    def find(self, reader: Reader) -> list[CachedFile] | None:
        """Return those of the next files that go; None when there are no more."""
        files = self._next(reader)
        return [file for file in files if self._goes(file)] if files else None

    def count(self, files: Sequence[CachedFile]) -> None:
        """Count ``files`` as evicted."""
        self.counts.files += len(files)
        self.counts.bytes += sum(file.size for file in files)

    def _goes(self, file: CachedFile) -> bool:
        times = self._blobs.times(blob_address(file.sha256, file.filename))
        return times is not None and self._selection.takes(file, times.kept, times.accessed)

    def _next(self, reader: Reader) -> list[CachedFile]:
        files = reader.cached_files(self._after, _READ)
        if files:
            self._after = files[-1].number
        return files


def decide_evicted(reader: Reader, files: Sequence[CachedFile], limits: Limits) -> tuple[FileRemoved, ...]:
    """Return the changes that evict those of ``files`` that are cached as they were, and that ``limits`` do not pin."""
    before = {file.number: file for file in files}
    return tuple(
        FileRemoved(file.index, file.project, file.filename)
        for file in reader.still_cached(list(before))
        if file == before[file.number] and file.is_replaceable and not limits.is_pinned(file)
    )


def garbage_of(file: CachedFile) -> tuple[Garbage, Garbage]:
    """Return the blobs that nothing may name after ``file`` was evicted: its bytes and its core metadata."""
    address = blob_address(file.sha256, file.filename)
    return Garbage(address, file.size), Garbage(metadata_address(address), 0)


def garbage_of_links(reader: Reader, removed: Sequence[FileRemoved]) -> list[Garbage]:
    """Return the blobs that ``removed`` files of mirrors had, as far as their links have a SHA-256."""
    found: list[Garbage] = []
    for change in removed:
        for _, known in reader.files_by_filename(change.index, change.filename):
            if known.link.sha256 is not None and not known.cached:
                address = blob_address(known.link.sha256, change.filename)
                found += [Garbage(address, known.link.size or 0), Garbage(metadata_address(address), 0)]
    return found
