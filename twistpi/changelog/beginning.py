"""Having a log begin earlier: with a segment that was fetched.  ``summary.py`` has what makes one begin later."""

from __future__ import annotations

from twistpi.changelog.disk import Disk
from twistpi.changelog.format import segment_start, write_base
from twistpi.changelog.reader import check_segment, segment_path
from twistpi.model.peers import Position


def prepend_segment(directory: str, disk: Disk, first_serial: int, before: str, base: Position) -> Position:
    """Make the log that begins at ``base`` begin with the segment ``first_serial``; see ``FileChangelog.prepend``."""
    path, start = segment_path(directory, first_serial), segment_start(first_serial, before)
    check_segment(disk, path, start, base)
    file = disk.append_to(path)
    try:
        file.sync()
    finally:
        file.close()
    disk.sync_folder(directory)
    write_base(directory, disk, start)
    return start
