"""Files in ``incoming/``: written there first, then renamed into the tree; and the system calls this depends on."""

# ruff: noqa: N805 -- methods of a zope interface are declared as they are called, without self

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final

from zope.interface import Interface, implementer

from twistpi.blobs.interfaces import IIncoming
from twistpi.model.errors import StorageFull

_FILE_MODE: Final = 0o644
_LOOKING: Final = stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH


def open_to_others(folder: str) -> None:
    """Let others look into ``folder``, which was just made, as a web server has to; twistd as a daemon has a umask of 0077."""
    with suppress(PermissionError):  # some file systems know no modes
        os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) | _LOOKING)


def close_to_others(folder: str) -> None:
    """Make ``folder`` accessible to its owner only."""
    with suppress(PermissionError):
        os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) & ~(stat.S_IRWXG | stat.S_IRWXO))


class ISystem(Interface):
    """As in ``os``; every method raises ``OSError``."""

    def create(path: str) -> int:
        """A new file, open for reading and writing; ``FileExistsError`` when there is one."""

    def write(descriptor: int, data: memoryview) -> int:
        """Write some of ``data``; how many bytes."""

    def sync(descriptor: int) -> None:
        """Return when the file or folder is on disk."""

    def make_folder(path: str) -> None:
        """A new folder; ``FileExistsError`` when there is something."""

    def rename(source: str, target: str) -> None:
        """Give a file another name."""

    def remove(path: str) -> None:
        """Remove a file."""

    def touch(path: str) -> None:
        """Make the present time that of a file's last change."""


@implementer(ISystem)
class RealSystem:
    """The system itself."""

    def create(self, path: str) -> int:
        """See ``ISystem``.  Others may read it whatever the umask says, since a web server will; until it is in its place
        nobody else gets into the folder of files on their way.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with suppress(PermissionError):  # some file systems know no modes
            os.fchmod(descriptor, _FILE_MODE)
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        """See ``ISystem``."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """See ``ISystem``."""
        os.fsync(descriptor)

    def make_folder(self, path: str) -> None:
        """See ``ISystem``.  Others may look into it, whatever the umask says."""
        os.mkdir(path)
        open_to_others(path)

    def rename(self, source: str, target: str) -> None:
        """See ``ISystem``."""
        os.rename(source, target)

    def remove(self, path: str) -> None:
        """See ``ISystem``."""
        os.remove(path)

    def touch(self, path: str) -> None:
        """See ``ISystem``."""
        os.utime(path, follow_symlinks=False)


NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What an ``OSError`` says when the disk, the quota or the largest file is full."""


@implementer(IIncoming)
class IncomingFile:
    """See ``IIncoming``; made by ``Tree.incoming``."""

    def __init__(self, path: str, system: ISystem) -> None:
        self.path = path
        self.size = 0
        self._system = system
        self._descriptor: int | None = _create(path, system)
        self._named = True
        """Whether the file has its name in ``incoming/`` still."""
        self._let_go: Callable[[], object] | None = None
        """What to do when it is closed."""

    def fileno(self) -> int:
        """See ``IIncoming``; ``ValueError`` after ``close``."""
        if self._descriptor is None:
            raise ValueError(f"{self.path} is closed")
        return self._descriptor

    def write(self, data: bytes) -> None:
        """See ``IIncoming``."""
        rest = memoryview(data)
        try:
            while rest:
                written = self._system.write(self.fileno(), rest)
                self.size += written
                rest = rest[written:]
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self._free()
            raise StorageFull(self.path, error.strerror or str(error)) from error

    def read(self, offset: int, length: int) -> bytes:
        """See ``IIncoming``."""
        return os.pread(self.fileno(), length, offset)

    def truncate(self, size: int) -> None:
        """See ``IIncoming``."""
        os.ftruncate(self.fileno(), size)
        os.lseek(self.fileno(), size, os.SEEK_SET)
        self.size = size

    def discard(self) -> None:
        """See ``IIncoming``."""
        if self._named:
            self._named = False
            with suppress(FileNotFoundError):
                self._system.remove(self.path)

    def close(self) -> None:
        """See ``IIncoming``."""
        self.discard()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go()

    def holds(self, let_go: Callable[[], object]) -> None:
        """Somebody waits for the end: ``let_go`` is called when this is closed."""
        self._let_go = let_go

    def renamed(self) -> None:
        """Its name is a blob's now: nothing is left to discard."""
        self._named = False

    def _free(self) -> None:
        """Discard, and give the room back even while readers hold the descriptor."""
        self.discard()
        with suppress(OSError):
            os.ftruncate(self.fileno(), 0)

    def __enter__(self) -> IncomingFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _create(path: str, system: ISystem) -> int:
    try:
        return system.create(path)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StorageFull(path, error.strerror or str(error)) from error
