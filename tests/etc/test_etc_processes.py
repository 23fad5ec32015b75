"""Real supervisord, uWSGI and systemd's socket activation start a real server, with what ``twistpi gen-config`` writes."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from tests.etc.places import changed, deployment, environment, written
from tests.etc.talking import ask, basic, upload_form, wait_until
from tests.fakes.ports import free_port
from tests.fakes.wheels import make_wheel, wheel_name
from tests.live.installers import program
from twistpi.cli.genconfig import Deployment

NOBODY = '# upstream = "URL"', 'upstream = "http://127.0.0.1:9/simple/"'
"""An upstream where nobody is, and nobody asks."""


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short name: a unix socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="twistpi-") as folder:
        yield Path(folder)


def running_pid(place: Deployment) -> int:
    """The process that serves, as it says itself."""
    text = (Path(place.settings.serverdir) / "running.json").read_text()
    found = re.search(r'"pid": (\d+)', text)
    assert found
    return int(found[1])


def answers(url: str) -> bool:
    return ask(f"{url}/+api").status == 200


@attrs.frozen
class Supervisor:
    """``supervisord`` over the files of a place, and ``supervisorctl``."""

    place: Deployment

    @property
    def _environment(self) -> dict[str, str]:
        return environment()

    def control(self, *words: str, status: int = 0) -> str:
        command = [program("supervisorctl"), "-c", self.place.path("supervisord.conf"), *words]
        done = subprocess.run(command, env=self._environment, cwd="/", capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        command = [program("supervisord"), "-c", self.place.path("supervisord.conf")]
        subprocess.run(command, env=self._environment, cwd="/", timeout=180, check=True)

    def stop(self) -> None:
        if Path(self.place.path("supervisord.pid")).exists():
            self.control("shutdown")
            wait_until(lambda: not Path(self.place.path("supervisord.pid")).exists())


def test_supervisor_starts_it_again_turns_its_log_reloads_and_stops_it(short_folder: Path) -> None:
    port = free_port()
    place = deployment(short_folder, python=sys.executable, port=port)
    folder, url = written(place), f"http://127.0.0.1:{port}"
    changed(folder / "twistpi.toml", NOBODY)
    changed(folder / "supervisor-twistpi.conf", ("startsecs=3", "startsecs=0"), ("maxbytes=20MB", "maxbytes=1KB"))
    supervisor = Supervisor(place)
    try:
        supervisor.start()
        wait_until(lambda: answers(url), supervisor_log(folder))
        assert re.match(r"twistpi +RUNNING ", supervisor.control("status"))
        # One that is killed is started again, over the same directory.
        first = running_pid(place)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: running_pid(place) != first and answers(url), supervisor_log(folder))
        wait_until((folder / "twistpi.log.1").exists, supervisor_log(folder))  # its log turns meanwhile
        # A changed file counts after an update.
        changed(folder / "supervisor-twistpi.conf", ("stopwaitsecs=60", "stopwaitsecs=59"))
        before = running_pid(place)
        assert "twistpi: changed" in supervisor.control("reread")
        assert "twistpi: updated process group" in supervisor.control("update")
        wait_until(lambda: running_pid(place) != before and answers(url), supervisor_log(folder))
        # Stopped in order, and for good.
        assert supervisor.control("stop", "twistpi") == "twistpi: stopped\n"
        assert re.match(r"twistpi +STOPPED ", supervisor.control("status", status=3))
        assert not (Path(place.settings.serverdir) / "running.json").exists()
        assert "Stopped." in supervisor_log(folder)()
    finally:
        supervisor.stop()


def supervisor_log(folder: Path) -> Callable[[], str]:
    return lambda: "\n".join(path.read_text() for path in sorted(folder.glob("*.log*")))


def test_uwsgi_passes_on_to_it_and_starts_it_again(tmp_path: Path) -> None:
    port, front = free_port(), free_port()
    place = deployment(tmp_path, python=sys.executable, port=port)
    folder, url = written(place), f"http://127.0.0.1:{front}"
    changed(folder / "twistpi.toml", NOBODY, ("# bcrypt-cost = 12", "bcrypt-cost = 4"))
    changed(folder / "uwsgi-twistpi.ini", ("rawrouter = 127.0.0.1:8080", f"rawrouter = 127.0.0.1:{front}"), ("freq=3", "freq=1"))
    log = tmp_path / "uwsgi.log"
    with log.open("wb") as told:
        uwsgi = subprocess.Popen(
            [program("uwsgi"), "--ini", str(folder / "uwsgi-twistpi.ini")], env=environment(), cwd="/", stdout=told, stderr=told
        )
    try:
        wait_until(lambda: answers(url), log.read_text)
        alice, kind = basic("alice", "verysecure"), "application/json"
        assert ask(f"{url}/alice", "PUT", b'{"password": "verysecure"}', Content_Type=kind).status == 201
        made = ask(f"{url}/alice/dev", "PUT", b'{"bases": []}', Content_Type=kind, Authorization=alice)
        assert made.status in (200, 201)
        body, form = upload_form(wheel_name("demo", "1.0"), make_wheel("demo", "1.0", [], os.urandom(3_000_000)))
        assert ask(f"{url}/alice/dev/", "POST", body, Content_Type=form, Authorization=alice).status == 200
        for answer in (ask(f"{url}/alice/dev/+api"), ask(f"{url}/alice/dev/+api", X_Outside_Url="http://evil.example")):
            assert answer.json()["result"]["simpleindex"] == f"{url}/alice/dev/+simple/"
        first = running_pid(place)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: running_pid(place) != first and answers(url), log.read_text)
        last = running_pid(place)
    finally:
        uwsgi.send_signal(signal.SIGTERM)
        uwsgi.wait(180)
    assert not Path(f"/proc/{last}").exists()
    assert log.read_text().count("Stopped.") == 1


def test_systemd_hands_it_the_port_that_connections_wait_at_and_hears_when_it_is_ready(short_folder: Path) -> None:
    """The command of the unit, started the way systemd starts it when the first connection comes."""
    port, tmp_path = free_port(), short_folder
    place = deployment(tmp_path, python=sys.executable, port=port)
    folder, url = written(place), f"http://127.0.0.1:{port}"
    changed(folder / "twistpi.toml", NOBODY)
    (line,) = [line for line in (folder / "twistpi.service").read_text().splitlines() if line.startswith("ExecStart=")]
    command = shlex.split(line.removeprefix("ExecStart=").replace("%%", "%"))
    (stream,) = re.findall(r"^ListenStream=(.*)$", (folder / "twistpi.socket").read_text(), re.MULTILINE)
    told_systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told_systemd.bind(str(short_folder / "notify"))
    told_systemd.settimeout(180)
    given = {**environment(), "NOTIFY_SOCKET": str(short_folder / "notify")}
    names = [f"--setenv={name}={given[name]}" for name in ("PYTHONPATH", "NOTIFY_SOCKET")]
    log = tmp_path / "twistd.log"
    with log.open("wb") as told:
        server = subprocess.Popen(
            ["systemd-socket-activate", f"--listen={stream}", "--fdname=twistpi.socket", *names, *command],
            cwd="/",
            stdout=told,
            stderr=told,
        )
    try:
        wait_until(lambda: "Listening on" in log.read_text(), log.read_text)
        assert answers(url), "the connection waits until it is there"
        assert running_pid(place) == server.pid
        assert told_systemd.recv(1000).startswith(b"READY=1\n")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(180)
    assert told_systemd.recv(1000).startswith(b"STOPPING=1\n")
    told_systemd.close()
    assert "Stopped." in log.read_text()
