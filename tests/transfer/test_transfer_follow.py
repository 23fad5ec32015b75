"""What follows a running devpi-server takes over every change, and asks for little where there is none."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.cli.commands import run
from twistpi.changelog.disk import Disk
from twistpi.cli.commands.common import now
from twistpi.cli.commands.last_look import waiting_for_the_end
from twistpi.http.blocking import BlockingClient
from twistpi.model.errors import BadRequest
from twistpi.model.releases import Release
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage
from twistpi.transfer.follower import Follower, Look
from twistpi.transfer.live_source import LiveSource
from twistpi.transfer.target import ServerTarget
from twistpi.transfer.web_reader import WebReader
from twistpi.view.read import Reader


@attrs.define(eq=False)
class Devpi:
    """What a devpi-server with one private index tells."""

    url: str = ""
    serial: int = 1
    users: dict[str, Any] = attrs.field(factory=dict)
    projects: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    """By name and version: version data."""
    files: dict[str, bytes] = attrs.field(factory=dict)
    asked: list[str] = attrs.field(factory=list)
    logins: int = 0
    broken: int = 0
    """How many answers to come are errors."""
    before: Callable[[str], object] = lambda path: None
    """Called with the path of each request."""

    def upload(self, filename: str, content: bytes, version: str, project: str = "demo", kind: str = "releasefile") -> str:
        """Have a file; its path below the index."""
        digest = hashlib.sha256(content).hexdigest()
        path = f"+f/{digest[:3]}/{digest[3:16]}/{filename}"
        self.files[f"/ann/dev/{path}"] = content
        data = self.projects.setdefault(project, {}).setdefault(version, {"name": project, "version": version, "+links": []})
        data["+links"] = [link for link in data["+links"] if not link["href"].endswith(f"/{filename}")]
        href = f"{self.url}/ann/dev/{path}"
        data["+links"].append({"rel": kind, "href": href, "hashes": {"sha256": digest}, "log": []})
        self.serial += 1
        return path

    def answer(self, path: str) -> object:
        """Return the result of a request for ``path``; None without one."""
        parts = path.strip("/").split("/")
        if parts == ["+api"]:
            return {}
        if parts == [""]:
            return self.users
        if parts == ["ann", "dev"]:
            return {"type": "stage", "projects": sorted(self.projects)}
        return self.projects.get(parts[2].partition("?")[0])


@pytest.fixture
def devpi() -> Iterator[Devpi]:
    """One with a release of two files, and documentation."""
    served = Devpi()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            served.logins += 1
            self.reply(200, b'{"result": {"password": "token"}}')

        def do_GET(self) -> None:
            served.asked.append(self.path)
            served.before(self.path)
            if served.broken:
                served.broken -= 1
                self.reply(503, b"")
            elif self.path in served.files:
                self.reply(200, served.files[self.path])
            else:
                result = served.answer(self.path)
                self.reply(404 if result is None else 200, json.dumps({"result": result}).encode())

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("X-Devpi-Serial", str(served.serial))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    served.users = {"ann": {"username": "ann", "email": "a@b.example", "indexes": {"dev": {"type": "stage", "title": "work"}}}}
    served.upload("demo-1.0.tar.gz", b"one", "1.0")
    served.upload("demo-1.0.zip", b"two", "1.0")
    served.upload("demo-1.0.doc.zip", b"docs", "1.0", kind="doczip")
    served.upload("other-1.0.tar.gz", b"other", "1.0", "other")
    yield served
    server.shutdown()
    server.server_close()


@attrs.define(eq=False)
class Followed:
    """What came of following."""

    reader: Reader
    told: list[Look | str] = attrs.field(factory=list)
    waited: list[float] = attrs.field(factory=list)
    last: Look | None = None

    def release(self, version: str, project: str = "demo") -> Release | None:
        return self.reader.release("ann/dev", project, version)

    def files(self, version: str = "1.0") -> dict[str, str | None]:
        """Names and digests of the distributions of a release."""
        release = self.release(version)
        assert release is not None
        return {file.known.link.filename: file.known.sha256 for file in release.files}


Step = Callable[[], object]


@pytest.fixture
def follow(tmp_path: Path, devpi: Devpi) -> Iterator[Callable[[Sequence[Step]], Followed]]:
    """Return what follows, has one step after the other happen while it waits, and then makes its last look."""
    settings = Settings(serverdir=str(tmp_path / "data"), no_root_pypi=True)
    time = itertools.count(step=100)
    with closing(BlockingClient()) as client, closing(Storage.open(settings, now, Disk())) as storage:
        followed = Followed(storage.view.reader)

        def log_in() -> WebReader:
            devpi.logins += 1
            return WebReader(client, devpi.url)

        def run(steps: Sequence[Step]) -> Followed:
            left = iter(steps)

            def wait(seconds: float) -> bool:
                followed.waited.append(seconds)
                step = next(left, None)
                if step is not None:
                    step()
                return step is None

            target = ServerTarget(storage.changelog, storage.view, storage.blobs, now)
            source = LiveSource(log_in, devpi.url, lambda: float(next(time)))
            followed.last = Follower(source, target, lambda: 0.0, wait, followed.told.append).run()
            return followed

        yield run


def nothing() -> None:
    """Nothing happens."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_was_uploaded_before_the_end_is_taken_at_the_end(devpi: Devpi, follow: Callable[..., Followed]) -> None:
    followed = follow([lambda: devpi.upload("demo-2.0.tar.gz", b"new", "2.0"), nothing])
    assert followed.files("2.0") == {"demo-2.0.tar.gz": sha256(b"new")}
    first, second = followed.told
    assert isinstance(first, Look)
    assert isinstance(second, Look)
    assert second.report.taken() == {"releases": 1, "files": 1}
    assert followed.last == second, "nothing was left to do at the end"
    assert followed.last.serial == str(devpi.serial)


