"""An archive of the beginning of a log: a folder of the same format, to which compactions add the segments that they remove.

Where the first of them came after an earlier one without an archive, ``base.json`` and a summary say what is before it.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from contextlib import suppress

from twistpi.changelog.compaction import Cut
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import NEW_SUFFIX, read_base, read_summary_digest, write_base
from twistpi.changelog.reader import find_line, read_lines, segment_path
from twistpi.changelog.summary import summary_path
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import UnknownPosition


def archive(directory: str, disk: Disk, cut: Cut, target: str) -> None:
    """Copy the segments before ``cut`` from the log in ``directory`` to the folder ``target``, and verify the copies.

    Durable when this returns.  Blocking.  Called again after an interruption, it goes on.  Raises ``TwistpiError`` when
    ``target`` has other history than what is before these segments, ``LogDamaged``, ``OSError``; ``directory`` never changes.
    """
    base, _segments = read_base(directory, disk)
    os.makedirs(target, mode=0o700, exist_ok=True)
    if not any(name.endswith((".log", ".json")) for name in disk.names(target)):
        _begin(directory, disk, base, target)
    end = _require_end(target, disk, base)
    for first in cut.segments:
        source, copy = segment_path(directory, first), segment_path(target, first)
        if not os.path.exists(copy) or disk.size(copy) != disk.size(source):
            _copy(source, copy, disk)
    disk.sync_folder(target)
    newest = deque(read_lines(target, disk, end, cut.serial), maxlen=1)
    if not newest or (newest[0].serial, newest[0].chain) != (cut.serial, cut.base.chain):
        text = f"does not lead to serial {cut.serial}; remove its segments from {base.segment} on, and try again"
        raise TwistpiError(f"The archive {target} {text}.")


def _begin(directory: str, disk: Disk, base: Position, target: str) -> None:
    """Say in an empty archive what is before its first segment."""
    if base == BEGINNING:
        return
    sha256 = read_summary_digest(directory, disk)
    if sha256 is not None:
        _copy(summary_path(directory, base.serial), summary_path(target, base.serial), disk)
    write_base(target, disk, base, sha256)


def _require_end(target: str, disk: Disk, base: Position) -> Position:
    """Return the place in the archive after which the segments of a log that begins at ``base`` belong."""
    archived, segments = read_base(target, disk)
    if base == archived:
        return base
    before = [first for first in segments if first < base.segment]
    with suppress(UnknownPosition):
        if before:
            end = Position(base.serial, base.chain, before[-1], disk.size(segment_path(target, before[-1])))
            find_line(target, disk, end)
            return end
    what = f"the entries of this log up to serial {base.serial}" if base.serial else "this log"
    raise TwistpiError(f"{target} is no archive of {what}; name the folder of the last compaction, or a new one.")


def _copy(source: str, copy: str, disk: Disk) -> None:
    temporary = copy + NEW_SUFFIX
    with open(source, "rb") as original, open(temporary, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        shutil.copyfileobj(original, file, 1024 * 1024)
        file.flush()
        os.fsync(file.fileno())
    disk.rename(temporary, copy)


def archived_until(target: str, disk: Disk, base: Position) -> int:
    """Verify that the lines of the archive lead to ``base``; return the serial after which it begins.

    Blocking, for as long as reading it takes.  Raises ``LogDamaged``, ``TwistpiError`` where it ends earlier or has other lines.
    """
    begin, _segments = read_base(target, disk)
    newest = deque(read_lines(target, disk, begin, base.serial), maxlen=1)
    found = newest[0].position if newest else begin
    if found.serial < base.serial:
        missing = f"the entries {found.serial + 1} to {base.serial}, after which the changelog begins, are not in it"
        text = f"goes up to serial {found.serial}: {missing}, because they were compacted without this --archive"
        raise TwistpiError(f"The archive {target} {text}. What it has is whole.")
    if (found.serial, found.chain) != (base.serial, base.chain):
        text = f"has another line {base.serial} than the one after which the changelog begins, so it is of another changelog"
        raise TwistpiError(f"The archive {target} {text}.")
    return begin.serial
