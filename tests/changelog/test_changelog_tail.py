"""A log without its older history: it begins after a line it knows by its digest, and is a log like any other from there on."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.contracts.changelog_contract import bodies, raw_lines
from tests.fakes.faulty_disk import FaultyDisk
from tests.fakes.memory_changelog import MemoryChangelog
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import segment_start, write_base
from twistpi.changelog.reader import log_bytes, read_lines
from twistpi.changelog.tail import find_end
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import FeedDamaged, LogDamaged, UnknownPosition, UnknownSerial

LIMIT = 300
BASE_NAME = "/log/base.json"


def whole(count: int = 20) -> tuple[FaultyDisk, FileChangelog]:
    """A log from its first line, about three lines to a segment."""
    disk = FaultyDisk()
    log = FileChangelog.open("/log", disk, segment_limit=LIMIT)
    log.append(bodies(*range(1, count + 1)), 0)
    return disk, log


PRIMARY, LOG = whole()
SEGMENTS = LOG.segments()
LINES = list(LOG.read(BEGINNING))


def path(first: int) -> str:
    return f"/log/{first:020d}.log"


def tail_of(segment: int) -> FaultyDisk:
    """What a replica has that begins with the segment of this number."""
    disk = FaultyDisk()
    disk.make_folder("/log")
    for part in SEGMENTS[segment:]:
        disk.overwrite(path(part.first), PRIMARY.content(path(part.first)))
    write_base("/log", disk, segment_start(SEGMENTS[segment].first, SEGMENTS[segment].before))
    return disk


def opened(disk: FaultyDisk, trusted: Position | None = None, **more: int) -> FileChangelog:
    return FileChangelog.open("/log", disk, trusted=trusted, segment_limit=LIMIT, **more)


@pytest.mark.parametrize("segment", range(1, len(SEGMENTS)))
def test_a_tail_says_of_its_lines_what_the_whole_log_says(segment: int) -> None:
    disk = tail_of(segment)
    first = SEGMENTS[segment].first
    log = opened(disk)
    assert log.begins_after == segment_start(first, LINES[first - 2].chain)
    assert log.last == LOG.last
    assert log.newest() == LOG.newest()
    assert list(log.read(log.begins_after)) == LINES[first - 1 :]
    assert log.segments() == SEGMENTS[segment:]
    assert log.position(first - 1) == log.begins_after
    for line in LINES[first - 1 :]:
        assert log.position(line.serial) == line.position
        assert list(log.read(line.position)) == LINES[line.serial :]
    for serial in range(first - 1):
        with pytest.raises(UnknownSerial) as refusal:
            log.position(serial)
        assert (refusal.value.first, refusal.value.last) == (first, 20)
    with pytest.raises(UnknownPosition, match=f"begins after serial {first - 1}"):
        list(log.read(BEGINNING))
    assert log.verify(lambda _done, _total: None) == log.last
    assert log_bytes("/log", disk) == sum(part.size for part in SEGMENTS[segment:])
    assert list(read_lines("/log", disk)) == LINES[first - 1 :]


@pytest.mark.parametrize("segment", range(1, len(SEGMENTS)))
def test_a_tail_grows_into_the_same_files(segment: int) -> None:
    primary, written = whole()
    written.append(bodies(*range(21, 33)), 20)
    disk = tail_of(segment)
    more = raw_lines(*bodies(*range(21, 33)), after=LOG.last)
    opened(disk).receive(more[:5], 20)
    opened(disk, LOG.last, verify_all_below=0).receive(more[5:], 25)
    names = {path(part.first) for part in written.segments()[segment:]}
    assert {name: content for name, content in disk.snapshot().items() if name in names} == {
        name: content for name, content in primary.snapshot().items() if name in names
    }
    assert set(disk.snapshot()) == names | {BASE_NAME}


def test_a_tail_may_have_no_line_yet() -> None:
    disk = FaultyDisk()
    disk.make_folder("/log")
    base = segment_start(SEGMENTS[2].first, SEGMENTS[2].before)
    write_base("/log", disk, base)
    log = opened(disk)
    assert (log.begins_after, log.last, log.newest(), log.segments(), list(log.read(base))) == (base, base, None, [], [])
    lines = [f"{line.serial} {line.chain} {line.body.decode()}".encode() for line in LINES[base.serial :]]
    with pytest.raises(FeedDamaged):
        log.receive(lines[1:], base.serial)
    log.receive(lines, base.serial)
    assert log.last == LOG.last
    assert disk.snapshot() == tail_of(2).snapshot()


@pytest.mark.parametrize("segment", [2, len(SEGMENTS) - 1])
def test_a_torn_tail_of_a_tail_is_cut_off(segment: int) -> None:
    last = SEGMENTS[-1]
    content = PRIMARY.content(path(last.first))
    before = LINES[last.first - 2].position
    for length in range(len(content) + 1):
        for rest in (b"", bytes(len(content) - length)):
            disk = tail_of(segment)
            disk.overwrite(path(last.first), content[:length] + rest)
            expected = before.serial + content[:length].count(b"\n")
            assert find_end("/log", disk)[0].serial == expected
            log = opened(disk)
            assert log.last.serial == expected
            log.append(bodies(*range(expected + 1, 21)), expected)
            assert disk.snapshot() == tail_of(segment).snapshot()


def set_base(disk: FaultyDisk, segment: int, before: str) -> None:
    write_base("/log", disk, segment_start(SEGMENTS[segment].first, before))


UNREADABLE = (b"", b"{}", b"5", b'{"serial":0,"chain":"%b"}' % (b"0" * 64), b'{"serial":5,"chain":"x"}', b'{"serial":"5"}')


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda disk: set_base(disk, 2, "f" * 64), "do not belong together"),
        (lambda disk: set_base(disk, 1, SEGMENTS[1].before), "missing"),
        (lambda disk: disk.remove(BASE_NAME), "missing"),
        *((lambda disk, content=content: disk.overwrite(BASE_NAME, content), r"base\.json") for content in UNREADABLE),
    ],
)
def test_what_stands_before_the_first_line_counts(spoil: Callable[[FaultyDisk], object], said: str) -> None:
    disk = tail_of(2)
    spoil(disk)
    with pytest.raises(LogDamaged, match=said):
        opened(disk)


def test_nothing_acknowledged_by_a_tail_is_lost_in_a_power_loss() -> None:
    for seed in range(60):
        chance = random.Random(seed)
        disk = tail_of(3)
        log = opened(disk)
        acknowledged = log.last
        for _ in range(chance.randint(0, 6)):
            acknowledged = log.append(bodies(*range(chance.randint(1, 9))), log.last.serial)
        disk.lose_power(chance, holes=chance.random() < 0.5)
        assert opened(disk, acknowledged, verify_all_below=0).last == acknowledged
        assert opened(disk).begins_after.serial == SEGMENTS[3].first - 1


# The older history comes


def test_older_segments_are_taken_one_after_the_other_until_the_log_is_whole() -> None:
    disk = tail_of(4)
    log = opened(disk)
    mark = log.position(SEGMENTS[4].first + 1)
    beginning = log.begins_after
    for segment in reversed(SEGMENTS[:4]):
        disk.overwrite(path(segment.first), PRIMARY.content(path(segment.first)))
        assert opened(disk).begins_after == log.begins_after, "what is brought is not looked at"
        assert list(log.read(mark)) == LINES[mark.serial :]
        assert log.prepend(segment.first, segment.before) == log.begins_after
        assert opened(disk).begins_after == log.begins_after
        assert list(log.read(log.begins_after)) == LINES[segment.first - 1 :]
        assert list(log.read(beginning)) == LINES[beginning.serial :], "a place stays one"
    assert log.begins_after == BEGINNING
    assert disk.snapshot() == PRIMARY.snapshot()


def test_an_older_segment_that_does_not_fit_is_refused() -> None:
    segment = SEGMENTS[2]
    content = PRIMARY.content(path(segment.first))
    lines = content.splitlines(keepends=True)
    for wrong, before in (
        (content[:-1], segment.before),
        (b"".join(lines[:-1]), segment.before),
        (content.replace(b'"n":', b'"m":', 1), segment.before),
        (content, "f" * 64),
        (b"", segment.before),
        (PRIMARY.content(path(SEGMENTS[1].first)), SEGMENTS[1].before),
        (content + PRIMARY.content(path(SEGMENTS[3].first)), segment.before),
    ):
        disk = tail_of(3)
        log = opened(disk)
        base = log.begins_after
        disk.overwrite(path(segment.first), wrong)
        with pytest.raises(FeedDamaged):
            log.prepend(segment.first, before)
        assert log.begins_after == opened(disk).begins_after == base


def test_a_power_loss_while_history_comes_leaves_a_log() -> None:
    for seed in range(40):
        disk = tail_of(3)
        log = opened(disk)
        segment = SEGMENTS[2]
        file = disk.create(path(segment.first))
        file.write(PRIMARY.content(path(segment.first)))
        disk.broken = {random.Random(seed).choice(["sync", "sync_folder", "rename", "create", "nothing"])}
        try:
            log.prepend(segment.first, segment.before)
            kept = segment.first - 1
        except OSError:
            kept = None
        disk.lose_power(random.Random(seed))
        after = opened(disk)
        assert after.begins_after.serial in {segment.first - 1, SEGMENTS[3].first - 1}
        assert kept is None or after.begins_after.serial == kept
        assert after.last == LOG.last


def test_a_log_in_memory_can_begin_after_a_line_too() -> None:
    base = LINES[6].position
    log = MemoryChangelog(base)
    assert (log.begins_after, log.last, log.newest(), log.segments()) == (base, base, None, [])
    log.receive(raw_lines(*bodies(8, 9), after=base), 7)
    assert [line.serial for line in log.read(base)] == [8, 9]
    assert log.position(8).chain == LINES[7].chain
    assert log.position(7) == base
    with pytest.raises(UnknownSerial):
        log.position(6)
    with pytest.raises(UnknownPosition):
        list(log.read(BEGINNING))
    assert [part.before for part in log.segments()] == [base.chain]


def test_whoever_looks_while_the_last_of_the_history_comes_finds_a_whole_log() -> None:
    class Late(FaultyDisk):
        """Lists a file that is gone when it is read."""

        def names(self, folder: str) -> list[str]:
            return [*super().names(folder), "base.json"]

        def read(self, path: str, offset: int, length: int) -> bytes:
            if path == BASE_NAME:
                raise FileNotFoundError(path)
            return super().read(path, offset, length)

    disk = Late()
    disk.make_folder("/log")
    for part in SEGMENTS:
        disk.overwrite(path(part.first), PRIMARY.content(path(part.first)))
    assert opened(disk).begins_after == BEGINNING
