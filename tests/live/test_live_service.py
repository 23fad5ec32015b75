"""A server as systemd runs it: sockets handed over, readiness told, logs and certificates opened again, stopped in order."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.fakes.certificates import write_certificate
from tests.fakes.live_server import PATIENCE, LiveServer, eventually, server_environment, twistd_command

PASSWORD, WRONG, UPSTREAM = "a-long-secret", "another-secret", "upstream-secret"


@attrs.define(eq=False)
class Managed:
    """A server in the hands of something like systemd."""

    folder: Path
    listening: socket.socket
    ear: socket.socket
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def access_log(self) -> Path:
        return self.folder / "access.log"

    def start(self, *options: str) -> None:
        command = ["--nodaemon", "--pidfile=", "--logfile", str(self.log), "twistpi", "--serverdir", str(self.folder / "data")]
        words = [*command, "--listen", "systemd:domain=INET:index=0", *options]
        # The variable has to name the very process, so something that becomes it sets it.
        script = (
            "import os, sys; os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='twistpi'); "
            f"os.dup2({self.listening.fileno()}, 3); os.execv(sys.argv[1], sys.argv[1:])"
        )
        given = {"NOTIFY_SOCKET": str(self.folder / "notify"), "TWISTPI_ROOT_PASSWD": PASSWORD, "TWISTPI_BCRYPT_COST": "4"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *twistd_command(*words)],
            env={**server_environment(), **given},
            pass_fds=(self.listening.fileno(),),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
        )

    def hear(self) -> str:
        return self.ear.recv(1000).decode().partition("\n")[0]

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.listening.getsockname()[1], timeout=60)

    def lines(self, path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text().splitlines()]

    def told(self) -> str:
        """All that was logged anywhere."""
        return "".join(path.read_text() for path in self.folder.glob("*.log*"))


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[Managed]:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=64) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear,
    ):
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(PATIENCE)
        made = Managed(tmp_path, listening, ear)
        yield made
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait()


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    given = {"Accept": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(method, path, data, given)
    answer = connection.getresponse()
    content = answer.read()
    return answer.status, json.loads(content) if content.startswith(b"{") else content


def _auth(user: str, secret: str) -> str:
    return base64.b64encode(f"{user}:{secret}".encode()).decode()


def _walk_with_secrets(connection: http.client.HTTPConnection, upstream: int) -> list[str]:
    """Log in and fail to, make tokens, mirror with a password; all that must not be found in any log."""
    status, told = _ask(connection, "POST", "/+login", {"user": "root", "password": PASSWORD})
    assert status == 200
    login = told["result"]["password"]
    by_root = _auth("root", login)
    assert _ask(connection, "POST", "/+login", {"user": "root", "password": WRONG})[0] == 401
    config = {"type": "mirror", "mirror_url": f"http://me:{UPSTREAM}@127.0.0.1:{upstream}/simple/", "volatile": True}
    assert _ask(connection, "PUT", "/root/far", config, X_Devpi_Auth=by_root)[0] == 200
    status, told = _ask(connection, "POST", "/root/+tokens", {"may": "read"}, X_Devpi_Auth=by_root)
    assert status in (200, 201)
    tokens = [word for word in json.dumps(told).split('"') if word.startswith("twistpi-")]
    assert len(tokens) == 1
    for credentials in (_auth("root", PASSWORD), _auth("root", WRONG), _auth("__token__", tokens[0]), by_root):
        _ask(connection, "GET", f"/root/far?password={PASSWORD}", Authorization=f"Basic {credentials}")
        _ask(connection, "GET", f"/root/?token={tokens[0]}", Authorization=f"Basic {credentials}", Referer=f"http://a:{WRONG}@x/")
    return [
        PASSWORD, WRONG, UPSTREAM, login, login.removeprefix("login-")[:30], tokens[0].rpartition("-")[2], by_root,
        _auth("root", PASSWORD), _auth("root", WRONG), _auth("me", UPSTREAM),
    ]  # fmt: skip


def _certificate(port: int) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))).hexdigest()


def _protocol_chosen(port: int, certificate: Path) -> str | None:
    """What is agreed on with a client that would rather speak HTTP/2."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 60), server_hostname="127.0.0.1") as secure:
        return secure.selected_alpn_protocol()


