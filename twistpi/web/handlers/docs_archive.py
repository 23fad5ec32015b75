"""Documentation as it was uploaded: a ZIP archive, of which nothing is ever unpacked but the file that is being sent.

Everything here blocks, except for ``MemberBody``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Final

import attrs

from twistpi.archives.source import DEFAULT_LIMITS, PIECE, Source
from twistpi.archives.zip_directory import DEFLATED, LOCAL_HEADER
from twistpi.archives.zip_members import checked_members, directory_of
from twistpi.http.body import Offload
from twistpi.web.transport.bodies import BufferedBody, FileBody

_TYPES: Final[Mapping[str, bytes]] = {
    ending: kind
    for kind, endings in (
        (b"text/html", "html htm"),
        (b"application/xhtml+xml", "xhtml"),
        (b"text/css", "css"),
        (b"text/javascript", "js mjs"),
        (b"application/json", "json map"),
        (b"text/plain; charset=utf-8", "txt rst md"),
        (b"text/csv", "csv"),
        *((f"application/{kind}".encode(), kind) for kind in ("xml", "pdf", "wasm", "zip")),
        (b"application/epub+zip", "epub"),
        (b"image/svg+xml", "svg"),
        (b"image/jpeg", "jpg jpeg"),
        (b"image/x-icon", "ico"),
        *((f"image/{kind}".encode(), kind) for kind in ("png", "gif", "webp", "avif")),
        *((f"font/{kind}".encode(), kind) for kind in ("woff", "woff2", "ttf", "otf")),
        (b"video/mp4", "mp4"),
        (b"video/webm", "webm"),
        (b"audio/mpeg", "mp3"),
    )
    for ending in endings.split()
}
"""By the ending of a name.  Pages tell their charset themselves, if they are not UTF-8, and a header would beat them."""


@attrs.frozen
class Member:
    """The place of a file in the archive."""

    offset: int
    """Of what stands before its bytes."""
    packed: int
    """Bytes."""
    unpacked: int
    """Bytes."""
    crc: int
    is_deflated: bool


Contents = Mapping[str, Member]
"""Path in the archive -> where it is; folders are left out."""


def read_contents(file: BinaryIO, filename: str) -> Contents:
    """Return the contents of the archive ``file``; raise ``InvalidDistribution`` if it is broken or exceeds the limits."""
    source = Source(file, filename, file.seek(0, 2))
    return {
        member.name: Member(member.offset, member.packed, member.unpacked, member.crc, member.method == DEFLATED)
        for member in checked_members(source, directory_of(source, DEFAULT_LIMITS))
        if not member.is_folder
    }


def unpack(open_file: Callable[[], BinaryIO], member: Member, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of ``member`` from ``start`` to ``end``, in pieces; some are empty, so that none takes long.

    Raises ``OSError`` instead of the last piece when they are not what the archive's table of contents says.
    """
    with open_file() as file:
        file.seek(member.offset)
        *_fields, name, extra = LOCAL_HEADER.unpack(_exactly(file, LOCAL_HEADER.size))
        file.seek(name + extra, 1)
        place, crc = 0, 0
        for piece in _inflated(file, member.packed) if member.is_deflated else _stored(file, member.packed):
            crc = zlib.crc32(piece, crc)
            after = place + len(piece)
            if after > member.unpacked or (after == member.unpacked and crc != member.crc):
                raise OSError("a member of the archive differs from what the central directory says")
            yield piece[max(0, start - place) : max(0, end - place)]
            place = after
            if place >= end:
                return
        if place < end:
            raise OSError("a member of the archive is shorter than the central directory says")


def _stored(file: BinaryIO, left: int) -> Iterator[bytes]:
    while left > 0:
        piece = _exactly(file, min(PIECE, left))
        left -= len(piece)
        yield piece


def _inflated(file: BinaryIO, left: int) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflater.eof:
        packed = inflater.unconsumed_tail
        if not packed and left:
            packed = _exactly(file, min(PIECE, left))
            left -= len(packed)
        try:
            piece = inflater.decompress(packed, PIECE)
        except zlib.error as error:
            raise OSError(f"a member of the archive cannot be unpacked ({error})") from error
        if not piece and not packed:
            return
        yield piece


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise OSError("the archive is shorter than it was")
    return data


@attrs.define(eq=False)
class MemberBody(BufferedBody, FileBody):
    """A file out of an archive, or a part of it, unpacked in threads while it is sent."""

    _unpack: Callable[[int, int], Iterator[bytes]]
    """Returns the pieces from one offset to another; the iterator closes the archive when it is dropped."""
    _offload: Offload
    _pieces: Iterator[bytes] | None = None
    piece: bytes = b""

    async def more(self) -> None:
        """Unpack the next piece."""
        if self._pieces is None:
            self._pieces = self._unpack(self.offset, self.end)
        while not self.piece and not self.over:
            piece: bytes | None = await self._offload(next, self._pieces, None)
            if piece is None:
                raise OSError("the archive ended early")
            self.piece = piece

    def close(self) -> None:
        """Close the archive; a piece that is being unpacked is finished first."""
        self._pieces, self.piece = iter(()), b""


def type_of(path: str) -> bytes:
    """Return the media type of a file in documentation, by its name alone: it must not depend on the machine."""
    return _TYPES.get(path.rpartition("/")[2].rpartition(".")[2].lower(), b"application/octet-stream")
