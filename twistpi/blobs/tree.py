"""Blobs in a folder, under the paths that nginx serves.

The steps of storing a blob; a crash after any of them leaves at most a file that nothing names:

1. sync the bytes in ``incoming/``;
2. make ``ab1/`` and ``ab1/2cd34ef567890/``;
3. if there is a file of that name already, compare; else rename into place;
4. sync the blob's folder, its parent, and once for each ``ab1/`` the folder of all: new names survive a crash only so.

Withdrawing a blob is one rename into ``incoming/``, which the next start empties.  A blob is *claimed* from the moment it is
found in its place or renamed there until its keeper is done, and its modification time says when it was last kept: both are
noted under the lock of ``withdraw``.

Blobs and their folders are readable by everybody, whatever the umask says, so that a web server may serve them.  Access is
governed by the mode of ``+files``, which is made readable and never changed again.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import shutil
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import BinaryIO, Final

from zope.interface import implementer

from twistpi.blobs.address import BlobAddress, BlobTimes, sha256_of
from twistpi.blobs.incoming import IncomingFile, System, close_to_others, storage_full
from twistpi.blobs.interfaces import IBlobs
from twistpi.blobs.scan import scan
from twistpi.model.errors import TwistpiError
from twistpi.model.server_errors import BlobConflict, ServerdirRefused, SyncFailed

ROOT: Final = "+files"
"""The folder of blobs below the server directory."""
INCOMING: Final = "incoming"
"""The folder of files on their way."""

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_ACCESS_TIME: Final[int] = getattr(os, "O_NOATIME", 0)


@implementer(IBlobs)
class Tree:
    """Blobs below ``SERVERDIR/+files``; symbolic links in there lead nowhere.

    Making one touches nothing, which is enough for reading; ``open_tree`` makes one that can be written.
    """

    def __init__(self, serverdir: str, system: System | None = None) -> None:
        self._serverdir = serverdir
        self._root = os.path.join(serverdir, ROOT)
        self._incoming = os.path.join(serverdir, INCOMING)
        self._system = System() if system is None else system
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        """From looking whether a name is free to taking it, and around claims.  Reentrant: Python may close a forgotten claimed
        file in the midst of either, in the same thread."""
        self._claims: Counter[BlobAddress] = Counter()
        self._settled: set[str] = set()
        """The folders ``ab1`` whose names are synced; at most 4,096."""

    def prepare(self) -> None:
        """Make the folders, durably, and empty ``incoming/``; see ``open_tree``."""
        for folder in (self._root, self._incoming):
            with suppress(FileExistsError):
                self._system.make_folder(folder)
        close_to_others(self._incoming)
        for entry in os.scandir(self._incoming):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.remove(entry.path)
        with ExitStack() as folders:
            self._sync(self._hold(self._serverdir, folders), self._serverdir)
        if os.stat(self._root).st_dev != os.stat(self._incoming).st_dev:
            raise ServerdirRefused(self._serverdir, f"{ROOT} and {INCOMING} must be on the same disk")

    def path(self, address: BlobAddress) -> str:
        """See ``IBlobs``."""
        return os.path.join(self._root, address.relative)

    def find(self, address: BlobAddress) -> int | None:
        """See ``IBlobs``."""
        folder = os.path.join(self._root, address.digits[:3])
        try:
            for name in (address.digits[3:], address.filename):
                if not stat.S_ISDIR(os.lstat(folder).st_mode):
                    return None
                folder = os.path.join(folder, name)
            found = os.lstat(folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def open(self, address: BlobAddress) -> BinaryIO:
        """See ``IBlobs``."""
        return os.fdopen(self._descriptor(address), "rb")

    def incoming(self) -> IncomingFile:
        """See ``IBlobs``."""
        return IncomingFile(self._new_path(), self._system)

    def keep(self, incoming: IncomingFile, address: BlobAddress, sha256: str) -> None:
        """See ``IBlobs``; ``incoming`` is one of this tree's."""
        path = self.path(address)
        try:
            with storage_full(path), ExitStack() as folders:
                self._sync(incoming.fileno(), incoming.path)
                with self._lock:
                    to_sync = [(folder, self._hold(folder, folders)) for folder in self._make_folders(address)]
                    is_free = not os.path.lexists(path)
                    self._touch(incoming.path if is_free else path)
                    incoming.call_on_close(self._claimed(address))
                    if is_free:
                        self._system.rename(incoming.path, path)
                        incoming.renamed()
                if not is_free:
                    self._settle_for(path, address, sha256)
                    incoming.discard()
                for folder, descriptor in to_sync:
                    self._sync(descriptor, folder)
                self._settled.add(address.digits[:3])
        except (OSError, TwistpiError):
            incoming.discard()
            raise

    def claim(self, address: BlobAddress) -> BinaryIO | None:
        """See ``IBlobs``."""
        with self._lock:
            try:
                descriptor = self._descriptor(address)
            except FileNotFoundError:
                return None
            self._touch(self.path(address))
            return ClaimedFile(io.FileIO(descriptor), self._claimed(address))

    def last_kept(self, address: BlobAddress) -> float | None:
        """See ``IBlobs``; the time of the file's last change."""
        times = self.times(address)
        return None if times is None else times.kept

    def times(self, address: BlobAddress) -> BlobTimes | None:
        """See ``IBlobs``; the times of the file."""
        try:
            if self.find(address) is None:
                return None
            found = os.lstat(self.path(address))
        except FileNotFoundError:
            return None
        return BlobTimes(found.st_mtime, max(found.st_mtime, found.st_atime))

    def note_access(self, path: str, at: float) -> bool:
        """See ``IBlobs``."""
        try:
            with self._lock:  # else a time at which the blob is kept meanwhile could be set back
                kept = os.lstat(path).st_mtime_ns
                os.utime(path, ns=(int(at * 1e9), kept), follow_symlinks=False)
        except OSError:  # it is gone, or another owner's
            return False
        return True

    def withdraw(self, address: BlobAddress, before: float) -> Callable[[], object] | None:
        """See ``IBlobs``."""
        with self._lock:
            kept_at = self.last_kept(address)
            if kept_at is None or kept_at >= before or self._claims[address]:
                return None
            aside = self._new_path()
            self._system.rename(self.path(address), aside)
            self._remove_folder(address)
        return partial(self._system.remove, aside)

    def remove(self, address: BlobAddress) -> bool:
        """See ``IBlobs``."""
        with self._lock:
            if self.find(address) is None:
                return False
            self._system.remove(self.path(address))
            self._remove_folder(address)
            return True

    def walk(self) -> Iterator[tuple[BlobAddress, int]]:
        """See ``IBlobs``."""
        return (found for found in scan(self._root) if not isinstance(found, str))

    def foreign_paths(self) -> Iterator[str]:
        """See ``IBlobs``."""
        return (found for found in scan(self._root) if isinstance(found, str))

    def digest(self, address: BlobAddress) -> str:
        """See ``IBlobs``."""
        with self.open(address) as file:
            return sha256_of(file)

    def _new_path(self) -> str:
        return os.path.join(self._incoming, f"{os.getpid()}-{next(self._numbers)}")

    def _descriptor(self, address: BlobAddress) -> int:
        """The blob, open for reading; ``FileNotFoundError`` when it is not here."""
        path = self.path(address)
        if self.find(address) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        try:
            return os.open(path, _FLAGS | _NO_ACCESS_TIME)  # what reads a blob here checks or copies it: no client asked
        except PermissionError:  # another owner's file
            return os.open(path, _FLAGS)

    def _claimed(self, address: BlobAddress) -> Callable[[], None]:
        """Claim a blob; return the function that ends the claim."""
        self._claims[address] += 1

        def let_go() -> None:
            with self._lock:
                self._claims[address] -= 1
                if not self._claims[address]:
                    del self._claims[address]

        return let_go

    def _touch(self, path: str) -> None:
        with suppress(PermissionError, FileNotFoundError):  # another owner's file: it is claimed all the same
            self._system.touch(path)

    def _remove_folder(self, address: BlobAddress) -> None:
        with suppress(OSError):  # something else is in there
            os.rmdir(os.path.dirname(self.path(address)))

    def _make_folders(self, address: BlobAddress) -> list[str]:
        """Make the folders of ``address``; those whose names must be synced, innermost first."""
        outer = os.path.join(self._root, address.digits[:3])
        inner = os.path.join(outer, address.digits[3:])
        for folder in (outer, inner):
            with suppress(FileExistsError):
                self._system.make_folder(folder)
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                raise BlobConflict(folder)
        return [inner, outer] if address.digits[:3] in self._settled else [inner, outer, self._root]

    def _settle_for(self, path: str, address: BlobAddress, sha256: str) -> None:
        """Sync the existing file at ``path``; ``BlobConflict`` when it has other bytes."""
        if self.find(address) is None:
            raise BlobConflict(path)
        with self.open(address) as file:
            if sha256_of(file) != sha256:
                raise BlobConflict(path)
            self._sync(file.fileno(), path)

    def _hold(self, folder: str, until: ExitStack) -> int:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        until.callback(os.close, descriptor)
        return descriptor

    def _sync(self, descriptor: int, path: str) -> None:
        try:
            self._system.sync(descriptor)
        except OSError as error:
            raise SyncFailed(path, error.strerror or str(error)) from error


class ClaimedFile(io.BufferedReader):
    """A blob that is claimed while this is open."""

    def __init__(self, raw: io.FileIO, let_go: Callable[[], object]) -> None:
        super().__init__(raw)
        self._let_go = let_go

    def close(self) -> None:
        """Close, and end the claim.  May be called again."""
        if not self.closed:
            self._let_go()
        super().close()


def open_tree(serverdir: str, system: System | None = None) -> Tree:
    """Open the tree of ``serverdir``, which this process must hold: make its folders and empty ``incoming/``.

    Raises ``ServerdirRefused`` when the folders cannot be used.
    """
    tree = Tree(serverdir, system)
    try:
        tree.prepare()
    except OSError as error:
        raise ServerdirRefused(serverdir, str(error)) from error
    return tree
