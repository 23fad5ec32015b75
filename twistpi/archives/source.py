"""The file that is looked into, and how it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import attrs

from twistpi.model.upload_errors import InvalidDistribution

PIECE: Final = 64 * 1024
"""Bytes that are read at once where much is read."""
_LONGEST_SHOWN: Final = 100
"""Characters of a hostile text that a message repeats."""


@attrs.frozen
class Source:
    """An uploaded file: where its bytes are, and its name for refusals."""

    file: BinaryIO
    """Can seek; the place it stands at does not matter and is not kept."""
    filename: str
    size: int
    """Bytes."""

    def at(self, start: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``start``; raises ``InvalidDistribution`` when the file has not got them."""
        if start < 0 or length < 0 or start + length > self.size:
            raise self.refusal("a record points outside of the file")
        self.file.seek(start)
        found = _read(self.file, length)
        if len(found) != length:
            raise self.refusal("the file is shorter than it is said to be")
        return found

    def pieces(self, start: int, length: int) -> Iterator[bytes]:
        """The same in pieces; other parts may be read between two of them."""
        for place in range(start, start + length, PIECE):
            yield self.at(place, min(PIECE, start + length - place))

    def refusal(self, reason: str) -> InvalidDistribution:
        """The error to raise for this file."""
        return InvalidDistribution(self.filename, reason)


@attrs.define
class Cursor:
    """Bytes in the lengths that are wanted, out of pieces as they come."""

    pieces: Iterator[bytes]
    _seen: bytes = b""
    _place: int = 0

    def take(self, length: int) -> bytes:
        """The next ``length`` bytes, or fewer at the end."""
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
        """Pass over ``length`` bytes, or fewer at the end; how many it were."""
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
    """``text`` out of an archive as a message shows it: quoted, and cut when it is long."""
    return repr(text[:_LONGEST_SHOWN]).removeprefix("b")


def _read(file: BinaryIO, length: int) -> bytes:
    """``length`` bytes, or fewer at the end of ``file``, which may give them in parts."""
    found = file.read(length)
    while len(found) < length:
        more = file.read(length - len(found))
        if not more:
            break
        found += more
    return found
