"""Where the log in a database begins if it was compacted: a summary stands for its older entries."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, LiteralString

import attrs

from twistpi.changelog.disk import Disk
from twistpi.changelog.format import NEW_SUFFIX, write_base
from twistpi.changelog.format import segment_start as start_of
from twistpi.changelog.summary import summary_path
from twistpi.cluster.database import Database, Row
from twistpi.model.peers import Position

FIND_BEGINNING: Final[LiteralString] = "SELECT serial, chain, summary FROM twistpi_beginning"
"""Returns no row for a log that begins with its first entry."""


@attrs.frozen
class Beginning:
    """The beginning of a compacted log."""

    position: Position
    summary: str
    """The SHA-256 of the summary's lines."""


def beginning_of(rows: Sequence[Row]) -> Beginning | None:
    """Return what ``FIND_BEGINNING`` found."""
    return Beginning(start_of(int(rows[0][0]) + 1, str(rows[0][1])), str(rows[0][2])) if rows else None


def bring_summary(database: Database, beginning: Beginning, directory: str, disk: Disk) -> None:
    """Begin the log in ``directory``, which has no lines yet, with the summary from the database.

    Blocking.  Raise ``LogUnreachable``, ``OSError``.
    """
    path = summary_path(directory, beginning.position.serial)
    file = disk.create(path + NEW_SUFFIX)
    try:
        number = 0
        while rows := database.ask("SELECT content FROM twistpi_summary WHERE number = %s", (number,)):
            file.write(bytes(rows[0][0]))
            number += 1
        file.sync()
    finally:
        file.close()
    os.chmod(path + NEW_SUFFIX, 0o600)
    disk.rename(path + NEW_SUFFIX, path)
    disk.sync_folder(directory)
    write_base(directory, disk, beginning.position, beginning.summary)
