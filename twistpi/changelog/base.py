"""Where a log begins: with serial 1, or, on a replica that does without the older history, after a line it knows by its digest.

``base.json`` in the log's folder says the latter: ``{"chain": …, "serial": N}`` of the line before the first one that is here.
The first segment is then named by serial N + 1 and is, like every other, the same file that the primary has.  Segments before it
are not looked at: somebody is bringing them.
"""

from __future__ import annotations

import os
import re
from typing import Any

import orjson

from twistpi.changelog.disk import IDisk
from twistpi.changelog.segments import sort_segments
from twistpi.model.errors import LogDamaged
from twistpi.model.position import BEGINNING, Position

BASE_NAME = "base.json"
_HALF_WRITTEN = "base.json.new"
_LONGEST = 4096
_CHAIN = re.compile(r"[0-9a-f]{64}")


def place_before(first_serial: int, chain: str) -> Position:
    """The beginning of the segment that is named by ``first_serial``, where ``chain`` is the digest of the line before."""
    return Position(first_serial - 1, chain, first_serial, 0)


def read_beginning(directory: str, disk: IDisk) -> tuple[Position, list[int]]:
    """Where the log in ``directory`` begins, and the first serials of its segments, ascending.

    Raises ``LogDamaged`` when ``base.json`` cannot be read.
    """
    names = disk.names(directory)
    if BASE_NAME not in names:
        return BEGINNING, sort_segments(names)
    try:
        base = _parse(disk.read(os.path.join(directory, BASE_NAME), 0, _LONGEST))
    except FileNotFoundError:  # the last of the older history came this very moment
        base = BEGINNING
    return base, [first for first in sort_segments(names) if first >= base.segment]


def write_beginning(directory: str, disk: IDisk, base: Position) -> None:
    """Have the log in ``directory`` begin at ``base``, a place as ``place_before`` makes it; at once and durably.  Blocking.

    The segments that are to be part of the log from now on have their names already.
    """
    path = os.path.join(directory, BASE_NAME)
    if base == BEGINNING:
        if BASE_NAME in disk.names(directory):
            disk.remove(path)
    else:
        unborn = os.path.join(directory, _HALF_WRITTEN)
        file = disk.create(unborn)
        try:
            file.write(orjson.dumps({"chain": base.chain, "serial": base.serial}, option=orjson.OPT_APPEND_NEWLINE))
            file.sync()
        finally:
            file.close()
        disk.rename(unborn, path)
    disk.sync_folder(directory)


def _parse(content: bytes) -> Position:
    try:
        fields: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        fields = None
    match fields:
        case {"serial": int(serial), "chain": str(chain)} if serial > 0 and _CHAIN.fullmatch(chain):
            return place_before(serial + 1, chain)
    reason = "it does not say after which line the log begins; copy that file from a backup, or make the replica anew"
    raise LogDamaged(0, BASE_NAME, 0, reason)
