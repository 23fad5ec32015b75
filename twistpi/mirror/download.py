"""A file on its way into the cache: one transfer, any number of readers of the growing file.

The life of a ``Download``, in order; it fails from any of the first three:

1. *requested*: nothing is known but what the page says.
2. *growing*: the response has begun; ``available`` advances with what is written, but stays 64 KiB behind the end.
3. *whole*: length and digest are right; every byte is available (law 12), though perhaps not yet synced.
4. *recorded*: the blob is under its name and ``FileCached`` is in the changelog.

Where the disk has no room, the bytes go through a *window* in memory to the readers, verified all the same, and 4. does not come;
also when the disk runs full after 2.: then the file is fetched again, and readers go on where they are.

A reader that leaves changes nothing; only what is not kept ends with its last reader.  Wrong bytes are never completed: readers
get ``WrongBytes`` instead of the last piece, the file is removed, nothing is recorded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from typing import BinaryIO, Final, Protocol

import attrs

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.incoming import IncomingFile
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.single_flight import Waiters
from twistpi.mirror.file_transfer import BytesDiffer
from twistpi.mirror.window import Window, first_needed, is_ahead
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Index, KnownFile

HELD_BACK: Final = 64 * 1024
"""Bytes at the end of a file that no reader gets before all of it is verified."""


@attrs.frozen
class KeptFile:
    """A file that is in the cache."""

    address: BlobAddress
    sha256: str
    size: int


class Flow(Protocol):
    """A transfer that can be held back."""

    def hold(self) -> None:
        """Hold the sender back until ``go_on``."""

    def go_on(self) -> None:
        """End ``hold``."""

    def abandon(self, error: Exception) -> None:
        """End soon, with ``error``."""


class ReaderPosition(Protocol):
    """Where a reader is."""

    offset: int


@attrs.define(eq=False)
class Download:
    """One file while it is fetched.  Only the reactor's thread touches it."""

    key: Hashable
    """A request for a file with the same key joins this download."""
    index: Index | None
    """None for a blob that some file of the view needs, of whatever index."""
    project: str
    known_file: KnownFile
    address: BlobAddress | None = None
    """Where the bytes are going to be kept; None when their digest decides."""
    keeper: IBlobs | None = None
    """What keeps the bytes; None for that of all files.  What came from a bucket is not put there again."""
    size: int | None = None
    """Bytes of the whole file, None while unknown."""
    last_modified: str | None = None
    """The upstream's ``Last-Modified``, as it came."""
    available: int = 0
    """Bytes that may be read from ``fileno()`` now, from the beginning."""
    readers: int = 0
    """How many clients read the file; the descriptor stays open while there are any."""
    window: Window | None = attrs.field(default=None, init=False)
    """What is in memory of a file that is passed on without being kept; None of one that is written to the disk."""
    _flow: Flow | None = attrs.field(default=None, init=False)
    """The transfer that is under way."""
    _unwanted: Exception | None = attrs.field(default=None, init=False)
    """Why the transfer ends, when nobody reads what is not kept any more."""
    again: Callable[[], Download] | None = attrs.field(default=None, init=False)
    """Returns a download of the same file for readers who fell behind; raises ``TwistpiError``."""
    beginning: tuple[int, bytes] | None = attrs.field(default=None, init=False)
    """Size and SHA-256 of what was written before the disk was full."""
    _positions: list[ReaderPosition] = attrs.field(factory=list, init=False)
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
        self._regulate()
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

    def follow(self, position: ReaderPosition) -> None:
        """Heed where a reader, who was retained, is."""
        self._positions.append(position)

    def release(self, position: ReaderPosition | None = None) -> None:
        """A reader stops; ``position`` is where it was."""
        self.readers -= 1
        self._positions = [one for one in self._positions if one is not position]
        self._close_if_unused()
        if self.window is not None and self.readers <= 0 and not self._whole and not self._ended:
            self._unwanted = TwistpiError(f"Nobody reads {self.known_file.link.filename} any more, which is not kept.", 503)
            if self._flow is not None:
                self._flow.abandon(self._unwanted)
        self._regulate()

    def has_dropped(self, offset: int) -> bool:
        """Return whether the byte at ``offset`` is in memory no more."""
        return self.window is not None and offset < self.window.start

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are there and verified."""
        return self._whole

    @property
    def may_be_joined(self) -> bool:
        """Whether a reader who begins now gets all bytes."""
        return self._unwanted is None and not self.has_dropped(0)

    # For the fetch -------------------------------------------------------------------------------------------------

    def arrives_by(self, flow: Flow) -> None:
        """A transfer begins."""
        self._flow = flow
        if self._unwanted is not None:
            flow.abandon(self._unwanted)

    def begin(self, size: int | None, last_modified: str | None) -> None:
        """The response begins; raise ``BytesDiffer`` if readers were told another size."""
        if self._began and None not in (size, self.size) and size != self.size:
            raise BytesDiffer(f"the upstream announces {size:,} of them, and announced {self.size:,} before")
        self.size = self.size if size is None else size
        self.last_modified, self._began = last_modified, True
        self._beginnings.fire(None)

    def advance(self, written: int) -> None:
        """``written`` bytes are in the file."""
        end = written if self.size is None else min(written, self.size)
        held_back = end - HELD_BACK if self.size is None else min(end, self.size - HELD_BACK)
        if held_back > self.available:
            self.available = held_back
            self._growth.fire(None)
        self._regulate()

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

    def pass_on(self) -> Window:
        """The disk has no room: what comes from now on, from the first byte, is written to the window and not kept."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.available, self.window = 0, Window()
        return self.window

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

    def _regulate(self) -> None:
        """Hold the sender back while readers have enough, and forget what they have."""
        if self.window is None:
            return
        offsets = [one.offset for one in self._positions] + [0] * (self.readers > len(self._positions))
        self.window.drop(first_needed(self.window.end, offsets))
        if self._flow is not None and not self._whole:
            (self._flow.hold if is_ahead(self.window.end, offsets) else self._flow.go_on)()

    def _close_if_unused(self) -> None:
        if self._ended and self.readers <= 0 and self._file is not None:
            self._file.close()
