"""Search a folder on this disk for files by blob address and by name, and make them blobs when their bytes are right.

The folder may be a server directory, the ``+files`` in one, or any other.  Nothing in it is changed, and the bytes are copied,
because the folder's owner may write to it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Final

import attrs

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.interfaces import IBlobs
from twistpi.blobs.tree import ROOT

_CHUNK: Final = 1024 * 1024


@attrs.frozen
class SearchPath:
    """A folder in which files are looked for."""

    folder: str

    def adopt(self, blobs: IBlobs, address: BlobAddress, sha256: str, size: int) -> bool:
        """Make a file from the folder the blob at ``address``, if one with the SHA-256 ``sha256`` and ``size`` bytes is there.

        Blocking.  Returns whether one was.  Raises what ``IBlobs.keep`` raises; a file that cannot be opened is passed over.
        """
        for place in (os.path.join(ROOT, address.relative), address.relative, address.filename):
            try:
                file = os.open(os.path.join(self.folder, place), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
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
