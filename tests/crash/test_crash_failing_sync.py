"""A sync that fails is final: the server says so and ends, and the next one finds a whole log."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.crash.uploaders import nothing_is_wrong
from tests.fakes.live_server import LiveServer, server_environment, twistd_command
from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import in_reactor

PROGRAM = Path(__file__).parent / "failing_sync.py"


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
    nothing_is_wrong(server.serverdir)
    _start(server, upstream, fail_when)
    assert _status(server, "here") == _status(server, "new") == 200


@in_reactor
async def test_a_failed_sync_ends_the_server_with_a_message(server: LiveServer, upstream: FakeUpstream, tmp_path: Path) -> None:
    for project in ("here", "new"):
        upstream.add_project(project, {f"{project}-1.0.tar.gz": project.encode()})
    await deferToThread(_fail_and_recover, server, upstream, tmp_path / "fail-now")