def test_while_nothing_changes_only_the_serial_is_asked_for(devpi: Devpi, follow: Callable[..., Followed]) -> None:
    asked: list[int] = []
    follow([lambda: asked.append(len(devpi.asked)), nothing, nothing])
    assert devpi.asked[asked[0] :] == ["/+api"] * 4


def test_a_look_fetches_no_file_twice_and_leaves_the_other_server_alone(devpi: Devpi, follow: Callable[..., Followed]) -> None:
    paths: list[str] = []
    followed = follow([lambda: paths.append(devpi.upload("demo-2.0.tar.gz", b"new", "2.0"))])
    fetched = [path for path in devpi.asked if "/+f/" in path]
    assert len(fetched) == len(set(fetched)) == 5
    assert devpi.asked.count("/ann/dev/other?ignore_bases=") == 2
    assert min(followed.waited) >= 1.0


def test_what_is_overwritten_there_is_overwritten_here(devpi: Devpi, follow: Callable[..., Followed]) -> None:
    def overwrite() -> None:
        devpi.upload("demo-1.0.tar.gz", b"other bytes", "1.0")
        devpi.upload("demo-1.0.doc.zip", b"other docs", "1.0", kind="doczip")

    followed = follow([overwrite])
    assert followed.files() == {"demo-1.0.tar.gz": sha256(b"other bytes"), "demo-1.0.zip": sha256(b"two")}
    release = followed.release("1.0")
    assert release is not None
    assert [one.sha256 for one in release.attachments] == [sha256(b"other docs")]
    assert followed.last is not None
    assert followed.last.report.is_complete
    assert followed.last.report.taken() == {"removals": 1, "files": 1, "documentation": 1}


def test_what_is_removed_there_is_removed_here(devpi: Devpi, follow: Callable[..., Followed]) -> None:
    devpi.upload("demo-2.0.tar.gz", b"new", "2.0")

    def remove() -> None:
        del devpi.projects["other"], devpi.projects["demo"]["2.0"], devpi.projects["demo"]["1.0"]["+links"][1]
        devpi.serial += 1

    followed = follow([remove])
    assert followed.files() == {"demo-1.0.tar.gz": sha256(b"one")}
    assert followed.release("2.0") is None
    assert followed.reader.releases("ann/dev", "other") == []


