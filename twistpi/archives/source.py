"""The file that is inspected, how large its parts may be, and how it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import attrs

from twistpi.model.errors import InvalidDistribution

PIECE: Final = 64 * 1024
"""Bytes read at once where much is read."""
_LONGEST_SHOWN: Final = 100
"""Characters of a text out of an archive that a message repeats."""


@attrs.frozen
class Limits:
    """Upper bounds for the parts of an archive.  They bound the time and the memory that an inspection takes."""

    most_members: int = 100_000
    """Members of an archive, and compressed streams that make up one."""
    largest_directory: int = 16 * 1024 * 1024
    """Bytes of a ZIP archive's central directory."""
    largest_name: int = 1024
    """Characters of a member's path or of a link's target."""
    deepest: int = 100
    """Folders around a member."""
    largest_extension: int = 1024 * 1024
    """Bytes of one extended header of a tar archive."""
    most_links: int = 10_000
    """Links in a tar archive."""
    steepest: int = 50
    """Unpacked bytes per packed byte, over the whole archive; the public index draws the same line."""
    flat_enough: int = 64 * 1024 * 1024
    """Unpacked bytes up to which the ratio does not matter."""
    largest_unpacked: int = 16 * 1024 * 1024 * 1024
    """Unpacked bytes of a whole archive."""
    largest_metadata: int = 8 * 1024 * 1024
    """Bytes of core metadata."""
    largest_headers: int = 1024 * 1024
    """Bytes of core metadata before its body."""
    most_fields: int = 10_000
    """Fields of core metadata; repeated ones count each time."""

    def most_unpacked(self, size: int) -> int:
        """Return the number of bytes that an archive of ``size`` bytes may unpack to."""
        return min(self.largest_unpacked, max(self.flat_enough, self.steepest * size))


DEFAULT_LIMITS: Final = Limits()


@attrs.frozen
class Source:
    """The file that is inspected, and its name for error messages."""

    file: BinaryIO
    """Seekable; its position is neither used nor kept."""
    filename: str
    size: int
    """Bytes."""

    def at(self, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``start``; raise ``InvalidDistribution`` when the file is too short."""
        if start < 0 or length < 0 or start + length > self.size:
            raise self.refusal("a record points outside of the file")
        self.file.seek(start)
        found = b""
        while len(found) < length and (more := self.file.read(length - len(found))):
            found += more
        if len(found) != length:
            raise self.refusal("the file is shorter than it is said to be")
        return found

    def pieces(self, start: int, length: int) -> Iterator[bytes]:
        """Yield the same bytes in pieces.  Other parts of the file may be read between two of them."""
        for place in range(start, start + length, PIECE):
            yield self.at(place, min(PIECE, start + length - place))

    def refusal(self, reason: str) -> InvalidDistribution:
        """Return the error to raise for this file."""
        return InvalidDistribution(self.filename, reason)


@attrs.define
class Cursor:
    """Reads an iterator of pieces in the lengths that are wanted."""

    pieces: Iterator[bytes]
    _seen: bytes = b""
    _place: int = 0

    def take(self, length: int) -> bytes:
        """Return the next ``length`` bytes, or fewer at the end."""
        if self._place + length > len(self._seen):
            parts = [self._seen[self._place :]]
            missing = length - len(parts[0])
            while missing > 0 and (piece := next(self.pieces, b"")):
                parts.append(piece)
                missing -= len(piece)
            self._seen, self._place = b"".join(parts), 0
        found = self._seen[self._place : self._place + length]
        self._place += len(found)
        return found

    def skip(self, length: int) -> int:
        """Pass over ``length`` bytes, or fewer at the end; return how many were passed over."""
        left = length
        while left > 0:
            if self._place >= len(self._seen):
                self._seen, self._place = next(self.pieces, b""), 0
                if not self._seen:
                    break
            step = min(left, len(self._seen) - self._place)
            self._place += step
            left -= step
        return length - left


def shown(text: str | bytes) -> str:
    """Return ``text`` out of an archive as messages show it: quoted, and cut when it is long."""
    return repr(text[:_LONGEST_SHOWN]).removeprefix("b")


def is_utf8(raw: bytes) -> bool:
    """Return whether ``raw`` is text in UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
