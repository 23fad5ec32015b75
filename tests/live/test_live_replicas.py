"""A primary, a replica of it, and a replica of that, as processes: what an administrator sees of them, and what users do."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.soaking import are_the_same, status_of, until
from tests.crash.uploaders import Uploader
from tests.fakes.distributions import wheel_of
from tests.fakes.live_server import PATIENCE, LiveServer
from tests.fakes.ports import free_port
from tests.live.stages import make_stage
from tests.live.test_live_commands import CHEAP, twistpi

DEV = "jonathan/dev"
_STOPPED = (0, -signal.SIGTERM)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[LiveServer]]:
    made = [LiveServer(tmp_path / name, tmp_path / f"{name}.log") for name in ("primary", "near", "far", "stranger")]
    yield made
    for server in made:
        server.end(signal.SIGKILL)


def get(url: str) -> tuple[int, str, Any]:
    """Status, body and headers of an answer."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def test_the_walk_of_an_administrator_with_two_replicas_in_a_chain(servers: list[LiveServer]) -> None:
    primary, near, far, stranger = servers
    port = free_port()
    primary.start("--port", str(port), "--offline", environment=CHEAP)
    make_stage(primary, DEV, bases="")
    _upload(primary, "early")
    secret = primary.serverdir / "secret"
    primary.end()

    # A new replica whose primary is away answers 503 and goes on trying; its status tells, to programs and to people.
    near_port = str(free_port())
    near.start("--port", near_port, "--primary-url", f"http://127.0.0.1:{port}", "--secretfile", str(secret), environment=CHEAP)
    status, told, headers = get(f"{near.url}/{DEV}/+simple/early/")
    assert (status, headers["Retry-After"]) == (503, "2")
    assert "has nothing to serve yet" in told
    until(lambda: status_of(near)["replica-state"] == "unreachable", near.told)

    # The primary comes; the replica has everything, and so has a replica of the replica.
    primary.start("--port", str(port), "--offline", environment=CHEAP)
    until(lambda: get(f"{near.url}/{DEV}/+simple/early/")[0] == 200, near.told)
    far.start("--primary-url", near.url, "--secretfile", str(secret), environment=CHEAP)
    serial = _upload(primary, "later")
    told = twistpi(far, "status", "--wait", str(serial), "--timeout", "120")
    assert f"serial: {serial}" in told
    assert "state: following" in told
    assert "later-1.0-py3-none-any.whl" in get(f"{far.url}/{DEV}/+simple/later/")[1]
    facts = status_of(far)
    assert (facts["role"], facts["primary-url"], facts["lag-entries"], facts["lag-seconds"]) == ("REPLICA", near.url, 0, 0.0)
    identity = status_of(primary)["uuid"]
    assert status_of(near)["primary-uuid"] == status_of(far)["primary-uuid"] == identity
    said = get(f"{far.url}/+api")[2]
    assert (said["X-Devpi-Uuid"], said["X-Devpi-Primary-Uuid"]) == (facts["uuid"], identity)
    follower = status_of(primary)["polling_replicas"][status_of(near)["uuid"]]
    assert (follower["remote-ip"], follower["serial"], follower["is-streaming"]) == ("127.0.0.1", serial, True)

    # Without the secret nobody gets anything, and is told so.
    own = stranger.serverdir.parent / "other-secret"
    own.write_text("0123456789abcdef" * 4)
    own.chmod(0o600)
    stranger.start("--primary-url", f"http://127.0.0.1:{port}", "--secretfile", str(own), environment=CHEAP)
    until(lambda: "wrong secret" in str(status_of(stranger)["last-error"]), stranger.told)
    stranger.end()

    # The primary is gone, for as long as it takes: reading goes on, and a restart needs neither option nor primary.
    primary.end(signal.SIGKILL)
    until(lambda: status_of(near)["replica-state"] == "unreachable", near.told)
    assert near.end() in _STOPPED
    near.start("--port", near_port, environment=CHEAP)
    assert "later-1.0" in get(f"{near.url}/{DEV}/+simple/later/")[1]
    until(lambda: status_of(near)["replica-state"] == "unreachable", near.told)

    # It comes back, and everything goes on by itself.
    primary.start("--port", str(port), "--offline", environment=CHEAP)
    serial = _upload(primary, "last")
    until(lambda: status_of(far)["serial"] == serial, far.told)
    refusal = LiveServer(primary.serverdir, primary.log.with_suffix(".refused"))
    for server in (far, near, primary):
        assert server.end() in _STOPPED
        assert "Traceback" not in server.told()
    are_the_same(primary.serverdir, near.serverdir)
    are_the_same(primary.serverdir, far.serverdir)
    assert "role: replica (no server runs)" in twistpi(far, "status")

    # Nobody makes a replica of a primary by accident.
    refusal.spawn("--primary-url", far.url)
    assert refusal.process is not None
    assert refusal.process.wait(PATIENCE) == 1
    assert "twistpi resync" in refusal.told()


def _upload(server: LiveServer, project: str) -> int:
    """Upload a release; the serial that it got."""
    answer = Uploader(server, "jonathan").upload(DEV, wheel_of(project, "1.0"))
    assert answer.status == 200, answer
    return int(status_of(server)["serial"])
