"""The bodies of answers: bytes in memory, a file, a file that is still being downloaded, or pieces that are made on demand."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from twistpi.http.offload import Offload

if TYPE_CHECKING:
    from twistpi.mirror.download import Download

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

    @classmethod
    def open(cls, path: str) -> FileBody:
        """Return the whole file at ``path``. Raise ``FileNotFoundError``."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return FileBody(descriptor, 0, os.fstat(descriptor).st_size)

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


@attrs.define(eq=False)
class GrowingBody(FileBody):
    """A part of a file that is being downloaded; ``end`` is ``UNKNOWN_END`` while the size is unknown.

    One that is not kept is read from memory; where that is not there any more, another download brings it again.
    """

    download: Download
    available: int
    """Bytes from the start of the file that may be read by now."""

    @property
    def ready(self) -> int:
        """Bytes that are here and were not sent yet."""
        if self.download.window is None:
            return max(0, min(self.available, self.end) - self.offset)
        if self.download.has_dropped(self.offset):
            return 0
        return max(0, min(self.download.available, self.end) - self.offset)

    def send(self, socket_number: int) -> int:
        """Let the kernel copy from the file, or pass it what is in memory."""
        window = self.download.window
        if window is None:
            self.descriptor = self.download.fileno()
            return super().send(socket_number)
        sent = os.write(socket_number, window.read(self.offset, min(self.ready, _ONE_SEND)))
        self.offset += sent
        return sent

    def read(self, limit: int) -> bytes:
        """Read the next bytes."""
        window = self.download.window
        if window is None:
            self.descriptor = self.download.fileno()
            return super().read(limit)
        data = bytes(window.read(self.offset, min(limit, self.ready)))
        self.offset += len(data)
        return data

    def close(self) -> None:
        """Do nothing: the descriptor is the download's."""

    async def more(self) -> None:
        """Wait for the download to get beyond what was sent."""
        while self.download.has_dropped(self.offset) and self.download.again is not None:
            former, self.download = self.download, self.download.again()
            self.download.retain()
            self.download.follow(self)
            former.release(self)
            await self.download.headers()
        self.available = await self.download.wait(self.offset)
        if self.available <= self.offset:
            self.end = self.available


class BufferedBody:
    """Base of bodies of which one piece at a time is in memory."""

    offset: int
    piece: bytes | memoryview
    """What was not sent yet."""

    @property
    def ready(self) -> int:
        """Bytes of the piece that were not sent yet."""
        return len(self.piece)

    def send(self, socket_number: int) -> int:
        """Hand what is ready to the kernel."""
        sent = os.write(socket_number, self.piece[:_ONE_SEND])
        self._advance(sent)
        return sent

    def read(self, limit: int) -> bytes:
        """Return the next bytes."""
        data = bytes(self.piece[:limit])
        self._advance(len(data))
        return data

    def _advance(self, size: int) -> None:
        self.piece = self.piece[size:]
        self.offset += size


@attrs.define(eq=False)
class MemoryBody(BufferedBody):
    """Bytes in memory; never copied to be sent."""

    piece: memoryview
    offset: int = 0

    @property
    def over(self) -> bool:
        """Whether all was sent."""
        return not self.piece

    async def more(self) -> None:
        """Do nothing: all is here."""

    def close(self) -> None:
        """Do nothing: nothing is held."""


@attrs.define(eq=False)
class PiecesBody(BufferedBody):
    """Bytes that are made in a thread while they are sent, piece by piece."""

    _pieces: Iterator[bytes]
    """Releases what it holds when it is no longer referenced."""
    _offload: Offload
    offset: int = 0
    over: bool = False
    piece: bytes = b""

    async def more(self) -> None:
        """Make the next piece."""
        while not self.piece and not self.over:
            piece = await self._offload(next, self._pieces, None)
            self.piece, self.over = piece or b"", piece is None

    def close(self) -> None:
        """Release the pieces; one that is being made is finished first."""
        self._pieces = iter(())
