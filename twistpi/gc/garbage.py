"""One way through all blobs, on which garbage is found and removed; the package says why that is safe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import attrs

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.interfaces import IBlobs
from twistpi.view.read import Reader

GRACE: Final = 3600.0
"""Seconds for which a blob is left alone after it was last kept."""
FOLDERS: Final = 16**3
"""In so many folders blobs lie; progress is counted in them."""
_BUNCH: Final = 100
"""Blobs looked at in one go: some milliseconds."""


@attrs.define
class Collected:
    """What a sweep has found so far."""

    folders: int = 0
    """How many of ``FOLDERS`` are behind it."""
    blobs: int = 0
    """How many it looked at."""
    removed: int = 0
    """How many of them nothing named."""
    removed_bytes: int = 0
    young: int = 0
    """How many nothing named that were kept too recently."""


@attrs.frozen
class Garbage:
    """A blob that nothing names."""

    address: BlobAddress
    size: int
    """Bytes."""


@attrs.define(eq=False)
class SlowClock:
    """The time by two clocks, of which the slower one counts."""

    _wall: Callable[[], float]
    """Unix seconds; may be set forward and backward."""
    _steady: Callable[[], float]
    """Seconds since whenever; never jumps."""
    _started: float = attrs.field(init=False)
    """What the wall said when the steady clock stood at 0."""

    def __attrs_post_init__(self) -> None:
        self._started = self._wall() - self._steady()

    def now(self) -> float:
        """Unix seconds, not later than either clock says."""
        return min(self._wall(), self._started + self._steady())


class Collection:
    """One way through all blobs, bunch by bunch.  Blocking; no two threads at a time."""

    def __init__(self, blobs: IBlobs, before: float, *, spares_listed: bool = False) -> None:
        """Blobs that were last kept at ``before`` (Unix seconds) or later are left alone.

        So are those that a mirror lists when ``spares_listed``: a server that follows another one may have them before the log
        says so.
        """
        self.swept = Collected()
        self._spares_listed = spares_listed
        self._blobs = blobs
        self._before = before
        self._way: Iterator[tuple[BlobAddress, int]] = blobs.walk()
        self._withdrawn: list[Callable[[], object]] = []

    def look(self, reader: Reader) -> list[Garbage] | None:
        """What is garbage among the next blobs, as far as ``reader`` knows; None when there are no more."""
        swept = self.swept
        found: list[Garbage] = []
        for _ in range(_BUNCH):
            one = next(self._way, None)
            if one is None:
                swept.folders = FOLDERS
                return found or None
            address, size = one
            swept.blobs += 1
            swept.folders = int(address.digits[:3], 16)
            if self._is_named(reader, address):
                continue
            kept_at = self._blobs.last_kept(address)
            if kept_at is None:
                continue
            if kept_at >= self._before:
                swept.young += 1
            else:
                found.append(Garbage(address, size))
        return found

    def take(self, found: list[Garbage], *readers: Reader) -> None:
        """Withdraw those of ``found`` that none of ``readers`` names: where, until this returns, nobody can name another.

        May be called again.
        """
        for garbage in found:
            address = garbage.address
            if any(self._is_named(reader, address) for reader in readers):
                continue
            withdrawn = self._blobs.withdraw(address, self._before)
            if withdrawn is not None:
                self._withdrawn.append(withdrawn)
                self.swept.removed += 1
                self.swept.removed_bytes += garbage.size

    def _is_named(self, reader: Reader, address: BlobAddress) -> bool:
        if reader.names_blob(address.digits, address.filename):
            return True
        return self._spares_listed and reader.lists_blob(address.digits, address.filename)

    def empty(self) -> None:
        """Give back the room of what was withdrawn; raises ``OSError``."""
        while self._withdrawn:
            self._withdrawn.pop()()


def collect_alone(blobs: IBlobs, reader: Reader, before: float, tell: Callable[[Collected], object]) -> Collected:
    """A whole sweep where nobody else can commit; ``tell`` is told how far it is.  Blocking; raises ``OSError``."""
    sweep = Collection(blobs, before)
    while (found := sweep.look(reader)) is not None:
        sweep.take(found, reader)
        sweep.empty()
        tell(sweep.swept)
    tell(sweep.swept)
    return sweep.swept


def find_garbage(
    blobs: IBlobs, reader: Reader, before: float, tell: Callable[[Collected], object], each: Callable[[Garbage], object]
) -> Collected:
    """What a sweep would remove: ``each`` is told of each, and nothing is changed.  Otherwise as ``sweep_alone``."""
    sweep = Collection(blobs, before)
    while (found := sweep.look(reader)) is not None:
        for garbage in found:
            each(garbage)
            sweep.swept.removed += 1
            sweep.swept.removed_bytes += garbage.size
        tell(sweep.swept)
    tell(sweep.swept)
    return sweep.swept
