"""Reading a log's folder: lines with their chain checked, and runs of whole lines as parts of files.

Nothing here changes a file, and everything works while another process appends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final

import attrs

from twistpi.changelog.disk import Disk
from twistpi.changelog.format import BadLine, check_line, check_lines, read_base, read_header, segment_name
from twistpi.changelog.interfaces import RawLine
from twistpi.model.peers import Position
from twistpi.model.server_errors import FeedDamaged, LogDamaged, UnknownPosition

CHUNK = 256 * 1024
"""Bytes that are read at a time, unless a line is longer."""

Progress = Callable[[int, int], object]
"""Called with the bytes done and the bytes in all."""


def segment_path(directory: str, first_serial: int) -> str:
    """The path of the segment that begins with ``first_serial``."""
    return os.path.join(directory, segment_name(first_serial))


def log_bytes(directory: str, disk: Disk) -> int:
    """The size of all segments together, in bytes."""
    return sum(disk.size(segment_path(directory, first)) for first in read_base(directory, disk)[1])


def read_lines(directory: str, disk: Disk, after: Position | None = None, until: int | None = None) -> Iterator[RawLine]:
    """The whole lines after ``after`` (None: from the log's beginning), up to serial ``until`` or to the end, each checked.

    A last line without its line feed is left out: it is being written, or torn.  To follow a log that grows, call again with the
    position of the last line.  Of a running server, the newest lines may be some that are not yet synced and acknowledged.

    Raises ``UnknownPosition`` when no line ends at ``after``, ``LogDamaged`` at a line that is not what was written.
    """
    position = after or read_base(directory, disk)[0]
    find_line(directory, disk, position)
    while until is None or position.serial < until:
        # The folder first, then the segment: once a later segment is there, nothing is added to this one.
        _base, segments = read_base(directory, disk)
        if not segments:
            return
        if position.segment not in segments:
            raise _missing(position.serial + 1, position.segment)
        position, rest = yield from _read_segment(directory, disk, position, until)
        later = [first for first in segments if first > position.segment]
        if not later or position.serial == until:
            return
        if rest:
            reason = "the last line of a segment that is not the last one is incomplete"
            raise LogDamaged(position.serial + 1, segment_name(position.segment), position.offset, reason)
        if later[0] != position.serial + 1:
            raise _missing(position.serial + 1, position.serial + 1)
        position = Position(position.serial, position.chain, later[0], 0)


def find_line(directory: str, disk: Disk, position: Position) -> RawLine | None:
    """The line that ends at ``position``, its chain not recomputed, or None at the log's beginning.

    Raises ``UnknownPosition`` when there is none.
    """
    base, segments = read_base(directory, disk)
    segment, offset = position.segment, position.offset

    def unknown(reason: str) -> UnknownPosition:
        return UnknownPosition(position.serial, segment_name(position.segment), position.offset, reason)

    if position == base:
        return None
    if position.serial <= base.serial:
        raise unknown(f"the log begins after serial {base.serial} with the chain {base.chain}")
    if segment not in segments:
        raise unknown("there is no such segment")
    if offset == 0 and segment != segments[0]:  # the beginning of a segment is the end of the one before
        segment = segments[segments.index(segment) - 1]
        offset = disk.size(segment_path(directory, segment))
    line = last_line(disk, segment_path(directory, segment), offset)
    if line is None:
        raise unknown("no line ends there")
    try:
        serial, chain, body = read_header(line)
    except BadLine as problem:
        raise unknown(str(problem)) from None
    if (serial, chain) != (position.serial, position.chain):
        raise unknown(f"serial {serial} with the chain {chain} ends there")
    return RawLine(serial, chain, body, segment, offset)


def report_progress(lines: Iterable[RawLine], total: int, on_progress: Progress) -> Iterator[RawLine]:
    """``lines`` as they are, while ``on_progress(bytes done, total)`` is called about every 256 KiB and at the end."""
    done = reported = 0
    for line in lines:
        yield line
        done += len(str(line.serial)) + len(line.chain) + len(line.body) + 3
        if done - reported >= CHUNK:
            reported = done
            on_progress(done, total)
    on_progress(total, total)


def _missing(serial: int, segment: int) -> LogDamaged:
    return LogDamaged(serial, segment_name(segment), 0, "the segment is missing")


def _read_segment(
    directory: str, disk: Disk, position: Position, until: int | None
) -> Generator[RawLine, None, tuple[Position, bool]]:
    """Yield the lines of the segment of ``position`` after it; return where that ended, and whether more follows."""
    serial, segment, offset = position.serial, position.segment, position.offset
    digest = bytes.fromhex(position.chain)
    rest = b""
    for lines, rest in split_lines(disk, segment_path(directory, segment), offset):  # noqa: B007 -- looked at after the loop
        for line in lines:
            try:
                digest, body = check_line(line, serial + 1, digest)
            except BadLine as problem:
                raise LogDamaged(serial + 1, segment_name(segment), offset, str(problem)) from None
            serial += 1
            offset += len(line) + 1
            yield RawLine(serial, digest.hex(), body, segment, offset)
            if serial == until:
                return Position(serial, digest.hex(), segment, offset), False
    return Position(serial, digest.hex(), segment, offset), bool(rest)


def split_lines(disk: Disk, path: str, offset: int) -> Iterator[tuple[list[bytes], bytes]]:
    """The lines of a file from ``offset`` on, in bunches, and with each what follows it without a line feed so far."""
    rest, length = b"", CHUNK
    while content := disk.read(path, offset, length):
        offset += len(content)
        *lines, rest = (rest + content).split(b"\n")
        length = CHUNK if lines else 2 * length  # a very long line: double, so that joining its parts stays linear
        yield lines, rest


def check_segment(disk: Disk, path: str, before: Position, end: Position) -> None:
    """Check that the lines of the file at ``path`` lead from ``before`` to ``end``; raises ``FeedDamaged``.  Blocking."""
    serial, digest, rest = before.serial, bytes.fromhex(before.chain), b""
    for lines, rest in split_lines(disk, path, 0):  # noqa: B007 -- looked at after the loop
        _bodies, digest = check_lines(lines, serial + 1, digest)
        serial += len(lines)
    if rest:
        raise FeedDamaged(serial + 1, "the line is incomplete")
    if (serial, digest.hex()) != (end.serial, end.chain):
        raise FeedDamaged(serial, f"the segment {before.segment} ends there and does not lead to serial {end.serial}")


def last_line(disk: Disk, path: str, end: int) -> bytes | None:
    """The line of the file at ``path`` whose line feed is the last byte before ``end``, without it; None when there is none."""
    length = 4096
    while True:
        begin = max(0, end - length)
        content = disk.read(path, begin, end - begin)
        if len(content) < end - begin or not content.endswith(b"\n"):
            return None
        feed = content.rfind(b"\n", 0, -1)
        if feed >= 0 or begin == 0:
            return content[feed + 1 : -1]
        length *= 2


_FIRST_READ = 512
"""Bytes; most lines are shorter."""
_LONGEST_READ = 256 * 1024


def find_feed(disk: Disk, path: str, start: int, end: int) -> int | None:
    """The offset of the first line feed from ``start`` on and before ``end``, or None."""
    length = _FIRST_READ
    while start < end and (content := disk.read(path, start, min(length, end - start))):
        feed = content.find(b"\n")
        if feed >= 0:
            return start + feed
        start += len(content)
        length = min(2 * length, _LONGEST_READ)
    return None


MOST: Final = 1024 * 1024
"""Bytes of an extent, unless a line is longer."""
_CHUNK: Final = 64 * 1024


@attrs.frozen
class Extent:
    """Whole lines that lie one after the other in one file."""

    segment: int
    """The first serial of the segment."""
    path: str
    offset: int
    end: int


def next_extent(directory: str, disk: Disk, segment: int, offset: int, until: Position, most: int = MOST) -> Extent | None:
    """About ``most`` bytes of whole lines after those that end at ``offset`` of ``segment``, none beyond ``until``.

    None when there are none.  Blocking; quick where the rest of the segment is not more than ``most``.
    """
    if offset == _end_of(directory, disk, segment, until):
        if segment >= until.segment:
            return None
        _base, segments = read_base(directory, disk)
        segment, offset = next(first for first in segments if first > segment), 0
    path = segment_path(directory, segment)
    end = _end_of(directory, disk, segment, until)
    if end - offset > most:
        end = _end_of_a_line(disk, path, offset, offset + most, end)
    return Extent(segment, path, offset, end)


def _end_of(directory: str, disk: Disk, segment: int, until: Position) -> int:
    """Where the lines of ``segment`` end that are not beyond ``until``."""
    return until.offset if segment == until.segment else disk.size(segment_path(directory, segment))


def _end_of_a_line(disk: Disk, path: str, offset: int, near: int, end: int) -> int:
    """Where the last line ends that ends between ``offset`` and ``near``; else the first that ends after ``near``."""
    end_of_last = end_of_last_line(disk, path, offset, near)
    if end_of_last is not None:
        return end_of_last
    following = find_feed(disk, path, near, end)
    return end if following is None else following + 1


def end_of_last_line(disk: Disk, path: str, start: int, end: int) -> int | None:
    """Where the last line ends whose line feed is between ``start`` and ``end``, or None."""
    while end > start:
        begin = max(start, end - _CHUNK)
        feed = disk.read(path, begin, end - begin).rfind(b"\n")
        if feed >= 0:
            return begin + feed + 1
        end = begin
    return None
