"""The lines of a log in a database, each checked as it is read; for verification."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Final, LiteralString

from twistpi.changelog.format import BadLine, check_line
from twistpi.changelog.interfaces import RawLine
from twistpi.cluster.database import Database
from twistpi.model.peers import Position

_LINES: Final[LiteralString] = """
SELECT serial, chain, segment, segment_end, body FROM twistpi_lines WHERE serial > %(after)s ORDER BY serial
"""


class BadDatabase(Exception):
    """The log in the database is not what was written; the message says where and why."""


def read_database(database: Database, after: Position, until: int) -> Iterator[RawLine]:
    """Yield the lines after ``after`` up to the serial ``until``, each checked against the chain; blocking.

    Raise ``BadDatabase``, ``LogUnreachable``, ``ConnectionLost``.
    """
    position = after
    with closing(database.stream(_LINES, {"after": after.serial})) as rows:
        for row in rows:
            position, body = _check(position, *row)
            yield RawLine(position.serial, position.chain, body, position.segment, position.offset)
            if position.serial == until:
                return
    if position.serial < until:
        raise BadDatabase(f"its lines end with serial {position.serial}, and its head says {until}")


def _check(before: Position, serial: int, chain: str, segment: int, end: int, body: bytes) -> tuple[Position, bytes]:
    line = b"%d %b %b" % (serial, chain.encode(), bytes(body))
    try:
        check_line(line, before.serial + 1, bytes.fromhex(before.chain))
    except BadLine as problem:
        raise BadDatabase(f"at serial {before.serial + 1}: {problem}") from None
    begins = before.offset if segment == before.segment else 0
    if segment not in (before.segment, serial) or end != begins + len(line) + 1:
        raise BadDatabase(f"at serial {serial}: its place, segment {segment} up to {end}, does not follow the line before")
    return Position(serial, chain, segment, end), bytes(body)


def find_head(database: Database) -> tuple[int, str]:
    """Return serial and chain of the last line, according to the head; the chain is empty while the log is moving."""
    [(serial, chain)] = database.ask("SELECT serial, chain FROM twistpi_head")
    return int(serial), str(chain)
