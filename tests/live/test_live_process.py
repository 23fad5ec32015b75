"""The process: in the foreground and as a daemon, refused and stopped, with exit status and words for whoever started it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.live_server import PATIENCE, ROOT, LiveServer, server_environment, twistd_command
from tests.fakes.ports import free_port

UPSTREAM = "http://127.0.0.1:9/simple/"
"""Nobody is there, and nobody asks for it."""


def _run(command: list[str], cwd: Path, patience: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=server_environment(), capture_output=True, text=True, timeout=patience, check=False
    )


def _twistpi(*words: str) -> subprocess.CompletedProcess[str]:
    script = "from twistpi.cli.main import main; main()"
    return _run([sys.executable, "-c", script, *words], ROOT)


def _wait_for(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    until = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def _status(url: str) -> int:
    with urllib.request.urlopen(url, timeout=60) as answer:
        status: int = answer.status
        return status


def test_an_empty_directory_becomes_a_server_that_stops_when_told(server: LiveServer) -> None:
    server.start("--upstream", UPSTREAM)
    assert _status(f"{server.url}/") == 200
    assert (server.serverdir / "node.json").exists()
    assert server.end(signal.SIGTERM) == -signal.SIGTERM
    assert "Stopped." in server.told()
    assert "Traceback" not in server.told()
    told = _twistpi("log", "--serverdir", str(server.serverdir), "--json")
    entry = json.loads(told.stdout)
    assert [change["kind"] for change in entry["changes"]] == ["LogStarted", "UserCreated", "IndexCreated"]
    assert entry["changes"][2]["config"]["mirror_url"] == UPSTREAM


def test_the_index_can_be_left_out(server: LiveServer) -> None:
    server.start("--no-root-pypi")
    server.end()
    told = _twistpi("log", "--serverdir", str(server.serverdir))
    assert "UserCreated user=root" in told.stdout
    assert "IndexCreated" not in told.stdout


def test_another_upstream_takes_effect_and_is_logged_once(server: LiveServer) -> None:
    server.start("--upstream", UPSTREAM)
    server.end()
    for _ in range(2):
        server.start("--upstream", "http://127.0.0.1:10/simple/")
        server.end()
    server.start()
    server.end()
    told = _twistpi("log", "--serverdir", str(server.serverdir), "--after", "1")
    assert told.stdout.count("IndexModified") == 1
    assert "127.0.0.1:10" in told.stdout


def test_a_second_process_is_refused_at_once_and_clearly(server: LiveServer, tmp_path: Path) -> None:
    server.start("--upstream", UPSTREAM)
    for words in (["--nodaemon"], []):
        second = _run(
            twistd_command(*words, "--pidfile=", "twistpi", "--serverdir", str(server.serverdir), "--port", "0"), tmp_path
        )
        assert second.returncode == 1
        assert "another process uses it; stop that one first" in second.stderr
        assert "Traceback" not in second.stderr
    assert _status(f"{server.url}/") == 200


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("letter.txt", "hello", "it is not empty and has no node.json"),
        ("node.json", '{"format": 99}', "it has the format 99"),
        ("node.json", "{", "node.json is damaged"),
    ],
)
def test_a_directory_that_cannot_be_used_is_refused_and_nothing_touched(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    serverdir = tmp_path / "data"
    serverdir.mkdir()
    (serverdir / name).write_text(content)
    done = _run(twistd_command("--nodaemon", "--pidfile=", "twistpi", "--serverdir", str(serverdir), "--port", "0"), tmp_path)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert os.listdir(serverdir) == [name]
    assert (serverdir / name).read_text() == content


def test_a_secret_that_others_can_read_is_told_in_the_terminal_that_a_daemon_is_started_from(
    server: LiveServer, tmp_path: Path
) -> None:
    server.start("--upstream", UPSTREAM)
    server.end()
    secret = server.serverdir / "secret"
    secret.chmod(0o644)
    daemon = ("--pidfile", str(tmp_path / "twistd.pid"), "--logfile", str(tmp_path / "daemon.log"))
    done = _run(twistd_command(*daemon, "twistpi", "--serverdir", str(server.serverdir), "--port", "0"), tmp_path)
    assert done.returncode == 1
    assert f"{secret} cannot be used: others than its owner can use it (mode 0644); chmod 600 it" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_damaged_changelog_stops_the_start_and_nothing_is_touched(server: LiveServer, tmp_path: Path) -> None:
    server.start("--upstream", UPSTREAM)
    server.end()
    segment = next((server.serverdir / "changelog").iterdir())
    damaged = segment.read_bytes().replace(b"127.0.0.1:9", b"127.0.0.1:8")
    segment.write_bytes(damaged)
    done = _run(
        twistd_command("--nodaemon", "--pidfile=", "twistpi", "--serverdir", str(server.serverdir), "--port", "0"), tmp_path
    )
    assert done.returncode == 1
    assert f"The changelog is damaged at serial 1, segment {segment.name}, offset 0" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert segment.read_bytes() == damaged
    checked = _twistpi("check", "--serverdir", str(server.serverdir))
    assert checked.returncode == 1
    assert "WRONG: The changelog is damaged at serial 1" in checked.stdout


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        (["changelog"], "its changelog lost entries that were acknowledged"),
        (["changelog", "view.sqlite"], "its changelog is empty, though it once was not"),
    ],
)
def test_a_changelog_that_is_gone_is_refused(server: LiveServer, tmp_path: Path, lost: list[str], told: str) -> None:
    server.start("--upstream", UPSTREAM)
    server.end()
    for name in lost:
        (server.serverdir / name).rename(tmp_path / name)
    words = ["--nodaemon", "--pidfile=", "twistpi", "--serverdir", str(server.serverdir), "--port", "0"]
    for _ in range(2):
        done = _run(twistd_command(*words), tmp_path)
        assert done.returncode == 1
        assert told in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr


def test_a_port_in_use_is_told_with_an_exit_status(server: LiveServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["twistpi", "--serverdir", str(server.serverdir), "--upstream", UPSTREAM, "--port", str(port)]
        done = _run(twistd_command("--nodaemon", "--pidfile=", *words), tmp_path)
        assert done.returncode == 1
        assert f"Listening at tcp:{port}:interface=127.0.0.1 is not possible" in done.stdout + done.stderr
        assert "Address already in use. Stop what listens there" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        log = tmp_path / "daemon.log"
        daemon = _run(twistd_command("--pidfile", str(tmp_path / "pid"), "--logfile", str(log), *words), tmp_path)
        assert daemon.returncode == 1
        assert "An error has occurred" in daemon.stderr
        assert "is not possible" in log.read_text()
        # The daemon tells its parent first, and cleans up then.
        _wait_for(lambda: not (tmp_path / "pid").exists())


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Path]:
    """The pidfile of a daemon; whoever is in it is stopped in the end."""
    pidfile = tmp_path / "twistpi.pid"
    yield pidfile
    if pidfile.exists():
        os.kill(int(pidfile.read_text()), signal.SIGKILL)


def test_as_a_daemon_it_holds_the_directory_and_stops_by_its_pidfile(tmp_path: Path, daemon: Path) -> None:
    port = free_port()
    words = ["twistpi", "--serverdir", "data", "--upstream", UPSTREAM, "--port", str(port)]
    started = _run(twistd_command("--pidfile", str(daemon), "--logfile", str(tmp_path / "daemon.log"), *words), tmp_path)
    assert started.returncode == 0, started.stderr
    # twistd returned, so everything is open and the port is listened at.
    assert _status(f"http://127.0.0.1:{port}/") == 200
    second = _run(twistd_command("--pidfile", str(tmp_path / "second.pid"), *words), tmp_path)
    assert second.returncode == 1
    assert "another process uses it" in second.stderr
    os.kill(int(daemon.read_text()), signal.SIGTERM)
    _wait_for(lambda: not daemon.exists())
    again = _run(twistd_command("--pidfile", str(daemon), "--logfile", str(tmp_path / "daemon.log"), *words), tmp_path)
    assert again.returncode == 0, again.stderr
    assert _status(f"http://127.0.0.1:{port}/") == 200


def test_any_endpoint_can_be_listened_at_and_several_of_them(server: LiveServer, tmp_path: Path) -> None:
    path = tmp_path / "twistpi.socket"
    port = free_port()
    server.start("--upstream", UPSTREAM, "--listen", f"tcp:{port}:interface=127.0.0.1", "--listen", f"unix:{path}")
    assert _status(f"http://127.0.0.1:{port}/") == 200
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("endpoint", ["pigeon:3141", "carrier-pigeon:3141", "tcp:http", "ssl:3141:privateKey=/nowhere.pem"])
def test_an_endpoint_that_cannot_be_is_refused(tmp_path: Path, endpoint: str) -> None:
    words = ["twistpi", "--serverdir", str(tmp_path / "data"), "--listen", endpoint]
    done = _run(twistd_command("--nodaemon", "--pidfile=", *words), tmp_path)
    assert done.returncode == 1
    assert f"The setting listen is '{endpoint}'" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "data").exists()


def test_a_body_that_is_too_large_is_refused_and_one_that_is_not_is_looked_at(server: LiveServer) -> None:
    server.start("--upstream", UPSTREAM, "--max-upload-size", "1K")
    for length, status in ((1024, 400), (1025, 413), (200_000, 413)):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"{server.url}/root/pypi/", data=bytes(length), timeout=60)
        assert refusal.value.code == status


def test_requests_are_logged_where_a_file_is_named_for_them(server: LiveServer, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    server.start("--upstream", UPSTREAM, "--access-log", str(log))
    assert _status(f"{server.url}/") == 200
    server.end()
    assert '"GET / HTTP/1.1" 200' in log.read_text()
    assert "GET /" not in server.told()


def test_a_log_level_silences_what_is_less_important(server: LiveServer, tmp_path: Path) -> None:
    port = free_port()
    server.spawn("--upstream", UPSTREAM, "--log-level", "warn", "--listen", f"tcp:{port}:interface=127.0.0.1")

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return _status(f"http://127.0.0.1:{port}/") == 200
        return False

    _wait_for(answers)
    server.end()
    assert "#info" not in server.told().split("reactor class")[1]


def test_settings_come_from_file_and_environment_too(server: LiveServer, tmp_path: Path) -> None:
    config = tmp_path / "twistpi.toml"
    config.write_text(f'upstream = "{UPSTREAM}"\nno-root-pypi = false\n')
    server.start(environment={"TWISTPI_CONFIG": str(config), "TWISTPI_PROT": "1"})
    server.end()
    assert "TWISTPI_PROT is no setting (did you mean TWISTPI_PORT?)" in server.told()
    assert UPSTREAM in _twistpi("log", "--serverdir", str(server.serverdir), "--json").stdout


def test_check_is_content_with_a_running_server_and_finds_what_is_wrong(server: LiveServer) -> None:
    server.start("--upstream", UPSTREAM)
    running = _twistpi("check", "--serverdir", str(server.serverdir))
    assert running.returncode == 0, running.stdout
    assert "all is well" in running.stdout
    server.end()
    with contextlib.closing(sqlite3.connect(server.serverdir / "view.sqlite")) as view, view:
        view.execute("UPDATE user SET name = 'toor'")
    (server.serverdir / "+files" / "stranger").write_text("x")
    wrong = _twistpi("check", "--serverdir", str(server.serverdir))
    assert wrong.returncode == 1
    assert "WRONG: the view has" in wrong.stdout
    assert "stranger" in wrong.stdout


def test_commands_refuse_a_directory_that_is_none(tmp_path: Path) -> None:
    for command in ("log", "check"):
        done = _twistpi(command, "--serverdir", str(tmp_path / "nothing"))
        assert done.returncode == 1
        assert "start twistpi once" in done.stderr


def test_the_commands_tell_version_and_settings() -> None:
    assert _twistpi("--version").stdout.startswith("twistpi ")
    assert "request-timeout" in _twistpi("settings").stdout


def test_log_follows_what_is_written(server: LiveServer) -> None:
    server.start("--upstream", UPSTREAM)
    server.end()
    # As in the foreground of a terminal: what runs in the background of a shell is deaf to Ctrl-C.
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from twistpi.cli.main import main; main()"
    command = [sys.executable, "-c", script, "log", "--serverdir", str(server.serverdir), "--json", "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=server_environment(), cwd=ROOT, text=True) as following:
        assert following.stdout is not None
        try:
            assert json.loads(following.stdout.readline())["serial"] == 1
            server.start("--upstream", "http://127.0.0.1:10/simple/")
            assert json.loads(following.stdout.readline())["serial"] == 2
            following.send_signal(signal.SIGINT)
            assert following.wait(PATIENCE) == 0
        finally:
            following.kill()
