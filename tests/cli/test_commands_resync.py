"""``twistpi resync``: what only this server had is saved, the rest follows; interrupted anywhere, it can be begun again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
import click
import pytest

from tests.backup.backed_up import cache, content_of, digest_of, keep
from tests.cli.commands import now, run, settings, write
from tests.cli.test_commands_garbage import INDEX, put_at
from tests.fakes.dying_process import die_after
from twistpi.blobs.address import blob_address, metadata_address
from twistpi.blobs.tree import open_tree
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import segment_start, write_base
from twistpi.changelog.places import position_at
from twistpi.changelog.reader import read_lines
from twistpi.cli.log_entries import entries
from twistpi.cli.resync import Resynced, resync
from twistpi.model.changes import EpochBegan, MetadataCached, UserCreated
from twistpi.model.codec import encode_content
from twistpi.model.peers import Epoch, Fork, Peer
from twistpi.model.releases import FileUploaded
from twistpi.model.server_errors import ServerdirRefused, UnknownSerial
from twistpi.rules.replication import Fence
from twistpi.server.directory import ServerDirectory
from twistpi.server.epochs import begin_after_restore
from twistpi.server.node import Node, read_node
from twistpi.server.storage import Storage

URL = "http://new.example"
NEW = "b" * 32
WHEEL = "demo-1.0-py3-none-any.whl"
CONTENT = b"only here"


@attrs.define
class Directory:
    """The server to follow, looked up in its directory instead of asked."""

    path: Path
    url: str = URL
    role: str = "primary"
    fenced: bool = False
    node_id: str = NEW
    asked: list[int] = attrs.field(factory=list)

    @contextmanager
    def _kept(self) -> Iterator[Storage]:
        storage = Storage.open(settings(self.path), now, Disk())
        try:
            yield storage
        finally:
            storage.close()

    def peer(self) -> Peer:
        with self._kept() as kept:
            last, epochs = kept.changelog.last, kept.view.reader.epochs()
            epoch_start = Epoch()
            if epochs:
                epoch, node_id, serial = epochs[-1]
                before = kept.changelog.position(serial - 1)
                epoch_start = Epoch(epoch, node_id, Fork(before.serial, before.chain))
            log_id = kept.serverdir.node.log_id
            return Peer(
                self.node_id,
                log_id,
                self.role,
                last.serial,
                last.chain,
                epoch_start,
                self.fenced,
                self.url,
                "http://newest.example",
            )

    def chain_at(self, serial: int) -> str | None:
        self.asked.append(serial)
        with self._kept() as kept:
            try:
                return kept.changelog.position(serial).chain
            except UnknownSerial:
                return None

    def beginning(self) -> tuple[int, str]:
        with self._kept() as kept:
            return kept.changelog.begins_after.serial, kept.changelog.begins_after.chain


@pytest.fixture
def new(made: Path) -> Directory:
    """The promoted server: it has the same log up to serial 4, and then its epoch."""
    for number in range(2):
        write(made, UserCreated(f"user{number}"))
    path = made.parent / "new"
    shutil.copytree(made, path)
    write(path, EpochBegan(2, NEW))
    for number in range(3):
        write(path, UserCreated(f"later{number}"))
    return Directory(path)


def _go_on(made: Path) -> None:
    """What the former primary still took: serials 5 to 7."""
    put_at(open_tree(str(made)), blob_address(sha256(CONTENT).hexdigest(), WHEEL), CONTENT)
    write(made, UserCreated("outdated"))
    write(made, FileUploaded(INDEX, "demo", "1.0", WHEEL, sha256(CONTENT).hexdigest(), len(CONTENT)))
    write(made, UserCreated("last"))


def _note(made: Path, **changed: Any) -> None:
    opened = ServerDirectory.open(str(made))
    opened.note(**changed)
    opened.close()


def _node(made: Path) -> Node:
    node = read_node(str(made))
    assert node is not None
    return node


def _run(made: Path, new: Directory, url: str | None = None) -> Resynced:
    return resync(str(made), url, lambda _url, _node: new)


def _is_a_beginning_of(made: Path, new: Directory) -> bool:
    """Whether the log here is what the other one begins with."""
    log = b"".join(path.read_bytes() for path in sorted((made / "changelog").glob("*.log")))
    other = b"".join(path.read_bytes() for path in sorted((new.path / "changelog").glob("*.log")))
    return other.startswith(log) and log.count(b"\n") == 4


def test_a_former_primary_saves_what_only_it_has_and_becomes_a_replica(made: Path, new: Directory) -> None:
    _go_on(made)
    _note(made, fence=Fence(2, NEW, URL, 4, 7))
    beyond = (made / "changelog" / f"{1:020}.log").read_bytes().splitlines(keepends=True)[4:]
    done = _run(made, new)
    saved = made / "diverged" / Path(done.saved or "").name
    assert done == Resynced(4, 7, str(saved), 1, other_log=False, anew=False)
    assert (saved / "entries.log").read_bytes() == b"".join(beyond)
    summary = (saved / "summary.txt").read_text()
    assert "entries 5 to 7" in summary
    assert "UserCreated user=outdated" in summary
    assert (saved / "summary.txt").stat().st_mode & 0o077 == 0
    assert [path.read_bytes() for path in (saved / "+files").rglob("*.whl")] == [CONTENT]
    node = _node(made)
    assert (node.role, node.primary_url, node.fence, node.initialised) == ("replica", URL, None, True)
    assert _is_a_beginning_of(made, new)
    Storage.open(settings(made), now, Disk()).close()


def test_a_restored_server_begins_no_epoch_once_it_is_a_replica(made: Path, new: Directory) -> None:
    _note(made, restored_from=4)
    _run(made, new, URL)
    opened = Storage.open(attrs.evolve(settings(made), primary_url=URL), now, Disk())
    begin_after_restore(opened, now)
    opened.close()
    assert (_node(made).role, _node(made).restored_from) == ("replica", None)
    assert _is_a_beginning_of(made, new)


def test_where_nothing_was_written_beyond_the_fork_nothing_is_saved(made: Path, new: Directory) -> None:
    assert _run(made, new, URL) == Resynced(4, 4, None, 0, other_log=False, anew=False)
    assert not (made / "diverged").exists()
    assert _node(made).is_replica
    assert (made / "view.sqlite").exists()


def test_a_replica_that_diverged_does_the_same(made: Path, new: Directory) -> None:
    _go_on(made)
    _note(made, role="replica", primary_url=URL)
    assert _run(made, new).common == 4
    assert _is_a_beginning_of(made, new)


def test_the_fork_is_found_with_few_questions(made: Path, new: Directory) -> None:
    write(new.path, *(UserCreated(f"more{number}") for number in range(9)))
    _go_on(made)
    _run(made, new, URL)
    assert len(new.asked) < 8


def test_another_log_is_saved_whole_and_the_replica_begins_with_nothing(made: Path, new: Directory, tmp_path: Path) -> None:
    _go_on(made)
    other = tmp_path / "other"
    Storage.open(settings(other), now, Disk()).close()
    log = {path.name: path.read_bytes() for path in (made / "changelog").iterdir()}
    done = _run(made, Directory(other), URL)
    saved = Path(done.saved or "")
    assert (done.common, done.last, done.other_log, done.anew, done.blobs) == (0, 7, True, True, 1)
    assert {path.name: path.read_bytes() for path in (saved / "changelog").iterdir()} == log
    assert [path.read_bytes() for path in (saved / "+files").rglob("*.whl")] == [CONTENT]
    node = _node(made)
    assert (node.role, node.primary_url, node.log_id, node.initialised) == ("replica", URL, "", False)
    assert list((made / "changelog").iterdir()) == []
    assert not (made / "view.sqlite").exists()
    assert len(list(entries(str(saved / "changelog")))) == 7


def test_a_replica_without_the_older_history_saves_what_diverged_and_begins_with_nothing(made: Path, new: Directory) -> None:
    storage = Storage.open(settings(made), now, Disk())
    base = storage.changelog.position(3)
    storage.close()
    _go_on(made)
    _note(made, role="replica", primary_url=URL)
    segment = made / "changelog" / f"{1:020}.log"
    (made / "changelog" / f"{4:020}.log").write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[3:]))
    segment.unlink()
    write_base(str(made / "changelog"), Disk(), segment_start(4, base.chain))
    done = _run(made, new)
    assert (done.common, done.last, done.blobs, done.anew, done.own_entries) == (4, 7, 1, True, 3)
    assert len(Path(done.saved or "", "entries.log").read_bytes().splitlines()) == 3
    assert list((made / "changelog").iterdir()) == []
    assert (_node(made).log_id, _node(made).initialised) == ("", False)


@pytest.mark.parametrize("kept", [0, 1])
def test_a_server_that_was_compacted_keeps_what_both_have(made: Path, new: Directory, kept: int) -> None:
    with closing(FileChangelog.open(str(made / "changelog"), Disk(), segment_limit=1)) as log:
        users = [encode_content("2026-11-22T17:00:00.000000Z", "root", [UserCreated(f"early{number}")]) for number in range(2)]
        log.append(users, log.last.serial)
        shutil.rmtree(new.path)
        shutil.copytree(made, new.path)
        fork = log.last.serial
        cut = fork - kept
        log.append(users[:1], fork)
    write(new.path, EpochBegan(2, NEW))
    _go_on(made)
    told = run(made, "compact", "--before", str(cut + 1), "--json")
    assert json.loads(told.stdout)["last"] == cut
    done = _run(made, new, URL)
    assert (done.common, done.last, done.anew) == (fork, fork + 5, False)
    assert len(Path(done.saved or "", "entries.log").read_bytes().splitlines()) == 5
    opened = Storage.open(attrs.evolve(settings(made), primary_url=URL), now, Disk())
    assert (opened.changelog.begins_after.serial, opened.changelog.last.serial) == (cut, fork)
    assert [user.name for user in opened.view.reader.users()] == ["carol", "early0", "early1", "root", "user0", "user1"]
    folder = str(new.path / "changelog")
    lines = [line.body for line in read_lines(folder, Disk(), position_at(folder, Disk(), fork))]
    opened.changelog.append(lines, fork)
    opened.catch_up()
    assert opened.view.reader.epochs() == [(2, NEW, fork + 1)]
    opened.close()


def test_a_compacted_server_with_no_entry_in_common_begins_with_nothing(made: Path, new: Directory) -> None:
    _go_on(made)
    with closing(FileChangelog.open(str(made / "changelog"), Disk(), segment_limit=1)) as log:
        log.append([encode_content("2026-11-22T17:00:00.000000Z", "root", [UserCreated("early")])], log.last.serial)
    assert json.loads(run(made, "compact", "--before", "2200-01-01", "--json").stdout)["last"] == 7
    (summary,) = (made / "changelog").glob("summary-*")
    content = summary.read_bytes()
    done = _run(made, new, URL)
    assert (done.common, done.last, done.anew, done.own_entries) == (0, 9, True, 2)
    assert Path(done.saved or "", "changelog", summary.name).read_bytes() == content
    assert list((made / "changelog").iterdir()) == []


def test_core_metadata_is_saved_from_beside_the_file_it_is_of(made: Path, new: Directory) -> None:
    shutil.rmtree(new.path)
    cache(made, "cached-1.0.zip")
    file = blob_address(digest_of("cached-1.0.zip"), "cached-1.0.zip")
    shutil.copytree(made, new.path)
    write(new.path, EpochBegan(2, NEW))
    (made / "+files" / metadata_address(file).relative).unlink()
    keep(made, metadata_address(file), "newer")
    write(made, MetadataCached("root/pypi", "cached", "cached-1.0.zip", digest_of("newer"), len(content_of("newer"))))
    done = _run(made, new, URL)
    assert done.blobs == 1
    assert Path(done.saved or "", "+files", metadata_address(file).relative).read_bytes() == content_of("newer")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"fenced": True}, "--primary-url http://newest.example"),
        ({"node_id": None}, "this server itself"),
    ],
)
def test_a_server_that_should_not_be_followed_is_refused(
    made: Path, new: Directory, changed: dict[str, Any], reason: str
) -> None:
    _go_on(made)
    for name, value in changed.items():
        setattr(new, name, _node(made).node_id if value is None else value)
    before = {path: path.read_bytes() for path in (made / "changelog").iterdir()}
    with pytest.raises(click.ClickException, match=reason):
        _run(made, new, URL)
    assert {path: path.read_bytes() for path in (made / "changelog").iterdir()} == before
    assert not _node(made).is_replica


def test_a_promoted_server_does_not_follow_the_former_primary(made: Path, new: Directory) -> None:
    with pytest.raises(click.ClickException, match="has to follow this one"):
        resync(str(new.path), "http://old.example", lambda _url, _node: Directory(made, node_id="c" * 32))


def test_a_primary_does_not_follow_a_replica_of_its_own_epoch(made: Path, new: Directory, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "copy")
    with pytest.raises(click.ClickException, match="promote it first"):
        _run(made, Directory(tmp_path / "copy", role="replica"), URL)


def test_without_a_known_primary_one_has_to_be_named_and_a_running_server_be_stopped(made: Path, new: Directory) -> None:
    with pytest.raises(click.ClickException, match="--primary-url"):
        _run(made, new)
    opened = ServerDirectory.open(str(made))
    with pytest.raises(ServerdirRefused, match="another process uses it"):
        _run(made, new, URL)
    opened.close()
    with pytest.raises(ServerdirRefused):
        resync(str(made.parent / "nothing"), URL, lambda _url, _node: new)


@pytest.mark.parametrize("other_log", [False, True])
def test_interrupted_after_any_step_it_is_begun_again_and_nothing_is_lost(
    made: Path, new: Directory, tmp_path: Path, other_log: bool
) -> None:
    _go_on(made)
    followed = new
    if other_log:
        Storage.open(settings(tmp_path / "other"), now, Disk()).close()
        followed = Directory(tmp_path / "other")
    beyond = (made / "changelog" / f"{1:020}.log").read_bytes().splitlines(keepends=True)[0 if other_log else 4 :]
    for steps in range(200):
        path = tmp_path / f"try{steps}"
        shutil.copytree(made, path)
        finished = die_after(steps, path, partial(_run, path, followed, URL), "diverged")
        done = _run(path, followed, URL)
        assert _node(path).is_replica
        assert done.common == (0 if other_log else 4)
        files = [*path.glob("diverged/*/entries.log"), *path.glob("diverged/*/changelog/*.log")]
        saved = {line for file in files for line in file.read_bytes().splitlines(keepends=True)}
        assert saved >= set(beyond), f"lost after {steps} steps"
        assert any(file.read_bytes() == CONTENT for file in path.glob("diverged/*/+files/**/*.whl"))
        shutil.rmtree(path)
        if finished:
            assert steps > 10
            return
    raise AssertionError("it never came to an end")
