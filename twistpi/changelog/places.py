"""Places in a log, found with a few small reads: its end, a line by its serial or by its time, and the newest lines of some kind.

Nothing here changes a file, and everything works while another process appends.  Chains are as the lines state them: who reads
on from a place has the chain checked from there.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence

import orjson

from twistpi.changelog.disk import Disk
from twistpi.changelog.format import BadLine, read_base, read_header, segment_name
from twistpi.changelog.reader import end_of_last_line, find_feed, find_line, last_line, read_lines, segment_path
from twistpi.model.peers import Position
from twistpi.model.server_errors import LogDamaged


def locate(directory: str, disk: Disk, serial: int, last: Position, segments: Sequence[int]) -> Position:
    """The end of the line ``serial``, which is one of those up to ``last`` in the ``segments``.  Blocking, for a millisecond.

    Its chain is as the line states it.  Raises ``LogDamaged`` when the line is not where it has to be.
    """
    segment = segments[bisect_right(segments, serial) - 1]
    path = segment_path(directory, segment)
    size = last.offset if segment == last.segment else disk.size(path)
    start = _find_start(disk, path, size, serial)
    feed = find_feed(disk, path, start, size)
    line = disk.read(path, start, (size if feed is None else feed) - start)
    try:
        found, chain, _body = read_header(line)
    except BadLine as problem:
        raise LogDamaged(serial, segment_name(segment), start, str(problem)) from None
    if found != serial:
        raise LogDamaged(serial, segment_name(segment), start, f"serial {serial} is due there, but the line says {found}")
    return Position(serial, chain, segment, start + len(line) + 1)


def _find_start(disk: Disk, path: str, size: int, serial: int) -> int:
    """Where the line ``serial`` begins in a file that begins with an earlier line, or with this one."""
    low, high = 0, size  # A line not later than ``serial`` begins at ``low``; those that begin at ``high`` or after are later.
    while high - low > 1:
        middle = (low + high) // 2
        feed = find_feed(disk, path, middle - 1, high - 1)
        if feed is not None and _serial_at(disk, path, feed + 1) <= serial:
            low = feed + 1
        else:
            high = middle
    return low


def _serial_at(disk: Disk, path: str, start: int) -> int:
    digits = disk.read(path, start, 24).split(b" ", 1)[0]
    return int(digits) if digits.isdigit() else 0


def find_last(directory: str, disk: Disk) -> Position:
    """The end of the newest whole line, or where the log begins while it has none.  Blocking, for a millisecond.

    What follows it, if anything, is being written, torn, or damaged: ``read_lines`` tells.
    """
    base, segments = read_base(directory, disk)
    for segment in reversed(segments):
        path = segment_path(directory, segment)
        end = end_of_last_line(disk, path, 0, disk.size(path)) or 0
        while (line := last_line(disk, path, end)) is not None:
            try:
                serial, chain, _body = read_header(line)
            except BadLine:
                end -= len(line) + 1
            else:
                return Position(serial, chain, segment, end)
    return base


def position_at(directory: str, disk: Disk, serial: int) -> Position:
    """The end of the line ``serial``; the log's beginning for an earlier one, its end for a later one.

    Blocking, for about a millisecond.  Raises ``LogDamaged``.
    """
    last = find_last(directory, disk)
    base, segments = read_base(directory, disk)
    if serial <= base.serial:
        return base
    return last if serial >= last.serial else locate(directory, disk, serial, last, segments)


def position_before(directory: str, disk: Disk, moment: str) -> Position:
    """The end of the line before the first one whose time is ``moment`` (written as in entries) or later.

    The writer never gives an entry an earlier time than the one before has, so bisecting finds the place.  Blocking, for some
    hundredths of a second.  Raises ``LogDamaged``.
    """
    base, _segments = read_base(directory, disk)
    serials = range(base.serial + 1, find_last(directory, disk).serial + 1)
    count = bisect_left(serials, moment, key=lambda serial: _time_at(directory, disk, serial))
    return position_at(directory, disk, base.serial + count)


def _time_at(directory: str, disk: Disk, serial: int) -> str:
    position = position_at(directory, disk, serial)
    line = find_line(directory, disk, position)
    try:
        return str(orjson.loads(line.body if line else b"")["at"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise LogDamaged(serial, segment_name(position.segment), position.offset, "the entry has no time") from None


_FIRST_BLOCK = 1000
"""Lines; each further block, before the one that was read, is twice as long."""


def position_before_newest(
    directory: str, disk: Disk, after: Position, count: int, matches: Callable[[bytes], bool] | None = None
) -> Position:
    """The end of the line before the ``count`` newest ones whose JSON ``matches``; ``after`` where there are fewer after that.

    ``count`` is at least 1.  Blocking: without ``matches`` for a millisecond, else as long as reading from there to the end.
    Raises ``LogDamaged``.
    """
    end, block = find_last(directory, disk).serial, _FIRST_BLOCK
    if matches is None:
        return position_at(directory, disk, max(after.serial, end - count))
    while end > after.serial:
        begin = max(after.serial, end - block)
        lines = read_lines(directory, disk, position_at(directory, disk, begin), end)
        found = deque((line.serial for line in lines if matches(line.body)), maxlen=count)
        if len(found) == count:
            return position_at(directory, disk, found[0] - 1)
        count -= len(found)
        end, block = begin, 2 * block
    return after
