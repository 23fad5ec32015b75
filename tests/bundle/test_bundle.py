"""``twistpi bundle``: what an offline server lacks comes in one file, or nothing is changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from click.testing import Result

from tests.backup.backed_up import accept, blobs_in, cache, content_of, digest_of, dump_of, log_in, remove, serial_of, upload
from tests.cli.commands import now, run, settings, write
from twistpi.blobs.address import blob_address
from twistpi.bundle.apply import Application
from twistpi.bundle.format import TRAILER, BundleFile, Description, LogPoint, open_bundle
from twistpi.changelog.disk import Disk
from twistpi.model.changes import UserCreated
from twistpi.server.node import read_node
from twistpi.server.storage import Storage


def create(serverdir: Path, to: Path, *words: str) -> Result:
    return run(serverdir, "bundle", "create", "--to", str(to), *words)


def apply(serverdir: Path, bundle: Path, *words: str, exit_code: int = 0) -> str:
    done = run(serverdir, "bundle", "apply", str(bundle), *words)
    assert done.exit_code == exit_code, done.output
    return " ".join(done.output.split())


def everything_in(folder: Path) -> dict[str, bytes]:
    """Every file by its path, but for what SQLite has beside the view while it is open."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def assert_same(offline: Path, source: Path) -> None:
    assert (dump_of(offline), blobs_in(offline)) == (dump_of(source), blobs_in(source))
    assert log_in(offline) == log_in(source)
    checked = run(offline, "check")
    assert (checked.exit_code, "all is well" in checked.output) == (0, True), checked.output


@pytest.fixture
def secret(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled / "secret", tmp_path / "secret"))


@pytest.fixture
def offline(filled: Path, secret: Path, tmp_path: Path) -> Path:
    """A replica that was made of a bundle of everything."""
    assert create(filled, tmp_path / "first", "--since", "0").exit_code == 0
    apply(tmp_path / "offline", tmp_path / "first", "--secretfile", str(secret))
    return tmp_path / "offline"


def test_a_new_directory_becomes_a_replica_that_has_all_and_that_another_bundle_brings_up_to_date(
    filled: Path, offline: Path, tmp_path: Path
) -> None:
    assert_same(offline, filled)
    node, source = read_node(str(offline)), read_node(str(filled))
    assert node is not None
    assert source is not None
    assert (node.is_replica, node.initialised, node.log_id) == (True, True, source.log_id)
    assert node.node_id != source.node_id

    state, later = tmp_path / "state", tmp_path / "later"
    assert run(offline, "bundle", "state", "--to", str(state)).exit_code == 0
    upload(filled, "demo-2.0.zip", "demo-2.1.zip")
    cache(filled, "cached-2.0.zip")
    accept(filled, "advisories of yesterday")
    accept(filled, "advisories of today")
    remove(filled, "demo-2.1.zip")
    assert "; 4 files, " in create(filled, later, "--for", str(state)).output
    assert f"at serial {serial_of(filled)}; new: 5 entries and 4 files" in apply(offline, later)
    assert (dump_of(offline), log_in(offline)) == (dump_of(filled), log_in(filled))
    named = {path: content for path, content in blobs_in(filled).items() if content != content_of("advisories of yesterday")}
    assert named.items() <= blobs_in(offline).items()


def test_a_bundle_that_was_applied_changes_nothing(offline: Path, tmp_path: Path) -> None:
    before = everything_in(offline)
    assert "new: 0 entries and 0 files" in apply(offline, tmp_path / "first")
    assert everything_in(offline) == before


def test_files_that_an_offline_server_lacks_come_with_the_next_bundle(filled: Path, offline: Path, tmp_path: Path) -> None:
    address = blob_address(digest_of("demo-1.0.zip"), "demo-1.0.zip")
    (offline / "+files" / address.relative).unlink()
    told = run(offline, "bundle", "state", "--to", str(tmp_path / "state")).output
    assert "missing: 1 file" in told
    assert "; 1 file, " in create(filled, tmp_path / "next", "--for", str(tmp_path / "state")).output
    assert "new: 0 entries and 1 file" in apply(offline, tmp_path / "next")
    assert_same(offline, filled)


