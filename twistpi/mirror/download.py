"""A file on its way into the cache: one transfer, any number of readers of the growing file.

The life of a ``Download``, in order; it fails from any of the first three:

1. *requested*: nothing is known but what the page says.
2. *growing*: the response has begun; ``available`` advances with what is written, but stays 64 KiB behind the end.
3. *whole*: length and digest are right; every byte is available (law 12), though perhaps not yet synced.
4. *recorded*: the blob is under its name and ``FileCached`` is in the changelog.

A reader that leaves changes nothing.  Wrong bytes are never completed: readers get ``WrongBytes`` instead of the last piece, the
file is removed, nothing is recorded.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import BinaryIO, Final

import attrs

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.incoming import IncomingFile
from twistpi.http.single_flight import Waiters
from twistpi.model.records import Index, KnownFile

HELD_BACK: Final = 64 * 1024
"""Bytes at the end of a file that no reader gets before all of it is verified."""


@attrs.frozen
class KeptFile:
    """A file that is in the cache."""

    address: BlobAddress
    sha256: str
    size: int


@attrs.define(eq=False)
class Download:
    """One file while it is fetched.  Only the reactor's thread touches it."""

    key: Hashable
    """Who asks for a file under the same key joins the same download."""
    index: Index | None
    """None for a blob that some file of the view needs, of whatever index."""
    project: str
    known_file: KnownFile
    address: BlobAddress | None = None
    """Where the bytes are going to be kept; None when their digest decides."""
    size: int | None = None
    """Bytes of the whole file, None while unknown."""
    last_modified: str | None = None
    """The upstream's ``Last-Modified``, as it came."""
    available: int = 0
    """Bytes that may be read from ``fileno()`` now, from the beginning."""
    readers: int = 0
    """How many clients read the file; the descriptor stays open while there are any."""
    _began: bool = False
    _whole: bool = False
    _ended: bool = False
    _error: Exception | None = None
    _file: IncomingFile | BinaryIO | None = None
    _kept: KeptFile | None = None
    _beginnings: Waiters[None] = attrs.field(factory=Waiters)
    _growth: Waiters[None] = attrs.field(factory=Waiters)
    _ends: Waiters[None] = attrs.field(factory=Waiters)

    # For readers ---------------------------------------------------------------------------------------------------

    async def headers(self) -> int | None:
        """Return the size, as soon as the response begins; None when it will only be known at the end.

        Raise ``UnknownFile``, ``UpstreamFailed``, ``UpstreamUnreachable``, ``WrongBytes`` or ``StorageFull``.
        """
        if not self._began and self._error is None:
            await self._beginnings.wait()
        if self._error is not None and not self._whole:
            raise self._error
        return self.size

    async def wait(self, offset: int) -> int:
        """Return how many bytes are available, once more than ``offset`` are, or the file's size when that is not more.

        Raise as ``headers``.
        """
        while self.available <= offset and not self._whole and self._error is None:
            await self._growth.wait()
        if self._error is not None and not self._whole and self.available <= offset:
            raise self._error
        return self.available

    async def finished(self) -> KeptFile:
        """Return the file once it is recorded; raise as ``headers``, or what went wrong in keeping it."""
        if not self._ended:
            await self._ends.wait()
        if self._kept is None:
            raise self._error or RuntimeError("a download ended without a result")
        return self._kept

    def fileno(self) -> int:
        """Return the descriptor to read from, with explicit offsets; open from ``headers()`` on, while there are readers."""
        assert self._file is not None
        return self._file.fileno()

    def retain(self) -> None:
        """A reader begins."""
        self.readers += 1

    def release(self) -> None:
        """A reader stops."""
        self.readers -= 1
        self._close_if_unused()

    # For the fetch -------------------------------------------------------------------------------------------------

    def begin(self, size: int | None, last_modified: str | None) -> None:
        """The response begins."""
        self.size, self.last_modified, self._began = size, last_modified, True
        self._beginnings.fire(None)

    def advance(self, written: int) -> None:
        """``written`` bytes are in the file."""
        end = written if self.size is None else min(written, self.size)
        held_back = end - HELD_BACK if self.size is None else min(end, self.size - HELD_BACK)
        if held_back > self.available:
            self.available = held_back
            self._growth.fire(None)

    def become_whole(self, size: int) -> None:
        """All bytes are there and verified."""
        self.size = self.available = size
        self._whole = True
        if not self._began:
            self.begin(size, None)
        self._growth.fire(None)

    def use(self, file: IncomingFile | BinaryIO) -> None:
        """``file`` is where the bytes are."""
        self._file = file

    def adopt(self, file: BinaryIO, address: BlobAddress, sha256: str) -> KeptFile:
        """``file``, the blob at ``address``, has all the bytes already."""
        self.use(file)
        size = file.seek(0, os.SEEK_END)
        self.become_whole(size)
        return KeptFile(address, sha256, size)

    def end(self, kept: KeptFile | None, error: Exception | None) -> None:
        """It is recorded, or it failed."""
        self._kept, self._error, self._ended = kept, error, True
        for waiters in (self._beginnings, self._growth, self._ends):
            waiters.fire(None)
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._ended and self.readers <= 0 and self._file is not None:
            self._file.close()
