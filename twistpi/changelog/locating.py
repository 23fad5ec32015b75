"""Where a line is, found by its serial: lines carry their serials, so a segment need not be read for that."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from twistpi.changelog.disk import IDisk
from twistpi.changelog.line import BadLine, read_header
from twistpi.changelog.reading import segment_path
from twistpi.changelog.segments import segment_name
from twistpi.model.errors import LogDamaged
from twistpi.model.position import Position

_FIRST_READ = 512
"""Bytes; most lines are shorter."""
_LONGEST_READ = 256 * 1024


def locate(directory: str, disk: IDisk, serial: int, last: Position, segments: Sequence[int]) -> Position:
    """The end of the line ``serial``, which is one of those up to ``last`` in the ``segments``.  Blocking, for a millisecond.

    Its chain is as the line states it.  Raises ``LogDamaged`` when the line is not where it has to be.
    """
    segment = segments[bisect_right(segments, serial) - 1]
    path = segment_path(directory, segment)
    size = last.offset if segment == last.segment else disk.size(path)
    start = _find_start(disk, path, size, serial)
    line = _read_line(disk, path, start, size)
    try:
        found, chain, _body = read_header(line)
    except BadLine as problem:
        raise LogDamaged(serial, segment_name(segment), start, str(problem)) from None
    if found != serial:
        raise LogDamaged(serial, segment_name(segment), start, f"serial {serial} is due there, but the line says {found}")
    return Position(serial, chain, segment, start + len(line) + 1)


def _find_start(disk: IDisk, path: str, size: int, serial: int) -> int:
    """Where the line ``serial`` begins in a file that begins with an earlier line, or with this one."""
    low, high = 0, size  # A line not later than ``serial`` begins at ``low``; those that begin at ``high`` or after are later.
    while high - low > 1:
        middle = (low + high) // 2
        start = _next_start(disk, path, middle, high)
        if start is not None and _serial_at(disk, path, start) <= serial:
            low = start
        else:
            high = middle
    return low


def _next_start(disk: IDisk, path: str, middle: int, high: int) -> int | None:
    """Where the first line begins that does not begin before ``middle``; None when that is not before ``high``."""
    place, length = middle - 1, _FIRST_READ
    while place < high - 1:
        content = disk.read(path, place, min(length, high - 1 - place))
        if not content:
            return None
        feed = content.find(b"\n")
        if feed >= 0:
            return place + feed + 1
        place += len(content)
        length = min(2 * length, _LONGEST_READ)
    return None


def _serial_at(disk: IDisk, path: str, start: int) -> int:
    digits = disk.read(path, start, 24).split(b" ", 1)[0]
    return int(digits) if digits.isdigit() else 0


def _read_line(disk: IDisk, path: str, start: int, size: int) -> bytes:
    """The line that begins at ``start``, without its line feed."""
    parts, place, length = [], start, _FIRST_READ
    while place < size:
        content = disk.read(path, place, min(length, size - place))
        head, feed, _rest = content.partition(b"\n")
        parts.append(head)
        if feed or not content:
            break
        place += len(content)
        length = min(2 * length, _LONGEST_READ)
    return b"".join(parts)
