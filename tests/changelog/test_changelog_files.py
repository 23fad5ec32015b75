"""The changelog in files: the contract on three disks, segments, and what it does when the disk is full or fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.changelog_contract import ChangelogContract, bodies
from tests.fakes.faulty_disk import FaultyDisk
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.model.peers import BEGINNING
from twistpi.model.server_errors import LogDamaged, StorageFull, SyncFailed, UnknownPosition


class TestOnRealDisk(ChangelogContract):
    """See the contract."""

    @pytest.fixture
    def changelog(self, tmp_path: Path) -> FileChangelog:
        return FileChangelog.open(str(tmp_path / "changelog"), Disk())


class TestOnFaultyDisk(ChangelogContract):
    """The fake disk, as long as nothing fails, is a disk."""

    @pytest.fixture
    def changelog(self) -> FileChangelog:
        return FileChangelog.open("/log", FaultyDisk())


class TestWithSegmentsOfOneLine(ChangelogContract):
    """Wherever segments end, the contract holds."""

    @pytest.fixture
    def changelog(self) -> FileChangelog:
        return FileChangelog.open("/log", FaultyDisk(), segment_limit=1)


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


def path(first_serial: int) -> str:
    return f"/log/{first_serial:020d}.log"


def filled(disk: FaultyDisk, lines: int, segment_limit: int = 300) -> FileChangelog:
    """A log of ``lines`` lines, three to a segment unless told otherwise."""
    log = FileChangelog.open("/log", disk, segment_limit=segment_limit)
    for number in range(1, lines + 1):
        log.append(bodies(number), number - 1)
    return log


# Segments


def test_segments_are_named_by_their_first_serial(disk: FaultyDisk) -> None:
    filled(disk, 100, segment_limit=300)
    first, second, *_rest = names = sorted(disk.names("/log"))
    assert first == "00000000000000000001.log"
    assert disk.content(f"/log/{second}").startswith(str(int(second[:20])).encode() + b" ")
    assert all(300 <= disk.size(f"/log/{name}") < 400 for name in names[:-1])


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 5, 17, 40])
def test_where_segments_end_depends_on_the_lines_alone(disk: FaultyDisk, batch: int, reopened: bool) -> None:
    filled(disk, 40)
    other = FaultyDisk()
    log = FileChangelog.open("/log", other, segment_limit=300)
    for start in range(0, 40, batch):
        log.append(bodies(*range(start + 1, min(start + batch, 40) + 1)), start)
        if reopened:
            log.close()
            log = FileChangelog.open("/log", other, segment_limit=300)
    assert other.snapshot() == disk.snapshot()


def test_a_batch_costs_one_write_and_one_sync_and_a_segment_is_never_half_born(disk: FaultyDisk) -> None:
    log = filled(disk, 1, segment_limit=10_000)
    disk.calls.clear()
    log.append(bodies(*range(64)), 1)
    assert disk.calls == ["write", "sync"]
    other = FaultyDisk()
    log = filled(other, 1, segment_limit=1)
    other.calls.clear()
    log.append(bodies(2), 1)
    assert other.calls == ["create", "write", "sync", "sync", "rename", "sync_folder", "close"]


# Trust


def test_a_log_is_checked_from_the_trusted_place_on(disk: FaultyDisk) -> None:
    log = filled(disk, 20)
    places = [line.position for line in log.read(BEGINNING)]
    damaged = disk.content(path(1)).replace(b'"n":1', b'"n":9')
    disk.overwrite(path(1), damaged)
    for place in places[3:]:
        assert FileChangelog.open("/log", disk, trusted=place, verify_all_below=0).last.serial == 20
    with pytest.raises(LogDamaged) as damage:
        FileChangelog.open("/log", disk, trusted=places[-1])
    assert (damage.value.serial, damage.value.segment, damage.value.offset) == (1, "00000000000000000001.log", 0)
    with pytest.raises(LogDamaged):
        FileChangelog.open("/log", disk, verify_all_below=0)


def test_of_a_long_log_that_a_view_lacks_the_last_segment_is_checked_when_it_opens_and_the_rest_when_it_is_read(
    disk: FaultyDisk,
) -> None:
    log = filled(disk, 20, segment_limit=300)
    last, segments = log.last, [segment.first for segment in log.segments()]
    assert len(segments) > 3
    earlier, newest = path(segments[1]), path(segments[-1])
    whole = disk.content(earlier)
    disk.overwrite(earlier, whole.replace(b'"n"', b'"m"'))
    opened = FileChangelog.open("/log", disk, trusted=BEGINNING, verify_all_below=0)
    assert opened.last == last
    with pytest.raises(LogDamaged) as damage:
        list(opened.read(BEGINNING))
    assert damage.value.serial == segments[1]
    disk.overwrite(earlier, whole)
    disk.overwrite(newest, disk.content(newest).replace(b'"n"', b'"m"', 1))
    with pytest.raises(LogDamaged) as damage:
        FileChangelog.open("/log", disk, trusted=BEGINNING, verify_all_below=0)
    assert damage.value.serial == segments[-1]


def test_a_log_that_is_shorter_than_its_view_or_another_one_says_so(disk: FaultyDisk) -> None:
    end = filled(disk, 5, segment_limit=10_000).last
    place = FileChangelog.open("/log", FaultyDisk()).append(bodies(7, 8, 9), 0)
    with pytest.raises(UnknownPosition, match="with the chain"):
        FileChangelog.open("/log", disk, trusted=place)
    disk.overwrite(path(1), b"".join(disk.content(path(1)).splitlines(keepends=True)[:3]))
    with pytest.raises(UnknownPosition, match="no line 5"):
        FileChangelog.open("/log", disk, trusted=end)
    assert FileChangelog.open("/log", disk).last.serial == 3


def test_the_whole_log_can_be_verified_bit_by_bit(disk: FaultyDisk) -> None:
    log = FileChangelog.open("/log", disk, segment_limit=500_000)
    log.append([b'{"n":"%b"}' % (b"x" * 90_000) for _ in range(20)], 0)
    reports: list[tuple[int, int]] = []
    assert log.verify(lambda done, total: reports.append((done, total))) == log.last
    total = sum(map(len, disk.snapshot().values()))
    assert reports[-1] == (total, total)
    assert len(reports) > 4
    assert reports == sorted(reports)
    disk.overwrite(path(1), disk.content(path(1)).replace(b"x", b"y", 1))
    with pytest.raises(LogDamaged):
        log.verify(lambda _done, _total: None)


def test_lines_that_vanish_under_a_running_log_are_noticed(disk: FaultyDisk) -> None:
    log = filled(disk, 3, segment_limit=10_000)
    disk.overwrite(path(1), b"".join(disk.content(path(1)).splitlines(keepends=True)[:2]))
    with pytest.raises(LogDamaged, match="gone"):
        list(log.read(BEGINNING))


# A full disk


@pytest.mark.parametrize("segment_limit", [1, 300, 10_000])
@pytest.mark.parametrize("room", [0, 1, 100, 200, 449])
def test_a_full_disk_refuses_a_batch_and_leaves_the_log_as_it_was(disk: FaultyDisk, segment_limit: int, room: int) -> None:
    log = filled(disk, 3, segment_limit)
    before, last = disk.snapshot(), log.last
    disk.room = room
    with pytest.raises(StorageFull, match="No space left"):
        log.append(bodies(4, 5, 6, 7, 8, 9), 3)
    assert disk.snapshot() == before
    assert log.last == last
    disk.room = None
    log.append(bodies(4, 5), 3)
    assert [line.body for line in log.read(BEGINNING)] == bodies(1, 2, 3, 4, 5)
    assert FileChangelog.open("/log", disk, segment_limit=segment_limit).last == log.last


def test_a_disk_that_is_full_from_the_beginning_or_fails_to_write_refuses_with_its_reason(disk: FaultyDisk) -> None:
    disk.room = 10
    log = FileChangelog.open("/log", disk)
    with pytest.raises(StorageFull):
        log.append(bodies(1), 0)
    assert disk.snapshot() == {}
    disk.room = None
    assert log.append(bodies(1), 0).serial == 1
    disk.broken = {"write"}
    with pytest.raises(StorageFull, match="Input/output error"):
        log.append(bodies(2), 1)
    disk.broken = set()
    assert log.append(bodies(2), 1).serial == 2


def test_what_cannot_be_taken_back_ends_the_log(disk: FaultyDisk) -> None:
    log = filled(disk, 3)
    disk.room, disk.broken = 10, {"truncate"}
    with pytest.raises(SyncFailed):
        log.append(bodies(4), 3)
    disk.room, disk.broken = None, set()
    with pytest.raises(SyncFailed):
        log.append(bodies(4), 3)


# A disk that fails


@pytest.mark.parametrize("operation", ["sync", "rename", "sync_folder"])
def test_a_failed_sync_is_final(disk: FaultyDisk, operation: str) -> None:
    log = filled(disk, 3, segment_limit=1)
    disk.broken = {operation}
    with pytest.raises(SyncFailed, match="Input/output error"):
        log.append(bodies(4), 3)
    disk.broken = set()
    disk.calls.clear()
    with pytest.raises(SyncFailed, match="Input/output error"):
        log.append(bodies(4), 3)
    assert disk.calls == []
    assert [line.body for line in log.read(BEGINNING)] == bodies(1, 2, 3)
