"""What a log does at start with what a crash, an accident or a person left: cuts, zeroed ends, flipped bytes."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.changelog_contract import bodies
from tests.fakes.faulty_disk import SECTOR, FaultyDisk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.reader import read_lines
from twistpi.changelog.tail import find_end
from twistpi.model.peers import BEGINNING
from twistpi.model.server_errors import LogDamaged, StorageFull, SyncFailed

SEGMENT = "/log/00000000000000000001.log"


def log_of(*contents: bytes, segment_limit: int = 10_000_000) -> FaultyDisk:
    disk = FaultyDisk()
    FileChangelog.open("/log", disk, segment_limit=segment_limit).append(list(contents), 0)
    return disk


def with_content(content: bytes) -> FaultyDisk:
    disk = log_of(b"{}")
    disk.overwrite(SEGMENT, content)
    return disk


SMALL = log_of(*bodies(*range(1, 9))).content(SEGMENT)
LINES = SMALL.splitlines(keepends=True)
LARGE = log_of(b'{"n":1}', b'{"n":"%b"}' % (b"x" * 5000)).content(SEGMENT)
"""A second line that spans sectors."""


@pytest.mark.parametrize("zeros", [False, True])
def test_a_log_that_was_cut_anywhere_or_ends_in_zeros_keeps_its_whole_lines_and_goes_on(zeros: bool) -> None:
    for length in range(len(SMALL) + 1):
        content = SMALL[:length] + bytes(len(SMALL) - length if zeros else 0)
        disk = with_content(content)
        log = FileChangelog.open("/log", disk)
        whole = SMALL[:length].count(b"\n")
        kept = b"".join(LINES[:whole])
        assert log.last.serial == whole
        assert disk.content(SEGMENT) == kept
        if log.cut is None:
            assert kept == content
        else:
            assert (log.cut.segment, log.cut.offset, log.cut.length) == (SEGMENT[5:], len(kept), len(content) - len(kept))
            assert log.cut.reason in ("the last line is incomplete", "nothing but bytes that were never written")
        log.append(bodies(*range(whole + 1, 9)), whole)
        assert disk.content(SEGMENT) == SMALL


@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
@settings(max_examples=200)
def test_any_flipped_byte_is_damage_and_nothing_is_touched(place: int, mask: int) -> None:
    flipped = bytearray(SMALL)
    flipped[place] ^= mask
    if flipped[-1] == 0:
        return  # the last line feed became a zero byte: that is what an unfinished write looks like
    disk = with_content(bytes(flipped))
    disk.calls.clear()
    with pytest.raises(LogDamaged) as damage:
        FileChangelog.open("/log", disk)
    serial = SMALL[:place].count(b"\n") + 1
    assert damage.value.serial == serial
    assert damage.value.offset == len(b"".join(LINES[: serial - 1]))
    assert damage.value.segment == SEGMENT[5:]
    assert disk.content(SEGMENT) == bytes(flipped)
    assert disk.calls == []


@pytest.mark.parametrize("first_sector", range(1, 10))
def test_a_hole_in_an_unfinished_last_line_is_cut_off(first_sector: int) -> None:
    begin = first_sector * SECTOR
    holed = LARGE[:begin] + bytes(SECTOR) + LARGE[begin + SECTOR :]
    assert holed != LARGE
    log = FileChangelog.open("/log", with_content(holed))
    assert log.last.serial == 1
    assert log.cut
    assert "hole" in log.cut.reason


HOLED = LARGE[: 2 * SECTOR] + bytes(SECTOR) + LARGE[3 * SECTOR :]
DAMAGED = {
    "a line is missing": (b"".join(LINES[:3] + LINES[4:]), 4),
    "the first is": (b"".join(LINES[1:]), 1),
    "one is twice": (b"".join([*LINES[:3], LINES[2], *LINES[3:]]), 4),
    "two are swapped": (b"".join([*LINES[:3], LINES[4], LINES[3], *LINES[5:]]), 4),
    "empty": (SMALL + b"\n", 9),
    "chatter": (SMALL + b"hello\n", 9),
    "another log": (SMALL + log_of(*bodies(1, 2)).content(SEGMENT), 9),
    "begins empty": (b"\n" + SMALL, 1),
    "a hole before a whole line": (HOLED + LINES[2], 2),
    "zero bytes that are no sector": (LARGE[:1000] + bytes(20) + LARGE[1020:], 2),
}
"""Contents, and the serial that is due where they are damaged."""


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_no_interrupted_write_leaves_is_damage(kind: str) -> None:
    content, serial = DAMAGED[kind]
    disk = with_content(content)
    with pytest.raises(LogDamaged) as damage:
        FileChangelog.open("/log", disk)
    assert damage.value.serial == serial
    assert disk.content(SEGMENT) == content


# Several segments


def segments(disk: FaultyDisk) -> list[str]:
    return sorted(disk.snapshot())


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_missing_segment_is_damage(victim: int) -> None:
    disk = log_of(*bodies(*range(20)), segment_limit=300)
    path = segments(disk)[victim]
    disk.remove(path)
    with pytest.raises(LogDamaged, match="missing") as damage:
        FileChangelog.open("/log", disk)
    assert damage.value.segment == path[5:]


def test_an_incomplete_segment_that_is_not_the_last_is_damage() -> None:
    whole = log_of(*bodies(*range(20)), segment_limit=300)
    for number, path in enumerate(segments(whole)[:-1]):
        for length in (0, 5, whole.size(path) - 1):
            disk = log_of(*bodies(*range(20)), segment_limit=300)
            disk.overwrite(path, whole.content(path)[:length])
            with pytest.raises(LogDamaged) as damage:
                FileChangelog.open("/log", disk)
            assert damage.value.segment in (path[5:], segments(disk)[number + 1][5:])


def test_a_last_segment_that_was_cut_anywhere_is_cut_back() -> None:
    whole = log_of(*bodies(*range(1, 21)), segment_limit=300)
    path = segments(whole)[-1]
    before = int(path[5:25]) - 1
    for length in range(whole.size(path) + 1):
        disk = log_of(*bodies(*range(1, 21)), segment_limit=300)
        disk.overwrite(path, whole.content(path)[:length])
        log = FileChangelog.open("/log", disk, segment_limit=300)
        assert log.last.serial == before + whole.content(path)[:length].count(b"\n")
        log.append(bodies(*range(log.last.serial + 1, 21)), log.last.serial)
        assert disk.snapshot() == whole.snapshot()
        assert FileChangelog.open("/log", disk, trusted=log.last).last == log.last


def test_unborn_segments_are_removed_unless_the_log_is_damaged_and_other_files_are_left_alone() -> None:
    disk = log_of(*bodies(1, 2))
    unborn = "/log/00000000000000000003.log.new"
    disk.overwrite(unborn, b"3 half a line")
    sound = disk.content(SEGMENT)
    disk.overwrite(SEGMENT, sound.replace(b'"n":1', b'"n":7'))
    with pytest.raises(LogDamaged):
        FileChangelog.open("/log", disk)
    assert unborn in disk.snapshot()
    disk.overwrite(SEGMENT, sound)
    disk.overwrite("/log/notes.txt", b"mine")
    assert FileChangelog.open("/log", disk).last.serial == 2
    assert disk.snapshot() == {SEGMENT: sound, "/log/notes.txt": b"mine"}


# Looking without touching


def test_find_end_tells_what_a_start_would_cut_and_changes_nothing() -> None:
    disk = with_content(SMALL[:-3])
    disk.calls.clear()
    end, cut = find_end("/log", disk)
    assert end.serial == 7
    assert cut
    assert disk.calls == []
    assert disk.content(SEGMENT) == SMALL[:-3]


def test_a_reader_of_a_growing_log_waits_at_the_incomplete_line() -> None:
    disk = with_content(b"")
    position, seen = BEGINNING, []
    for length in range(0, len(SMALL) + 1, 7):
        disk.overwrite(SEGMENT, SMALL[: length + 7])
        for line in read_lines("/log", disk, position):
            position = line.position
            seen.append(line.body)
    assert seen == bodies(*range(1, 9))


def test_a_reader_follows_into_new_segments() -> None:
    disk = FaultyDisk()
    log = FileChangelog.open("/log", disk, segment_limit=200)
    position, seen = BEGINNING, []
    for number in range(1, 30):
        log.append(bodies(number), number - 1)
        if number % 4 == 0:
            for line in read_lines("/log", disk, position):
                position = line.position
                seen.append(line.serial)
    assert seen == list(range(1, 29))


# Power losses


def batches() -> st.SearchStrategy[list[list[int]]]:
    """Sizes of the lines of a few batches."""
    return st.lists(st.lists(st.integers(0, 900), min_size=1, max_size=6), min_size=1, max_size=6)


@given(batches(), st.sampled_from([1, 500, 2000, 100_000]), st.integers(0, 2**32), st.booleans(), st.booleans())
@settings(max_examples=150)
def test_nothing_acknowledged_is_lost_in_a_power_loss(
    sizes: list[list[int]], segment_limit: int, seed: int, holes: bool, full: bool
) -> None:
    """Batches until the disk is full or fails, then the power goes; many times over."""
    chance = random.Random(seed)
    disk = FaultyDisk()
    acknowledged: list[bytes] = []
    position = BEGINNING
    for batch in sizes:
        log = FileChangelog.open("/log", disk, segment_limit=segment_limit, trusted=position)
        held = [line.body for line in log.read(BEGINNING)]
        assert held[: len(acknowledged)] == acknowledged
        acknowledged = held
        contents = [b'{"n":"%b"}' % (b"x" * size) for size in batch]
        with contextlib.suppress(StorageFull, SyncFailed):
            for attempt in range(4):
                position = log.append(contents, len(acknowledged))
                acknowledged += contents
                disk.room = chance.randint(0, 300) if full and attempt == 0 else None
                disk.broken = {chance.choice(["sync", "rename", "sync_folder"])} if attempt > 0 else set()
        assert log.last.serial == len(acknowledged)
        disk.lose_power(chance, holes=holes)
        if not recoverable(disk, len(acknowledged)):
            assert holes
            return
    log = FileChangelog.open("/log", disk, segment_limit=segment_limit, trusted=position)
    assert [line.body for line in log.read(BEGINNING)][: len(acknowledged)] == acknowledged


def recoverable(disk: FaultyDisk, acknowledged: int) -> bool:
    """Whether the log starts again; the one reason not to is a hole before whole lines, none of them acknowledged."""
    try:
        find_end("/log", disk)
    except LogDamaged as damage:
        if damage.serial <= acknowledged:
            raise
        return False
    return True
