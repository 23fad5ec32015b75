"""Many small blobs in one stream: what ``POST /+blobs`` answers.

    twistpi blobs 1
    + 0123456789abcdef 5 demo-1.0.tar.gz
    <5 bytes>- fedcba9876543210 gone-1.0.zip
    .

Each blob has a line, ``+``, the 16 digits of its address, its size in bytes and its file name (percent-encoded UTF-8), and its
bytes; one that is not there has a ``-`` line without a size.  The line with a full stop ends the stream: without it, the stream
was cut.  What the bytes must be is known to whoever asked for them.
"""

from __future__ import annotations

import re
from typing import Final, Protocol
from urllib.parse import quote, unquote

BEGINNING: Final = b"twistpi blobs 1\n"
END: Final = b".\n"
_LONGEST_LINE: Final = 4096
_LINE: Final = re.compile(rb"(?:\+ ([0-9a-f]{16}) (0|[1-9][0-9]{0,17})|- ([0-9a-f]{16})) ([!-~]+)\Z")


class FramesDamaged(Exception):
    """A stream of blobs is not what it should be; the text says how."""


class BlobTaker(Protocol):
    """Whoever takes blobs as they come."""

    def begin(self, digits: str, filename: str, size: int) -> None:
        """A blob of ``size`` bytes begins."""

    def write(self, data: bytes) -> None:
        """Bytes of the blob; never empty."""

    def end(self) -> None:
        """All bytes of the blob came."""

    def missing(self, digits: str, filename: str) -> None:
        """There is no such blob."""


def begin_line(digits: str, filename: str, size: int) -> bytes:
    """What stands before the bytes of a blob."""
    return b"+ %s %d %s\n" % (digits.encode("ascii"), size, _quoted(filename))


def missing_line(digits: str, filename: str) -> bytes:
    """What stands for a blob that is not there."""
    return b"- %s %s\n" % (digits.encode("ascii"), _quoted(filename))


class FrameReader:
    """Takes a stream apart, whatever pieces it comes in.  Whatever the taker raises passes through."""

    def __init__(self, taker: BlobTaker) -> None:
        self._taker = taker
        self._line = b""
        """The beginning of a line that has not ended."""
        self._left = 0
        """Bytes of the present blob that are to come."""
        self._inside = False
        self._greeted = False
        self.complete = False
        """Whether the end came."""

    def feed(self, data: bytes) -> None:
        """The next piece; raises ``FramesDamaged``."""
        view = memoryview(data)
        while view:
            if self.complete:
                raise FramesDamaged("something follows its end")
            view = self._bytes(view) if self._inside else self._text(view)

    def _bytes(self, view: memoryview) -> memoryview:
        piece = view[: self._left]
        self._left -= len(piece)
        self._taker.write(bytes(piece))
        self._end_if_over()
        return view[len(piece) :]

    def _text(self, view: memoryview) -> memoryview:
        head = bytes(view[: _LONGEST_LINE + 1 - len(self._line)])
        line, feed, _ = head.partition(b"\n")
        self._line += line
        if feed:
            self._take(self._line)
            self._line = b""
        elif len(self._line) > _LONGEST_LINE:
            raise FramesDamaged("a line has no end")
        return view[len(line) + len(feed) :]

    def _take(self, line: bytes) -> None:
        if not self._greeted:
            if line + b"\n" != BEGINNING:
                raise FramesDamaged("it does not begin as a stream of files does")
            self._greeted = True
            return
        if line + b"\n" == END:
            self.complete = True
            return
        match = _LINE.match(line)
        if match is None:
            raise FramesDamaged(f"the line {line[:100]!r} says nothing")
        filename = unquote(match[4].decode("ascii"), errors="replace")
        if match[3] is not None:
            self._taker.missing(match[3].decode("ascii"), filename)
            return
        self._left = int(match[2])
        self._inside = True
        self._taker.begin(match[1].decode("ascii"), filename, self._left)
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._left == 0:
            self._inside = False
            self._taker.end()


def _quoted(filename: str) -> bytes:
    return quote(filename, safe="").encode("ascii")
