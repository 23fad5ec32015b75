"""In from real devpi-servers and out again: every page, file, JSON and login is the same on the way."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.distributions import sdist_of
from tests.fakes.live_server import PATIENCE, ROOT, LiveServer, eventually, server_environment
from tests.live.devpi_servers import ANN_PASSWORD, NEW, OLD, ROOT_PASSWORD, Client, DevpiServer, fill, state, upstream_folder
from twistpi.blobs.tree import Tree

COMMAND = [sys.executable, "-c", "from twistpi.cli.main import main; main()"]


def twistpi(data: Path, *words: str) -> dict[str, Any]:
    """Run a command on a server directory; its report."""
    command = [*COMMAND, words[0], "--serverdir", str(data), "--json", *words[1:]]
    done = subprocess.run(command, env=server_environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize(("version", "form", "query"), [(OLD, "devpi6", ""), (NEW, "devpi7", "?v=2")])
def test_a_devpi_server_moves_in_and_out_again(tmp_path: Path, server: LiveServer, version: str, form: str, query: str) -> None:
    old, again = DevpiServer(version, tmp_path / "old"), DevpiServer(version, tmp_path / "again")
    old.make()
    with upstream_folder(tmp_path / "upstream") as upstream, old.running() as url:
        fill(url, version, upstream)
        with following(tmp_path / "live", url) as finish:
            change(url)
            told = state(url)
            last = finish()
        assert last["differences"] == []
        assert last["seconds"] < 60, "so long are writes refused; less than 10 where nothing else runs"
    check_live(tmp_path, told, query)
    old.export(tmp_path / "moved", "--include-mirrored-files")
    report = twistpi(server.serverdir, "import", str(tmp_path / "moved"))
    assert (report["differences"], report["notes"]) == ([], [])
    server.start("--offline")
    assert twistpi(server.serverdir, "export", "--format", form, "--include-mirrored-files", str(tmp_path / "out"))["complete"]
    assert state(server.url, query) == told
    server.end()
    assert twistpi(server.serverdir, "import", str(tmp_path / "moved"))["bytes"] == 0
    again.import_from(tmp_path / "out")
    with again.running() as url:
        assert state(url) == told


@contextmanager
def following(data: Path, url: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """Follow a running devpi-server, all of which is there by then; what is returned ends that, and returns the report."""
    words = ["import", "--serverdir", str(data), "--json", "--follow", "--live", url.replace("//", f"//root:{ROOT_PASSWORD}@")]
    with (
        (data.parent / "followed").open("w+") as said,
        subprocess.Popen(
            [*COMMAND, *words], env=server_environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        eventually(lambda: "\nFollowing." in (data.parent / "followed").read_text())

        def finish() -> dict[str, Any]:
            process.send_signal(signal.SIGUSR1)
            report: dict[str, Any] = json.loads(process.communicate(timeout=PATIENCE)[0])
            assert process.returncode == 0
            return report

        try:
            yield finish
        finally:
            process.kill()


def change(url: str) -> None:
    """Upload a release, overwrite a file, remove a release, and change an index."""
    ann, new = Client(url, "ann", ANN_PASSWORD), sdist_of("hello", "2.0")
    ann.upload("ann/dev", {":action": "file_upload", "name": "hello", "version": "2.0"}, new.filename, new.content)
    again = sdist_of("hello", "1.0", b"once more")
    ann.upload("ann/dev", {":action": "file_upload", "name": "hello", "version": "1.0"}, again.filename, again.content)
    ann.json("/ann/dev/hello/0.9", "DELETE")
    ann.json("/ann/dev", "PATCH", ["title=changed"])


def check_live(tmp_path: Path, told: dict[str, Any], query: str) -> None:
    """See that what was imported from the running server is all that it tells over HTTP, but for passwords and mirrored files."""
    words = [*COMMAND, "passwd", "--serverdir", str(tmp_path / "live"), "--stdin", "ann"]
    subprocess.run(words, env=server_environment(), cwd=ROOT, input=ANN_PASSWORD.encode(), check=True, capture_output=True)
    server = LiveServer(tmp_path / "live", tmp_path / "live.log").start("--offline")
    try:
        found = state(server.url, query)
    finally:
        server.end()
    for key in [key for key in told if key.startswith(("ann/dev", "ann/prod"))]:
        assert found[key] == told[key]
    # The password that was set here counts as a change; devpi-server 7 names none that came in the second of the creation.
    assert without_modified(found["users"]) == without_modified(told["users"])


def without_modified(users: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {key: value for key, value in user.items() if key != "modified"} for name, user in users.items()}


def test_a_killed_import_is_completed_by_another(tmp_path: Path) -> None:
    dump, data = many_files(tmp_path / "dump", 400), tmp_path / "data"
    words = [*COMMAND, "import", "--serverdir", str(data), str(dump)]

    def is_under_way(wanted: int, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, "it was to be killed in the midst"
        return stored(data) > wanted

    for wanted in (20, 150):
        with subprocess.Popen(words, env=server_environment(), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            eventually(partial(is_under_way, wanted, process))
            process.send_signal(signal.SIGKILL)
    report = twistpi(data, "import", str(dump))
    assert report["complete"]
    files = report["counts"]["files"]
    assert files["there"] > 0
    assert files["taken"] + files["there"] == 400
    assert [finding for finding in twistpi(data, "check")["findings"] if finding["wrong"]] == []


def stored(data: Path) -> int:
    return sum(1 for _ in Tree(str(data)).walk()) if (data / "+files").exists() else 0


def many_files(folder: Path, count: int) -> Path:
    """An export with small files."""
    folder.mkdir()
    files, versions = [], {}
    for number in range(count):
        content, name = os.urandom(100), f"many-{number}.tar.gz"
        (folder / name).write_bytes(content)
        versions[str(number)] = {"name": "many", "version": str(number)}
        mapping = {"hashes": {"sha256": hashlib.sha256(content).hexdigest()}, "last_modified": "2026-11-29T02:59:32Z"}
        entry = {"type": "releasefile", "projectname": "many", "version": str(number), "relpath": name, "entrymapping": mapping}
        files.append(entry)
    index = {"indexconfig": {"type": "stage"}, "projects": {"many": versions}, "files": files}
    dump = {"dumpversion": "2", "users": {"ann": {}}, "indexes": {"ann/dev": index}}
    (folder / "dataindex.json").write_text(json.dumps(dump))
    return folder
