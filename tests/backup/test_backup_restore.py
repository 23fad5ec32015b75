"""``twistpi backup`` and ``twistpi restore``: a server comes back as it was."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.backup.backed_up import (
    STAGE,
    blobs_in,
    cache,
    content_of,
    digest_of,
    dump_of,
    log_in,
    serial_of,
    upload,
)
from tests.cli.commands import now, run, settings, write
from twistpi.blobs.address import blob_address
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.cli.main import main
from twistpi.model.codec import encode_content
from twistpi.model.releases import FileRemoved
from twistpi.server.epochs import begin_after_restore, finish_promotion
from twistpi.server.node import read_node
from twistpi.server.storage import Storage


def back_up(serverdir: Path, place: Path | str, *options: str, exit_code: int = 0) -> dict[str, object]:
    """Back up, and return the report."""
    done = run(serverdir, "backup", str(place), "--json", *options)
    assert done.exit_code == exit_code, done.output
    return dict(json.loads(done.stdout))


def restore(target: Path, place: Path | str, *options: str) -> dict[str, object]:
    """Restore, and return the report."""
    done = run(target, "restore", str(place), "--json", *options)
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def places(tmp_path: Path, shell: str) -> dict[str, tuple[str, ...]]:
    """The kinds of places, as arguments of both commands."""
    return {
        "folder": (str(tmp_path / "backup"),),
        "host:path": (f"host:{tmp_path}/backup", "--rsh", shell),
        "ssh": (f"ssh://me@host:2222{tmp_path}/backup/", "--rsh", shell),
    }


@pytest.mark.parametrize("kind", ["folder", "host:path", "ssh"])
def test_a_server_comes_back_as_it_was_at_any_serial(tmp_path: Path, filled: Path, remote_shell: str, kind: str) -> None:
    place = places(tmp_path, remote_shell)[kind]
    then, log, dumped, blobs = serial_of(filled), log_in(filled), dump_of(filled), blobs_in(filled)
    assert run(filled, "backup", *place).exit_code == 0
    upload(filled, "demo-2.0.zip")
    cache(filled, "cached-2.0.zip")
    write(filled, FileRemoved(STAGE, "demo", "demo-1.1.zip"))
    assert run(filled, "backup", *place).exit_code == 0

    last, past = tmp_path / "last", tmp_path / "past"
    assert run(last, "restore", *place).exit_code == 0
    assert (log_in(last), dump_of(last)) == (log_in(filled), dump_of(filled))
    removed = blob_address(digest_of("demo-1.1.zip"), "demo-1.1.zip").relative
    assert blobs_in(last) == {path: content for path, content in blobs_in(filled).items() if path != removed}
    assert run(past, "restore", *place, "--to-serial", str(then)).exit_code == 0
    assert (log_in(past), dump_of(past), blobs_in(past)) == (log, dumped, blobs)
    assert f"{past}: all is well" in run(past, "check").stdout


@pytest.mark.parametrize(
    ("time", "serial"),
    [("2100-01-01T00:00:02Z", 2), ("2100-01-01T01:00:02.999999+01:00", 2), ("2100-01-01T00:00:03", 3), ("2101-01-01", 4)],
)
def test_a_time_means_the_last_entry_up_to_then(tmp_path: Path, time: str, serial: int) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    assert run(data, "init", "--no-root-pypi").exit_code == 0
    with closing(FileChangelog.open(str(data / "changelog"), Disk())) as log:
        for second in (2, 3, 4):
            log.append([encode_content(f"2100-01-01T00:00:0{second}.000000Z", "root", ())], log.last.serial)
    back_up(data, backup)
    restore(tmp_path / "then", backup, "--to-time", time)
    assert serial_of(tmp_path / "then") == serial
    early = run(tmp_path / "early", "restore", str(backup), "--to-time", "1999-01-01")
    assert (early.exit_code, "of a later time" in early.output, (tmp_path / "early").exists()) == (1, True, False)


def test_only_what_is_new_is_copied(tmp_path: Path, filled: Path) -> None:
    backup = tmp_path / "backup"
    assert back_up(filled, backup)["files"] == 5
    before = {path: path.stat().st_mtime_ns for path in backup.rglob("*.zip*")}
    assert back_up(filled, backup)["files"] == 0
    upload(filled, "demo-2.0.zip")
    assert back_up(filled, backup)["files"] == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list((backup / "manifests").iterdir())) == len(run(filled, "restore", "--list", str(backup)).stdout.splitlines())


def test_the_first_start_after_a_restore_begins_an_epoch(tmp_path: Path, filled: Path) -> None:
    back_up(filled, tmp_path / "backup")
    restored = tmp_path / "restored"
    restore(restored, tmp_path / "backup")
    former, node = read_node(str(filled)), read_node(str(restored))
    assert former
    assert node
    assert (node.log_id, node.restored_from) == (former.log_id, serial_of(filled))
    assert node.node_id != former.node_id
    for _ in range(2):  # once, however often it starts
        storage = Storage.open(settings(restored), now, Disk())
        finish_promotion(storage)
        begin_after_restore(storage, now)
        assert storage.view.reader.epochs() == [(2, node.node_id, serial_of(filled) + 1)]
        storage.close()


def test_logins_stay_valid_only_with_the_secret(tmp_path: Path, filled: Path) -> None:
    secret = (filled / "secret").read_bytes()
    back_up(filled, tmp_path / "without")
    assert not (tmp_path / "without" / "secret").exists()
    restore(tmp_path / "other", tmp_path / "without")
    assert (tmp_path / "other" / "secret").read_bytes() != secret
    back_up(filled, tmp_path / "with", "--with-secret")
    restore(tmp_path / "same", tmp_path / "with")
    assert (tmp_path / "same" / "secret").read_bytes() == secret
    modes = {path: path.stat().st_mode & 0o077 for path in [tmp_path / "with", *(tmp_path / "with").rglob("*")]}
    assert set(modes.values()) == {0}, "nobody else reads a backup"


def test_a_file_that_the_server_lost_is_named_and_copied_once_it_is_back(tmp_path: Path, filled: Path) -> None:
    own = blob_address(digest_of("demo-1.0.zip"), "demo-1.0.zip")
    cached = blob_address(digest_of("cached-1.0.zip"), "cached-1.0.zip")
    (filled / "+files" / cached.relative).unlink()
    (filled / "+files" / own.relative).write_bytes(b"other bytes")
    done = run(filled, "backup", str(tmp_path / "backup"))
    assert (done.exit_code, "WRONG: demo-1.0.zip" in done.output) == (1, True)
    assert "fetched again when they are asked for: 1" in done.output
    refused = run(tmp_path / "new", "restore", str(tmp_path / "backup"))
    assert (refused.exit_code, "demo-1.0.zip" in refused.output, (tmp_path / "new" / "node.json").exists()) == (1, True, False)
    assert run(tmp_path / "new", "restore", str(tmp_path / "backup"), "--accept-missing").exit_code == 0
    (filled / "+files" / own.relative).write_bytes(content_of("demo-1.0.zip"))
    assert back_up(filled, tmp_path / "backup")["files"] == 1
    restore(tmp_path / "whole", tmp_path / "backup")
    assert blobs_in(tmp_path / "whole") == blobs_in(filled)


def test_a_damaged_backup_is_named_and_nothing_is_made(tmp_path: Path, filled: Path) -> None:
    backup = tmp_path / "backup"
    back_up(filled, backup)
    (segment,) = (backup / "changelog").iterdir()
    good = segment.read_bytes()
    segment.write_bytes(good.replace(b"carol", b"mallo", 1))
    refused = run(tmp_path / "new", "restore", str(backup))
    assert (refused.exit_code, segment.name in refused.output, (tmp_path / "new").exists()) == (1, True, False)
    segment.write_bytes(good[:-100])
    refused = run(tmp_path / "new", "restore", str(backup))
    assert (refused.exit_code, "its log ends at serial" in refused.output, (tmp_path / "new").exists()) == (1, True, False)
    segment.write_bytes(good)
    (manifest,) = (backup / "manifests").iterdir()
    manifest.write_bytes(manifest.read_bytes()[:-50])
    refused = run(tmp_path / "new", "restore", str(backup))
    assert (refused.exit_code, manifest.name in refused.output, (tmp_path / "new").exists()) == (1, True, False)


@pytest.mark.parametrize("kind", ["folder", "host:path"])
def test_what_is_damaged_in_a_backup_is_copied_again_when_it_is_verified(
    tmp_path: Path, filled: Path, remote_shell: str, kind: str
) -> None:
    place, backup = places(tmp_path, remote_shell)[kind], tmp_path / "backup"
    assert run(filled, "backup", *place).exit_code == 0
    own = backup / "+files" / blob_address(digest_of("demo-1.0.zip"), "demo-1.0.zip").relative
    cached = backup / "+files" / blob_address(digest_of("cached-1.0.zip"), "cached-1.0.zip").relative
    own.write_bytes(own.read_bytes()[::-1])
    cached.unlink()
    done = run(filled, "backup", *place, "--verify")
    assert (done.exit_code, "verified 5 files; damaged and copied again: 2" in done.stdout) == (0, True)
    assert blobs_in(backup) == blobs_in(filled)
    (segment,) = (backup / "changelog").iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"carol", b"mallo", 1))
    refused = run(filled, "backup", *place, "--verify")
    assert (refused.exit_code, f"Remove {segment.name} from the folder changelog" in refused.output) == (1, True)
    segment.unlink()
    assert run(filled, "backup", *place, "--verify").exit_code == 0
    assert log_in(backup) == log_in(filled)


def test_what_is_not_fit_is_refused_before_anything_changes(tmp_path: Path, filled: Path) -> None:
    backup, other = tmp_path / "backup", tmp_path / "other"
    back_up(filled, backup)
    assert run(other, "init", "--no-root-pypi").exit_code == 0
    former = Path(shutil.copytree(filled, tmp_path / "former"))
    upload(filled, "demo-3.0.zip")
    back_up(filled, backup)
    before = {path: path.stat().st_mtime_ns for path in backup.rglob("*")}
    for path, words, sentence in (
        (other, ("backup", str(backup)), "has backups of another server"),
        (former, ("backup", str(backup)), "does not have"),
        (filled, ("backup", str(filled)), "is a server directory"),
        (filled, ("backup", str(tmp_path)), "is no backup"),
        (filled, ("backup", "-oProxyCommand=x:y"), "No such option"),
        (filled, ("backup", "--", "-oProxyCommand=x:y"), "is no address of a backup"),
        (filled, ("backup", "--keep", "0", str(backup)), "neither a number of backups"),
        (filled, ("restore", str(backup)), "it is not empty"),
        (tmp_path / "new", ("restore", str(tmp_path / "nothing")), "it has no manifest"),
        (tmp_path / "new", ("restore", str(backup), "--to-serial", "999"), "cannot be restored"),
    ):
        refused = run(path, *words)
        assert (refused.exit_code != 0, sentence in refused.output) == (True, True), (words, refused.output)
    variables = {"TWISTPI_CHANGELOG": "postgresql://db.example/x", "TWISTPI_CACHE_DIR": str(other)}
    node = CliRunner().invoke(main, ["backup", str(backup)], env=variables)
    assert (node.exit_code, "its changelog is in PostgreSQL" in node.output) == (1, True), node.output
    assert {path: path.stat().st_mtime_ns for path in backup.rglob("*")} == before
    assert not (tmp_path / "new").exists()
