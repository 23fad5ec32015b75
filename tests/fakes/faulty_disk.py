"""A disk in memory that can be full, fail, and lose its power."""

from __future__ import annotations

import errno
import os
import random

import attrs

from twistpi.changelog.disk import AppendFile, Disk

SECTOR = 512


@attrs.define(eq=False)
class _Content:
    """A file's bytes, and how many of them are on the platter."""

    written: bytearray = attrs.field(factory=bytearray)
    synced: bytes = b""


@attrs.define
class _File(AppendFile):
    _disk: FaultyDisk
    _content: _Content

    def write(self, content: bytes) -> None:
        self._disk.note("write")
        room = self._disk.room
        if room is not None:
            self._disk.room = max(0, room - len(content))
            if room < len(content):
                self._content.written += content[:room]
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._content.written += content

    def truncate(self, size: int) -> None:
        self._disk.note("truncate")
        if self._disk.room is not None:
            self._disk.room += len(self._content.written) - size
        del self._content.written[size:]

    def sync(self) -> None:
        self._disk.note("sync")
        self._content.synced = bytes(self._content.written)

    def close(self) -> None:
        self._disk.note("close")


@attrs.define(eq=False)
class FaultyDisk(Disk):
    """Keeps apart what was written and what was synced, for files and for names in folders."""

    room: int | None = None
    """Bytes that can still be written, or None for no limit."""
    broken: set[str] = attrs.field(factory=set)
    """Operations that fail with EIO: ``sync``, ``sync_folder``, ``truncate``, ``rename`` …"""
    calls: list[str] = attrs.field(factory=list)
    """The operations so far that change or sync something."""
    _files: dict[str, _Content] = attrs.field(factory=dict)
    _synced_names: dict[str, _Content] = attrs.field(factory=dict)
    _folders: set[str] = attrs.field(factory=set)

    def note(self, operation: str) -> None:
        """Record ``operation``, and fail when it is broken."""
        self.calls.append(operation)
        if operation in self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    # What the changelog does with it

    def make_folder(self, path: str) -> None:
        self._folders.add(path)

    def names(self, folder: str) -> list[str]:
        if folder not in self._folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        return [os.path.basename(path) for path in self._files if os.path.dirname(path) == folder]

    def size(self, path: str) -> int:
        return len(self._find(path).written)

    def read(self, path: str, offset: int, length: int) -> bytes:
        return bytes(self._find(path).written[offset : offset + length])

    def _find(self, path: str) -> _Content:
        if path not in self._files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self._files[path]

    def append_to(self, path: str) -> AppendFile:
        return _File(self, self._files[path])

    def create(self, path: str) -> AppendFile:
        self.note("create")
        self._files[path] = _Content()
        return _File(self, self._files[path])

    def rename(self, old: str, new: str) -> None:
        self.note("rename")
        self._files[new] = self._files.pop(old)

    def remove(self, path: str) -> None:
        self.note("remove")
        content = self._files.pop(path)
        if self.room is not None:
            self.room += len(content.written)

    def sync_folder(self, path: str) -> None:
        self.note("sync_folder")
        self._synced_names = dict(self._files)

    # What tests do to it

    def content(self, path: str) -> bytes:
        """The bytes of a file, as a program sees them."""
        return bytes(self._files[path].written)

    def overwrite(self, path: str, content: bytes) -> None:
        """Put other bytes into a file, synced, its name too: what an accident or a person does."""
        self._files[path] = _Content(bytearray(content), content)
        self._synced_names = dict(self._files)

    def snapshot(self) -> dict[str, bytes]:
        """All files and their bytes."""
        return {path: bytes(content.written) for path, content in self._files.items()}

    def lose_power(self, chance: random.Random, *, holes: bool = False) -> None:
        """Keep what was synced, and of the rest what ``chance`` leaves: a first part, with ``holes`` also sectors of zeros.

        Names that were not synced are there or not, each file by itself.
        """
        names = self._files if chance.random() < 0.5 else self._synced_names
        self.room, self.broken = None, set()
        self._files = {path: self._survivor(content, chance, holes) for path, content in names.items()}
        self._synced_names = dict(self._files)

    @staticmethod
    def _survivor(content: _Content, chance: random.Random, holes: bool) -> _Content:
        synced, written = content.synced, bytes(content.written)
        if not written.startswith(synced):  # a truncation that was not synced: it happened or it did not
            kept = chance.choice([synced, written])
        else:
            kept = written[: chance.randint(len(synced), len(written))]
        after = bytearray(kept)
        for start in range(0, len(after), SECTOR) if holes else ():
            begin, end = max(start, len(synced)), min(start + SECTOR, len(after))
            if begin < end and chance.random() < 0.4:
                after[begin:end] = bytes(end - begin)
        return _Content(after, bytes(after))
