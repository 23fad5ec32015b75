"""A real server process: what the settings of logins do to it, and how commands find it."""

from __future__ import annotations

import base64
import json
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.live_server import LiveServer
from twistpi.server.node import read_running

LOGIN = {"user": "root", "password": "verysecurepassword"}
WARNING = "root has a blank password"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path / "server", tmp_path / "log")
    yield server
    server.end()


def _ask(server: LiveServer, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(server.url + path, headers=headers, data=None if body is None else json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def _status_of(server: LiveServer, user: str, secret: str) -> Any:
    """What ``+api`` says of somebody with these credentials."""
    encoded = base64.b64encode(f"{user}:{secret}".encode()).decode()
    return _ask(server, "/+api", **{"X-Devpi-Auth": encoded})[1]["result"]["authstatus"]


def test_a_login_holds_as_long_as_the_settings_say_and_across_a_restart(server: LiveServer) -> None:
    settings = ("--no-root-pypi", "--bcrypt-cost=4", "--login-hours=2")
    server.start(*settings, environment={"TWISTPI_ROOT_PASSWD": LOGIN["password"]})
    assert WARNING not in server.told()
    assert LOGIN["password"] not in server.told()
    status, answer = _ask(server, "/+login", LOGIN)
    assert (status, answer["result"]["expiration"]) == (200, 7200)
    server.end()
    server.start(*settings)
    assert _status_of(server, "root", answer["result"]["password"]) == ["ok", "root", []]
    assert _status_of(server, "root", "login-forged." + "x" * 43) == ["noauth", "", []]


def test_every_start_warns_of_a_blank_password_with_which_one_can_log_in_here_but_not_through_a_proxy(server: LiveServer) -> None:
    blank = {**LOGIN, "password": ""}
    for _ in range(2):
        server.start("--no-root-pypi", "--bcrypt-cost=4")
        assert WARNING in server.told()
        assert _ask(server, "/+login", blank)[0] == 200
        status, answer = _ask(server, "/+login", blank, **{"X-Forwarded-For": "192.0.2.7"})
        assert status == 401
        assert "twistpi passwd root" in answer["message"]
        server.end()


def test_a_server_with_a_secret_file_that_others_can_read_does_not_start(server: LiveServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(64)))
    secret.chmod(0o644)
    server.spawn("--no-root-pypi", "--secretfile", str(secret))
    assert server.process is not None
    assert server.process.wait(180) != 0
    assert f"The secret file {secret} cannot be used: others than its owner can use it" in server.told()
    assert not server.serverdir.exists()
    secret.chmod(0o600)
    server.start("--no-root-pypi", "--secretfile", str(secret))


def test_a_running_server_says_where_it_answers_and_a_stopped_one_does_not(server: LiveServer) -> None:
    server.start("--no-root-pypi")
    running = read_running(str(server.serverdir))
    assert running is not None
    assert server.process is not None
    assert (running.pid, running.addresses) == (server.process.pid, (f"{server.url}/",))
    assert stat.S_IMODE((server.serverdir / "changelog").stat().st_mode) == 0o700
    server.end()
    assert read_running(str(server.serverdir)) is None
