"""A promotion restarts the server within its process: no connection is refused, no answer is cut, the process stays the same."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import attrs
import pytest

from tests.crash.soaking import status_of, until
from tests.crash.uploaders import Uploader
from tests.fakes.certificates import write_certificate
from tests.fakes.distributions import Distribution, sdist_of, wheel_of
from tests.fakes.live_server import PATIENCE, LiveServer, eventually, server_environment, twistd_command
from tests.fakes.ports import free_port
from tests.live.stages import JSON, make_stage
from tests.live.test_live_commands import CHEAP, twistpi
from tests.live.test_live_service import Managed, managed

__all__ = ["managed"]

DEV = "jonathan/dev"
LARGE = 12_000_000
Connect = Callable[[], http.client.HTTPConnection]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


@attrs.define(eq=False)
class Daemon:
    """A replica that is a daemon with workers, reached over TCP, TLS and a unix socket."""

    folder: Path
    primary: LiveServer
    port: int = attrs.field(factory=free_port)
    secure_port: int = attrs.field(factory=free_port)
    certificate: Path = attrs.field(init=False)

    @property
    def pidfile(self) -> Path:
        return self.folder / "run" / "twistpi.pid"

    @property
    def socket(self) -> Path:
        return self.folder / "twistpi.sock"

    @property
    def log(self) -> Path:
        return self.folder / "daemon.log"

    @property
    def live(self) -> LiveServer:
        """As commands and clients see it."""
        return LiveServer(self.folder / "replica", self.log, url=f"http://127.0.0.1:{self.port}")

    def start(self) -> None:
        """Return when twistd does.  The pid file and the rundir are given relative to where twistd is called."""
        key, self.certificate = write_certificate(self.folder)
        (self.folder / "run").mkdir()
        command = twistd_command(
            "--pidfile", "run/twistpi.pid", "--logfile", "daemon.log", "--rundir", "run", "twistpi",
            "--serverdir", str(self.folder / "replica"), "--listen", f"tcp:{self.port}:interface=127.0.0.1",
            "--listen", f"ssl:{self.secure_port}:interface=127.0.0.1:privateKey={key}:certKey={self.certificate}",
            "--listen", f"unix:{self.socket}:mode=660", "--outside-url", f"http://127.0.0.1:{self.port}", "--workers", "2",
            "--offline", "--primary-url", self.primary.url, "--secretfile", str(self.primary.serverdir / "secret"),
        )  # fmt: skip
        environment = {**server_environment(), **CHEAP}
        subprocess.run(command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, check=True, timeout=PATIENCE)

    def pid(self) -> int:
        return int(self.pidfile.read_text())

    def ways(self) -> dict[str, Connect]:
        """How clients connect."""
        trusting = ssl.create_default_context(cafile=str(self.certificate))
        trusting.check_hostname = False
        return {
            "tcp": lambda: http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE),
            "tls": lambda: http.client.HTTPSConnection("127.0.0.1", self.secure_port, timeout=PATIENCE, context=trusting),
            "unix": lambda: UnixConnection(self.socket),
        }

    def end(self) -> None:
        if self.pidfile.exists():
            pid = self.pid()
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: not os.path.exists(f"/proc/{pid}"))


@attrs.define(eq=False)
class Clients:
    """Threads that ask and upload until they are told to end, and note what they should not have seen."""

    over: threading.Event = attrs.field(factory=threading.Event)
    wrong: list[str] = attrs.field(factory=list)
    asked: dict[str, int] = attrs.field(factory=dict)
    uploaded: list[Distribution] = attrs.field(factory=list)
    _threads: list[threading.Thread] = attrs.field(factory=list)

    def begin(self, work: Callable[[], object]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def ask(self, way: str, connect: Connect, path: str) -> None:
        """Ask for a page, each time over a new connection."""
        while not self.over.is_set():
            try:
                with closing(connect()) as connection:
                    connection.request("GET", path)
                    status = connection.getresponse().status
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"{way}: {error!r}")
                return
            self.asked[way] = self.asked.get(way, 0) + 1
            if status != 200:
                self.wrong.append(f"{way}: {status}")

    def upload(self, uploader: Uploader) -> None:
        """Upload: what is not taken is refused with 503, and sent again."""
        number = 0
        while not self.over.is_set():
            file = wheel_of(f"uploaded-{number}", "1.0")
            try:
                answer = uploader.upload(DEV, file)
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"upload: {error!r}")
                return
            if answer.status == 200:
                self.uploaded.append(file)
                number += 1
            elif answer.status != 503:
                self.wrong.append(f"upload: {answer}")

    def have_gone_on(self, asked: dict[str, int], uploads: int) -> bool:
        """Whether every client was served several times since these figures."""
        return all(self.asked[way] > count + 5 for way, count in asked.items()) and len(self.uploaded) > uploads + 2

    def end(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path / "primary", tmp_path / "primary.log")
    port = str(free_port())
    server.start("--port", port, "--outside-url", f"http://127.0.0.1:{port}", "--offline", environment=CHEAP)
    yield server
    server.end(signal.SIGKILL)


@pytest.fixture
def daemon(tmp_path: Path, primary: LiveServer) -> Iterator[Daemon]:
    made = Daemon(tmp_path, primary)
    yield made
    made.end()


def _file_path(server: LiveServer, project: str) -> str:
    page = f"/{DEV}/+simple/{project}/"
    answer = Uploader(server, "jonathan").get(page, JSON)
    url: str = json.loads(answer.body)["files"][0]["url"]
    return urlsplit(urljoin(page, url)).path


def test_a_daemon_with_workers_becomes_the_primary_under_load(primary: LiveServer, daemon: Daemon) -> None:
    make_stage(primary, DEV, bases="")
    large = sdist_of("large", "1.0", os.urandom(LARGE))
    assert Uploader(primary, "jonathan").upload(DEV, large).status == 200
    daemon.start()
    replica = daemon.live
    until(lambda: status_of(replica)["serial"] == status_of(primary)["serial"] and not status_of(replica)["files"]["outstanding"],
          replica.told)  # fmt: skip
    pid = daemon.pid()

    clients, path = Clients(), _file_path(replica, "large")
    ways = daemon.ways()
    for way, connect in ways.items():
        clients.begin(lambda way=way, connect=connect: clients.ask(way, connect, f"/{DEV}/+simple/large/"))  # type: ignore[misc]
    clients.begin(lambda: clients.upload(Uploader(replica, "jonathan")))
    with closing(ways["tcp"]()) as connection:
        connection.request("GET", path)
        downloading = connection.getresponse()
        received = hashlib.sha256(downloading.read(100_000))
        promoting = threading.Thread(target=twistpi, args=(replica, "promote"), daemon=True)
        promoting.start()
        while piece := downloading.read(LARGE // 20):  # for about two seconds
            received.update(piece)
            time.sleep(0.1)
        assert received.hexdigest() == large.sha256
    promoting.join(PATIENCE)
    assert not promoting.is_alive()
    before, uploads = dict(clients.asked), len(clients.uploaded)
    until(lambda: bool(clients.wrong) or clients.have_gone_on(before, uploads), lambda: (clients, replica.told()))
    clients.end()
    assert clients.wrong == []

    # It is the primary in the same process, for clients and for its supervisor, and has every acknowledged upload.
    assert status_of(replica)["role"] == "MASTER"
    assert daemon.pid() == pid
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660
    assert all(Uploader(replica, "jonathan").digests(DEV, file.project) for file in clients.uploaded)
    until(lambda: "fenced" in status_of(primary), primary.told)
    told = daemon.log.read_text()
    assert told.count("The server restarts with its ports open.") == 1
    assert "Traceback" not in told + primary.told()

    # In the end nothing is left of it.
    daemon.end()
    assert not daemon.pidfile.exists()
    assert [path.name for path in daemon.folder.glob("twistpi.sock*")] == []
    assert not (replica.serverdir / "running.json").exists()


def test_who_manages_the_process_sees_a_reload_and_a_stop_in_between_wins(
    primary: LiveServer, managed: Managed, tmp_path: Path
) -> None:
    make_stage(primary, DEV, bases="")
    url = f"http://127.0.0.1:{managed.listening.getsockname()[1]}"
    replica = LiveServer(tmp_path / "data", managed.log, url=url)
    secret = ("--secretfile", str(primary.serverdir / "secret"))
    managed.start("--offline", "--stop-timeout", "60", "--outside-url", url, "--primary-url", primary.url, *secret)
    assert managed.hear() == "READY=1"
    until(lambda: status_of(replica)["serial"] == status_of(primary)["serial"], replica.told)
    twistpi(replica, "promote")
    assert [managed.hear(), managed.hear()] == ["RELOADING=1", "READY=1"]
    assert status_of(replica)["role"] == "MASTER"
    assert Uploader(replica, "jonathan").upload(DEV, sdist_of("large", "1.0", os.urandom(LARGE))).status == 200

    # A fence makes it restart again; while a download is finished it is told to stop, and does.
    with closing(managed.connect()) as connection:
        connection.request("GET", _file_path(replica, "large"))
        downloading = connection.getresponse()
        downloading.read(1000)
        twistpi(primary, "promote", "--force")
        assert managed.hear() == "RELOADING=1"
        managed.signal(signal.SIGTERM)
        assert managed.hear() == "STOPPING=1"
        assert len(downloading.read()) > LARGE - 10_000
    assert managed.process is not None
    assert managed.process.wait(PATIENCE) == -signal.SIGTERM
    assert "Traceback" not in replica.told()
