"""The system calls that keeping a blob depends on, so that tests can have each of them fail."""

# ruff: noqa: N805 -- methods of a zope interface are declared as they are called, without self

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Final

from zope.interface import Interface, implementer

_FILE_MODE: Final = 0o644
_LOOKING: Final = stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH


def open_to_others(folder: str) -> None:
    """Let others look into ``folder``, which was just made, as a web server has to; twistd as a daemon has a umask of 0077."""
    with suppress(PermissionError):  # some file systems know no modes
        os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) | _LOOKING)


def close_to_others(folder: str) -> None:
    """Let nobody but its owner look into ``folder``."""
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
