"""The process: in the foreground and as a daemon, refused and stopped, with its exit status and what it tells the user."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cli.deprived import deprived
from tests.fakes.live_server import PATIENCE, ROOT, LiveServer, eventually, server_environment, twistd_command
from tests.fakes.ports import free_port
from twistpi.changelog.disk import Disk
from twistpi.server.node import read_running
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage

UPSTREAM = "http://127.0.0.1:9/simple/"
"""Nobody is there, and nobody asks for it."""
TWISTPI = "from twistpi.cli.main import main; main()"


def _run(command: list[str], cwd: Path, patience: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=server_environment(), capture_output=True, text=True, timeout=patience, check=False
    )


def _twistpi(*words: str) -> subprocess.CompletedProcess[str]:
    return _run([sys.executable, "-c", TWISTPI, *words], ROOT)


def _status(url: str) -> int:
    with urllib.request.urlopen(url, timeout=60) as answer:
        status: int = answer.status
        return status


def _refused(folder: Path, *words: str) -> str:
    """What ``twistd`` says, on either stream, of a server that it does not start."""
    done = _run(twistd_command("--nodaemon", "--pidfile=", "twistpi", "--port", "0", *words), folder)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A server directory that no server runs on."""
    settings = Settings(serverdir=str(tmp_path / "data"), upstream=UPSTREAM)
    Storage.open(settings, lambda: datetime.now(UTC), Disk()).close()
    return tmp_path / "data"


def test_an_empty_directory_becomes_a_server_that_stops_when_told(server: LiveServer, tmp_path: Path) -> None:
    config, log = tmp_path / "twistpi.toml", tmp_path / "access.log"
    config.write_text(f'upstream = "{UPSTREAM}"\nno-root-pypi = false\n')
    server.start("--access-log", str(log), environment={"TWISTPI_CONFIG": str(config), "TWISTPI_PROT": "1"})
    assert _status(f"{server.url}/") == 200
    assert (server.serverdir / "node.json").exists()
    running = read_running(str(server.serverdir))
    assert running is not None
    assert server.process is not None
    assert (running.pid, running.addresses) == (server.process.pid, (f"{server.url}/",))
    assert stat.S_IMODE((server.serverdir / "changelog").stat().st_mode) == 0o700
    checked = _twistpi("check", "--serverdir", str(server.serverdir))
    assert checked.returncode == 0, checked.stdout
    assert "all is well" in checked.stdout
    assert server.end(signal.SIGTERM) == -signal.SIGTERM
    assert read_running(str(server.serverdir)) is None
    assert "Stopped." in server.told()
    assert "Traceback" not in server.told()
    assert "TWISTPI_PROT is no setting (did you mean TWISTPI_PORT?)" in server.told()
    assert '"GET / HTTP/1.1" 200' in log.read_text()
    assert "GET /" not in server.told()
    entry = json.loads(_twistpi("log", "--serverdir", str(server.serverdir), "--json").stdout)
    assert [change["kind"] for change in entry["changes"]] == ["LogStarted", "UserCreated", "IndexCreated"]
    assert entry["changes"][2]["config"]["mirror_url"] == UPSTREAM


def test_serve_is_the_same_in_the_foreground(server: LiveServer, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWISTPI, "serve"]
    server.program = command
    server.start("--upstream", UPSTREAM, "--trusted-proxy", "10.0.0.0/8", "--trusted-proxy=::1", "--offline")
    running = read_running(str(server.serverdir))
    assert running is not None
    assert running.settings == {"trusted-proxy": ["10.0.0.0/8", "::1/128"], "offline": ["true"]}
    second = _run([*command, "--serverdir", str(server.serverdir)], tmp_path)
    assert (second.returncode, (second.stdout + second.stderr).count("another process uses it")) == (1, 1)
    assert server.end(signal.SIGTERM) == -signal.SIGTERM
    taken = _run([*command, "--serverdir", str(server.serverdir), "--listen", "unix:/nowhere/x"], tmp_path)
    assert (taken.returncode, (taken.stdout + taken.stderr).count("is not possible")) == (1, 1)
    wrong = _run([*command, "--prot", "4040"], tmp_path)
    assert (wrong.returncode, "--port" in wrong.stderr, len(wrong.stderr.splitlines()) < 6) == (2, True, True)


