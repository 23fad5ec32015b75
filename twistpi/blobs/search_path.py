"""Files that lie about already: looked for in a folder by blob address and by name, and made blobs when their bytes are right.

The folder may be another server directory, the ``+files`` in one, or any folder with files in it.  Nothing in there is changed,
and the bytes are copied, because the folder's owner may write to it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Final

import attrs

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.interfaces import IBlobs, IIncoming
from twistpi.blobs.tree import ROOT

_CHUNK: Final = 1024 * 1024


@attrs.frozen
class SearchPath:
    """A folder in which files are looked for."""

    folder: str

    def adopt(self, blobs: IBlobs, address: BlobAddress, sha256: str, size: int) -> bool:
        """Make a file from the folder the blob at ``address``, if one with the SHA-256 ``sha256`` and ``size`` bytes is there.

        Blocking.  Returns whether one was.  Raises what ``IBlobs.keep`` raises; what cannot be read is passed over.
        """
        for path in self._places(address):
            try:
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            try:
                found = os.fstat(file)
                if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                    continue
                with blobs.incoming() as incoming:
                    if _copy(file, incoming) == sha256:
                        blobs.keep(incoming, address, sha256)
                        return True
            finally:
                os.close(file)
        return False

    def _places(self, address: BlobAddress) -> tuple[str, ...]:
        relative = address.relative
        return tuple(os.path.join(self.folder, place) for place in (os.path.join(ROOT, relative), relative, address.filename))


def _copy(source: int, incoming: IIncoming) -> str:
    """Copy all bytes; their SHA-256."""
    digest = hashlib.sha256()
    while data := os.read(source, _CHUNK):
        incoming.write(data)
        digest.update(data)
    return digest.hexdigest()
