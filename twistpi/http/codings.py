"""Content codings of responses (RFC 9110, 8.4.1): gzip and deflate; zstd and br where a library for them is installed.

For zstd that is Python's own from 3.14 on, or ``backports.zstd``.  For br it is ``brotli`` from 1.2 on, whose output
can be limited.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Final, Protocol, cast

from twistpi.http.errors import Cause, RequestFailed

Decode = Callable[[Iterable[bytes], int], Iterator[bytes]]
"""Decodes pieces of a body, into pieces of at most so many bytes."""

_MEMBER: Final = b"\x1f\x8b"
"""The first bytes of a gzip member."""
_FRAMED: Final = zlib.MAX_WBITS | 32
"""The format of gzip, or that of zlib."""
_LARGEST_WINDOW: Final = 23
"""Logarithm of the bytes that a zstd decoder has to remember, RFC 9659."""
_MOST_CODINGS: Final = 3
"""Applied to one body."""


def _gzip(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Decode gzip, which may have several members; what follows the last one is padding."""
    decoder = zlib.decompressobj(_FRAMED)
    start = b""
    for piece in pieces:
        rest = start + piece
        while rest:
            if decoder.eof:
                if len(rest) < len(_MEMBER):
                    break
                if not rest.startswith(_MEMBER):
                    return
                decoder = zlib.decompressobj(_FRAMED)
            yield decoder.decompress(rest, most)
            rest = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        start = rest
    if not decoder.eof:
        raise _broken_off()


def _deflate(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Decode deflate, which is zlib's format; some servers leave out its frame."""
    decoder = None
    for piece in filter(None, pieces):
        decoder = decoder or zlib.decompressobj(_FRAMED if piece[0] & 0x0F in (8, 15) else -zlib.MAX_WBITS)
        rest = piece
        while rest and not decoder.eof:
            yield decoder.decompress(rest, most)
            rest = decoder.unconsumed_tail
    while decoder is not None and not decoder.eof and (piece := decoder.decompress(b"", most)):
        yield piece  # what is left of the last piece
    if decoder is None or not decoder.eof:
        raise _broken_off()


class _ZstdDecoder(Protocol):
    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _zstd(module: ModuleType) -> Decode:
    """Return a decoder of zstd, which may have several frames, with ``compression.zstd`` or a copy of it."""
    options = {module.DecompressionParameter.window_log_max: _LARGEST_WINDOW}

    def decode(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
        decoder, is_between = cast(_ZstdDecoder, module.ZstdDecompressor(options=options)), False
        try:
            for piece in filter(None, pieces):
                rest, is_hungry = piece, False
                while rest or not is_hungry:
                    if is_between:
                        decoder, is_between = cast(_ZstdDecoder, module.ZstdDecompressor(options=options)), False
                    yield decoder.decompress(rest, most)
                    is_between = decoder.eof
                    rest = decoder.unused_data if is_between else b""
                    is_hungry = is_between or decoder.needs_input
        except module.ZstdError as error:
            raise _broken(error) from error
        if not is_between:
            raise _broken_off()

    return decode


class _BrotliDecoder(Protocol):
    def process(self, data: bytes, *, output_buffer_limit: int) -> bytes: ...
    def is_finished(self) -> bool: ...


def _brotli(module: ModuleType) -> Decode:
    """Return a decoder of br with the module ``brotli``."""

    def decode(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
        decoder = cast(_BrotliDecoder, module.Decompressor())
        try:
            for piece in pieces:
                rest = piece
                while not decoder.is_finished() and (plain := decoder.process(rest, output_buffer_limit=most)):
                    yield plain
                    rest = b""  # it has the piece, though it may have more to return
        except module.error as error:
            raise _broken(error) from error
        if not decoder.is_finished():
            raise _broken_off()

    return decode


def decoders(load: Callable[[str], ModuleType] = import_module) -> Mapping[str, Decode]:
    """Return the decoders by coding; ``load`` returns a module by name, or raises ``ImportError``."""
    found: dict[str, Decode] = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate}
    for name in ("compression.zstd", "backports.zstd"):
        try:
            found.setdefault("zstd", _zstd(load(name)))
        except ImportError:
            continue
    try:
        brotli = load("brotli")
        if hasattr(brotli.Decompressor, "can_accept_more_data"):
            found["br"] = _brotli(brotli)
    except ImportError:
        pass
    return found


_DECODERS: Final = decoders()
ACCEPTED: Final = ", ".join(coding for coding in ("gzip", "zstd", "br") if coding in _DECODERS)
"""The value of ``Accept-Encoding`` where a body may be compressed."""


def decode(pieces: Iterable[bytes], encoding: str, most: int, known: Mapping[str, Decode] = _DECODERS) -> Iterator[bytes]:
    """Return ``pieces`` of a body without the codings of its ``Content-Encoding``, in pieces of at most ``most`` bytes.

    Raise ``RequestFailed`` for a coding that is unknown, broken, or breaks off.
    """
    codings = [coding for name in encoding.split(",") if (coding := name.strip().lower()) not in ("", "identity")]
    unknown = [coding for coding in codings if coding not in known]
    if unknown or len(codings) > _MOST_CODINGS:
        named = ", ".join(unknown or codings)[:100]
        raise RequestFailed(f"its answer is encoded as {named!r}, which nobody asked for", Cause.MALFORMED)
    for coding in reversed(codings):
        pieces = _checked(known[coding](pieces, most))
    return iter(pieces)


def _checked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from filter(None, pieces)
    except zlib.error as error:
        raise _broken(error) from error


def _broken(error: Exception) -> RequestFailed:
    return RequestFailed(f"its answer cannot be decompressed ({error})", Cause.MALFORMED)


def _broken_off() -> RequestFailed:
    return RequestFailed("its compressed answer breaks off", Cause.MALFORMED)
