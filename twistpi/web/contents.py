"""The bytes of ready pages, kept so that they are sent with as little work as possible.

A small page goes out together with its head.  The kernel copies a large one out of this process's memory each time it is sent,
and copies nothing when it comes from a file; so large ones lie in files that are nowhere but in memory (``memfd_create(2)``).
"""

from __future__ import annotations

import os
from typing import Final, Protocol

import attrs

from twistpi.web.bodies import Body, FileBody, MemoryBody

SMALL: Final = 64 * 1024
"""Bytes; up to here an answer is kept and sent as one piece, head and body together."""


class Content(Protocol):
    """Bytes that do not change."""

    @property
    def size(self) -> int:
        """How many there are."""

    def read(self) -> bytes:
        """All of them."""

    def body(self) -> Body:
        """Something that sends them."""


@attrs.frozen
class PlainContent:
    """Bytes in the memory of this process."""

    _content: bytes

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._content)

    def read(self) -> bytes:
        """All of them."""
        return self._content

    def body(self) -> MemoryBody:
        """Something that sends them."""
        return MemoryBody(memoryview(self._content))


class MemoryFile:
    """Bytes in a file in memory, which is gone with this object and the last body that sends it."""

    def __init__(self, content: bytes) -> None:
        """Raises ``OSError`` when no file can be had."""
        self.size = len(content)
        self._descriptor = -1
        self._descriptor = os.memfd_create("twistpi page", os.MFD_CLOEXEC)
        with open(self._descriptor, "wb", closefd=False) as file:
            file.write(content)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self) -> bytes:
        """All of them."""
        return os.pread(self._descriptor, self.size, 0)

    def body(self) -> FileBody:
        """Something that sends them; raises ``OSError`` when this process may open no more files."""
        return FileBody(os.dup(self._descriptor), 0, self.size)


def keep(content: bytes) -> Content:
    """``content`` where it is best sent from."""
    if len(content) > SMALL and hasattr(os, "memfd_create"):
        try:
            return MemoryFile(content)
        except OSError:
            pass  # no descriptor is left: it will be copied each time
    return PlainContent(content)
