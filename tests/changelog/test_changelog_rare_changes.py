"""Changes of rare kinds are found in a log of any shape, and each is read once."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fakes.faulty_disk import FaultyDisk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.rare_changes import RareChanges
from twistpi.model.changes import Change, Entry
from twistpi.model.codec import encode_content
from twistpi.model.releases import FileUploaded, FileYanked

LOG, AT = "/log", "2026-11-22T17:00:00.000000Z"


def _yank(number: int) -> FileYanked:
    return FileYanked("alice/dev", "demo", f"demo-{number}.0.zip", "x" * (number * 37 % 300))


def _yanks(entry: Entry) -> Iterator[tuple[str, Change]]:
    return ((change.project, change) for change in entry.changes if isinstance(change, FileYanked))


def _grow(log: FileChangelog, numbers: range) -> None:
    for number in numbers:
        upload = FileUploaded("alice/dev", "other", "1.0", f'"kind":"FileYanked"{number}', "0" * 64, 1)
        log.append([encode_content(AT, "alice", [upload]), encode_content(AT, "bob", [_yank(number)])], log.last.serial)


def _changes(disk: FaultyDisk, **limits: int) -> RareChanges:
    return RareChanges(LOG, [b'"kind":"FileYanked"'], _yanks, disk, **limits)


def test_what_was_appended_since_is_found_by_the_next_look() -> None:
    disk = FaultyDisk()
    log = FileChangelog.open(LOG, disk, segment_limit=900)
    changes = _changes(disk)
    for end in (1, 2, 9, 30):
        _grow(log, range(log.last.serial // 2, end))
        changes.read(log.last.serial)
        assert [entry.changes for entry in changes.of("demo")] == [(_yank(number),) for number in range(end)]
        assert [entry.serial for entry in changes.of("demo")] == [2 * number + 2 for number in range(end)]
    assert len(log.segments()) > 5
    assert changes.is_whole
    assert changes.of("other") == ()
    assert changes.of("demo")[0].by == "bob"


def test_entries_after_the_one_that_is_asked_for_are_not_read_yet() -> None:
    disk = FaultyDisk()
    _grow(FileChangelog.open(LOG, disk), range(3))
    changes = _changes(disk)
    changes.read(3)
    assert len(changes.of("demo")) == 1
    changes.read(4)
    assert len(changes.of("demo")) == 2


def test_of_a_long_log_the_end_is_read() -> None:
    disk = FaultyDisk()
    log = FileChangelog.open(LOG, disk, segment_limit=900)
    _grow(log, range(30))
    changes = _changes(disk, most_bytes=2000)
    changes.read(log.last.serial)
    found = changes.of("demo")
    assert 2 < len(found) < 15
    assert [entry.changes for entry in found] == [(_yank(number),) for number in range(30 - len(found), 30)]
    assert not changes.is_whole


def test_the_newest_changes_are_remembered() -> None:
    disk = FaultyDisk()
    log = FileChangelog.open(LOG, disk)
    _grow(log, range(30))
    changes = _changes(disk, most_changes=4)
    changes.read(log.last.serial)
    assert [entry.changes for entry in changes.of("demo")] == [(_yank(number),) for number in range(26, 30)]
    assert not changes.is_whole
