"""One pass over all blobs that finds and removes garbage; the package's docstring says why that is safe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import attrs

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.interfaces import IBlobs
from twistpi.view.read import Reader

GRACE: Final = 3600.0
"""Seconds for which a blob is left alone after it was last stored."""
FOLDERS: Final = 16**3
"""The number of folders with blobs, in which progress is counted."""
_EXAMINED: Final = 1000
"""Blobs examined at a time, off the reactor: few enough to stop soon, and many enough that pauses between do not add up."""
_FOUND: Final = 100
"""Garbage withdrawn at a time, in the writer's thread: some milliseconds, for which commits wait."""


@attrs.define
class Collected:
    """What a pass has found so far."""

    folders: int = 0
    """How many of ``FOLDERS`` are done."""
    blobs: int = 0
    """How many were examined."""
    removed: int = 0
    """How many of them nothing names, and were removed."""
    removed_bytes: int = 0
    young: int = 0
    """How many nothing names, but were stored too recently."""


@attrs.frozen
class Garbage:
    """A blob that nothing names."""

    address: BlobAddress
    size: int
    """Bytes."""


@attrs.define(eq=False)
class SlowClock:
    """The time by the slower one of two clocks."""

    _wall: Callable[[], float]
    """Unix seconds; may be set forward and back."""
    _steady: Callable[[], float]
    """Seconds since any moment; never jumps."""
    _started: float = attrs.field(init=False)
    """The wall clock's time when the steady clock was at 0."""

    def __attrs_post_init__(self) -> None:
        self._started = self._wall() - self._steady()

    def now(self) -> float:
        """Return Unix seconds, not later than by either clock."""
        return min(self._wall(), self._started + self._steady())


class Collection:
    """One pass over all blobs, bunch by bunch.  Blocking; no two threads at a time."""

    def __init__(self, blobs: IBlobs, before: float, *, spares_listed: bool = False) -> None:
        """Blobs that were last stored at ``before`` (Unix seconds) or later are left alone.

        With ``spares_listed`` so are those that a mirror lists: a replica may have them before the log names them.
        """
        self.counts = Collected()
        self._spares_listed = spares_listed
        self._blobs = blobs
        self._before = before
        self._walk: Iterator[tuple[BlobAddress, int]] = blobs.walk()
        self._withdrawn: list[Callable[[], object]] = []

    def find(self, reader: Reader) -> list[Garbage] | None:
        """Return the garbage among the next blobs, according to ``reader``; None when there are no more blobs."""
        counts = self.counts
        found: list[Garbage] = []
        for _ in range(_EXAMINED):
            if len(found) == _FOUND:
                break
            one = next(self._walk, None)
            if one is None:
                counts.folders = FOLDERS
                return found or None
            address, size = one
            counts.blobs += 1
            counts.folders = int(address.digits[:3], 16)
            if self._is_named(reader, address):
                continue
            kept_at = self._blobs.last_kept(address)
            if kept_at is None:
                continue
            if kept_at >= self._before:
                counts.young += 1
            else:
                found.append(Garbage(address, size))
        return found

    def take(self, found: list[Garbage], *readers: Reader) -> None:
        """Withdraw those of ``found`` that none of ``readers`` names.  Until this returns, no entry may name another blob.

        May be called again.
        """
        for garbage in found:
            address = garbage.address
            if any(self._is_named(reader, address) for reader in readers):
                continue
            withdrawn = self._blobs.withdraw(address, self._before)
            if withdrawn is not None:
                self._withdrawn.append(withdrawn)
                self.count(garbage)

    def count(self, garbage: Garbage) -> None:
        """Count ``garbage`` as removed."""
        self.counts.removed += 1
        self.counts.removed_bytes += garbage.size

    def _is_named(self, reader: Reader, address: BlobAddress) -> bool:
        if reader.names_blob(address.digits, address.filename):
            return True
        return self._spares_listed and reader.lists_blob(address.digits, address.filename)

    def empty(self) -> None:
        """Delete what was withdrawn.  Raise ``OSError``."""
        while self._withdrawn:
            self._withdrawn.pop()()


def collect_alone(
    blobs: IBlobs,
    reader: Reader,
    before: float,
    progress: Callable[[Collected], object],
    *,
    only_tell: Callable[[Garbage], object] | None = None,
) -> Collected:
    """Run a whole pass where nothing else can commit; ``progress`` is called with its state.  Blocking.  Raise ``OSError``.

    With ``only_tell`` nothing is changed: it is called with what a pass would remove.
    """
    collection = Collection(blobs, before)
    while (found := collection.find(reader)) is not None:
        if only_tell is None:
            collection.take(found, reader)
            collection.empty()
        else:
            for garbage in found:
                only_tell(garbage)
                collection.count(garbage)
        progress(collection.counts)
    progress(collection.counts)
    return collection.counts
