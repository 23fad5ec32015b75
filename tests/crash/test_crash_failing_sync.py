"""A sync that fails is final: the server says so and ends, and the next one finds a whole log."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.fakes.live_server import LiveServer, server_environment, twistd_command
from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import in_reactor, wait_for
from twistpi.cli.check import check

PROGRAM = Path(__file__).parent / "failing_sync.py"


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    fake = FakeUpstream(reactor).start()
    for project in ("here", "new"):
        fake.add_project(project, {f"{project}-1.0.tar.gz": project.encode()})
    yield fake
    wait_for(Deferred.fromCoroutine(fake.stop()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path / "data", tmp_path / "twistd.log")
    yield live
    if live.process is not None:
        live.process.kill()
        live.process.wait()


def _start(server: LiveServer, upstream: FakeUpstream, fail_when: Path) -> None:
    settings = {
        "TWISTPI_SERVERDIR": str(server.serverdir), "TWISTPI_PORT": "0", "TWISTPI_UPSTREAM": upstream.index_url,
        "TWISTPI_REQUEST_TIMEOUT": "60",
    }  # fmt: skip
    with server.log.open("wb") as log:
        server.process = subprocess.Popen(
            twistd_command("--nodaemon", "--pidfile=", "--python", str(PROGRAM)),
            stdout=log, stderr=log, cwd=server.log.parent, env={**server_environment(), **settings, "FAIL_WHEN": str(fail_when)},
        )  # fmt: skip
    server.wait_until_it_answers()


def _status(server: LiveServer, project: str) -> int:
    try:
        with urllib.request.urlopen(f"{server.simple}{project}/", timeout=60) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as refusal:
        return refusal.code
    except OSError:
        return 0


def _fail_and_recover(server: LiveServer, upstream: FakeUpstream, fail_when: Path) -> None:
    _start(server, upstream, fail_when)
    assert _status(server, "here") == 200
    fail_when.touch()
    assert _status(server, "new") in (0, 500), "what is not on disk is not answered"
    assert server.process is not None
    assert server.process.wait(180) == 1
    assert "what was written may be lost, so the server stops" in server.told()
    fail_when.unlink()
    assert [finding.text for finding in check(str(server.serverdir), lambda _what, _done, _total: None) if finding.wrong] == []
    _start(server, upstream, fail_when)
    assert _status(server, "here") == _status(server, "new") == 200


@in_reactor
async def test_a_failed_sync_ends_the_server_with_a_message(server: LiveServer, upstream: FakeUpstream, tmp_path: Path) -> None:
    await deferToThread(_fail_and_recover, server, upstream, tmp_path / "fail-now")