def test_a_second_process_is_refused_at_once_and_clearly(server: LiveServer, tmp_path: Path) -> None:
    server.start("--upstream", UPSTREAM)
    assert "another process uses it; stop that one first" in _refused(tmp_path, "--serverdir", str(server.serverdir))
    assert _status(f"{server.url}/") == 200


def test_a_directory_that_cannot_be_used_is_refused_and_nothing_touched(tmp_path: Path) -> None:
    serverdir = tmp_path / "data"
    serverdir.mkdir()
    (serverdir / "letter.txt").write_text("hello")
    assert "it is not empty and has no node.json" in _refused(tmp_path, "--serverdir", str(serverdir))
    assert os.listdir(serverdir) == ["letter.txt"]
    assert (serverdir / "letter.txt").read_text() == "hello"


def test_a_server_is_not_started_by_a_user_who_may_not_use_the_directory(made: Path, tmp_path: Path) -> None:
    command = deprived(made, twistd_command("--nodaemon", "--pidfile=", "twistpi", "--serverdir", str(made), "--port", "0"))
    for path, mode in ((made / "changelog", 0), (made / "view.sqlite", 0o444), (made, 0)):
        before = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode)
        done = _run(command, tmp_path)
        path.chmod(before)
        assert (done.returncode, done.stdout) == (1, ""), path
        assert len(done.stderr.splitlines()) == 1
        assert f"Permission denied: {made}" in done.stderr


def test_a_secret_that_others_can_read_is_told_in_the_terminal_that_a_daemon_is_started_from(made: Path, tmp_path: Path) -> None:
    (made / "secret").chmod(0o644)
    daemon = ("--pidfile", str(tmp_path / "twistd.pid"), "--logfile", str(tmp_path / "daemon.log"))
    done = _run(twistd_command(*daemon, "twistpi", "--serverdir", str(made), "--port", "0"), tmp_path)
    assert done.returncode == 1
    assert f"{made / 'secret'} cannot be used: others than its owner can use it (mode 0644); chmod 600 it" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_damaged_changelog_stops_the_start_and_nothing_is_touched(made: Path, tmp_path: Path) -> None:
    segment = next((made / "changelog").iterdir())
    damaged = segment.read_bytes().replace(b"127.0.0.1:9", b"127.0.0.1:8")
    segment.write_bytes(damaged)
    told = _refused(tmp_path, "--serverdir", str(made))
    assert f"The changelog is damaged at serial 1, segment {segment.name}, offset 0" in told
    assert segment.read_bytes() == damaged
    checked = _twistpi("check", "--serverdir", str(made))
    assert checked.returncode == 1
    assert "WRONG: The changelog is damaged at serial 1" in checked.stdout


def test_a_changelog_that_is_gone_is_refused(made: Path, tmp_path: Path) -> None:
    (made / "changelog").rename(tmp_path / "changelog")
    assert "its changelog lost entries that were acknowledged" in _refused(tmp_path, "--serverdir", str(made))
    (made / "view.sqlite").unlink()
    for _ in range(2):
        assert "its changelog is empty, though it once was not" in _refused(tmp_path, "--serverdir", str(made))


