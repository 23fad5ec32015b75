"""The bytes inside of a compressed tar archive, in pieces, never more than the limits allow."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from twistpi.archives.limits import Limits
from twistpi.archives.source import PIECE, Source


class _Stream(Protocol):
    """One compressed stream; an archive may consist of several, one behind the other."""

    @property
    def is_complete(self) -> bool: ...
    @property
    def wants_more(self) -> bool: ...
    @property
    def left_over(self) -> bytes: ...
    def unpack(self, packed: bytes) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def is_complete(self) -> bool:
        return self._inflater.eof

    @property
    def wants_more(self) -> bool:
        return not self._inflater.unconsumed_tail

    @property
    def left_over(self) -> bytes:
        return self._inflater.unused_data

    def unpack(self, packed: bytes) -> bytes:
        return self._inflater.decompress(self._inflater.unconsumed_tail + packed, PIECE)


class _Bzip2:
    def __init__(self) -> None:
        self._inflater = bz2.BZ2Decompressor()

    @property
    def is_complete(self) -> bool:
        return self._inflater.eof

    @property
    def wants_more(self) -> bool:
        return self._inflater.needs_input

    @property
    def left_over(self) -> bytes:
        return self._inflater.unused_data

    def unpack(self, packed: bytes) -> bytes:
        return self._inflater.decompress(packed, PIECE)


def unpacked_pieces(source: Source, limits: Limits) -> Iterator[bytes]:
    """What ``source``, whose name says how it is compressed, unpacks to; raises ``InvalidDistribution``.

    Zeros behind the last stream are padding.
    """
    is_bzip2 = source.filename.lower().endswith(".bz2")
    if not source.at(0, min(3, source.size)).startswith(b"BZh" if is_bzip2 else b"\x1f\x8b\x08"):
        raise source.refusal(f"it is not compressed with {'bzip2' if is_bzip2 else 'gzip'}")
    unpacked = 0
    for piece in _streams(source, _Bzip2 if is_bzip2 else _Gzip, limits):
        unpacked += len(piece)
        if unpacked > limits.most_unpacked(source.size):
            raise source.refusal("it unpacks to far more than it is")
        yield piece


def _streams(source: Source, start: Callable[[], _Stream], limits: Limits) -> Iterator[bytes]:
    pieces = source.pieces(0, source.size)
    packed, streams = next(pieces, b""), 0
    while packed:
        streams += 1
        if streams > limits.most_members:
            raise source.refusal("it is compressed in too many parts")
        stream = start()
        while not stream.is_complete:
            if stream.wants_more and not packed:
                packed = next(pieces, b"")
                if not packed:
                    raise source.refusal("it is cut short")
            given, packed = packed, b""
            try:
                piece = stream.unpack(given)
            except (zlib.error, OSError) as error:
                raise source.refusal(f"it cannot be unpacked ({error})") from error
            if piece:
                yield piece
        packed = stream.left_over.lstrip(b"\0")
        while not packed and (more := next(pieces, b"")):
            packed = more.lstrip(b"\0")
