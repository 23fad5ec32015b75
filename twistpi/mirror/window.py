"""The bytes in memory of a file that is passed on without being kept, because the disk has no room for it.

There is one request to the upstream for all readers that begin at about the same time.  It goes at the pace of the reader that is
furthest; one that falls too far behind goes on with a request of its own (law 14: memory does not grow with the file).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from threading import Lock
from typing import Final

MOST: Final = 4 * 1024 * 1024
"""Bytes behind the end of what came that are held for readers who are slower, or who come later."""
AHEAD: Final = 1024 * 1024
"""Bytes that may have come beyond what the furthest reader has."""


def first_needed(end: int, offsets: Collection[int]) -> int:
    """Return before which byte nothing has to be held, when ``end`` bytes came and readers are at ``offsets``.

    As long as all of it is little, nothing is dropped: another reader may join.
    """
    return 0 if end <= MOST else max(min(offsets, default=end), end - MOST)


def is_ahead(end: int, offsets: Collection[int]) -> bool:
    """Return whether the sender has to wait for the readers."""
    return end - max(offsets, default=0) >= AHEAD


class Window:
    """A part of a file: written in one thread at a time, read in the reactor's."""

    def __init__(self) -> None:
        self.start = 0
        """The offset of the first byte that is here."""
        self.end = 0
        """That of the first byte that did not come yet."""
        self._pieces: deque[bytes] = deque()
        self._lock = Lock()

    def write(self, data: bytes) -> None:
        """Add ``data`` at the end."""
        with self._lock:
            self._pieces.append(data)
            self.end += len(data)

    def read(self, offset: int, limit: int) -> memoryview:
        """Return some bytes from ``offset``, ``limit`` at most; raise ``OSError`` if none are here."""
        with self._lock:
            at = self.start
            for piece in self._pieces if offset >= at else ():
                if offset < at + len(piece):
                    return memoryview(piece)[offset - at :][:limit]
                at += len(piece)
        raise OSError(f"byte {offset} is not in memory")

    def drop(self, before: int) -> None:
        """Forget pieces all of which lie before the byte ``before``."""
        with self._lock:
            while self._pieces and self.start + len(self._pieces[0]) <= before:
                self.start += len(self._pieces.popleft())

    def content(self) -> bytes | None:
        """Return all bytes; None when some were dropped."""
        with self._lock:
            return None if self.start else b"".join(self._pieces)
