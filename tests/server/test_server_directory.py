"""The server directory: made whole or not at all, used by one process, and refused where it is not one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from twistpi.changelog.disk import Disk
from twistpi.model.errors import TwistpiError
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.directory import ServerDirectory, check_usable, read_secret
from twistpi.server.node import read_node
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage, check_usable_by


def _entropy(count: int) -> bytes:
    return bytes(range(count))


def _made(path: Path) -> None:
    serverdir = ServerDirectory.open(str(path))
    serverdir.initialised()
    serverdir.close()


def _content(path: Path) -> dict[str, bytes | None]:
    return {str(item): item.read_bytes() if item.is_file() else None for item in sorted(path.rglob("*"))}


@pytest.mark.parametrize("exists", [True, False])
def test_a_missing_or_empty_directory_becomes_a_server_directory(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / "some" / "data"
    if exists:
        path.mkdir(parents=True)
    serverdir = ServerDirectory.open(str(path), _entropy)
    assert not serverdir.node.initialised
    serverdir.initialised()
    serverdir.close()
    node = json.loads((path / "node.json").read_bytes())
    assert node == {
        "format": 1,
        "initialised": True,
        "log_id": _entropy(16).hex(),
        "node_id": _entropy(16).hex(),
        "role": "primary",
    }
    assert stat.S_IMODE((path / "secret").stat().st_mode) == 0o600
    assert len((path / "secret").read_text().strip()) == 64
    assert sorted(os.listdir(path)) == ["node.json", "secret"]


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    _made(tmp_path)
    before = _content(tmp_path)
    serverdir = ServerDirectory.open(str(tmp_path))
    assert serverdir.node.initialised
    serverdir.close()
    assert _content(tmp_path) == before


def test_a_birth_that_was_interrupted_is_completed(tmp_path: Path) -> None:
    first = ServerDirectory.open(str(tmp_path))
    first.close()  # before the first entry
    second = ServerDirectory.open(str(tmp_path))
    assert second.node == first.node
    assert not second.node.initialised
    second.close()


@pytest.mark.parametrize("left", [["node.json.new"], ["lost+found"], []])
def test_what_a_crash_leaves_before_the_birth_counts_as_empty(tmp_path: Path, left: list[str]) -> None:
    for name in left:
        (tmp_path / name).write_text("{")
    ServerDirectory.open(str(tmp_path)).close()
    assert read_node(str(tmp_path)) is not None


REFUSED = {
    "a directory of other things": ({"letter.txt": "hello"}, "not empty and has no node.json"),
    "a changelog that lost its node.json": ({"changelog/1.log": "", "secret": ""}, "not empty and has no node.json"),
    "a newer format": ({"node.json": '{"format": 2}'}, "it has the format 2"),
    "no JSON": ({"node.json": '{"format": 1,'}, "node.json is damaged"),
    "an empty node.json": ({"node.json": ""}, "node.json is damaged"),
    "a list": ({"node.json": "[]"}, "node.json is damaged"),
    "no format": ({"node.json": "{}"}, "node.json is damaged"),
    "no ids": ({"node.json": '{"format": 1}'}, "node.json is damaged"),
    "short ids": ({"node.json": '{"format": 1, "node_id": "a", "log_id": "b"}'}, "node.json is damaged"),
    "a strange field": ({"node.json": '{"format": 1, "node_id": "a", "log_id": "b", "x": 1}'}, "node.json is damaged"),
    "another role": (
        {"node.json": json.dumps({"format": 1, "node_id": "a" * 32, "log_id": "b" * 32, "role": "x"})},
        "node.json is damaged",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_directory_that_is_not_ours_or_damaged_is_refused_and_nothing_touched(tmp_path: Path, case: str) -> None:
    files, reason = REFUSED[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = _content(tmp_path)
    for attempt in (check_usable, ServerDirectory.open):
        with pytest.raises(ServerdirRefused) as caught:
            attempt(str(tmp_path))
        assert str(tmp_path) in str(caught.value)
        assert reason in str(caught.value)
    assert _content(tmp_path) == before


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("x")
    with pytest.raises(ServerdirRefused, match="it is a file"):
        ServerDirectory.open(str(path))
    assert path.read_text() == "x"


def test_a_second_user_is_refused_until_the_first_one_closes(tmp_path: Path) -> None:
    first = ServerDirectory.open(str(tmp_path))
    for attempt in (check_usable, ServerDirectory.open):
        with pytest.raises(ServerdirRefused, match="another process uses it"):
            attempt(str(tmp_path))
    first.close()
    check_usable(str(tmp_path))
    ServerDirectory.open(str(tmp_path)).close()


def test_the_lock_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    script = (
        "import os, sys; from twistpi.server.directory import ServerDirectory; ServerDirectory.open(sys.argv[1]); "
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(ServerdirRefused, match="another process uses it"):
            ServerDirectory.open(str(tmp_path))
        process.kill()
        process.wait()
    ServerDirectory.open(str(tmp_path)).close()


AS_NOBODY = (
    "import os, sys; from twistpi.server.directory import ServerDirectory\n"
    "from twistpi.model.server_errors import ServerdirRefused\n"
    "os.setgid(65534); os.setuid(65534)\n"
    "try: ServerDirectory.open(sys.argv[1])\n"
    "except ServerdirRefused as refusal: print(refusal)\n"
)


@pytest.mark.parametrize("born", [True, False])
def test_a_directory_that_its_user_may_not_use_is_refused_telling_what_to_do(born: bool) -> None:
    # Not pytest's own folder: that one is closed to other users as a whole.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        if born:
            _made(path)
            (path / "node.json").chmod(0o000)
        assert "run twistpi as the user who owns the directory" in _refusal_for_others(path)
        path.chmod(0o755)


def _refusal_for_others(path: Path) -> str:
    """What a user is told who may only look into ``path``."""
    if os.getuid() == 0:
        return subprocess.run([sys.executable, "-c", AS_NOBODY, str(path)], capture_output=True, text=True, check=True).stdout
    path.chmod(0o555)
    with pytest.raises(ServerdirRefused) as caught:
        ServerDirectory.open(str(path))
    return str(caught.value)


def test_the_secret_is_the_directorys_own_unless_another_file_is_named(tmp_path: Path) -> None:
    _made(tmp_path / "server")
    own = read_secret(str(tmp_path / "server"), None)
    assert own == (tmp_path / "server" / "secret").read_bytes().strip()
    other = tmp_path / "other"
    other.write_bytes(bytes(range(40)) + b"\n")
    other.chmod(0o600)
    assert read_secret(str(tmp_path / "server"), str(other)) == bytes(range(40))


def _secret_file(path: Path, content: bytes = bytes(range(40)), mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_a_secret_that_others_know_or_could_replace_or_guess_is_refused_telling_why(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    os.mkfifo(tmp_path / "pipe", 0o600)
    cases = {
        "No such file": str(tmp_path / "missing"),
        "others than its owner can use it": _secret_file(tmp_path / "open", mode=0o640),
        "write to its folder": _secret_file(shared / "secret"),
        "32 are needed": _secret_file(tmp_path / "short", b"0123456789"),
        "different bytes": _secret_file(tmp_path / "dull", b"a" * 40),
        "it is not a file": str(tmp_path / "pipe"),
    }
    for reason, path in cases.items():
        with pytest.raises(TwistpiError) as caught:
            read_secret(str(tmp_path), path)
        assert path in str(caught.value)
        assert reason in str(caught.value)


def test_a_directory_whose_own_secret_others_can_read_is_not_served(tmp_path: Path) -> None:
    _made(tmp_path)
    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(TwistpiError, match="chmod 600"):
        read_secret(str(tmp_path), None)


def test_notes_of_several_threads_at_once_are_all_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "data")
    serverdir = ServerDirectory.open(path)
    fields = ("primary_url", "former_url")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: serverdir.note(**{fields[number % 2]: str(number)}), range(60)))
    node = read_node(path)
    serverdir.close()
    assert node == serverdir.node
    assert node.primary_url is not None
    assert node.former_url is not None


def test_where_a_directory_is_required_none_is_made(tmp_path: Path) -> None:
    """A server whose disk is not mounted must not begin anew."""
    strict, missing = Settings(serverdir=str(tmp_path / "data"), no_root_pypi=True, require_initialised=True), tmp_path / "data"
    for _ in ("missing", "empty"):
        with pytest.raises(ServerdirRefused, match="mount its disk, or make it first with twistpi init"):
            check_usable_by(strict)
        missing.mkdir(exist_ok=True)
    assert list(missing.iterdir()) == []
    Storage.open(attrs.evolve(strict, bcrypt_cost=4), lambda: datetime.now(UTC), Disk()).close()
    check_usable_by(strict)
