"""Where a log ends: after its last right line, and what an interrupted write may have left behind that."""

from __future__ import annotations

import attrs

from twistpi.changelog.base import read_beginning
from twistpi.changelog.disk import IDisk
from twistpi.changelog.reading import Progress, log_bytes, read_lines, report_progress, segment_path
from twistpi.changelog.segments import segment_name
from twistpi.changelog.torn import why_torn
from twistpi.model.errors import LogDamaged
from twistpi.model.position import Position


@attrs.frozen
class CutTail:
    """What an interrupted write left at the end of the log, to be cut off; nothing of it was ever acknowledged."""

    segment: str
    """The file name of the segment."""
    offset: int
    """Where the segment ends without it, in bytes."""
    length: int
    """Bytes."""
    reason: str


def find_end(
    directory: str, disk: IDisk, start: Position | None = None, on_progress: Progress = lambda _done, _total: None
) -> tuple[Position, CutTail | None]:
    """The end of the last right line, and what an interrupted write left behind it; changes nothing.  Blocking.

    Every line after ``start`` (None: the log's beginning) is checked.  ``on_progress(bytes done, bytes in all)`` is called about
    every 256 KiB.  Raises ``LogDamaged`` for what no interrupted write leaves.  Not for a log that is being written.
    """
    base, segments = read_beginning(directory, disk)
    end, damage = start or base, None
    try:
        for line in report_progress(read_lines(directory, disk, end), log_bytes(directory, disk), on_progress):
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
    return end, CutTail(name, offset, len(tail), reason)
