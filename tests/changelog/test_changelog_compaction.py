"""A log whose beginning is replaced by a summary: it is a log from there on, whatever interrupts the change."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from tests.changelog.test_changelog_tail import BASE_NAME, LINES, LOG, PRIMARY, SEGMENTS, opened, path, whole
from tests.contracts.changelog_contract import bodies
from tests.fakes.faulty_disk import FaultyDisk
from twistpi.changelog.compaction import find_cut
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import read_summary_digest, segment_start
from twistpi.model.server_errors import LogDamaged, UnknownSerial

SUMMARY = "e" * 64
CUT = SEGMENTS[3].first - 1
OLD_SUMMARY = f"/log/summary-{SEGMENTS[1].first - 1:020d}.gz"


def test_a_log_begins_after_its_summary_and_goes_on() -> None:
    disk, log = whole()
    removed = log.compact(CUT, SUMMARY)
    assert removed == sum(segment.size for segment in SEGMENTS[:3])
    assert (log.begins_after, log.summary) == (segment_start(SEGMENTS[3].first, SEGMENTS[3].before), SUMMARY)
    end = log.append(bodies(21), 20)
    again = opened(disk)
    assert (again.begins_after, again.summary, again.last) == (log.begins_after, SUMMARY, end)
    assert list(again.read(again.begins_after))[:-1] == LINES[CUT:]
    names = {path(segment.first) for segment in SEGMENTS[3:]}
    assert set(disk.snapshot()) - {path(21)} == {*names, BASE_NAME}


def test_only_between_two_segments_can_a_log_begin() -> None:
    disk, log = whole()
    log.compact(CUT, SUMMARY)
    before = disk.snapshot()
    for serial in (0, 1, CUT - 1, CUT, CUT + 1, SEGMENTS[4].first, 20, 99):
        with pytest.raises(UnknownSerial):
            log.compact(serial, SUMMARY)
    assert disk.snapshot() == before


def test_a_cut_keeps_every_entry_that_is_to_stay_and_the_segment_that_grows() -> None:
    for before in range(1, 25):
        cut = find_cut("/log", PRIMARY, before)
        gone = [segment for segment in SEGMENTS if segment.first - 1 < before and segment.sealed]
        if before < SEGMENTS[1].first:
            assert cut is None
            continue
        assert cut is not None
        assert cut.serial < before
        assert cut.serial == max(segment.first for segment in SEGMENTS if segment.first <= before) - 1
        assert (cut.after, cut.base.chain) == (0, LINES[cut.serial - 1].chain)
        assert set(cut.segments) <= {segment.first for segment in gone}
        assert cut.size == sum(segment.size for segment in SEGMENTS if segment.first in cut.segments)


def test_a_power_loss_leaves_a_log_that_begins_before_or_after_the_cut() -> None:
    beginnings = set()
    for seed in range(120):
        chance = random.Random(seed)
        disk, log = whole()
        disk.overwrite(OLD_SUMMARY, b"former")
        disk.broken = {chance.choice(["sync", "sync_folder", "rename", "create", "remove", "nothing"])}
        is_done = False
        with suppress(OSError):
            log.compact(CUT, SUMMARY)
            is_done = True
        disk.broken = set()
        disk.lose_power(chance)
        after = opened(disk)
        beginnings.add(after.begins_after.serial)
        assert after.last == LOG.last
        assert after.begins_after.serial in ({CUT} if is_done else {0, CUT})
        assert list(after.read(after.begins_after)) == LINES[after.begins_after.serial :]
        if after.begins_after.serial:
            assert (after.summary, read_summary_digest("/log", disk)) == (SUMMARY, SUMMARY)
            kept = {path(segment.first) for segment in SEGMENTS[3:]}
            assert {name for name in disk.snapshot() if not name.endswith(".new")} == {*kept, BASE_NAME}
        else:
            assert after.summary is None
    assert beginnings == {0, CUT}


def test_verifying_goes_on_with_what_is_left() -> None:
    log = FileChangelog.open("/log", FaultyDisk(), segment_limit=200_000)
    log.append(bodies(*range(10_000)), 0)
    cuts = [segment.first - 1 for segment in log.segments()[2:]]

    def compact_meanwhile(_done: int, _total: int) -> None:
        if cuts:
            log.compact(cuts.pop(0), SUMMARY)

    assert log.verify(compact_meanwhile) == log.last
    assert cuts == []


def test_damage_is_found_in_a_log_that_was_compacted() -> None:
    disk, log = whole()
    log.compact(CUT, SUMMARY)
    name = path(SEGMENTS[4].first)
    disk.overwrite(name, disk.content(name).replace(b'"n":', b'"m":', 1))
    with pytest.raises(LogDamaged):
        log.verify(lambda _done, _total: None)


@pytest.mark.parametrize("text", ['"summary":1', '"summary":"short"', f'"summary":"{"g" * 64}"'])
def test_a_base_that_names_no_summary_properly_is_damage(text: str) -> None:
    disk, log = whole()
    log.compact(CUT, SUMMARY)
    disk.overwrite(BASE_NAME, disk.content(BASE_NAME).replace(f'"summary":"{SUMMARY}"'.encode(), text.encode()))
    with pytest.raises(LogDamaged):
        opened(disk)