def test_systemd_runs_it(managed: Managed, tmp_path: Path) -> None:
    key, certificate = write_certificate(tmp_path)
    (tmp_path / "new").mkdir()
    endpoint = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # an upstream that says nothing
        logs = ("--access-log", str(managed.access_log), "--log-format", "json")
        waits = ("--stop-timeout", "10", "--request-timeout", "60")
        managed.start("--listen", endpoint, "--upstream", "http://127.0.0.1:9/simple/", *logs, *waits)
        assert managed.hear() == "READY=1"
        connection = managed.connect()
        assert _ask(connection, "GET", "/+health") == (200, {"status": "alive"})
        status, told = _ask(connection, "GET", "/+ready")
        assert status == 200, told
        assert {check["name"] for check in told["checks"]} >= {"disk", "log", "upstream"}
        secrets = _walk_with_secrets(connection, silent.getsockname()[1])
        running = json.loads((tmp_path / "data" / "running.json").read_text())
        secure = next(int(address.rpartition(":")[2].rstrip("/")) for address in running["addresses"] if "https" in address)

        # Logs and certificates are opened again, and connections go on.
        context = ssl.create_default_context(cafile=str(certificate))
        old = http.client.HTTPSConnection("127.0.0.1", secure, context=context, timeout=60)
        assert _ask(old, "GET", "/+health")[0] == 200
        assert _protocol_chosen(secure, certificate) == "http/1.1"
        first = _certificate(secure)
        for path in write_certificate(tmp_path / "new"):
            path.replace(tmp_path / path.name)
        for path in (managed.log, managed.access_log):
            path.rename(path.with_suffix(".log.1"))
        managed.signal(signal.SIGHUP)
        assert [managed.hear(), managed.hear()] == ["RELOADING=1", "READY=1"]
        assert _ask(old, "GET", "/+status")[0] == 200
        second = _certificate(secure)
        assert second != first
        certificate.write_text("no certificate")
        managed.signal(signal.SIGHUP)
        assert [managed.hear(), managed.hear()] == ["RELOADING=1", "READY=1"]
        assert _certificate(secure) == second
        assert any("could not be read again" in line["message"] for line in managed.lines(managed.log))
        assert [line["target"] for line in managed.lines(managed.access_log)] == ["/+status"]

        # It stops: what was begun is finished, what does not end is cut, and nobody is surprised.
        waiting = managed.connect()
        waiting.request("GET", "/root/far/+simple/x/", headers={"Authorization": f"Basic {_auth('root', PASSWORD)}"})
        silent.settimeout(PATIENCE)
        asked, _address = silent.accept()
        assert asked.recv(10).startswith(b"GET ")
        body = json.dumps({"password": PASSWORD}).encode()
        busy = managed.connect()
        busy.putrequest("PUT", "/alice")
        busy.putheader("Content-Length", str(len(body)))
        busy.endheaders(body[:5])
        _ask(connection, "GET", "/+health")
        managed.signal(signal.SIGTERM)
        assert managed.hear() == "STOPPING=1"
        busy.send(body[5:])
        answer = busy.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (201, "close")
        assert managed.process is not None
        assert managed.process.wait(PATIENCE) == -signal.SIGTERM
    with pytest.raises((http.client.HTTPException, OSError)):
        waiting.getresponse()
    told = managed.told()
    assert "Stopped." in told
    assert "CancelledError" not in told
    assert "Traceback" not in told
    for secret in secrets:
        assert secret not in told
    requests = [line for path in tmp_path.glob("access.log*") for line in managed.lines(path)]
    assert all(line["event"] == "request" for line in requests)
    assert len({line["request"] for line in requests}) == len(requests)


def test_a_second_signal_ends_it_at_once_whoever_waits(server: LiveServer) -> None:
    server.start("--no-root-pypi", "--stop-timeout", "600", "--workers", "1")
    eventually(lambda: "serves (process" in server.told())
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as busy:
        busy.sendall(b"PUT /alice HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        with contextlib.suppress(TimeoutError):
            busy.settimeout(0.2)
            busy.recv(1)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: "shutting down" in server.told())
        assert server.process.poll() is None
        assert server.end(signal.SIGTERM) == -signal.SIGTERM
    assert "Traceback" not in server.told()
    assert os.path.exists(server.serverdir)
