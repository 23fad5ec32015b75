"""``twistpi gc``, ``yank`` and ``check`` on a server directory with private releases; with a server, and without."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
import click
import pytest

from tests.cli.commands import entries, looking, now, run, settings, write
from tests.cli.test_commands_reaching import Answering, answering, asking, held, node_id
from tests.gc.gc_setup import put
from twistpi.blobs.address import BlobAddress, blob_address, metadata_address, provenance_address
from twistpi.blobs.tree import Tree, open_tree
from twistpi.cli.administration import administer
from twistpi.cli.check import check
from twistpi.cli.file_check import Counts
from twistpi.cli.server_administration import MirroredFile, Yank
from twistpi.gc.garbage import Collected
from twistpi.model.changes import Change, FileCached, LinksChanged, UserCreated
from twistpi.model.errors import UnknownFile
from twistpi.model.records import Link
from twistpi.model.releases import AttachmentAdded, FileRemoved, FileUploaded, FileYanked
from twistpi.rules.mirrors import file_path
from twistpi.server.directory import ServerDirectory

INDEX = "carol/dev"
WHEEL, SDIST = "demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"


def uploaded(filename: str, content: bytes, **more: Any) -> FileUploaded:
    change = FileUploaded(INDEX, "demo", "1.0", filename, sha256(content).hexdigest(), len(content))
    return attrs.evolve(change, **more)


def put_at(tree: Tree, address: BlobAddress, content: bytes) -> None:
    with tree.incoming() as incoming:
        incoming.write(content)
        tree.keep(incoming, address, sha256(content).hexdigest())


def path_of(address: BlobAddress) -> str:
    return f"+f/{address.relative}"


# gc ----------------------------------------------------------------------------------------------------------------


def test_programs_get_what_gc_and_check_find_as_json(made: Path) -> None:
    orphan = put(open_tree(str(made)), SDIST, b"orphan", age=True)
    listed = {"examined": 1, "unused": 1, "bytes": 6, "kept-as-too-new": 0}
    told = json.loads(run(made, "gc", "--dry-run", "--json").stdout)
    assert told == {"dry-run": True, **listed, "files": [{"path": f"+files/{orphan.relative}", "size": 6}]}
    found = json.loads(run(made, "check", "--json").stdout)
    assert (found["serverdir"], found["wrong"]) == (str(made), 0)
    assert any(SDIST in finding["text"] and finding["wrong"] is False for finding in found["findings"])
    assert json.loads(run(made, "gc", "--json").stdout) == {"dry-run": False, **listed, "files": []}


def test_gc_removes_what_nothing_names_and_says_how_much(made: Path) -> None:
    tree = open_tree(str(made))
    put(tree, WHEEL, b"wheel", age=True)
    orphan = put(tree, SDIST, b"orphan", age=True)
    write(made, uploaded(WHEEL, b"wheel"))
    told = run(made, "gc", "--dry-run")
    assert told.exit_code == 0
    assert told.stdout.splitlines() == [
        f"+files/{orphan.relative} (6 bytes)",
        "1 file with 6 bytes is not used by any index; nothing was changed.",
    ]
    assert tree.find(orphan) == 6
    done = run(made, "gc")
    assert done.exit_code == 0
    assert done.stdout == "1 file with 6 bytes is not used by any index; removed.\n"
    assert [address.filename for address, _ in tree.walk()] == [WHEEL]
    assert run(made, "gc").stdout == "Nothing to remove: the indexes use all files (there are 1).\n"


def test_gc_removes_nothing_from_a_replica_that_does_not_run(made: Path) -> None:
    tree = open_tree(str(made))
    orphan = put(tree, SDIST, b"not named yet", age=True)
    node = json.loads((made / "node.json").read_bytes())
    (made / "node.json").write_text(json.dumps({**node, "role": "replica", "primary_url": "http://primary.example:4040"}))
    told = run(made, "gc")
    assert told.exit_code == 1
    assert "start it, and run this again" in told.stderr
    assert tree.find(orphan) is not None


def test_gc_leaves_what_was_stored_in_the_last_hour_and_says_so(made: Path) -> None:
    tree = open_tree(str(made))
    write(made, uploaded(WHEEL, b"wheel"), FileRemoved(INDEX, "demo", WHEEL))
    put(tree, WHEEL, b"wheel")
    os.utime(tree.path(blob_address(sha256(b"wheel").hexdigest(), WHEEL)), (now().timestamp(),) * 2)
    told = run(made, "gc").stdout
    assert "There is nothing to remove yet." not in told, "the clock of the command is the real one"
    put(tree, SDIST, b"young")
    told = run(made, "gc").stdout
    assert told.startswith("There is nothing to remove yet.\n1 unused file was stored in the last hour")
    assert len(list(tree.walk())) == 1


def test_gc_needs_a_server_directory(tmp_path: Path) -> None:
    refused = run(tmp_path / "nothing", "gc")
    assert refused.exit_code == 1
    assert "twistpi init" in refused.stderr


def _report(number: int, *, ended: bool, **more: Any) -> dict[str, Any]:
    return {"number": number, "ended": ended, "failure": None, "swept": attrs.asdict(Collected(0x800, 9, 2, 30, 1)), **more}


def test_gc_has_the_server_begin_a_pass_and_waits_for_that_one(made: Path) -> None:
    told = Answering(node_id(made), authstatus=("ok", "root", []))
    told.body = {"result": {"number": 2, "running": _report(1, ended=False), "last": None}}
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        running, last = {
            1: (_report(1, ended=False), None),
            2: (_report(2, ended=False), _report(1, ended=True)),
            3: (None, _report(2, ended=True)),
        }[len(pauses)]
        told.body = {"result": {"running": running, "last": last}}

    seen: list[Collected] = []
    with answering(told) as address, held(made, address), administer(settings(made), now, pause) as administration:
        swept = administration.collect_garbage(seen.append)
    assert swept == Collected(0x800, 9, 2, 30, 1)
    assert len(seen) == 1, "only how far the pass is that was asked for"
    assert len(pauses) == 3
    assert [(method, path) for method, path, _, _ in told.asked if path == "/+gc"][:2] == [("POST", "/+gc"), ("GET", "/+gc")]


def test_gc_says_why_the_servers_pass_failed(made: Path) -> None:
    told = Answering(node_id(made), authstatus=("ok", "root", []))
    told.body = {"result": {"number": 1, "running": None, "last": _report(1, ended=True, failure="the disk is gone")}}
    with asking(made, told) as administration, pytest.raises(click.ClickException, match="the disk is gone"):
        administration.collect_garbage(lambda _: None)
    told.status, told.body = 404, {"message": "nothing here"}
    with asking(made, told) as administration, pytest.raises(click.ClickException, match="nothing here"):
        administration.collect_garbage(lambda _: None)


# refetch -----------------------------------------------------------------------------------------------------------


MIRRORED = Link(WHEEL, f"https://files.example/{WHEEL}", {"sha256": sha256(b"wheel").hexdigest()})


@pytest.fixture
def mirror(made: Path) -> Path:
    """A mirror that lists two files, and has one."""
    links = (MIRRORED, attrs.evolve(MIRRORED, filename=SDIST))
    write(made, LinksChanged("root/pypi", "demo", links), FileCached("root/pypi", "demo", WHEEL, MIRRORED.hashes["sha256"], 5))
    return made


@pytest.mark.parametrize("name", [WHEEL, file_path(MIRRORED)])
def test_refetch_throws_the_bytes_of_a_mirrored_file_away(mirror: Path, name: str) -> None:
    before = _serial(mirror)
    done = run(mirror, "refetch", "root/pypi", name)
    assert (done.exit_code, done.stdout) == (0, f"{name} of root/pypi will be fetched again when it is requested.\n")
    assert [(entry["by"], entry["changes"]) for entry in entries(mirror, before)] == [
        ("root", [{"kind": "FileRemoved", "index": "root/pypi", "project": "demo", "filename": WHEEL}])
    ]


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("carol/none", WHEEL), "carol/none could not be found"),
        ((INDEX, WHEEL), "carol/dev is no mirror"),
        (("root/pypi", "other-1.0.zip"), "has no file other-1.0.zip"),
        (("root/pypi", "+f/000/none.zip"), "doesn't exist"),
        (("root/pypi", SDIST), "has no file data"),
    ],
)
def test_refetch_refuses_what_is_not_there(mirror: Path, words: tuple[str, ...], refusal: str) -> None:
    before = _serial(mirror)
    refused = run(mirror, "refetch", *words)
    assert refused.exit_code != 0
    assert refusal in refused.stderr
    assert _serial(mirror) == before


def test_refetch_asks_a_running_server_as_the_indexs_owner(mirror: Path) -> None:
    told = Answering(node_id(mirror))
    with asking(mirror, told) as administration:
        administration.refetch(MirroredFile("root/pypi", WHEEL))
    method, path, _, _ = told.asked[-1]
    assert (method, path) == ("DELETE", f"/root/pypi/{file_path(MIRRORED)}?force")


# yank --------------------------------------------------------------------------------------------------------------


def test_yank_marks_a_release_or_some_of_its_files_and_takes_it_back(made: Path) -> None:
    write(made, uploaded(WHEEL, b"wheel"), uploaded(SDIST, b"sdist"))
    before = _serial(made)
    assert run(made, "yank", INDEX, "Demo", "1.0", "--reason", "broken").stdout == "Demo 1.0 on carol/dev: yanked.\n"
    assert run(made, "yank", INDEX, "demo", "1.0", WHEEL, "--undo").stdout == f"{WHEEL} on carol/dev: not yanked any more.\n"
    assert run(made, "yank", INDEX, "demo", "1.0", "--reason", "broken", SDIST).exit_code == 0, "as it is already"
    assert run(made, "yank", INDEX, "demo", "1.0", SDIST).exit_code == 0
    told = [
        (entry["by"], [(change["filename"], change["yanked"]) for change in entry["changes"]]) for entry in entries(made, before)
    ]
    assert told == [
        ("carol", [(WHEEL, "broken"), (SDIST, "broken")]),
        ("carol", [(WHEEL, False)]),
        ("carol", [(SDIST, True)]),
    ]


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("carol/none", "demo", "1.0"), "carol/none could not be found"),
        (("root/pypi", "demo", "1.0"), "root/pypi is a mirror"),
        ((INDEX, "nope", "1.0"), "no project 'nope'"),
        ((INDEX, "demo", "2.0"), "2.0"),
        ((INDEX, "demo", "1.0", "other.whl"), "other.whl"),
        ((INDEX, "demo", "1.0", "--undo", "--reason", "x"), "--undo needs no --reason"),
        ((INDEX, "demo", "1.0", "--reason", "x" * 1001), "longer than 1000"),
    ],
)
def test_yank_refuses_what_is_not_there(made: Path, words: tuple[str, ...], refusal: str) -> None:
    write(made, uploaded(WHEEL, b"wheel"))
    before = _serial(made)
    refused = run(made, "yank", *words)
    assert refused.exit_code != 0
    assert refusal in refused.stderr
    assert _serial(made) == before


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        (Yank(INDEX, "Demo", "1.0", (), "bad"), ("PUT", "/carol/dev/demo/1.0/+yank", b'{"reason":"bad"}')),
        (Yank(INDEX, "demo", "1.0", (), True), ("PUT", "/carol/dev/demo/1.0/+yank", b"")),
        (Yank(INDEX, "demo", "1.0", (WHEEL,), False), ("DELETE", f"/carol/dev/{{path}}/{WHEEL}/+yank", b"")),
    ],
)
def test_yank_asks_a_running_server_as_the_indexs_owner(made: Path, marked: Yank, expected: tuple[str, str, bytes]) -> None:
    write(made, uploaded(WHEEL, b"wheel"))
    told = Answering(node_id(made))
    with asking(made, told) as administration:
        administration.yank(marked)
        with pytest.raises(UnknownFile):
            administration.yank(attrs.evolve(marked, filenames=("other.whl",)))
    digest = sha256(b"wheel").hexdigest()
    method, path, _, body = told.asked[-1]
    assert (method, path, body) == (expected[0], expected[1].format(path=f"+f/{digest[:3]}/{digest[3:16]}"), expected[2])


def _serial(made: Path) -> int:
    with looking(made) as reader:
        return reader.serial()


# check -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(made: Path) -> dict[str, BlobAddress]:
    """A release with everything that can belong to one; where each blob is."""
    tree = open_tree(str(made))
    wheel = blob_address(sha256(b"wheel").hexdigest(), WHEEL)
    blobs = {
        "wheel": wheel,
        "metadata": metadata_address(wheel),
        "provenance": provenance_address(sha256(b"provenance").hexdigest(), WHEEL),
        "toxresult": BlobAddress(wheel.digits, f"{WHEEL}.toxresult-20261122170000-0"),
        "doczip": blob_address(sha256(b"doczip").hexdigest(), "demo-1.0.doc.zip"),
    }
    for content, address in blobs.items():
        put_at(tree, address, content.encode())
    attached: list[Change] = [
        AttachmentAdded(
            INDEX, "demo", "1.0", kind, blobs[kind].filename, sha256(kind.encode()).hexdigest(), len(kind), path_of(blobs[kind]),
            WHEEL if kind == "toxresult" else None,
        )
        for kind in ("toxresult", "doczip")
    ]  # fmt: skip
    beside = {f"{kind}_sha256": sha256(kind.encode()).hexdigest() for kind in ("metadata", "provenance")}
    sizes = {f"{kind}_size": len(kind) for kind in ("metadata", "provenance")}
    write(made, uploaded(WHEEL, b"wheel", **beside, **sizes), *attached)
    return blobs


def wrongs(made: Path) -> list[str]:
    return [finding.text for finding in check(str(made), lambda *_: None, Counts()) if finding.wrong]


def test_check_is_content_with_a_whole_release_and_gc_too(made: Path, full: dict[str, BlobAddress]) -> None:
    assert wrongs(made) == []
    assert run(made, "gc").stdout == "Nothing to remove: the indexes use all files (there are 5).\n"


@pytest.mark.parametrize("kind", ["wheel", "metadata", "provenance", "toxresult", "doczip"])
def test_check_finds_every_blob_of_a_release_that_is_missing_or_damaged(
    made: Path, full: dict[str, BlobAddress], kind: str
) -> None:
    path = Path(Tree(str(made)).path(full[kind]))
    content = path.read_bytes()
    path.write_bytes(content[::-1])
    (wrong,) = wrongs(made)
    assert f"{path} has the SHA-256 " in wrong
    path.write_bytes(content + b"!")
    (wrong,) = wrongs(made)
    assert f"{path} has {len(content) + 1} bytes instead of {len(content)}" in wrong
    path.unlink()
    assert wrongs(made) == [f"{path} is missing; restore it from a backup: twistpi check --repair --backup PLACE"]


def test_check_knows_garbage_and_who_removes_it(made: Path, full: dict[str, BlobAddress]) -> None:
    put(open_tree(str(made)), SDIST, b"orphan")
    notes = [finding.text for finding in check(str(made), lambda *_: None, Counts()) if not finding.wrong]
    assert any("files that no index knows: 1" in note and "twistpi gc removes them" in note for note in notes)


def test_what_is_removed_while_it_is_checked_is_not_missing(made: Path, full: dict[str, BlobAddress]) -> None:
    holder = ServerDirectory.open(str(made))
    holder.close()
    removed = False

    def progress(what: str, done: int, total: int) -> None:
        nonlocal removed
        if what == "files" and not removed:
            removed = True
            write(made, FileRemoved(INDEX, "demo", WHEEL))
            for kind in ("wheel", "metadata", "provenance", "toxresult"):
                Tree(str(made)).remove(full[kind])

    assert [finding.text for finding in check(str(made), progress, Counts()) if finding.wrong] == []
    assert removed


def test_what_is_written_while_it_is_checked_is_checked_too(made: Path) -> None:
    counts, before = Counts(), _serial(made)

    def progress(what: str, done: int, total: int) -> None:
        if what == "changelog" and _serial(made) == before:
            write(made, UserCreated("dora", {}, None))

    assert [finding.text for finding in check(str(made), progress, counts) if finding.wrong] == []
    assert counts.entries == _serial(made) == before + 1


def test_a_mark_is_one_entry_for_all_files(made: Path, full: dict[str, BlobAddress]) -> None:
    with looking(made) as reader:
        changes = Yank(INDEX, "demo", "1.0", (), "bad").decide(reader)
    assert list(changes) == [FileYanked(INDEX, "demo", WHEEL, "bad")]
