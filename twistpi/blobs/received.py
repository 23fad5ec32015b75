"""Files that become blobs: what a client sends, hashed while it is written to ``incoming/``; what is in a folder of this disk.

``Receiving`` takes the bytes, ``Received`` is the complete file.  Everything here blocks.  A ``Receiving`` is for one thread at a
time; a ``Received`` may be closed by one thread while another uses it.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import threading
from typing import Any, BinaryIO, Final, cast

from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.blobs.incoming import IncomingFile
from twistpi.blobs.interfaces import IBlobs
from twistpi.blobs.tree import ROOT

_READ_AHEAD: Final = 64 * 1024


class Receiving:
    """A file on its way in.  Close it, unless ``finish`` was called."""

    def __init__(self, blobs: IBlobs) -> None:
        """Begin an empty file; ``StorageFull`` when there is no room for it."""
        self._blobs = blobs
        self._incoming: IncomingFile = blobs.incoming()
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._blake2 = hashlib.blake2b(digest_size=32)

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self._incoming.size

    def write(self, data: bytes) -> None:
        """Add ``data``.  After ``StorageFull`` (no room) or ``OSError`` nothing is left behind."""
        try:
            self._incoming.write(data)
        except BaseException:
            self.close()
            raise
        for digest in (self._sha256, self._md5, self._blake2):
            digest.update(data)

    def finish(self) -> Received:
        """Return the complete file, which owns the bytes from here on."""
        digests = (self._sha256.hexdigest(), self._md5.hexdigest(), self._blake2.hexdigest())
        return Received(self._blobs, self._incoming, *digests)

    def close(self) -> None:
        """Forget the bytes.  May be called again."""
        self._incoming.close()


class Received:
    """A complete file that is not a blob yet; closing it discards it, unless it was kept."""

    def __init__(self, blobs: IBlobs, incoming: IncomingFile, sha256: str, md5: str, blake2_256: str) -> None:
        self.size = incoming.size
        """Bytes."""
        self.sha256 = sha256
        """Lower-case hexadecimal digits, as all digests here."""
        self.md5 = md5
        self.blake2_256 = blake2_256
        """BLAKE2b of 256 bits, which upload forms call ``blake2_256_digest``."""
        self._blobs = blobs
        self._incoming = incoming
        self._lock = threading.Lock()
        """Never held while waiting for the disk."""
        self._busy = 0
        self._closed = False

    def open(self) -> BinaryIO:
        """The file for reading; close it, also after this object was closed.  ``ValueError`` after ``close``."""
        with self._lock:
            self._check_open()
            raw = _Pages(os.dup(self._incoming.fileno()), self.size)
        return cast(BinaryIO, io.BufferedReader(raw, _READ_AHEAD))

    def keep(self, filename: str) -> BlobAddress:
        """Make the file a blob called ``filename``, as ``keep_at`` does; ``InvalidName`` before anything was touched."""
        address = blob_address(self.sha256, filename)
        self.keep_at(address)
        return address

    def keep_at(self, address: BlobAddress) -> None:
        """Make the file the blob at ``address``, once; safe on disk when this returns (law 2).  A ``close`` meanwhile is delayed.

        Raises ``ValueError`` after ``close``, and what ``IBlobs.keep`` raises, after which the file is gone.
        """
        with self._lock:
            self._check_open()
            self._busy += 1
        try:
            self._blobs.keep(self._incoming, address, self.sha256)
        finally:
            with self._lock:
                self._busy -= 1
                is_last = self._closed and not self._busy
            if is_last:
                self._incoming.close()

    def close(self) -> None:
        """Discard the file, unless it was kept, and close the descriptor.  May be called again, in any thread."""
        with self._lock:
            self._closed = True
            if self._busy:
                return
        self._incoming.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the file was let go of")


class _Pages(io.RawIOBase):
    """Reads by offset, so that readers of one file and its writer do not share a position."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self._descriptor, min(len(buffer), max(0, self._size - self._at)), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError("before the beginning of the file")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


_CHUNK: Final = 1024 * 1024


def adopt_file(folder: str, blobs: IBlobs, address: BlobAddress, sha256: str, size: int) -> bool:
    """Make a file from ``folder`` the blob at ``address``, if one with the SHA-256 ``sha256`` and ``size`` bytes is there.

    The folder may be a server directory, the ``+files`` in one, or any other.  Nothing in it is changed, and the bytes are
    copied, because its owner may write to it.  Blocking.  Returns whether there was one.
    Raises what ``IBlobs.keep`` raises; a file that cannot be opened is passed over.
    """
    for place in (os.path.join(ROOT, address.relative), address.relative, address.filename):
        try:
            file = os.open(os.path.join(folder, place), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                continue
            with blobs.incoming() as incoming:
                digest = hashlib.sha256()
                while data := os.read(file, _CHUNK):
                    incoming.write(data)
                    digest.update(data)
                if digest.hexdigest() == sha256:
                    blobs.keep(incoming, address, sha256)
                    return True
        finally:
            os.close(file)
    return False
