"""Files in ``incoming/``: written there first, then renamed into the tree; and the system calls this depends on."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final

from twistpi.model.server_errors import StorageFull

_FILE_MODE: Final = 0o644
_LOOKING: Final = stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH


def open_to_others(folder: str) -> None:
    """Let others, such as a web server, look into ``folder``; twistd as a daemon has a umask of 0077."""
    with suppress(PermissionError):  # some file systems know no modes
        os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) | _LOOKING)


def close_to_others(folder: str) -> None:
    """Make ``folder`` accessible to its owner only."""
    with suppress(PermissionError):
        os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) & ~(stat.S_IRWXG | stat.S_IRWXO))


class System:
    """The system calls that keeping a blob depends on.  Every method raises ``OSError``.  Tests derive failing ones from it."""

    def create(self, path: str) -> int:
        """Create a file and open it for reading and writing; ``FileExistsError`` when there is one.

        Others may read it whatever the umask says, since a web server will; until it is in its place nobody else gets into the
        folder ``incoming/``.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with suppress(PermissionError):  # some file systems know no modes
            os.fchmod(descriptor, _FILE_MODE)
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some of ``data``; return how many bytes."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Return when the file or folder is on disk."""
        os.fsync(descriptor)

    def make_folder(self, path: str) -> None:
        """Make a folder that others may look into whatever the umask says; ``FileExistsError`` when there is something."""
        os.mkdir(path)
        open_to_others(path)

    def rename(self, source: str, target: str) -> None:
        """Rename a file."""
        os.rename(source, target)

    def remove(self, path: str) -> None:
        """Remove a file."""
        os.remove(path)

    def touch(self, path: str) -> None:
        """Set the time of a file's last change to the present."""
        os.utime(path, follow_symlinks=False)


_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The ``errno`` of a full disk, an exhausted quota and a file that is too large."""


@contextmanager
def storage_full(path: str) -> Iterator[None]:
    """Turn an ``OSError`` that says that there is no room for ``path`` into ``StorageFull``."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull(path, error.strerror or str(error)) from error
        raise


class IncomingFile:
    """A file in ``incoming/`` that may become a blob: one writer, any number of readers meanwhile."""

    def __init__(self, path: str, system: System) -> None:
        self.path = path
        self.size = 0
        """Bytes written."""
        self._system = system
        self._named = True
        """Whether the file still has its name in ``incoming/``."""
        self._on_close: Callable[[], object] = lambda: None
        with storage_full(path):
            self._descriptor: int | None = system.create(path)

    def fileno(self) -> int:
        """A descriptor for ``os.pread`` or ``sendfile``, also after ``keep`` or ``discard``; ``ValueError`` after ``close``."""
        if self._descriptor is None:
            raise ValueError(f"{self.path} is closed")
        return self._descriptor

    def write(self, data: bytes) -> None:
        """Add ``data`` at the end.  After ``StorageFull`` the bytes are discarded."""
        rest = memoryview(data)
        try:
            with storage_full(self.path):
                while rest:
                    written = self._system.write(self.fileno(), rest)
                    self.size += written
                    rest = rest[written:]
        except StorageFull:
            self.discard()  # the room is given back when it is closed: readers may read on until then
            raise

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset`` on; none at the end."""
        return os.pread(self.fileno(), length, offset)

    def truncate(self, size: int) -> None:
        """Keep the first ``size`` bytes only."""
        os.ftruncate(self.fileno(), size)
        os.lseek(self.fileno(), size, os.SEEK_SET)
        self.size = size

    def discard(self) -> None:
        """Remove the bytes, unless they were kept.  May be called again."""
        if self._named:
            self._named = False
            with suppress(FileNotFoundError):
                self._system.remove(self.path)

    def close(self) -> None:
        """Discard, and close the descriptor.  May be called again."""
        self.discard()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        on_close, self._on_close = self._on_close, lambda: None
        on_close()

    def call_on_close(self, on_close: Callable[[], object]) -> None:
        """Call ``on_close`` once when this is closed."""
        self._on_close = on_close

    def renamed(self) -> None:
        """Note that the name is a blob's now: nothing is left to discard."""
        self._named = False

    def __enter__(self) -> IncomingFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
