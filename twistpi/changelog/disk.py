"""The disk operations that the changelog uses, as an interface, so that tests can supply full, failing and crashing disks."""

# ruff: noqa: N805 -- methods of a zope interface are declared as they are called, without self

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

import attrs
from zope.interface import Interface, implementer


class IAppendFile(Interface):
    """A file that grows at its end.  Everything here is blocking and raises ``OSError``."""

    def write(content: bytes) -> None:
        """Put ``content`` at the end: all of it, or ``OSError`` after which any first part of it may be there."""

    def truncate(size: int) -> None:
        """Drop everything after the first ``size`` bytes."""

    def sync() -> None:
        """Return when the content is on disk and will survive a power loss.  A failure is final: never ask again."""

    def close() -> None:
        """Give the file back; does not sync."""


class IDisk(Interface):
    """A file system with folders.  Everything here is blocking and raises ``OSError``."""

    def make_folder(path: str) -> None:
        """Make ``path`` durably, unless it is there; its parent must be."""

    def names(folder: str) -> list[str]:
        """The names in ``folder``, in any order."""

    def size(path: str) -> int:
        """Bytes."""

    def read(path: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``; fewer only at the end of the file."""

    def append_to(path: str) -> IAppendFile:
        """An existing file, to add to it."""

    def create(path: str) -> IAppendFile:
        """A new, empty file, to add to it; whatever was there is replaced."""

    def rename(old: str, new: str) -> None:
        """Give a file another name in the same folder; durable after ``sync_folder``."""

    def remove(path: str) -> None:
        """Remove a file."""

    def sync_folder(path: str) -> None:
        """Return when the names in ``path`` are on disk and will survive a power loss."""


def _sync_function() -> Callable[[int], object]:
    """What makes a file's content durable here: on macOS, fsync alone leaves it in the drive's cache."""
    full_sync: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is not None:
        command = full_sync
        return lambda descriptor: fcntl.fcntl(descriptor, command)
    # fdatasync leaves out the file's times, which are not used, and is a third faster.  It does sync the size.
    return getattr(os, "fdatasync", os.fsync)


_SYNC = _sync_function()


@implementer(IAppendFile)
@attrs.frozen
class RealAppendFile:
    """A file of the operating system."""

    _descriptor: int

    def write(self, content: bytes) -> None:
        """See ``IAppendFile``; goes on after short writes, so a full disk ends in ``OSError`` with its reason."""
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def truncate(self, size: int) -> None:
        """See ``IAppendFile``."""
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        """See ``IAppendFile``."""
        _SYNC(self._descriptor)

    def close(self) -> None:
        """See ``IAppendFile``."""
        os.close(self._descriptor)


@implementer(IDisk)
@attrs.frozen
class RealDisk:
    """The operating system's file system."""

    def make_folder(self, path: str) -> None:
        """See ``IDisk``."""
        if not os.path.isdir(path):
            os.mkdir(path)
            self.sync_folder(os.path.dirname(os.path.abspath(path)))

    def names(self, folder: str) -> list[str]:
        """See ``IDisk``."""
        return os.listdir(folder)

    def size(self, path: str) -> int:
        """See ``IDisk``."""
        return os.path.getsize(path)

    def read(self, path: str, offset: int, length: int) -> bytes:
        """See ``IDisk``."""
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length) or b""

    def append_to(self, path: str) -> RealAppendFile:
        """See ``IDisk``."""
        return RealAppendFile(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    def create(self, path: str) -> RealAppendFile:
        """See ``IDisk``."""
        return RealAppendFile(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_CREAT | os.O_TRUNC, 0o666))

    def rename(self, old: str, new: str) -> None:
        """See ``IDisk``."""
        os.rename(old, new)

    def remove(self, path: str) -> None:
        """See ``IDisk``."""
        os.remove(path)

    def sync_folder(self, path: str) -> None:
        """See ``IDisk``."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