def test_only_what_was_seen_there_is_removed_here(devpi: Devpi, follow: Callable[..., Followed]) -> None:
    follow([])
    del devpi.projects["other"]
    followed = follow([])
    assert followed.release("1.0", "other") is not None
    assert followed.last is not None
    assert (followed.last.report.bytes_taken, followed.last.report.taken()) == (0, {}), "what is here is not taken again"


def test_settings_that_change_there_change_here(devpi: Devpi, follow: Callable[..., Followed]) -> None:
    def change() -> None:
        devpi.users["ann"]["title"] = "Ann"
        del devpi.users["ann"]["email"]
        devpi.users["ann"]["indexes"]["dev"]["volatile"] = False
        devpi.users["bob"] = {"username": "bob"}
        devpi.serial += 1

    followed = follow([change])
    ann, index = followed.reader.user("ann"), followed.reader.index("ann/dev")
    assert ann is not None
    assert index is not None
    assert ann.config == {"title": "Ann"}
    assert (index.config["volatile"], index.config["title"]) == (False, "work")
    assert followed.reader.user("bob") is not None


def test_a_user_and_an_index_that_are_deleted_there_stay_and_are_named(devpi: Devpi, follow: Callable[..., Followed]) -> None:
    def delete() -> None:
        devpi.users.clear()
        devpi.serial += 1

    followed = follow([delete])
    assert followed.release("1.0") is not None
    assert followed.last is not None
    assert [remark.subject for remark in followed.last.report.remarks] == ["index ann/dev", "user ann"]
    assert followed.last.report.is_complete


def test_an_error_of_the_old_server_is_told_and_does_not_end_it(devpi: Devpi, follow: Callable[..., Followed]) -> None:
    def break_down() -> None:
        devpi.upload("demo-2.0.tar.gz", b"new", "2.0")
        devpi.broken = 1

    followed = follow([break_down, nothing])
    assert followed.told[1] == f"{devpi.url}/+api answered 503, and no X-Devpi-Serial; asked again in 60 seconds"
    assert followed.waited == [1.0, 60.0, 1.0]
    assert followed.files("2.0")


def test_what_could_not_be_taken_is_tried_again_at_the_end(devpi: Devpi, follow: Callable[..., Followed]) -> None:
    path = f"/ann/dev/{devpi.upload('demo-2.0.tar.gz', b'new', '2.0')}"
    kept = devpi.files.pop(path)
    followed = follow([lambda: devpi.files.update({path: kept})])
    assert followed.files("2.0")
    assert followed.last is not None
    assert followed.last.report.is_complete


def test_a_server_that_goes_on_taking_uploads_is_no_complete_import(devpi: Devpi, follow: Callable[..., Followed]) -> None:
    def upload(path: str) -> None:
        if path == "/ann/dev":
            devpi.upload(f"late-{len(devpi.asked)}.tar.gz", b"late", "3.0", "late")

    devpi.before = upload
    followed = follow([])
    assert followed.last is not None
    assert [remark.subject for remark in followed.last.report.remarks if remark.is_loss] == ["the old server"]


def test_a_login_is_renewed_before_it_ends(devpi: Devpi, follow: Callable[..., Followed]) -> None:
    follow([nothing] * 40)
    assert devpi.logins == 2


def test_an_old_server_that_is_none_ends_it_at_once(devpi: Devpi, follow: Callable[..., Followed]) -> None:
    devpi.broken = 1
    with pytest.raises(BadRequest, match="no X-Devpi-Serial"):
        follow([])


def test_a_signal_ends_the_wait() -> None:
    with waiting_for_the_end() as wait:
        assert not wait(0.0)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert wait(60.0)
        assert wait(60.0), "from then on the last look is due"


@pytest.mark.parametrize(
    "words", [("--simple", "http://x.example", "--into", "a/b"), ("--live", "http://x.example", "--dry-run")]
)
def test_what_cannot_be_followed_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    result = run(tmp_path / "data", "import", "--follow", *words)
    assert result.exit_code == 2
    assert "--follow goes with --live, and without --dry-run" in result.output
