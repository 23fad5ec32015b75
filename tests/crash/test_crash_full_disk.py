"""A disk that runs full under a real server: writes are refused clearly, reads go on, and all is well once there is room."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urljoin

import attrs
import pytest
from twisted.internet.threads import deferToThread

from tests.crash.uploaders import nothing_is_wrong
from tests.fakes.live_server import PATIENCE, LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, wheel_name
from tests.in_reactor import in_reactor

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


def _get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=JSON), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()
    except (OSError, ValueError) as broken:
        return 0, str(broken).encode()


def _page(server: LiveServer, project: str) -> tuple[int, dict[str, Any]]:
    status, body = _get(f"{server.simple}{project}/")
    return status, json.loads(body) if status == 200 else {"refusal": body.decode()}


def _file_is_whole(server: LiveServer, project: str) -> bool:
    status, page = _page(server, project)
    assert status == 200
    file = page["files"][0]
    status, body = _get(urljoin(f"{server.simple}{project}/", file["url"]))
    return status == 200 and hashlib.sha256(body).hexdigest() == file["hashes"]["sha256"]


def _run_full_and_recover(disk: FullDisk, server: LiveServer, upstream: FakeUpstream) -> None:
    server.start("--upstream", upstream.index_url)
    assert _file_is_whole(server, "here")
    assert _page(server, "other")[0] == 200
    disk.fill(server)
    for _ in range(3):
        status, refusal = _page(server, "new")
        assert status == 507
        assert "cannot write to its disk now" in refusal["refusal"]
        assert _file_is_whole(server, "here"), "what is here is served on"
        assert _page(server, "other")[0] == 200
        assert not _file_is_whole(server, "other"), "a file that cannot be kept is refused"
    disk.free(server)
    until = time.monotonic() + PATIENCE
    while not (_page(server, "new")[0] == 200 and _file_is_whole(server, "new") and _file_is_whole(server, "other")):
        assert time.monotonic() < until, "there is room again"
        time.sleep(0.2)
    assert server.process is not None
    assert server.process.poll() is None
    server.end()
    assert "Traceback" not in server.told()
    nothing_is_wrong(server.serverdir)


@in_reactor
async def test_a_full_disk_refuses_writes_serves_reads_and_recovers(
    disk: FullDisk, server: LiveServer, upstream: FakeUpstream
) -> None:
    for project in ("here", "new", "other"):
        wheel = make_wheel(project, "1.0", payload=os.urandom(MEGABYTE))
        upstream.add_project(project, {wheel_name(project, "1.0"): wheel})
    await deferToThread(_run_full_and_recover, disk, server, upstream)
