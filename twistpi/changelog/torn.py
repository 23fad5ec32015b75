"""Whether the end of a log is what an interrupted write leaves, or damage; pure.

The rule stands in the package's docstring, under "What a crash leaves".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from twistpi.changelog.line import BadLine, check_line, has_shape

SECTOR = 512
"""Bytes: the smallest piece that a disk writes or does not write as a whole."""

_NULS = re.compile(rb"\0+")


def why_torn(tail: bytes, offset: int, serial: int, previous: bytes) -> str | None:
    """Why ``tail`` was never acknowledged and may be cut off, or None when it is damage.

    ``tail`` is everything from the first line that is not right to the end of the last segment, ``offset`` where it begins in
    that segment, ``serial`` the one that is due there and ``previous`` the digest of the line before.
    """
    written = tail.rstrip(b"\0")
    if not written:
        return "nothing but bytes that were never written"
    if b"\n" not in written:
        if written == tail and _is_right(tail[:-1], serial, previous):
            return None  # a whole line whose line feed became another byte: no interrupted write does that
        return "the last line is incomplete"
    for begin, end in _holes(written, offset):
        if b"\n" in written[:begin] or any(map(has_shape, written[end:].split(b"\n")[:-1])):
            return None
        return "the last line has a hole that was never written"
    return None


def _is_right(line: bytes, serial: int, previous: bytes) -> bool:
    try:
        check_line(line, serial, previous)
    except BadLine:
        return False
    return True


def _holes(written: bytes, offset: int) -> Iterator[tuple[int, int]]:
    """Where in ``written`` whole sectors are missing; a single NUL among text is no hole."""
    for match in _NULS.finditer(written):
        begin, end = match.span()
        if (begin == 0 or (offset + begin) % SECTOR == 0) and (offset + end) % SECTOR == 0:
            yield begin, end
