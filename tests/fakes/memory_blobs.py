"""Blobs in memory, for tests: what ``tree.py`` promises, as long as the process lives."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO

import attrs
from zope.interface import implementer

from twistpi.blobs.address import BlobAddress, BlobTimes, sha256_of
from twistpi.blobs.incoming import IncomingFile, System
from twistpi.blobs.interfaces import IBlobs
from twistpi.model.server_errors import BlobConflict


class _Nameless(System):
    """Makes files without a name; not in memory proper, because readers want a descriptor."""

    def create(self, path: str) -> int:
        with tempfile.TemporaryFile(buffering=0) as file:
            return os.dup(file.fileno())

    def remove(self, path: str) -> None:
        pass


@implementer(IBlobs)
@attrs.define
class MemoryBlobs:
    """See ``IBlobs``."""

    _blobs: dict[BlobAddress, bytes] = attrs.field(factory=dict, init=False)
    _kept_at: dict[BlobAddress, float] = attrs.field(factory=dict, init=False)
    _accessed: dict[str, float] = attrs.field(factory=dict, init=False)
    _claims: Counter[BlobAddress] = attrs.field(factory=Counter, init=False)

    def path(self, address: BlobAddress) -> str:
        """See ``IBlobs``; only a name."""
        return f"memory:{address.relative}"

    def find(self, address: BlobAddress) -> int | None:
        """See ``IBlobs``."""
        blob = self._blobs.get(address)
        return None if blob is None else len(blob)

    def open(self, address: BlobAddress) -> BinaryIO:
        """See ``IBlobs``; without a descriptor."""
        blob = self._blobs.get(address)
        if blob is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path(address))
        return io.BytesIO(blob)

    def incoming(self) -> IncomingFile:
        """See ``IBlobs``."""
        return IncomingFile("memory:incoming", _Nameless())

    def keep(self, incoming: IncomingFile, address: BlobAddress, sha256: str) -> None:
        """See ``IBlobs``."""
        blob = incoming.read(0, incoming.size)
        incoming.call_on_close(self._claimed(address))
        known = self._blobs.setdefault(address, blob)
        if known is not blob and hashlib.sha256(known).hexdigest() != sha256:
            raise BlobConflict(self.path(address))

    def claim(self, address: BlobAddress) -> BinaryIO | None:
        """See ``IBlobs``."""
        if address not in self._blobs:
            return None
        return _Claimed(self._blobs[address], self._claimed(address))

    def last_kept(self, address: BlobAddress) -> float | None:
        """See ``IBlobs``."""
        return self._kept_at.get(address)

    def note_access(self, path: str, at: float) -> bool:
        """See ``IBlobs``."""
        is_here = any(path == self.path(address) for address in self._blobs)
        if is_here:
            self._accessed[path] = at
        return is_here

    def times(self, address: BlobAddress) -> BlobTimes | None:
        """See ``IBlobs``."""
        kept = self._kept_at.get(address)
        return None if kept is None else BlobTimes(kept, max(kept, self._accessed.get(self.path(address), kept)))

    def withdraw(self, address: BlobAddress, before: float) -> Callable[[], object] | None:
        """See ``IBlobs``."""
        kept_at = self._kept_at.get(address)
        if kept_at is None or kept_at >= before or self._claims[address]:
            return None
        self.remove(address)
        return lambda: None

    def _claimed(self, address: BlobAddress) -> Callable[[], None]:
        self._claims[address] += 1
        self._kept_at[address] = time.time()

        def let_go() -> None:
            self._claims[address] -= 1

        return let_go

    def remove(self, address: BlobAddress) -> bool:
        """See ``IBlobs``."""
        self._kept_at.pop(address, None)
        return self._blobs.pop(address, None) is not None

    def walk(self) -> Iterator[tuple[BlobAddress, int]]:
        """See ``IBlobs``."""
        blobs = sorted(self._blobs.items(), key=lambda item: (item[0].digits, item[0].filename))
        return ((address, len(blob)) for address, blob in blobs)

    def foreign_paths(self) -> Iterator[str]:
        """See ``IBlobs``; there are none."""
        return iter(())

    def digest(self, address: BlobAddress) -> str:
        """See ``IBlobs``."""
        with self.open(address) as file:
            return sha256_of(file)


class _Claimed(io.BytesIO):
    """A blob that stays while this is open."""

    def __init__(self, content: bytes, let_go: Callable[[], object]) -> None:
        super().__init__(content)
        self._let_go = let_go

    def close(self) -> None:
        """Close, and let go of the blob.  May be called again."""
        if not self.closed:
            self._let_go()
        super().close()
