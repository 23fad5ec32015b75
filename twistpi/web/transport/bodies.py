"""The bodies of answers: bytes in memory, a file, a file that is still being downloaded, or pieces that are made on demand.

The bytes of ready pages are kept so that sending them costs as little as possible. A small page goes out together with its head.
The kernel copies a large one out of this process's memory each time it is sent, and copies nothing when it comes from a file; so
large ones lie in files that exist only in memory (``memfd_create(2)``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred

SMALL: Final = 64 * 1024
"""Bytes; up to this size an answer is kept and sent in one piece, head and body together."""
UNKNOWN_END: Final = sys.maxsize
"""The end of a body whose size is known only with its last byte."""
_ONE_SEND = 512 * 1024
"""The most bytes handed to the kernel in one call, so that a fast reader does not keep the reactor to itself."""


class Body(Protocol):
    """Bytes to be sent in order."""

    offset: int
    """The position of the next byte to be sent; it only grows."""

    @property
    def over(self) -> bool:
        """Whether all was sent."""

    @property
    def ready(self) -> int:
        """Bytes that can be sent at once; 0 when over, and while the next bytes are not here yet."""

    def send(self, socket_number: int) -> int:
        """Send some ready bytes to a non-blocking socket and return how many. Raise ``OSError``."""

    def read(self, limit: int) -> bytes:
        """Take at most ``limit`` ready bytes. Raise ``OSError``."""

    async def more(self) -> None:
        """Wait until ``ready`` or ``over``. Raise what keeps the rest from coming."""

    def close(self) -> None:
        """Release what is held. May be called again."""


@attrs.define(eq=False)
class FileBody:
    """A part of a complete file."""

    descriptor: int
    """Owned by this body."""
    offset: int
    end: int

    @property
    def over(self) -> bool:
        """Whether all was sent."""
        return self.offset >= self.end

    @property
    def ready(self) -> int:
        """Bytes left."""
        return self.end - self.offset

    def send(self, socket_number: int) -> int:
        """Have the kernel copy from the file to the socket."""
        sent = os.sendfile(socket_number, self.descriptor, self.offset, min(self.ready, _ONE_SEND))
        if sent == 0:
            raise OSError("the file is shorter than it was")
        self.offset += sent
        return sent

    def read(self, limit: int) -> bytes:
        """Read the next bytes, for transports that must see them (TLS, chunked coding)."""
        data = os.pread(self.descriptor, min(limit, self.ready), self.offset)
        if not data:
            raise OSError("the file is shorter than it was")
        self.offset += len(data)
        return data

    async def more(self) -> None:
        """Do nothing: all is here."""

    def close(self) -> None:
        """Close the descriptor."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Growing(Protocol):
    """A download, as far as a growing body needs it (``mirror.download.Download``)."""

    async def wait(self, offset: int) -> int:
        """Return how many bytes may be read from the start: more than ``offset``, or the size once the download is complete."""


@attrs.define(eq=False)
class GrowingBody(FileBody):
    """A part of a file that is being downloaded; ``end`` is ``UNKNOWN_END`` while the size is unknown."""

    download: Growing
    available: int
    """Bytes from the start of the file that may be read by now."""

    @property
    def ready(self) -> int:
        """Bytes that are here and were not sent yet."""
        return max(0, min(self.available, self.end) - self.offset)

    def close(self) -> None:
        """Do nothing: the descriptor is the download's."""

    async def more(self) -> None:
        """Wait for the download to get beyond what was sent."""
        self.available = await self.download.wait(self.offset)
        if self.available <= self.offset:
            self.end = self.available


@attrs.define(eq=False)
class MemoryBody:
    """Bytes in memory; never copied to be sent."""

    view: memoryview
    offset: int = 0

    @property
    def over(self) -> bool:
        """Whether all was sent."""
        return self.offset >= len(self.view)

    @property
    def ready(self) -> int:
        """Bytes left."""
        return len(self.view) - self.offset

    def send(self, socket_number: int) -> int:
        """Hand a slice of the bytes to the kernel."""
        sent = os.write(socket_number, self.view[self.offset : self.offset + _ONE_SEND])
        self.offset += sent
        return sent

    def read(self, limit: int) -> bytes:
        """Return the next bytes."""
        data = bytes(self.view[self.offset : self.offset + limit])
        self.offset += len(data)
        return data

    async def more(self) -> None:
        """Do nothing: all is here."""

    def close(self) -> None:
        """Do nothing: nothing is held."""


class BufferedBody:
    """Base of bodies of which one piece at a time is in memory."""

    offset: int
    _piece: bytes

    @property
    def ready(self) -> int:
        """Bytes of the piece that were not sent yet."""
        return len(self._piece)

    def send(self, socket_number: int) -> int:
        """Hand what is ready to the kernel."""
        sent = os.write(socket_number, self._piece[:_ONE_SEND])
        self._advance(sent)
        return sent

    def read(self, limit: int) -> bytes:
        """Return the next bytes."""
        data = self._piece[:limit]
        self._advance(len(data))
        return data

    def _advance(self, size: int) -> None:
        self._piece = self._piece[size:]
        self.offset += size


@attrs.define(eq=False)
class PiecesBody(BufferedBody):
    """Bytes that are made in a thread while they are sent, piece by piece."""

    _pieces: Iterator[bytes]
    """Releases what it holds when it is no longer referenced."""
    _offload: Callable[..., Deferred[Any]]
    """Runs a function in a thread."""
    offset: int = 0
    over: bool = False
    _piece: bytes = b""

    async def more(self) -> None:
        """Make the next piece."""
        while not self._piece and not self.over:
            piece = await self._offload(next, self._pieces, None)
            self._piece, self.over = piece or b"", piece is None

    def close(self) -> None:
        """Release the pieces; one that is being made is finished first."""
        self._pieces = iter(())


@attrs.frozen
class PlainContent:
    """The bytes of a page in the memory of this process."""

    _content: bytes

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._content)

    def read(self) -> bytes:
        """Return all of them."""
        return self._content

    def body(self) -> MemoryBody:
        """Return a body that sends them."""
        return MemoryBody(memoryview(self._content))


class MemoryFile:
    """The bytes of a page in a file in memory, which is gone with this object and the last body that sends it."""

    def __init__(self, content: bytes) -> None:
        """Raise ``OSError`` if no file can be opened."""
        self.size = len(content)
        self._descriptor = -1
        self._descriptor = os.memfd_create("twistpi page", os.MFD_CLOEXEC)
        with open(self._descriptor, "wb", closefd=False) as file:
            file.write(content)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self) -> bytes:
        """Return all of them."""
        return os.pread(self._descriptor, self.size, 0)

    def body(self) -> FileBody:
        """Return a body that sends them. Raise ``OSError`` if this process may open no more files."""
        return FileBody(os.dup(self._descriptor), 0, self.size)


Content = PlainContent | MemoryFile
"""The bytes of a page, which do not change."""


def keep(content: bytes) -> Content:
    """Return ``content`` in the place from which it is best sent."""
    if len(content) > SMALL and hasattr(os, "memfd_create"):
        try:
            return MemoryFile(content)
        except OSError:
            pass  # no descriptor is left: it will be copied each time
    return PlainContent(content)


def open_file(path: str) -> tuple[int, int]:
    """Return a descriptor of the file at ``path`` and its size in bytes. Raise ``FileNotFoundError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return descriptor, os.fstat(descriptor).st_size
