"""A file on its way into the tree."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final

from zope.interface import implementer

from twistpi.blobs.interfaces import IIncoming
from twistpi.blobs.system import ISystem
from twistpi.model.errors import StorageFull

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
