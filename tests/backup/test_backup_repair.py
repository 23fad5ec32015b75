"""``twistpi check --repair``: missing and damaged files are fetched again, and those that cannot be are named."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.backup.backed_up import blobs_in, digest_of, dump_of
from tests.cli.commands import now, run, settings
from twistpi.blobs.address import blob_address, metadata_address
from twistpi.changelog.disk import Disk
from twistpi.server.storage import Storage

OWN = blob_address(digest_of("demo-1.0.zip"), "demo-1.0.zip")
DOCS = blob_address(digest_of("demo.doc.zip"), "demo.doc.zip")
CACHED = blob_address(digest_of("cached-1.0.zip"), "cached-1.0.zip")


def check(serverdir: Path, *options: str, exit_code: int = 0) -> dict[str, Any]:
    done = run(serverdir, "check", "--json", *options)
    assert done.exit_code == exit_code, done.output
    return dict(json.loads(done.stdout))


def test_check_ends_with_what_it_verified_and_what_can_be_fetched(filled: Path) -> None:
    lines = run(filled, "check").stdout.splitlines()
    assert lines[-1].startswith(f"{filled}: all is well; verified 5 entries and 5 files, ")
    (filled / "+files" / CACHED.relative).unlink()
    done = run(filled, "check")
    assert (done.exit_code, done.stdout.splitlines()[-1].endswith("; to be fetched 1")) == (0, True)
    assert "note: files that are not here: 1; they are fetched when they are asked for" in done.stdout
    (filled / "+files" / CACHED.relative).write_bytes(b"other")
    (filled / "+files" / OWN.relative).unlink()
    done = run(filled, "check")
    assert (done.exit_code, f"{filled}: 2 things are wrong; verified" in done.stdout) == (1, True)
    assert f"{OWN.filename} is missing; restore it from a backup: twistpi check --repair --backup PLACE" in done.stdout
    assert f"{CACHED.filename} has 5 bytes instead of" in done.stdout


def test_every_file_comes_again_from_a_backup(tmp_path: Path, filled: Path) -> None:
    assert run(filled, "backup", str(tmp_path / "backup")).exit_code == 0
    blobs = blobs_in(filled)
    (filled / "+files" / OWN.relative).unlink()
    for address in (DOCS, CACHED, metadata_address(CACHED)):
        (filled / "+files" / address.relative).write_bytes(b"other")
    report = check(filled, "--repair", "--backup", str(tmp_path / "backup"))
    assert (report["wrong"], report["repaired"], report["files"]) == (0, 4, 1)
    texts = [one["text"] for one in report["findings"] if one["repaired"]]
    assert all(text.endswith(f"; it came again from {tmp_path}/backup") for text in texts)
    assert blobs_in(filled) == blobs
    assert check(filled)["files"] == 5


def test_what_nobody_has_stays_as_it_is_and_what_an_upstream_has_is_left_to_the_server(tmp_path: Path, filled: Path) -> None:
    assert run(filled, "backup", str(tmp_path / "backup")).exit_code == 0
    for address in (OWN, CACHED):
        (filled / "+files" / address.relative).write_bytes(b"other")
        (tmp_path / "backup" / "+files" / address.relative).write_bytes(b"damaged as well")
    report = check(filled, "--repair", "--backup", str(tmp_path / "backup"), exit_code=1)
    assert (report["wrong"], report["repaired"]) == (1, 1)
    assert (filled / "+files" / OWN.relative).read_bytes() == b"other"
    assert not (filled / "+files" / CACHED.relative).exists()
    assert "the server fetches it from the upstream when it is asked for" in str(report["findings"])
    assert not list(filled.rglob("*.damaged"))


def test_a_wrong_view_is_built_anew_once_no_server_runs(filled: Path) -> None:
    dumped = dump_of(filled)
    with closing(sqlite3.connect(filled / "view.sqlite")) as view, view:
        view.execute("UPDATE user SET config = '{\"title\":\"forged\"}' WHERE name = 'carol'")
    with closing(Storage.open(settings(filled), now, Disk())):
        report = check(filled, "--repair", exit_code=1)
    assert "stop the server, and run twistpi check --repair" in str(report["findings"])
    assert check(filled, "--repair")["repaired"] == 1
    Storage.open(settings(filled), now, Disk()).close()
    assert dump_of(filled) == dumped
    assert run(filled, "check", "--backup", "x").exit_code == 2
