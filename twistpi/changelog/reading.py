"""Reading the lines of a log's folder, checking the chain; changes nothing, and works while another process appends."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator

from twistpi.changelog.base import read_beginning
from twistpi.changelog.disk import IDisk
from twistpi.changelog.interfaces import RawLine
from twistpi.changelog.line import BadLine, check_line, read_header
from twistpi.changelog.segments import segment_name
from twistpi.model.errors import LogDamaged, UnknownPosition
from twistpi.model.position import Position

CHUNK = 256 * 1024
"""Bytes that are read at a time, unless a line is longer."""

Progress = Callable[[int, int], object]
"""Told the bytes that are done and the bytes in all."""


def segment_path(directory: str, first_serial: int) -> str:
    """The path of the segment that begins with ``first_serial``."""
    return os.path.join(directory, segment_name(first_serial))


def log_bytes(directory: str, disk: IDisk) -> int:
    """The size of all segments together, in bytes."""
    return sum(disk.size(segment_path(directory, first)) for first in read_beginning(directory, disk)[1])


def read_lines(directory: str, disk: IDisk, after: Position | None = None, until: int | None = None) -> Iterator[RawLine]:
    """The whole lines after ``after`` (None: from the log's beginning), up to serial ``until`` or to the end, each checked.

    A last line without its line feed is left out: it is being written, or torn.  To follow a log that grows, call again with the
    position of the last line.  Of a running server, the newest lines may be some that are not yet synced and acknowledged.

    Raises ``UnknownPosition`` when no line ends at ``after``, ``LogDamaged`` at a line that is not what was written.
    """
    if after is None:
        after = read_beginning(directory, disk)[0]
    find_line(directory, disk, after)
    position = after
    while until is None or position.serial < until:
        # The folder first, then the segment: once a later segment is there, nothing is added to this one.
        _base, segments = read_beginning(directory, disk)
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


def find_line(directory: str, disk: IDisk, position: Position) -> RawLine | None:
    """The line that ends at ``position``, its chain not recomputed, or None at the log's beginning.

    Raises ``UnknownPosition`` when there is none.
    """
    base, segments = read_beginning(directory, disk)
    if position == base:
        return None
    name = segment_name(position.segment)
    if position.serial <= base.serial:
        reason = f"the log begins after serial {base.serial} with the chain {base.chain}"
        raise UnknownPosition(position.serial, name, position.offset, reason)
    if position.segment not in segments:
        raise UnknownPosition(position.serial, name, position.offset, "there is no such segment")
    segment, offset = position.segment, position.offset
    if offset == 0 and segment != segments[0]:  # the beginning of a segment is the end of the one before
        segment = segments[segments.index(segment) - 1]
        offset = disk.size(segment_path(directory, segment))
    line = last_line(disk, segment_path(directory, segment), offset)
    if line is None:
        raise UnknownPosition(position.serial, name, position.offset, "no line ends there")
    try:
        serial, chain, body = read_header(line)
    except BadLine as problem:
        raise UnknownPosition(position.serial, name, position.offset, str(problem)) from None
    if (serial, chain) != (position.serial, position.chain):
        raise UnknownPosition(position.serial, name, position.offset, f"serial {serial} with the chain {chain} ends there")
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
    directory: str, disk: IDisk, position: Position, until: int | None
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


def split_lines(disk: IDisk, path: str, offset: int) -> Iterator[tuple[list[bytes], bytes]]:
    """The lines of a file from ``offset`` on, in bunches, and with each what follows it without a line feed so far."""
    rest, length = b"", CHUNK
    while content := disk.read(path, offset, length):
        offset += len(content)
        *lines, rest = (rest + content).split(b"\n")
        length = CHUNK if lines else 2 * length  # a very long line: double, so that joining its parts stays linear
        yield lines, rest


def last_line(disk: IDisk, path: str, end: int) -> bytes | None:
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
