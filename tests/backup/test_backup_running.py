"""Backups of a server that writes, and removes, meanwhile; and what of them is kept how long."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs

from tests.backup.backed_up import (
    STAGE,
    accept,
    blobs_in,
    cache,
    content_of,
    digest_of,
    dump_of,
    keep,
    log_in,
    remove,
    serial_of,
    upload,
)
from tests.backup.test_backup_interrupted import progress
from tests.cli.commands import now, run, settings
from twistpi.backup.manifest import Keep, Manifest, manifest_names
from twistpi.backup.prune import Prune, Pruned
from twistpi.backup.store import BackupStore, FolderStore
from twistpi.backup.verify import Verification
from twistpi.backup.writer import BackupWriter
from twistpi.blobs.address import blob_address
from twistpi.blobs.tree import Tree
from twistpi.changelog.batch import Batches, Commit
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import segment_start, write_base
from twistpi.model.changes import ADVISORY_SET, UserCreated
from twistpi.model.releases import FileUploaded
from twistpi.server.node import read_node
from twistpi.server.storage import Storage, reading

DAY = timedelta(days=1)


def back_up(serverdir: Path, store: BackupStore, at: datetime | None = None) -> Manifest:
    node = read_node(str(serverdir))
    assert node is not None
    with closing(store), reading(str(serverdir)) as reader:
        return BackupWriter(str(serverdir), node, reader, store, lambda: at or now(), progress).run()


def prune(serverdir: Path, backup: Path, keep: str, at: datetime) -> Pruned:
    return prune_at(serverdir, FolderStore(str(backup)), keep, at)


def prune_at(serverdir: Path, store: BackupStore, keep: str, at: datetime) -> Pruned:
    with closing(store), reading(str(serverdir)) as reader:
        return Prune(str(serverdir), reader, store, progress).run(Keep.parse(keep), at)


def test_a_backup_is_made_beside_the_server_and_has_what_is_acknowledged(tmp_path: Path, filled: Path) -> None:
    storage = Storage.open(settings(filled), now, Disk())
    with closing(storage):
        batches = Batches(storage.changelog, storage.view, now)
        created = Commit(lambda _reader: [UserCreated("dave")], "root")
        keep(filled, blob_address(digest_of("demo-5.0.zip"), "demo-5.0.zip"), "demo-5.0.zip")
        size = len(b"the bytes of demo-5.0.zip" * 50)
        uploaded = FileUploaded(STAGE, "demo", "5.0", "demo-5.0.zip", digest_of("demo-5.0.zip"), size)
        batches.process([created, Commit(lambda _reader: [uploaded], "carol")])
        # In the file, but in no view: the server has not synced it yet.
        storage.changelog.append(
            [b'{"at":"2100-01-01T00:00:00.000000Z","by":"root","changes":[]}'], storage.changelog.last.serial
        )
        done = run(filled, "backup", str(tmp_path / "backup"))
        assert (done.exit_code, f"backed up to serial {storage.view.position.serial};" in done.output) == (0, True)
    assert run(tmp_path / "new", "restore", str(tmp_path / "backup")).exit_code == 0
    assert "demo-5.0.zip" in str(blobs_in(tmp_path / "new").keys())


@attrs.define(eq=False)
class BusyStore(FolderStore):
    """A place before which, when the first files come, the server removes one of them."""

    serverdir: Path = attrs.field(kw_only=True)
    is_first: bool = attrs.field(default=True, kw_only=True)

    def put(self, root: str, paths: Sequence[str]) -> None:
        if paths and self.is_first:
            self.is_first = False
            remove(self.serverdir, "demo-1.0.zip")
            upload(self.serverdir, "demo-7.0.zip")
        FolderStore.put(self, root, paths)


def test_a_file_that_is_removed_meanwhile_moves_the_end_of_the_backup_behind_that(tmp_path: Path, filled: Path) -> None:
    backup = tmp_path / "backup"
    manifest = back_up(filled, BusyStore(str(backup), serverdir=filled))
    assert (manifest.end.serial, manifest.missing) == (serial_of(filled), ())
    assert run(tmp_path / "new", "restore", str(backup)).exit_code == 0
    assert (log_in(tmp_path / "new"), dump_of(tmp_path / "new")) == (log_in(filled), dump_of(filled))
    assert blobs_in(tmp_path / "new") == blobs_in(filled)


def test_what_is_uploaded_after_a_backup_or_was_missing_before_it_is_not_called_damaged_in_it(
    tmp_path: Path, filled: Path
) -> None:
    Path(Tree(str(filled)).path(blob_address(digest_of("demo-1.0.zip"), "demo-1.0.zip"))).unlink()
    store = FolderStore(str(tmp_path / "backup"))
    manifest = back_up(filled, store)
    upload(filled, "demo-7.0.zip")
    with closing(store), reading(str(filled)) as reader:
        verified = Verification(str(filled), reader, store, progress)
        verified.run(manifest)
    assert [one.filename for one in manifest.missing] == ["demo-1.0.zip"]
    assert (verified.replaced, verified.lost) == (0, [])


def test_old_backups_go_with_the_files_that_only_they_had(tmp_path: Path, filled: Path) -> None:
    backup, start = tmp_path / "backup", datetime(2026, 11, 1, 3, tzinfo=UTC)
    accept(filled, "advisories of today")
    serials = []
    for day, name in enumerate(("demo-1.0.zip", "demo-1.1.zip", None)):
        serials.append(back_up(filled, FolderStore(str(backup)), start + day * DAY).end.serial)
        if name is not None:
            remove(filled, name)
            accept(filled, f"advisories of day {day}")
    cache(filled, "cached-2.0.zip")
    serials.append(back_up(filled, FolderStore(str(backup)), start + 3 * DAY).end.serial)
    before = set(blobs_in(backup))
    assert prune(filled, backup, "10", start + 3 * DAY) == Pruned(0, 0, looked=False)
    assert prune(filled, backup, "2d", start + 3 * DAY) == Pruned(1, 2, looked=True)
    gone = before - set(blobs_in(backup))
    assert gone == {
        blob_address(digest_of("demo-1.0.zip"), "demo-1.0.zip").relative,
        blob_address(digest_of("advisories of today"), ADVISORY_SET).relative,
    }
    assert [name.serial for name in manifest_names(path.name for path in (backup / "manifests").iterdir())] == serials[1:]
    assert run(tmp_path / "then", "restore", str(backup), "--to-serial", str(serials[1])).exit_code == 0
    then = blobs_in(tmp_path / "then")
    assert any(path.endswith("demo-1.1.zip") for path in then)
    assert content_of("advisories of day 0") in then.values()
    assert prune(filled, backup, "1", start + 3 * DAY) == Pruned(2, 0, looked=False), "files are looked through once a day"
    assert back_up(filled, FolderStore(str(backup)), start + 4 * DAY)
    assert prune(filled, backup, "1", start + 4 * DAY).looked
    assert run(tmp_path / "last", "restore", str(backup)).exit_code == 0
    assert blobs_in(tmp_path / "last") == blobs_in(backup)


def test_a_backup_keeps_the_history_that_the_server_does_without(tmp_path: Path, filled: Path) -> None:
    backup, start = tmp_path / "backup", datetime(2026, 11, 1, 3, tzinfo=UTC)
    with closing(FileChangelog.open(str(filled / "changelog"), Disk(), segment_limit=1)) as log:
        log.append([b'{"at":"2100-01-01T00:00:00.000000Z","by":"root","changes":[]}'], log.last.serial)
        begin = log.position(log.last.serial - 1)
    Storage.open(settings(filled), now, Disk()).close()
    log_before = log_in(filled)
    back_up(filled, FolderStore(str(backup)), start)
    write_base(str(filled / "changelog"), Disk(), segment_start(begin.serial + 1, begin.chain))
    remove(filled, "demo-1.1.zip")
    back_up(filled, FolderStore(str(backup)), start + DAY)
    assert prune(filled, backup, "1", start + 2 * DAY) == Pruned(1, 1, looked=True)
    assert run(tmp_path / "new", "restore", str(backup)).exit_code == 0
    assert log_in(tmp_path / "new").keys() == log_before.keys()
    assert (dump_of(tmp_path / "new"), blobs_in(tmp_path / "new")) == (dump_of(filled), blobs_in(filled))
    refused = run(filled, "backup", str(tmp_path / "other"))
    assert (refused.exit_code, "does not have what is before that" in refused.output) == (1, True)


def test_two_backups_of_one_server_or_to_one_place_are_not_made_at_a_time(tmp_path: Path, filled: Path, made_once: Path) -> None:
    messages: list[str] = []

    class Place(FolderStore):
        def put(self, root: str, paths: Sequence[str]) -> None:
            FolderStore.put(self, root, paths)
            messages.append(run(filled, "backup", str(tmp_path / "other")).output)
            messages.append(run(made_once, "backup", str(tmp_path / "backup")).output)

    back_up(filled, Place(str(tmp_path / "backup")))
    assert f"Another backup of {filled} is being made" in messages[0]
    assert "Another backup is being written to" in messages[1]
