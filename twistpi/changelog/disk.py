"""The disk operations of the changelog.  Tests derive full, failing and crashing disks from these classes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable


def _sync_function() -> Callable[[int], object]:
    """What makes a file's content durable here: on macOS, fsync alone leaves it in the drive's cache."""
    full_sync: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is not None:
        command = full_sync
        return lambda descriptor: fcntl.fcntl(descriptor, command)
    # fdatasync leaves out the file's times, which are not used, and is a third faster.  It does sync the size.
    return getattr(os, "fdatasync", os.fsync)


_SYNC = _sync_function()


class AppendFile:
    """A file that grows at its end.  Everything here is blocking and raises ``OSError``."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, content: bytes) -> None:
        """Put ``content`` at the end: all of it, or ``OSError`` after which any first part of it may be there."""
        rest = memoryview(content)
        while rest:  # the write after a short one tells why it was short
            rest = rest[os.write(self._descriptor, rest) :]

    def truncate(self, size: int) -> None:
        """Drop everything after the first ``size`` bytes."""
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        """Return when the content is on disk and will survive a power loss.  A failure is final: never call it again."""
        _SYNC(self._descriptor)

    def close(self) -> None:
        """Close the descriptor; does not sync."""
        os.close(self._descriptor)


class Disk:
    """The operating system's file system.  Everything here is blocking and raises ``OSError``."""

    def make_folder(self, path: str) -> None:
        """Make ``path`` durably, unless it is there; its parent must be."""
        if not os.path.isdir(path):
            os.mkdir(path)
            self.sync_folder(os.path.dirname(os.path.abspath(path)))

    def names(self, folder: str) -> list[str]:
        """The names in ``folder``, in any order."""
        return os.listdir(folder)

    def size(self, path: str) -> int:
        """Bytes."""
        return os.path.getsize(path)

    def read(self, path: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``; fewer only at the end of the file."""
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length) or b""

    def append_to(self, path: str) -> AppendFile:
        """An existing file, to add to it."""
        return AppendFile(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    def create(self, path: str) -> AppendFile:
        """A new, empty file, to add to it; a file of that name is emptied."""
        return AppendFile(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_CREAT | os.O_TRUNC, 0o666))

    def rename(self, old: str, new: str) -> None:
        """Rename a file in its folder; durable after ``sync_folder``."""
        os.rename(old, new)

    def remove(self, path: str) -> None:
        """Remove a file."""
        os.remove(path)

    def sync_folder(self, path: str) -> None:
        """Return when the names in ``path`` are on disk and will survive a power loss."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
