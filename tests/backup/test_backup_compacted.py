"""Backups of servers that were compacted: what can be restored is as it was, and the rest is refused by name."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import attrs
import pytest

from tests.backup.backed_up import (
    age,
    blobs_in,
    compact,
    digest_of,
    dump_of,
    log_in,
    remove,
    serial_of,
    upload,
)
from tests.backup.test_backup_interrupted import progress, times_killed
from tests.backup.test_backup_restore import places
from tests.backup.test_backup_running import back_up, prune
from tests.cli.commands import now, run, settings
from twistpi.backup.restore import Restore
from twistpi.backup.store import FolderStore
from twistpi.backup.target import Target
from twistpi.blobs.address import blob_address
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import BASE_NAME
from twistpi.changelog.reader import read_lines
from twistpi.model.changes import UserCreated
from twistpi.model.codec import encode_content
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.epochs import begin_after_restore
from twistpi.server.node import read_node
from twistpi.server.storage import Storage
from twistpi.view.database import drop_view, open_view

DAY = timedelta(days=1)
START = datetime(2026, 11, 1, 3, tzinfo=UTC)


def restored(tmp_path: Path, name: str, place: Path, *options: str) -> Path:
    """A server directory that was made of a backup."""
    done = run(tmp_path / name, "restore", str(place), *options)
    assert done.exit_code == 0, done.output
    return tmp_path / name


def refused(tmp_path: Path, place: Path, *options: str) -> str:
    """What people are told who want to restore what is not there; nothing is made."""
    done = run(tmp_path / "refused", "restore", str(place), *options)
    assert (done.exit_code, (tmp_path / "refused").exists()) == (1, False), done.output
    return done.output


def sha256_of_lines(lines: bytes) -> str:
    return hashlib.sha256(lines).hexdigest()


def is_as(copy: Path, serverdir: Path) -> bool:
    """Whether two server directories are the same, in every byte of the log."""
    return (log_in(copy), dump_of(copy), blobs_in(copy)) == (log_in(serverdir), dump_of(serverdir), blobs_in(serverdir))


@pytest.fixture
def aged(filled: Path) -> Path:
    """A server directory with files and a log of several segments."""
    age(filled)
    return filled


@pytest.mark.parametrize("kind", ["folder", "host:path"])
def test_a_compacted_server_comes_back_as_it_is(tmp_path: Path, aged: Path, remote_shell: str, kind: str) -> None:
    place = places(tmp_path, remote_shell)[kind]
    last = compact(aged)
    done = run(aged, "backup", *place)
    assert (done.exit_code, f"note: the entries 1 to {last} were compacted before this backup" in done.output) == (0, True)
    upload(aged, "demo-2.0.zip")
    done = run(aged, "backup", *place, "--verify")
    assert (done.exit_code, "new: 1 file," in done.output, "were compacted" in done.output) == (0, True, False)
    assert run(tmp_path / "new", "restore", *place).exit_code == 0
    assert is_as(tmp_path / "new", aged)
    assert f"{tmp_path / 'new'}: all is well" in run(tmp_path / "new", "check").stdout
    Storage.open(settings(tmp_path / "new"), now, Disk()).close()


def test_a_place_that_has_the_entries_from_before_gives_them_back_as_well(tmp_path: Path, aged: Path) -> None:
    place = tmp_path / "backup"
    back_up(aged, FolderStore(str(place)))
    then, before = serial_of(aged), Path(shutil.copytree(aged, tmp_path / "before"))
    last = compact(aged)
    upload(aged, "demo-2.0.zip")
    done = run(aged, "backup", str(place))
    assert "were compacted" not in done.output, "nothing is missing"
    assert is_as(restored(tmp_path, "newest", place), aged)
    assert is_as(restored(tmp_path, "past", place, "--to-serial", str(then)), before)
    assert serial_of(restored(tmp_path, "between", place, "--to-serial", str(last - 1))) == last - 1
    assert serial_of(restored(tmp_path, "early", place, "--to-time", "2027-03-01T00:03:30")) == then - 26


def test_entries_that_were_compacted_before_they_were_backed_up_are_named(tmp_path: Path, aged: Path) -> None:
    place = tmp_path / "backup"
    back_up(aged, FolderStore(str(place)))
    first, before = serial_of(aged), Path(shutil.copytree(aged, tmp_path / "before"))
    age(aged, 2028)
    last = compact(aged)
    remove(aged, "demo-1.1.zip")
    done = run(aged, "backup", str(place))
    assert f"note: the entries {first + 1} to {last} were compacted before this backup" in done.output
    assert blobs_in(restored(tmp_path, "newest", place)) == blobs_in(aged)
    assert dump_of(tmp_path / "newest") == dump_of(aged)
    assert is_as(restored(tmp_path, "past", place, "--to-serial", str(first)), before)
    told = refused(tmp_path, place, "--to-serial", str(last))
    assert f"Serial {last} cannot be restored" in told
    assert f"The first serial from there on that can be restored is {last + 1}" in told
    assert f"there are 1 to {first} and {last + 1} to {serial_of(aged)}" in told
    assert f"It has the serials 1 to {first} and {last + 1} to" in refused(tmp_path, place, "--to-time", "2028-03-01T00:03")
    assert serial_of(restored(tmp_path, "then", place, "--to-time", "2027-03-01T00:05")) < first


def test_a_time_between_two_summaries_without_a_gap_can_be_restored(tmp_path: Path, filled: Path) -> None:
    place, ends = tmp_path / "backup", []
    for minute in (1, 10, 20, 30):
        with closing(FileChangelog.open(str(filled / "changelog"), Disk(), segment_limit=1)) as log:
            body = encode_content(f"2027-03-01T00:{minute:02d}:00.000000Z", "root", [UserCreated(f"user{minute}")])
            log.append([body], log.last.serial)
        Storage.open(settings(filled), now, Disk()).close()
        if minute > 1:
            compact(filled)
        ends.append(back_up(filled, FolderStore(str(place))).end.serial)
    assert serial_of(restored(tmp_path, "first", place, "--to-time", "2027-03-01T00:05")) == ends[0]
    assert serial_of(restored(tmp_path, "last", place, "--to-time", "2027-03-01T00:35")) == ends[-1]


def test_a_restored_server_that_was_compacted_beyond_later_backups_needs_another_place(tmp_path: Path, aged: Path) -> None:
    place = tmp_path / "backup"
    first = back_up(aged, FolderStore(str(place)))
    upload(aged, "demo-2.0.zip")
    back_up(aged, FolderStore(str(place)))
    other = restored(tmp_path, "other", place, "--to-serial", str(first.end.serial))
    storage = Storage.open(settings(other), now, Disk())
    begin_after_restore(storage, now)
    storage.close()
    for year in (2028, 2029):
        age(other, year)
    assert compact(other) > serial_of(aged)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    done = run(other, "backup", str(place))
    assert (done.exit_code, f"that {other} does not have" in done.output) == (1, True), done.output
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before
    assert run(other, "backup", str(tmp_path / "own")).exit_code == 0


def test_what_is_before_the_summary_cannot_be_restored_from_a_new_place(tmp_path: Path, aged: Path) -> None:
    place, last = tmp_path / "backup", compact(aged)
    back_up(aged, FolderStore(str(place)))
    for serial in (1, last):
        told = refused(tmp_path, place, "--to-serial", str(serial))
        assert f"that can be restored is {last + 1}; there are {last + 1} to {serial_of(aged)}" in told
    assert f"It has the serials {last + 1} to" in refused(tmp_path, place, "--to-time", "2026-12-01")
    assert serial_of(restored(tmp_path, "first", place, "--to-serial", str(last + 1))) == last + 1


def test_what_only_dropped_backups_needed_goes_with_them(tmp_path: Path, aged: Path) -> None:
    place = tmp_path / "backup"
    back_up(aged, FolderStore(str(place)), START)
    first = compact(aged)
    remove(aged, "demo-1.0.zip")
    kept = back_up(aged, FolderStore(str(place)), START + DAY).end.serial
    age(aged, 2028)
    second = compact(aged)
    upload(aged, "demo-2.0.zip")
    back_up(aged, FolderStore(str(place)), START + 2 * DAY)
    everything = set(log_in(place))
    pruned = prune(aged, place, "2", START + 2 * DAY)
    assert (pruned.manifests, pruned.files, pruned.looked) == (1, 1, True)
    assert pruned.log_files == len(everything - set(log_in(place))) > 0
    assert sorted(log_in(place))[0] == f"{first + 1:020d}.log"
    assert dump_of(restored(tmp_path, "still", place, "--to-serial", str(kept)))
    assert is_as(restored(tmp_path, "newest", place), aged)
    assert prune(aged, place, "2", START + 3 * DAY).log_files == 0
    assert prune(aged, place, "1", START + 4 * DAY).log_files > 0
    assert set(log_in(place)) == set(log_in(aged)) - {BASE_NAME}
    assert f"that can be restored is {second + 1}" in refused(tmp_path, place, "--to-serial", str(kept))
    assert is_as(restored(tmp_path, "last", place), aged)


def test_files_that_a_summary_names_stay_with_the_backups_after_it(tmp_path: Path, aged: Path) -> None:
    place = tmp_path / "backup"
    back_up(aged, FolderStore(str(place)), START)
    upload(aged, "demo-3.0.zip")
    age(aged, 2028)
    last = compact(aged)
    back_up(aged, FolderStore(str(place)), START + DAY)
    remove(aged, "demo-3.0.zip")
    back_up(aged, FolderStore(str(place)), START + 2 * DAY)
    back_up(aged, FolderStore(str(place)), START + 3 * DAY)
    pruned = prune(aged, place, "3", START + 3 * DAY)
    assert (pruned.manifests, pruned.files, pruned.looked) == (1, 0, True)
    past = restored(tmp_path, "past", place, "--to-serial", str(last + 1))
    assert blob_address(digest_of("demo-3.0.zip"), "demo-3.0.zip").relative in blobs_in(past)


def test_a_damaged_summary_is_named_and_copied_again(tmp_path: Path, aged: Path) -> None:
    place = tmp_path / "backup"
    compact(aged)
    assert run(aged, "backup", str(place)).exit_code == 0
    (summary,) = (place / "changelog").glob("summary-*")
    good = summary.read_bytes()
    lines = gzip.decompress(good)
    for bad in (gzip.compress(lines.replace(b"carol", b"mallo", 1)), good[:-9], b""):
        summary.write_bytes(bad)
        done = run(tmp_path / "refused", "restore", str(place))
        assert (done.exit_code, "is damaged" in done.output, (tmp_path / "refused").exists()) == (1, True, False), done.output
        done = run(aged, "backup", str(place), "--verify")
        assert (done.exit_code, f"Remove {summary.name} from the folder changelog" in done.output) == (1, True), done.output
    summary.unlink()
    assert "is damaged" in run(tmp_path / "refused", "restore", str(place)).output
    assert run(aged, "backup", str(place), "--verify").exit_code == 0
    assert is_as(restored(tmp_path, "new", place), aged)


def test_damage_in_the_entries_of_former_backups_is_told_with_what_it_costs(tmp_path: Path, aged: Path) -> None:
    place = tmp_path / "backup"
    end = back_up(aged, FolderStore(str(place))).end.serial
    compact(aged)
    assert run(aged, "backup", str(place), "--verify").exit_code == 0
    first = place / "changelog" / f"{1:020d}.log"
    first.write_bytes(first.read_bytes().replace(b"Carol", b"Mallo", 1))
    done = run(aged, "backup", str(place), "--verify")
    assert (done.exit_code, f"WRONG: the serials 1 to {end} cannot all be restored any more: serial" in done.output) == (1, True)
    assert f"copy {first.name} from an archive of the changelog" in done.output
    assert is_as(restored(tmp_path, "new", place), aged)


def test_a_summary_that_the_chain_does_not_name_is_neither_backed_up_nor_restored(tmp_path: Path, aged: Path) -> None:
    place = tmp_path / "backup"
    compact(aged)
    back_up(aged, FolderStore(str(place)))
    forged = {}
    for folder, pattern in ((place / "changelog", "summary-*"), (aged / "changelog", "summary-*")):
        (summary,) = folder.glob(pattern)
        lines = gzip.decompress(summary.read_bytes()).replace(b'"title":"Carol', b'"title":"Mallo', 1)
        summary.write_bytes(gzip.compress(lines, mtime=0))
        forged[folder] = sha256_of_lines(lines)
    (manifest,) = (place / "manifests").iterdir()
    fields = json.loads(manifest.read_bytes())
    fields["base"]["summary"] = forged[place / "changelog"]
    manifest.write_text(json.dumps(fields))
    assert f"has the SHA-256 {forged[place / 'changelog']} instead of" in refused(tmp_path, place)
    base = aged / "changelog" / BASE_NAME
    base.write_text(json.dumps({**json.loads(base.read_text()), "summary": forged[aged / "changelog"]}))
    done = run(aged, "backup", str(tmp_path / "other"))
    assert (done.exit_code, "copy it from another backup" in done.output) == (1, True), done.output
    assert not (tmp_path / "other" / "manifests").exists()


@attrs.define(eq=False)
class CompactingStore(FolderStore):
    """A place before which, when the first files come, the server is compacted."""

    serverdir: Path = attrs.field(kw_only=True)
    last: int = attrs.field(default=0, kw_only=True)

    def put(self, root: str, paths: Sequence[str]) -> None:
        if not self.last:
            self.last = compact(self.serverdir)
        FolderStore.put(self, root, paths)


def test_a_server_that_is_compacted_meanwhile_is_backed_up_as_it_is_then(tmp_path: Path, aged: Path) -> None:
    store = CompactingStore(str(tmp_path / "backup"), serverdir=aged)
    manifest = back_up(aged, store)
    assert (manifest.begin.base.serial, manifest.files) == (store.last, 5)
    assert is_as(restored(tmp_path, "new", tmp_path / "backup"), aged)


def test_a_copy_with_the_whole_history_can_be_backed_up_to_the_same_place(tmp_path: Path, aged: Path) -> None:
    place, whole = tmp_path / "backup", Path(shutil.copytree(aged, tmp_path / "whole"))
    back_up(aged, FolderStore(str(place)))
    age(aged, 2028)
    with closing(FileChangelog.open(str(whole / "changelog"), Disk(), segment_limit=3000)) as log:
        lines = read_lines(str(aged / "changelog"), Disk(), log.last)
        log.append([line.body for line in lines], log.last.serial)
    compact(aged)
    back_up(aged, FolderStore(str(place)))
    with closing(FileChangelog.open(str(whole / "changelog"), Disk())) as log:
        log.append([line.body for line in read_lines(str(aged / "changelog"), Disk(), log.last)], log.last.serial)
    Storage.open(settings(whole), now, Disk()).close()
    upload(whole, "demo-2.0.zip")
    assert back_up(whole, FolderStore(str(place))).begin.summary is None
    assert is_as(restored(tmp_path, "new", place), whole)


def test_a_backup_that_is_killed_at_any_step_after_a_compaction_is_completed_by_the_next(tmp_path: Path, aged: Path) -> None:
    place = tmp_path / "backup"
    back_up(aged, FolderStore(str(place)))
    before = Path(shutil.copytree(aged, tmp_path / "before"))
    age(aged, 2028)
    compact(aged)
    numbers = count()

    def look() -> None:
        found = restored(tmp_path, f"restored-{next(numbers)}", place)
        assert dump_of(found) in (dump_of(before), dump_of(aged))

    assert times_killed(lambda disk: back_up(aged, FolderStore(str(place), disk)), look) > 5
    assert is_as(restored(tmp_path, "last", place), aged)


def test_a_restore_with_a_summary_that_is_killed_at_any_step_is_completed_by_the_next(tmp_path: Path, aged: Path) -> None:
    place, target = tmp_path / "backup", tmp_path / "restored"
    compact(aged)
    back_up(aged, FolderStore(str(place)))

    def attempt(disk: Disk) -> None:
        Restore(str(target), FolderStore(str(place)), bytes, progress, accept_missing=False, disk=disk).run(Target())

    def look() -> None:
        assert "a restore to it was not completed" in run(target, "passwd", "--stdin", "root", told="secret\n").output

    assert times_killed(attempt, look) > 5
    assert is_as(target, aged)


def test_a_server_that_still_builds_its_view_is_not_backed_up(tmp_path: Path, aged: Path) -> None:
    compact(aged)
    node = read_node(str(aged))
    assert node is not None
    drop_view(str(aged / "view.sqlite"))
    open_view(str(aged / "view.sqlite"), node.log_id).close()
    with pytest.raises(ServerdirRefused, match="its view goes up to serial 0 only, because it is being built"):
        back_up(aged, FolderStore(str(tmp_path / "backup")))
    assert not (tmp_path / "backup").exists()
