"""Documentation as it was uploaded: a ZIP archive, of which nothing is ever unpacked but the file that is being sent.

Everything here blocks, except for ``MemberBody``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Final

import attrs

from twistpi.archives.source import DEFAULT_LIMITS, Source
from twistpi.archives.zip_directory import Member
from twistpi.archives.zip_members import checked_members, directory_of, fault_of, member_pieces
from twistpi.http.offload import Offload
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


Contents = Mapping[str, Member]
"""Path in the archive -> where it is; folders are left out."""


def read_contents(file: BinaryIO, filename: str) -> Contents:
    """Return the contents of the archive ``file``; raise ``InvalidDistribution`` if it is broken or exceeds the limits.

    Links, and members that not every program reads, are left out.
    """
    source = Source(file, filename, file.seek(0, 2), is_strict=False)
    members = checked_members(source, directory_of(source, DEFAULT_LIMITS))
    return {member.name: attrs.evolve(member, extra=b"") for member in members if not (member.is_folder or fault_of(member))}


def unpack(open_file: Callable[[], BinaryIO], filename: str, member: Member, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of ``member`` of the archive ``filename`` from ``start`` to ``end``, in pieces; some are empty.

    Raise ``InvalidDistribution`` instead of the last piece when they are not what the archive's table of contents says.
    """
    with open_file() as file:
        place = 0
        for piece in member_pieces(Source(file, filename, file.seek(0, 2), is_strict=False), member):
            yield piece[max(0, start - place) : max(0, end - place)]
            place += len(piece)
            if place >= end:
                return


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
