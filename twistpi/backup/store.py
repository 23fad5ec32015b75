"""The places for backups: their interface, and a folder of this machine as one.

Paths are relative to the backup, with slashes: ``+files/ab1/2cd34ef567890/NAME``.  Everything blocks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, Self

import attrs

from twistpi.blobs.tree import ROOT
from twistpi.changelog.disk import Disk
from twistpi.model.errors import TwistpiError

_UNFINISHED: Final = ".new"
_OURS: Final = frozenset(
    {"+files", "changelog", "lost+found", "manifests", "pruned.json", "pruned.json.new", "secret", "secret.new"}
)
"""What may be in the folder of a backup."""
TO_SYNC: Final = 16
"""Threads that sync: a file system that is asked for several syncs at once answers them with one write to its journal."""
_CHUNK: Final = 1024 * 1024


class BackupStore(Protocol):
    """A place for backups.  Every method raises ``TwistpiError`` or ``OSError`` when the place cannot be used."""

    @property
    def url(self) -> str:
        """What the place is called in messages."""

    def names(self, folder: str) -> list[str]:
        """Return the names in ``folder``, in any order; none when there is no such folder."""

    def read(self, path: str) -> bytes:
        """Return the content of a small file; raise ``FileNotFoundError``."""

    def write(self, path: str, content: bytes) -> None:
        """Write a small file, the whole of it at once, in place of one that may be there; safe when this returns."""

    def put(self, root: str, paths: Sequence[str]) -> None:
        """Copy the files at ``root``/path, unless files of their sizes are there; safe when this returns.

        Files that are gone from ``root`` meanwhile are passed over.
        """

    def put_log(self, root: str, path: str, kept: int, end: int) -> None:
        """Copy the first ``end`` bytes of the file ``root``/``path`` to ``path``; the first ``kept`` bytes are there already.

        What follows them there is replaced, and more than ``end`` bytes may be copied.
        """

    def bring(self, paths: Sequence[str]) -> str:
        """Return a folder of this machine with the files at ``paths``, as far as they exist; it lasts until the next call."""

    def walk(self) -> Iterator[str]:
        """Yield the paths of all blobs."""

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files; those that are not there are passed over."""

    def close(self) -> None:
        """Give back what is open."""


@attrs.define(eq=False)
class FolderStore:
    """A backup in a folder of this machine."""

    url: str
    """The path of the folder."""
    _disk: Disk = attrs.field(factory=Disk)
    _lock: int | None = attrs.field(default=None, init=False)

    @classmethod
    def at(cls, path: str) -> Self:
        """Return the backup in the folder ``path``, which may be missing; raise ``TwistpiError`` if it holds something else."""
        path = os.path.abspath(path)
        strange = sorted(set(os.listdir(path)) - _OURS) if os.path.isdir(path) else []
        if strange:
            what = "is a server directory" if "node.json" in strange else f"is no backup: it holds {strange[0]}"
            raise TwistpiError(f"{path} {what}. Name an empty or a new folder, or one that twistpi backup made.")
        return cls(path)

    def names(self, folder: str) -> list[str]:
        """See ``BackupStore``."""
        try:
            return os.listdir(os.path.join(self.url, folder))
        except FileNotFoundError:
            return []

    def read(self, path: str) -> bytes:
        """See ``BackupStore``."""
        with open(os.path.join(self.url, path), "rb") as file:
            return file.read()

    def write(self, path: str, content: bytes) -> None:
        """See ``BackupStore``."""
        target = self._begin(path)
        file = self._disk.create(target + _UNFINISHED)
        try:
            file.write(content)
            file.sync()
        finally:
            file.close()
        self._disk.rename(target + _UNFINISHED, target)
        self._sync_folders({os.path.dirname(target)})

    def put(self, root: str, paths: Sequence[str]) -> None:
        """See ``BackupStore``."""
        if not paths:
            return
        self._begin(paths[0])

        def put_one(path: str) -> str | None:
            source, target = os.path.join(root, path), os.path.join(self.url, path)
            with contextlib.suppress(FileNotFoundError):
                size = os.path.getsize(source)
                if not os.path.exists(target) or os.path.getsize(target) != size:
                    self._copy(source, self._begin(path), size)
                    return os.path.dirname(target)
            return None

        with ThreadPoolExecutor(TO_SYNC) as threads:
            folders = {folder for folder in threads.map(put_one, paths) if folder is not None}
        self._sync_folders(folders)

    def put_log(self, root: str, path: str, kept: int, end: int) -> None:
        """See ``BackupStore``."""
        target = self._begin(path)
        if not os.path.exists(target) or os.path.getsize(target) < kept:
            kept = 0
        written = target if kept else target + _UNFINISHED  # former backups may need the lines that are there already
        file = self._disk.append_to(target) if kept else self._disk.create(written)
        try:
            file.truncate(kept)
            while kept < end:
                content = self._disk.read(os.path.join(root, path), kept, min(_CHUNK, end - kept))
                if not content:
                    raise TwistpiError(f"{os.path.join(root, path)} became shorter while it was copied; run twistpi check.")
                file.write(content)
                kept += len(content)
            file.sync()
        finally:
            file.close()
        if written != target:
            self._disk.rename(written, target)
        self._sync_folders({os.path.dirname(target)})

    def bring(self, paths: Sequence[str]) -> str:
        """See ``BackupStore``: the folder itself has them."""
        return self.url

    def walk(self) -> Iterator[str]:
        """See ``BackupStore``."""
        for folder, folders, names in os.walk(os.path.join(self.url, ROOT)):
            folders.sort()
            for name in names:
                yield os.path.relpath(os.path.join(folder, name), self.url)

    def remove(self, paths: Sequence[str]) -> None:
        """See ``BackupStore``; folders that become empty go along."""
        for path in paths:
            target = os.path.join(self.url, path)
            with contextlib.suppress(FileNotFoundError):
                os.remove(target)
            with contextlib.suppress(OSError):  # something else is in there
                os.rmdir(os.path.dirname(target))

    def close(self) -> None:
        """See ``BackupStore``."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _begin(self, path: str) -> str:
        """Return the absolute path of a file that is to be written; its folder is made, and locked for this process."""
        target = os.path.join(self.url, path)
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        if self._lock is None:
            self._lock = os.open(self.url, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                raise TwistpiError(f"Another backup is being written to {self.url}; wait until it is done.") from None
        return target

    def _copy(self, source: str, target: str, size: int) -> None:
        with open(source, "rb") as file:
            copy = self._disk.create(target + _UNFINISHED)
            try:
                while content := file.read(_CHUNK):
                    copy.write(content)
                copy.sync()
            finally:
                copy.close()
        if os.path.getsize(target + _UNFINISHED) != size:
            raise TwistpiError(f"{source} changed while it was copied; run twistpi check.")
        self._disk.rename(target + _UNFINISHED, target)

    def _sync_folders(self, folders: set[str]) -> None:
        """Sync new names in ``folders``, and those of the folders themselves, up to the backup."""
        above = set()
        for folder in folders:
            while folder != self.url and folder not in above:
                above.add(folder)
                folder = os.path.dirname(folder)
        with ThreadPoolExecutor(TO_SYNC) as threads:
            for _ in threads.map(self._disk.sync_folder, sorted({*above, self.url} if above else (), key=len, reverse=True)):
                pass
