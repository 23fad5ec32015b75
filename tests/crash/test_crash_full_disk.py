"""A disk that runs full under a real server: mirrors pass on what cannot be kept, private changes are refused clearly, and all is
well once there is room.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urljoin

import attrs
import pytest
from twisted.internet.threads import deferToThread

from tests.crash.uploaders import nothing_is_wrong
from tests.fakes.live_server import LiveServer, eventually
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, wheel_name
from tests.in_reactor import in_reactor
from tests.live.installers import Pip

JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
MEGABYTE = 1 << 20


class FullDisk(Protocol):
    """A disk that can be filled."""

    folder: Path

    def fill(self, server: LiveServer) -> None:
        """Leave no room."""

    def free(self, server: LiveServer) -> None:
        """Make room."""


@attrs.define
class SmallFileSystem:
    """A file system in memory with room for 8 MB; needs the right to mount."""

    folder: Path

    def fill(self, server: LiveServer) -> None:
        """Put a file there that takes what is left."""
        with (self.folder / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def free(self, server: LiveServer) -> None:
        """Remove it."""
        (self.folder / "filler").unlink()


@attrs.define
class SmallFiles:
    """A process that may make no file longer, which the system refuses much as it refuses to use more room."""

    folder: Path

    def fill(self, server: LiveServer) -> None:
        """Allow no byte behind the first."""
        self._limit(server, 1)

    def free(self, server: LiveServer) -> None:
        """Allow any length."""
        self._limit(server, resource.RLIM_INFINITY)

    def _limit(self, server: LiveServer, length: int) -> None:
        assert server.process is not None
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (length, resource.RLIM_INFINITY))


@contextlib.contextmanager
def _small_file_system() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True, capture_output=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def _may_mount() -> bool:
    with contextlib.suppress(OSError, subprocess.CalledProcessError), _small_file_system():
        return True
    return False


WAYS = ["small files", *(["small file system"] if os.getuid() == 0 and _may_mount() else [])]


@pytest.fixture(params=WAYS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FullDisk]:
    if request.param == "small files":
        yield SmallFiles(tmp_path)
    else:
        with _small_file_system() as folder:
            yield SmallFileSystem(folder)


@pytest.fixture
def server(disk: FullDisk, tmp_path: Path) -> Iterator[LiveServer]:
    live = LiveServer(disk.folder / "data", tmp_path / "twistd.log")
    yield live
    live.end(signal.SIGKILL)


def _get(url: str, headers: Mapping[str, str] = JSON, method: str = "GET", content: bytes | None = None) -> tuple[int, bytes]:
    try:
        asked = urllib.request.Request(url, content, headers=dict(headers), method=method)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()
    except (OSError, ValueError) as broken:
        return 0, str(broken).encode()


def _page(server: LiveServer, project: str) -> tuple[int, dict[str, Any]]:
    status, body = _get(f"{server.simple}{project}/")
    return status, json.loads(body) if status == 200 else {"refusal": body.decode()}


def _put_user(server: LiveServer, name: str) -> tuple[int, str]:
    """Create a user, which is a private change."""
    login = {"X-Devpi-Auth": b64encode(b"root:").decode(), "Content-Type": "application/json"}
    status, body = _get(f"{server.url}/{name}", login, "PUT", b'{"password": "a long one"}')
    return status, body.decode()


def _file_path(server: LiveServer, project: str) -> str:
    file = _page(server, project)[1]["files"][0]
    return urljoin(f"{server.simple}{project}/", str(file["url"]))


def _file_is_whole(server: LiveServer, project: str) -> bool:
    status, page = _page(server, project)
    assert status == 200
    file = page["files"][0]
    status, body = _get(urljoin(f"{server.simple}{project}/", file["url"]))
    return status == 200 and hashlib.sha256(body).hexdigest() == file["hashes"]["sha256"]


def _run_full_and_recover(disk: FullDisk, server: LiveServer, upstream: FakeUpstream, target: Path) -> None:
    server.start("--upstream", upstream.index_url, "--disk-reserve", "1M", "--min-free", "0", "--workers", "1")
    eventually((server.serverdir / "running.json").exists)
    assert _file_is_whole(server, "here")
    assert _page(server, "other")[0] == 200
    disk.fill(server)
    status, first = _put_user(server, "alice")
    assert status == 507
    assert "cannot write to its disk now" in first
    status, refusal = _put_user(server, "bob")
    assert status == 507
    assert "Nothing was changed. Try again once its administrator has made room (twistpi du" in refusal
    for _ in range(2):
        for project in ("here", "new", "other"):
            assert _file_is_whole(server, project), f"{project}: what is here is served, and what cannot be kept is passed on"
    Pip("pip").install(target, server.simple, "new==1.0")
    status, body = _get(f"{server.url}/+ready")
    assert status == 503
    assert b"known in memory only" in body
    assert "log" in json.loads(_get(f"{server.url}/+status")[1])["result"]["failed-checks"]
    path = _file_path(server, "new")
    for headers, expected in (({"Range": "bytes=1000-1999"}, 206), ({}, 200)):
        status, body = _get(path, headers)
        assert (status, len(body)) == (expected, 1000 if headers else int(_get(path, method="HEAD")[1] or len(body)))
    assert _get(f"{path}.metadata")[0] == 200
    assert [name for _, _, names in os.walk(server.serverdir / "+files") for name in names if "here" not in name] == []
    disk.free(server)
    eventually(lambda: _get(f"{server.url}/+ready")[0] == 200)
    assert _put_user(server, "carol")[0] == 201
    users = json.loads(_get(f"{server.url}/", {"Accept": "application/json"})[1])["result"]
    assert {name for name in users if name != "root"} == {"carol", *(["alice"] if "is stored" in first else [])}
    eventually(lambda: _file_is_whole(server, "new") and len(list((server.serverdir / "+files").rglob("new-*.whl"))) == 1)
    assert server.process is not None
    assert server.process.poll() is None
    server.end()
    assert "Traceback" not in server.told()
    nothing_is_wrong(server.serverdir)


@in_reactor
async def test_a_full_disk_turns_the_cache_into_a_pass_through_and_recovers(
    disk: FullDisk, server: LiveServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    for project in ("here", "new", "other"):
        wheel = make_wheel(project, "1.0", payload=os.urandom(MEGABYTE))
        upstream.add_project(project, {wheel_name(project, "1.0"): wheel})
    await deferToThread(_run_full_and_recover, disk, server, upstream, tmp_path / "installed")