def test_a_port_in_use_is_told_with_an_exit_status(server: LiveServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["--serverdir", str(server.serverdir), "--upstream", UPSTREAM, "--port", str(port)]
        told = _refused(tmp_path, *words)
        assert told.count(f"Listening at tcp:{port}:interface=127.0.0.1 is not possible") == 1
        assert "Address already in use. Stop what listens there" in told
        log = tmp_path / "daemon.log"
        daemon = _run(twistd_command("--pidfile", str(tmp_path / "pid"), "--logfile", str(log), "twistpi", *words), tmp_path)
        assert daemon.returncode == 1
        assert "An error has occurred" in daemon.stderr
        assert log.read_text().count("is not possible") == 1
        foreground = _run(twistd_command("--nodaemon", "--pidfile=", "--logfile", str(log), "twistpi", *words), tmp_path)
        assert foreground.stderr.startswith("twistpi: Listening at ")
        # The daemon tells its parent first, and cleans up then.
        eventually(lambda: not (tmp_path / "pid").exists())


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Path]:
    """The pidfile of a daemon; the process in it is stopped in the end."""
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
    eventually(lambda: not daemon.exists())
    again = _run(twistd_command("--pidfile", str(daemon), "--logfile", str(tmp_path / "daemon.log"), *words), tmp_path)
    assert again.returncode == 0, again.stderr
    assert _status(f"http://127.0.0.1:{port}/") == 200


def test_any_endpoint_can_be_listened_at_and_several_of_them_with_a_limit_for_bodies(server: LiveServer, tmp_path: Path) -> None:
    path = tmp_path / "twistpi.socket"
    port = free_port()
    places = ("--listen", f"tcp:{port}:interface=127.0.0.1", "--listen", f"unix:{path}")
    server.start("--upstream", UPSTREAM, "--max-upload-size", "1K", *places)
    assert _status(f"http://127.0.0.1:{port}/") == 200
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    for length, status in ((1024, 400), (1025, 413), (200_000, 413)):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"{server.url}/root/pypi/", data=bytes(length), timeout=60)
        assert refusal.value.code == status


def test_an_endpoint_that_cannot_be_is_refused(tmp_path: Path) -> None:
    told = _refused(tmp_path, "--serverdir", str(tmp_path / "data"), "--listen", "pigeon:3141")
    assert "The setting listen is 'pigeon:3141'" in told
    assert not (tmp_path / "data").exists()


def test_a_log_level_silences_what_is_less_important(server: LiveServer, tmp_path: Path) -> None:
    port = free_port()
    server.spawn("--upstream", UPSTREAM, "--log-level", "warn", "--listen", f"tcp:{port}:interface=127.0.0.1")

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return _status(f"http://127.0.0.1:{port}/") == 200
        return False

    eventually(answers)
    server.end()
    assert "#info" not in server.told().split("reactor class")[1]


def test_check_finds_what_is_wrong(made: Path) -> None:
    with contextlib.closing(sqlite3.connect(made / "view.sqlite")) as view, view:
        view.execute("UPDATE user SET name = 'toor'")
    (made / "+files").mkdir(exist_ok=True)
    (made / "+files" / "stranger").write_text("x")
    wrong = _twistpi("check", "--serverdir", str(made))
    assert wrong.returncode == 1
    assert "WRONG: the view has" in wrong.stdout
    assert "stranger" in wrong.stdout


def test_commands_refuse_a_directory_that_is_none(tmp_path: Path) -> None:
    for command in ("log", "check"):
        done = _twistpi(command, "--serverdir", str(tmp_path / "nothing"))
        assert done.returncode == 1
        assert "twistpi init --serverdir" in done.stderr


def test_the_commands_tell_version_and_settings() -> None:
    assert _twistpi("--version").stdout.startswith("twistpi ")
    assert "request-timeout" in _twistpi("settings").stdout


def test_log_follows_what_is_written(made: Path, server: LiveServer) -> None:
    # As in the foreground of a terminal: what runs in the background of a shell is deaf to Ctrl-C.
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from twistpi.cli.main import main; main()"
    command = [sys.executable, "-c", script, "log", "--serverdir", str(made), "--json", "--follow", "--after", "0"]
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
