"""Where the bytes of an answer come from: memory, a file, or a file that is still growing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred

_ONE_SEND = 512 * 1024
"""The most bytes handed to the kernel in one call, so that a fast reader does not keep the reactor to itself."""


UNKNOWN_END: Final = sys.maxsize
"""The end of a body whose size only its last byte will tell."""


class Body(Protocol):
    """Bytes to be sent in order."""

    offset: int
    """Where the next byte to be sent is; it only grows."""

    @property
    def over(self) -> bool:
        """Whether all was sent."""

    @property
    def ready(self) -> int:
        """Bytes that can be sent at once; 0 when over, and while a growing file has no more yet."""

    def send(self, socket_number: int) -> int:
        """Send some ready bytes to a non-blocking socket; returns how many; raises ``OSError``."""

    def read(self, limit: int) -> bytes:
        """Take at most ``limit`` ready bytes; raises ``OSError``."""

    async def more(self) -> None:
        """Wait until ``ready`` or ``over``; raises what keeps the rest from coming."""

    def close(self) -> None:
        """Give back what is held; may be called again."""


@attrs.define(eq=False)
class FileBody:
    """A part of a file that is complete."""

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
        """Let the kernel copy from the file to the socket."""
        sent = os.sendfile(socket_number, self.descriptor, self.offset, min(self.ready, _ONE_SEND))
        if sent == 0:
            raise OSError("the file is shorter than it was")
        self.offset += sent
        return sent

    def read(self, limit: int) -> bytes:
        """The next bytes, for transports that must see them (TLS, chunked coding)."""
        data = os.pread(self.descriptor, min(limit, self.ready), self.offset)
        if not data:
            raise OSError("the file is shorter than it was")
        self.offset += len(data)
        return data

    async def more(self) -> None:
        """A complete file has all it will ever have."""

    def close(self) -> None:
        """Close the descriptor."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Growing(Protocol):
    """What a growing body needs of a download (``mirror.download.Download``)."""

    async def wait(self, offset: int) -> int:
        """How many bytes may be read from the start: more than ``offset``, or the size when the download is whole."""


@attrs.define(eq=False)
class GrowingBody(FileBody):
    """A part of a file that is being downloaded; ``end`` is ``UNKNOWN_END`` while nobody knows the size."""

    download: Growing
    available: int
    """Bytes from the start of the file that may be read by now."""

    @property
    def ready(self) -> int:
        """Bytes that are here and were not sent yet."""
        return max(0, min(self.available, self.end) - self.offset)

    def close(self) -> None:
        """The descriptor is the download's."""

    async def more(self) -> None:
        """Wait for the download to get beyond what was sent."""
        self.available = await self.download.wait(self.offset)
        if self.available <= self.offset:
            self.end = self.available


@attrs.define(eq=False)
class MemoryBody:
    """Bytes that are in memory; never copied to be sent."""

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
        """The next bytes."""
        data = bytes(self.view[self.offset : self.offset + limit])
        self.offset += len(data)
        return data

    async def more(self) -> None:
        """All is here."""

    def close(self) -> None:
        """Nothing is held."""


class InPieces:
    """What those bodies share of which one piece at a time lies ready in memory."""

    offset: int
    _piece: bytes

    @property
    def ready(self) -> int:
        """Bytes of the piece that were not sent yet."""
        return len(self._piece)

    def send(self, socket_number: int) -> int:
        """Hand what is ready to the kernel."""
        sent = os.write(socket_number, self._piece[:_ONE_SEND])
        self._taken(sent)
        return sent

    def read(self, limit: int) -> bytes:
        """The next bytes."""
        data = self._piece[:limit]
        self._taken(len(data))
        return data

    def _taken(self, size: int) -> None:
        self._piece = self._piece[size:]
        self.offset += size


@attrs.define(eq=False)
class PiecesBody(InPieces):
    """Bytes that are made while they are sent, piece by piece, beside the reactor."""

    _pieces: Iterator[bytes]
    """Gives back what it holds when nobody refers to it any more."""
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
        """Let go of the pieces; one that is being made is finished first."""
        self._pieces = iter(())
