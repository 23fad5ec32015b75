"""The digest of a file, in constant memory."""

from __future__ import annotations

import hashlib
from typing import BinaryIO, Final

_CHUNK: Final = 256 * 1024


def sha256_of(file: BinaryIO) -> str:
    """The SHA-256 of everything from where ``file`` stands to its end, as lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
