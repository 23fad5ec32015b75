"""``Content-Encoding`` of an upstream's answers, undone.  Pure."""

from __future__ import annotations

import zlib

from twistpi.mirror.trouble import Trouble


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """``body`` without its ``Content-Encoding``; raises ``Trouble`` for one that is unknown, broken or hides too much."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Trouble(f"its answer is encoded as {encoding!r}, which nobody asked for")
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = decoder.decompress(body, limit)
    except zlib.error as error:
        raise Trouble(f"its answer cannot be decompressed ({error})") from error
    if decoder.unconsumed_tail:
        raise Trouble(f"its answer is longer than {limit:,} bytes")
    if not decoder.eof:
        raise Trouble("its compressed answer breaks off")
    return plain
