"""The end of a log: what a crash left behind the last whole line, and cutting lines off on purpose.

The rule that tells a torn tail from damage stands in the package's docstring, under "What a crash leaves".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress

import attrs

from twistpi.changelog.disk import Disk
from twistpi.changelog.format import (
    BadLine,
    check_line,
    has_shape,
    read_base,
    segment_name,
    sort_segments,
    sort_unfinished,
    write_base,
)
from twistpi.changelog.reader import find_line, read_lines, segment_path
from twistpi.changelog.summary import summarised_serials, summary_path
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import LogDamaged


@attrs.frozen
class TornTail:
    """Bytes that an interrupted write left at the end of the log, to be cut off; they were never acknowledged."""

    segment: str
    """The file name of the segment."""
    offset: int
    """Bytes of the segment before the torn tail."""
    length: int
    """Bytes."""
    reason: str


def find_end(directory: str, disk: Disk, start: Position | None = None) -> tuple[Position, TornTail | None]:
    """The end of the last right line, and the torn tail after it; changes nothing.  Not for a log that is being written.

    Checks every line after ``start`` (None: the log's beginning).  Blocking.  Raises ``LogDamaged``.
    """
    base, segments = read_base(directory, disk)
    end, damage = start or base, None
    try:
        for line in read_lines(directory, disk, end):
            end = line.position
    except LogDamaged as error:
        damage = error
    if not segments or (damage and damage.segment != segment_name(segments[-1])):
        if damage:
            raise damage
        return end, None
    offset = end.offset if end.segment == segments[-1] else 0
    path = segment_path(directory, segments[-1])
    tail = disk.read(path, offset, disk.size(path) - offset)
    if not tail:
        return end, None
    name = segment_name(segments[-1])
    reason = why_torn(tail, offset, end.serial + 1, bytes.fromhex(end.chain))
    if reason is None:
        raise damage or LogDamaged(end.serial + 1, name, offset, "the last line ends with another byte than a line feed")
    return end, TornTail(name, offset, len(tail), reason)


SECTOR = 512
"""Bytes: the smallest piece that a disk writes or does not write as a whole."""

_NULS = re.compile(rb"\0+")


def why_torn(tail: bytes, offset: int, serial: int, previous: bytes) -> str | None:
    """Why ``tail`` was never acknowledged and may be cut off, or None when it is damage.

    ``tail`` begins with the first line that is not right, at ``offset`` in the last segment.  The line ``serial`` is due there,
    after one with the digest ``previous``.
    """
    written = tail.rstrip(b"\0")
    if not written:
        return "nothing but bytes that were never written"
    if b"\n" not in written:
        if written == tail:
            with suppress(BadLine):
                check_line(tail[:-1], serial, previous)
                return None  # a whole line whose line feed became another byte: no interrupted write does that
        return "the last line is incomplete"
    for begin, end in _holes(written, offset):
        if b"\n" in written[:begin] or any(map(has_shape, written[end:].split(b"\n")[:-1])):
            return None
        return "the last line has a hole that was never written"
    return None


def _holes(written: bytes, offset: int) -> Iterator[tuple[int, int]]:
    """The ranges of whole sectors of zero bytes in ``written``; a single NUL among text is no hole."""
    for match in _NULS.finditer(written):
        begin, end = match.span()
        if (begin == 0 or (offset + begin) % SECTOR == 0) and (offset + end) % SECTOR == 0:
            yield begin, end


def truncate_log(directory: str, disk: Disk, position: Position) -> None:
    """Remove every line after ``position`` durably; at serial 0 nothing is left, and the log begins anew with serial 1.

    The newest segment goes first, so an interruption leaves a log with fewer lines.  Drop the view before: it must not be ahead
    of the log.  Blocking.  Raises ``UnknownPosition`` when no line ends there, ``OSError``.
    """
    if position.serial > 0:
        find_line(directory, disk, position)
    names = disk.names(directory)
    for name in sort_unfinished(names):
        disk.remove(os.path.join(directory, name))
    for first in reversed(sort_segments(names)):
        if first > position.segment or position.serial == 0:
            disk.remove(segment_path(directory, first))
            disk.sync_folder(directory)
    if position.serial == 0:
        write_base(directory, disk, BEGINNING)
        for serial in summarised_serials(names):
            disk.remove(summary_path(directory, serial))
        return
    segment = disk.append_to(segment_path(directory, position.segment))
    try:
        segment.truncate(position.offset)
        segment.sync()
    finally:
        segment.close()
