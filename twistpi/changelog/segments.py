"""The names of segments and when to begin a new one, pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs

SEGMENT_LIMIT = 64 * 1024 * 1024
"""Bytes from which on a segment takes no further line."""

UNBORN_SUFFIX = ".new"
"""Ends the name of a segment until its first lines are synced."""

_NAME = re.compile(r"([0-9]{20})\.log")


def segment_name(first_serial: int) -> str:
    """The file name of the segment that begins with ``first_serial``."""
    return f"{first_serial:020d}.log"


def sort_segments(names: Iterable[str]) -> list[int]:
    """The first serials of the segments among the file ``names`` of a folder, ascending; other files are ignored."""
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))


def sort_unborn(names: Iterable[str]) -> list[str]:
    """The names of segments that a crash left unborn; nothing in them was ever acknowledged."""
    return sorted(name for name in names if name.endswith(UNBORN_SUFFIX) and _NAME.fullmatch(name.removesuffix(UNBORN_SUFFIX)))


@attrs.frozen
class Share:
    """The part of a batch that goes into one segment."""

    segment: int
    """The first serial of the segment."""
    content: bytes
    """Whole lines."""


def share_out(lines: Sequence[bytes], first_serial: int, segment: int, size: int, limit: int) -> list[Share]:
    """Which of ``lines``, beginning with ``first_serial``, go on into ``segment`` (``size`` bytes by now), which into new ones.

    A segment of ``limit`` bytes or more takes no further line.  So where a segment ends depends on nothing but the lines, and
    two logs of the same lines are the same files.  The first share is the present segment's, even when it is empty.
    """
    content = b"".join(lines)
    if size + len(content) < limit:
        return [Share(segment, content)]
    shares: list[Share] = []
    waiting: list[bytes] = []
    for serial, line in enumerate(lines, first_serial):
        if size >= limit:
            shares.append(Share(segment, b"".join(waiting)))
            waiting, segment, size = [], serial, 0
        waiting.append(line)
        size += len(line)
    shares.append(Share(segment, b"".join(waiting)))
    return shares
