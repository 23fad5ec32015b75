"""What comes next in a log, as parts of files that hold whole lines: for whoever sends a log on without looking at it."""

from __future__ import annotations

from typing import Final

import attrs

from twistpi.changelog.base import read_beginning
from twistpi.changelog.disk import IDisk
from twistpi.changelog.reading import segment_path
from twistpi.model.position import Position

MOST: Final = 1024 * 1024
"""Bytes of a stretch, unless a line is longer."""
_CHUNK: Final = 64 * 1024


@attrs.frozen
class Stretch:
    """Whole lines that lie one after the other in one file."""

    segment: int
    """The first serial of the segment."""
    path: str
    offset: int
    end: int


def next_stretch(directory: str, disk: IDisk, segment: int, offset: int, until: Position, most: int = MOST) -> Stretch | None:
    """About ``most`` bytes of whole lines after those that end at ``offset`` of ``segment``, none beyond ``until``.

    None when there are none.  Blocking; quick where the rest of the segment is not more than ``most``.
    """
    if offset == end_of(directory, disk, segment, until):
        if segment >= until.segment:
            return None
        _base, segments = read_beginning(directory, disk)
        segment, offset = next(first for first in segments if first > segment), 0
    path = segment_path(directory, segment)
    end = end_of(directory, disk, segment, until)
    if end - offset > most:
        end = _end_of_a_line(disk, path, offset, offset + most, end)
    return Stretch(segment, path, offset, end)


def end_of(directory: str, disk: IDisk, segment: int, until: Position) -> int:
    """Where the lines of ``segment`` end that are not beyond ``until``."""
    return until.offset if segment == until.segment else disk.size(segment_path(directory, segment))


def _end_of_a_line(disk: IDisk, path: str, offset: int, near: int, end: int) -> int:
    """Where the last line ends that ends between ``offset`` and ``near``; else the first that ends after ``near``."""
    place = near
    while place > offset:
        start = max(offset, place - _CHUNK)
        feed = disk.read(path, start, place - start).rfind(b"\n")
        if feed >= 0:
            return start + feed + 1
        place = start
    place = near
    while place < end:
        content = disk.read(path, place, _CHUNK)
        feed = content.find(b"\n")
        if feed >= 0:
            return place + feed + 1
        if not content:
            break
        place += len(content)
    return end