def test_files_that_the_source_lacks_itself_are_told(filled: Path, tmp_path: Path) -> None:
    address = blob_address(digest_of("demo-1.0.zip"), "demo-1.0.zip")
    (filled / "+files" / address.relative).write_bytes(b"x" * len(content_of("demo-1.0.zip")))
    done = create(filled, tmp_path / "bundle", "--since", "0", "--json")
    assert json.loads(done.stdout)["missing"] == [[address.digits, address.filename]]


Spoil = Callable[[bytes], bytes]
SPOILT: dict[str, tuple[Spoil, str]] = {
    "a changed byte": (
        lambda content: content[:700] + bytes([content[700] ^ 1]) + content[701:],
        "it was damaged after it was made",
    ),
    "a missing part": (lambda content: content[:512] + content[1024:], "it was damaged after it was made"),
    "a cut end": (lambda content: content[:-1], "it is no bundle, or was cut off"),
    "a short rest": (lambda content: content[:100], "it is no bundle, or was cut off"),
    "nothing": (lambda _content: b"", "it is no bundle, or was cut off"),
    "another end": (
        lambda content: content[:-TRAILER] + content[-TRAILER:].replace(b'"files":5', b'"files":6'),
        "it was signed with another secret than this server has, or its end was damaged",
    ),
    "a newer format": (
        lambda content: content[:-TRAILER] + content[-TRAILER:].replace(b'"format":1', b'"format":2'),
        "it has the format 2, and this version of twistpi knows 1 only",
    ),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_bundle_that_is_not_whole_is_refused_before_anything_is_made(
    filled: Path, secret: Path, tmp_path: Path, kind: str
) -> None:
    spoil, sentence = SPOILT[kind]
    bundle = tmp_path / "bundle"
    assert create(filled, bundle, "--since", "0").exit_code == 0
    bundle.write_bytes(spoil(bundle.read_bytes()))
    told = apply(tmp_path / "new", bundle, "--secretfile", str(secret), exit_code=1)
    assert sentence in told
    assert "Nothing was changed." in told
    assert not (tmp_path / "new").exists()


def test_a_bundle_of_another_secret_is_refused(filled: Path, secret: Path, tmp_path: Path) -> None:
    assert create(filled, tmp_path / "bundle", "--since", "0").exit_code == 0
    secret.write_bytes(b"0123456789abcdef0123456789abcdef")
    assert "another secret" in apply(tmp_path / "new", tmp_path / "bundle", "--secretfile", str(secret), exit_code=1)
    assert not (tmp_path / "new").exists()


def refused(offline: Path, bundle: Path, *words: str) -> str:
    """What is told of a bundle that does not fit, and changes nothing."""
    before = everything_in(offline)
    told = apply(offline, bundle, *words, exit_code=1)
    assert everything_in(offline) == before
    return told


def test_bundles_out_of_order_are_refused_with_what_to_do(filled: Path, offline: Path, secret: Path, tmp_path: Path) -> None:
    here = serial_of(offline)
    upload(filled, "demo-2.0.zip")
    upload(filled, "demo-3.0.zip")
    assert create(filled, tmp_path / "late", "--since", str(here + 1)).exit_code == 0
    told = refused(offline, tmp_path / "late")
    assert f"it begins after serial {here + 1}, and this server is at {here}; make one with --since {here}" in told
    assert "this server is at 0" in apply(tmp_path / "new", tmp_path / "late", "--secretfile", str(secret), exit_code=1)
    assert not (tmp_path / "new").exists()


def test_another_history_is_refused_by_both_ends(filled: Path, offline: Path, tmp_path: Path) -> None:
    here = serial_of(offline)
    twin = Path(shutil.copytree(filled, tmp_path / "twin"))
    upload(filled, "demo-2.0.zip")
    assert create(filled, tmp_path / "ours", "--since", str(here)).exit_code == 0
    apply(offline, tmp_path / "ours")
    write(twin, UserCreated("dave", {}, None))
    write(twin, UserCreated("erin", {}, None))
    for since in (here, here + 1):
        assert create(twin, tmp_path / "theirs", "--since", str(since)).exit_code == 0
        assert "have different entries up to serial" in refused(offline, tmp_path / "theirs")
    assert run(offline, "bundle", "state", "--to", str(tmp_path / "state")).exit_code == 0
    made = create(twin, tmp_path / "none", "--for", str(tmp_path / "state"))
    assert (made.exit_code, "have different entries" in made.output) == (1, True)
    assert not (tmp_path / "none").exists()


def test_another_log_and_a_primary_are_refused(filled: Path, offline: Path, tmp_path: Path) -> None:
    assert "this server is a primary" in refused(filled, tmp_path / "first")
    node = json.loads((offline / "node.json").read_text())
    (tmp_path / "other").mkdir()
    assert run(tmp_path / "other", "init", "--upstream", "http://127.0.0.1:9/simple/").exit_code == 0
    secret = str(filled / "secret")
    assert create(tmp_path / "other", tmp_path / "strange", "--since", "0", "--secretfile", secret).exit_code == 0
    assert f"and this server has {node['log_id']}" in refused(offline, tmp_path / "strange")


def test_a_directory_in_use_is_refused(filled: Path, offline: Path, tmp_path: Path) -> None:
    storage = Storage.open(settings(offline), now, Disk())
    try:
        assert "another process uses it; stop that one first" in apply(offline, tmp_path / "first", exit_code=1)
    finally:
        storage.close()


class Killed(BaseException):
    """The process is no more."""


def test_what_was_interrupted_anywhere_is_completed_by_the_next_run(
    filled: Path, offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = serial_of(offline)
    monkeypatch.setattr("twistpi.bundle.writer.CHUNK", 1)  # a member for each line
    upload(filled, "demo-2.0.zip", "demo-2.1.zip")
    upload(filled, "demo-3.0.zip")
    cache(filled, "cached-2.0.zip")
    assert create(filled, tmp_path / "later", "--since", str(here)).exit_code == 0
    at: list[int] = []
    for last in range(1, 20):
        steps = iter(range(last))

        def progress(_what: str, _done: int, _total: int) -> None:
            if next(steps, None) is None:  # noqa: B023 -- called within this round
                raise Killed

        copy = Path(shutil.copytree(offline, tmp_path / f"copy-{last}"))
        with open_bundle(str(tmp_path / "later"), (filled / "secret").read_bytes().strip()) as bundle:
            try:
                Application(settings(copy), bundle, now, progress).run()
            except Killed:
                at.append(serial_of(copy))
                checked = run(copy, "check")
                assert checked.exit_code == 0, checked.output  # whatever is named is there
                apply(copy, tmp_path / "later")
                assert_same(copy, filled)
                continue
        break
    assert len(set(at)) > 2, "it was killed between lines, too"


def test_a_name_that_leads_elsewhere_is_refused_even_when_it_is_signed(filled: Path, offline: Path, tmp_path: Path) -> None:
    node, data = read_node(str(filled)), b"data"
    assert node is not None
    storage = Storage.open(settings(offline), now, Disk())
    storage.close()
    last = LogPoint(storage.changelog.last.serial, storage.changelog.last.chain)
    with open(tmp_path / "evil", "wb") as file:
        bundle = BundleFile(file)
        assert bundle.add_blob("0" * 16, sha256(data).hexdigest(), "..", len(data), BytesIO(data))
        bundle.finish(Description(node.log_id, last, last, "", 1, len(data)), (filled / "secret").read_bytes().strip())
    assert "it has a member" in refused(offline, tmp_path / "evil")
