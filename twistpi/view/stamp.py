"""The stamp of a view: of which log it is the fold, by which version of the fold, and up to where (law 8)."""

from __future__ import annotations

import sqlite3
from typing import Final

import attrs

from twistpi.model.position import Position

FOLD_VERSION: Final = 3
"""Raised with every change to ``schema.sql``, or to what the fold writes: older files are then dropped and folded again."""


@attrs.frozen
class Stamp:
    """What a view's file says about itself."""

    log_id: str
    """Of the changelog it was folded from."""
    fold_version: int
    """``FOLD_VERSION`` of the program that folded it."""
    position: Position
    """The end of the last entry that is in it."""


def write_stamp(connection: sqlite3.Connection, stamp: Stamp) -> None:
    """Give an empty view its first stamp."""
    at = stamp.position
    connection.execute(
        "INSERT INTO stamp VALUES (?, ?, ?, ?, ?, ?)",
        (stamp.log_id, stamp.fold_version, at.serial, at.chain, at.segment, at.offset),
    )


def read_stamp(connection: sqlite3.Connection) -> Stamp:
    """The stamp of a view; ``sqlite3.Error`` or ``ValueError`` when the file has none."""
    row = connection.execute("SELECT log_id, fold_version, serial, chain, segment, position FROM stamp").fetchone()
    if row is None:
        raise ValueError("the view carries no stamp")
    return Stamp(row[0], row[1], Position(*row[2:]))


def move_stamp(connection: sqlite3.Connection, position: Position) -> None:
    """Say that the view goes up to ``position`` now."""
    connection.execute(
        "UPDATE stamp SET serial = ?, chain = ?, segment = ?, position = ?",
        (position.serial, position.chain, position.segment, position.offset),
    )
