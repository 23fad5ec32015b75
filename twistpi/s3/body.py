"""A part of a file as the body of a request: read in a thread, in pieces, at the pace of the connection."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Final

from twistpi.http.offload import Offload
from twistpi.http.streamed_body import StreamedBody

_PIECE: Final = 256 * 1024
"""Bytes read at a time."""


def file_body(descriptor: int, offset: int, length: int, offload: Offload, moved: Callable[[], object]) -> StreamedBody:
    """Return a part of an open file as a body; ``descriptor`` stays the caller's, also its position."""

    async def pieces() -> AsyncIterator[bytes]:
        at, end = offset, offset + length
        while at < end:
            data = await offload(os.pread, descriptor, min(_PIECE, end - at), at)
            if not data:
                raise OSError("the file on disk is shorter than it was")
            at += len(data)
            yield data

    return StreamedBody(length, pieces, moved)


def digests_of_part(descriptor: int, offset: int, length: int) -> tuple[str, bytes]:
    """Return the SHA-256 of a part of an open file, in lower-case hexadecimal digits, and its MD5.  Blocking; constant memory."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    end = offset + length
    while offset < end:
        data = os.pread(descriptor, min(_PIECE, end - offset), offset)
        if not data:
            raise OSError("the file on disk is shorter than it was")
        offset += len(data)
        sha256.update(data)
        md5.update(data)
    return sha256.hexdigest(), md5.digest()
