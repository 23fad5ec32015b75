"""Blobs in memory, for tests: what ``tree.py`` promises, as long as the process lives."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO

import attrs
from zope.interface import implementer

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.digest import sha256_of
from twistpi.blobs.interfaces import IBlobs, IIncoming
from twistpi.model.errors import BlobConflict


@implementer(IIncoming)
class IncomingMemory:
    """See ``IIncoming``; a file without a name, because readers want a descriptor."""

    path = "memory:incoming"

    def __init__(self) -> None:
        self.size = 0
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 -- closed by close()

    def fileno(self) -> int:
        """See ``IIncoming``; ``ValueError`` after ``close``."""
        return self._file.fileno()

    def write(self, data: bytes) -> None:
        """See ``IIncoming``."""
        self._file.write(data)
        self.size += len(data)

    def read(self, offset: int, length: int) -> bytes:
        """See ``IIncoming``."""
        return os.pread(self.fileno(), length, offset)

    def truncate(self, size: int) -> None:
        """See ``IIncoming``."""
        self._file.truncate(size)
        self._file.seek(size)
        self.size = size

    def discard(self) -> None:
        """See ``IIncoming``."""

    def close(self) -> None:
        """See ``IIncoming``."""
        self._file.close()

    def __enter__(self) -> IncomingMemory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@implementer(IBlobs)
@attrs.define
class MemoryBlobs:
    """See ``IBlobs``."""

    _blobs: dict[BlobAddress, bytes] = attrs.field(factory=dict, init=False)

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

    def incoming(self) -> IncomingMemory:
        """See ``IBlobs``."""
        return IncomingMemory()

    def keep(self, incoming: IIncoming, address: BlobAddress, sha256: str) -> None:
        """See ``IBlobs``."""
        blob = incoming.read(0, incoming.size)
        known = self._blobs.setdefault(address, blob)
        if known is not blob and hashlib.sha256(known).hexdigest() != sha256:
            raise BlobConflict(self.path(address))

    def remove(self, address: BlobAddress) -> bool:
        """See ``IBlobs``."""
        return self._blobs.pop(address, None) is not None

    def walk(self) -> Iterator[tuple[BlobAddress, int]]:
        """See ``IBlobs``."""
        blobs = sorted(self._blobs.items(), key=lambda item: (item[0].digits, item[0].filename))
        return ((address, len(blob)) for address, blob in blobs)

    def strangers(self) -> Iterator[str]:
        """See ``IBlobs``; there are none."""
        return iter(())

    def digest(self, address: BlobAddress) -> str:
        """See ``IBlobs``."""
        with self.open(address) as file:
            return sha256_of(file)
