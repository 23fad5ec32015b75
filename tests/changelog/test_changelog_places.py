"""Places in a log are found by serial, by time and from the end, whatever its segments and its tail are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fakes.faulty_disk import FaultyDisk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import segment_start, write_base
from twistpi.changelog.places import find_last, position_at, position_before, position_before_newest
from twistpi.changelog.reader import read_lines, segment_path
from twistpi.model.peers import BEGINNING
from twistpi.model.server_errors import LogDamaged

LOG = "/log"


def _moment(serial: int) -> str:
    """Two entries of each second."""
    return f"2026-11-22T17:00:{serial // 2:02d}.000000Z"


def _log_of(count: int, limit: int = 700, width: Callable[[int], int] = lambda serial: serial * 37 % 300) -> FaultyDisk:
    """A log with entries of different lengths, in several segments."""
    disk = FaultyDisk()
    log = FileChangelog.open(LOG, disk, segment_limit=limit)
    for serial in range(1, count + 1):
        log.append([b'{"at":"%b","by":"%b"}' % (_moment(serial).encode(), b"x" * width(serial))], serial - 1)
    log.close()
    return disk


def test_every_serial_is_found_and_read_on_from() -> None:
    disk = _log_of(40)
    ends = [BEGINNING, *(line.position for line in read_lines(LOG, disk))]
    assert len({end.segment for end in ends}) > 5
    for serial, end in enumerate(ends):
        assert position_at(LOG, disk, serial) == end
        assert [line.serial for line in read_lines(LOG, disk, end)] == list(range(serial + 1, 41))
    assert position_at(LOG, disk, 1000) == ends[-1]


def test_the_place_before_a_time_is_that_before_its_first_entry() -> None:
    disk = _log_of(40)
    for serial in range(1, 41):
        assert position_before(LOG, disk, _moment(serial)).serial == max(serial // 2 * 2 - 1, 0)
    assert position_before(LOG, disk, "2026").serial == 0
    assert position_before(LOG, disk, "2027").serial == 40
    assert position_before(LOG, _log_of(0), "2026") == BEGINNING


@pytest.mark.parametrize("tail", [b"41 ab", b"\0" * 100, b'41 ab {"at\0\0\0\n', b"\n\n"])
def test_a_torn_line_at_the_end_is_no_entry(tail: bytes) -> None:
    disk = _log_of(40)
    end = position_at(LOG, disk, 40)
    file = disk.append_to(segment_path(LOG, end.segment))
    file.write(tail)
    assert find_last(LOG, disk) == end
    assert position_before_newest(LOG, disk, BEGINNING, 2).serial == 38
    assert position_before(LOG, disk, _moment(40)).serial == 39


def test_a_segment_that_has_no_line_yet_is_left_out() -> None:
    disk = _log_of(40)
    end = find_last(LOG, disk)
    disk.create(segment_path(LOG, 41)).write(b"41 ab")
    assert find_last(LOG, disk) == end


def test_a_log_that_begins_later_is_read_from_where_it_begins() -> None:
    disk = _log_of(40)
    log = FileChangelog.open(LOG, disk)
    third = log.segments()[2]
    begin = segment_start(third.first, third.before)
    write_base(LOG, disk, begin)
    assert position_at(LOG, disk, 1) == position_before(LOG, disk, "2026") == begin
    assert position_at(LOG, disk, third.first).serial == third.first
    assert position_before_newest(LOG, disk, begin, 1000) == begin


def test_the_newest_of_some_kind_are_looked_for_from_the_end() -> None:
    disk = _log_of(3000, limit=10_000, width=lambda serial: 7 if serial % 700 == 0 else 3)

    def is_wanted(body: bytes) -> bool:
        return b'"xxxxxxx"' in body

    before = [position_before_newest(LOG, disk, BEGINNING, count, is_wanted).serial for count in (1, 2, 4, 5)]
    assert before == [2799, 2099, 699, 0]
    assert position_before_newest(LOG, disk, position_at(LOG, disk, 2000), 3, is_wanted).serial == 2000
    assert position_before_newest(LOG, disk, BEGINNING, 3).serial == 2997


def test_a_line_that_is_not_where_it_has_to_be_is_damage() -> None:
    disk = FaultyDisk()
    log = FileChangelog.open(LOG, disk)
    log.append([b"{}"], 0)
    with pytest.raises(LogDamaged, match="no time"):
        position_before(LOG, disk, "2026")
