"""Giving a log that begins after some line the segment before: the older history comes later, newest part first."""

from __future__ import annotations

from twistpi.changelog.base import place_before, write_beginning
from twistpi.changelog.disk import IDisk
from twistpi.changelog.line import BadLine, check_line
from twistpi.changelog.reading import segment_path, split_lines
from twistpi.model.position import Position
from twistpi.model.replication_errors import FeedDamaged


def prepend(directory: str, disk: IDisk, first_serial: int, before: str, begins_after: Position) -> Position:
    """Have the log in ``directory``, which begins at ``begins_after``, begin with the segment ``first_serial``; its start.

    The file of the segment lies under its name already, whole; nobody looked at it so far.  ``before`` is the chain digest of the
    line before its first one.  Every line is checked: they must lead to the line after which the log begins.  Durable when this
    returns.  Blocking, about a second for a segment of the usual size.  Raises ``FeedDamaged``, with the log as it was: fetch the
    file anew.
    """
    place = place_before(first_serial, before)
    path = segment_path(directory, first_serial)
    serial, digest, rest = place.serial, bytes.fromhex(before), b""
    for lines, rest in split_lines(disk, path, 0):  # noqa: B007 -- looked at after the loop
        for line in lines:
            try:
                digest, _body = check_line(line, serial + 1, digest)
            except BadLine as problem:
                raise FeedDamaged(serial + 1, str(problem)) from None
            serial += 1
    if rest:
        raise FeedDamaged(serial + 1, "the line is incomplete")
    if serial != begins_after.serial or digest.hex() != begins_after.chain:
        told = f"the segment {first_serial} ends there and does not lead to serial {begins_after.serial}"
        raise FeedDamaged(serial, f"{told}, after which the log begins")
    file = disk.append_to(path)
    try:
        file.sync()
    finally:
        file.close()
    disk.sync_folder(directory)
    write_beginning(directory, disk, place)
    return place
