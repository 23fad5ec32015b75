"""Cutting a log: what is left is the log up to that place, also when it was interrupted."""

from __future__ import annotations

import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.faulty_disk import FaultyDisk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.tail import truncate_log
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import UnknownPosition

LIMIT = 300


def _log(disk: FaultyDisk, lines: int) -> list[Position]:
    """A log of so many lines in several segments; the end of each, after the beginning."""
    log = FileChangelog.open("/log", disk, segment_limit=LIMIT)
    return [BEGINNING, *(log.append([b'{"number":%d}' % number], number) for number in range(lines))]


def _end(disk: FaultyDisk) -> Position:
    return FileChangelog.open("/log", disk, segment_limit=LIMIT).last


@given(st.integers(0, 20), st.integers(0, 20))
def test_the_lines_up_to_the_place_are_left_and_the_log_goes_on_there(lines: int, kept: int) -> None:
    disk = FaultyDisk()
    positions = _log(disk, max(lines, kept))
    truncate_log("/log", disk, positions[kept])
    assert _end(disk) == positions[kept]
    FileChangelog.open("/log", disk, segment_limit=LIMIT).append([b"{}"], kept)
    other = FaultyDisk()
    _log(other, kept)
    FileChangelog.open("/log", other, segment_limit=LIMIT).append([b"{}"], kept)
    assert _end(disk) == _end(other)


class _Dying(Exception):
    """The process is no more."""


@attrs.define(eq=False)
class _Mortal(FaultyDisk):
    """A disk whose user dies after some operations."""

    left: int = 1000

    def note(self, operation: str) -> None:
        if self.left == 0:
            raise _Dying
        self.left -= 1
        super().note(operation)


@given(st.integers(0, 20), st.integers(0, 25), st.booleans(), st.integers(0, 1000))
def test_an_interrupted_cut_leaves_a_log_that_can_be_cut_again(kept: int, operations: int, power_fails: bool, seed: int) -> None:
    disk = _Mortal()
    positions = _log(disk, 20)
    disk.left = operations
    try:
        truncate_log("/log", disk, positions[kept])
    except _Dying:
        disk.left = 1000
    disk.left = 1000
    if power_fails:
        disk.lose_power(random.Random(seed))
    assert _end(disk) in positions[kept:]
    truncate_log("/log", disk, positions[kept])
    assert _end(disk) == positions[kept]


def test_a_place_that_is_not_in_the_log_is_refused_and_nothing_is_cut() -> None:
    disk = FaultyDisk()
    positions = _log(disk, 9)
    with pytest.raises(UnknownPosition):
        truncate_log("/log", disk, attrs.evolve(positions[4], chain="f" * 64))
    assert _end(disk) == positions[9]
