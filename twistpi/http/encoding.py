"""``Content-Encoding`` undone.  Pure."""

from __future__ import annotations

import zlib

from twistpi.http.errors import Cause, RequestFailed


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Return ``body`` without its content coding.

    Raise ``RequestFailed`` for a coding that is unknown or broken, and for a result of more than ``limit`` bytes.
    """
    coding = encoding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise RequestFailed(f"its answer is encoded as {coding!r}, which nobody asked for", Cause.MALFORMED)
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = decoder.decompress(body, limit)
    except zlib.error as error:
        raise RequestFailed(f"its answer cannot be decompressed ({error})", Cause.MALFORMED) from error
    if decoder.unconsumed_tail:
        raise RequestFailed(f"its answer is longer than {limit:,} bytes", Cause.TOO_LARGE)
    if not decoder.eof:
        raise RequestFailed("its compressed answer breaks off", Cause.MALFORMED)
    return plain
