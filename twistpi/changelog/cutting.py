"""Cutting lines off the end of a log that nobody has open: how a former primary lets go of what only it had."""

from __future__ import annotations

import os

from twistpi.changelog.base import write_beginning
from twistpi.changelog.disk import IDisk
from twistpi.changelog.reading import find_line, segment_path
from twistpi.changelog.segments import sort_segments, sort_unborn
from twistpi.model.position import BEGINNING, Position


def cut_after(directory: str, disk: IDisk, position: Position) -> None:
    """Remove every line after ``position`` durably; at serial 0 nothing is left, and the log begins anew with serial 1.

    Segments go from the newest on, so whatever an interruption leaves is a log: the same one, with fewer lines.  No view may be
    ahead of it any more, so a view goes first.  Blocking.  Raises ``UnknownPosition`` when no line ends there, ``OSError``.
    """
    if position.serial > 0:
        find_line(directory, disk, position)
    names = disk.names(directory)
    for name in sort_unborn(names):
        disk.remove(os.path.join(directory, name))
    for first in reversed(sort_segments(names)):
        if first > position.segment or position.serial == 0:
            disk.remove(segment_path(directory, first))
            disk.sync_folder(directory)
    if position.serial == 0:
        write_beginning(directory, disk, BEGINNING)
        return
    segment = disk.append_to(segment_path(directory, position.segment))
    try:
        segment.truncate(position.offset)
        segment.sync()
    finally:
        segment.close()
