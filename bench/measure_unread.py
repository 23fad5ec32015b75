"""Clients that ask for pages and never read: what their answers take of memory, and how long others wait meanwhile.

Four connections send 64 KiB of requests for one large page each, and read nothing for a few seconds.  What is resident more than
before is that of the processes that answer, read every few milliseconds.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from bench.client import INSTALLER_ACCEPT, get, seconds_to_get
from bench.corpus import MEGABYTE
from bench.figures import Figure, Target
from bench.measure_workers import workers_of
from bench.servers import Server, Twistpi, free_ports
from bench.stage import Stage

_FILES = 2000
_CONNECTIONS = 4
_BYTES = 64 * 1024
"""Of requests, for each connection."""
_LOOK_SECONDS = 0.01
_BETWEEN_SECONDS = 0.001
_MOST_MEGABYTES = 32
_MOST_MILLISECONDS = 250
_SPECIAL = {"Forwarded": "for=192.0.2.1"}
"""A header that the fast path leaves to the ordinary one."""


@attrs.frozen
class _Way:
    """One way that answers take."""

    name: str
    server: Twistpi
    pids: Sequence[int]
    """The processes that answer."""
    port: int
    headers: Mapping[str, str] = {}
    secure: bool = False
    separately: bool = False
    """Whether each request is a segment of its own: the fast path takes one at a time."""


def measure(stage: Stage) -> list[Figure]:
    """Each way with a server of its own, so that one does not leave memory to the next."""
    project = stage.corpus.add_project("unread", _FILES)
    return [figure for name in ("fast path", "ordinary path", "TLS", "workers") for figure in _measured(stage, name, project)]


def _measured(stage: Stage, name: str, project: str) -> list[Figure]:
    folder, options = stage.folder / f"unread-{name.replace(' ', '-')}", list[str]()
    port, secure_port = free_ports(2)
    if name == "TLS":
        key, certificate = _certificate(stage.folder)
        secure = f"ssl:{secure_port}:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
        options = ["--listen", secure, "--listen", f"tcp:{port}:interface=127.0.0.1"]
    elif name == "workers":
        options = ["--workers", "2"]
    server = Twistpi.start(folder, stage.corpus.simple_url, *options, port=port)
    try:
        pids = workers_of(server, 2) if name == "workers" else [server.server.process.pid]
        way = _Way(
            name, server, pids, secure_port if name == "TLS" else port, headers=_SPECIAL if name == "ordinary path" else {},
            secure=name == "TLS", separately=name in ("fast path", "TLS"),
        )  # fmt: skip
        return _figures(stage, way, server.page_url(project))
    finally:
        server.stop()


def _figures(stage: Stage, way: _Way, page: str) -> list[Figure]:
    for _ in range(16):
        get(page, INSTALLER_ACCEPT)
    before = _resident(way.pids)
    seen = [before]
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            seen.append(_resident(way.pids))

    watching = threading.Thread(target=look)
    watching.start()
    delays = []
    try:
        with ExitStack() as stack:
            senders = [
                threading.Thread(target=_ask, args=(stack.enter_context(_connect(way)), way, page)) for _ in range(_CONNECTIONS)
            ]
            for sender in senders:
                sender.start()
            deadline = time.monotonic() + stage.rounds(6, 3)
            while time.monotonic() < deadline:
                delays.append(seconds_to_get(f"{way.server.url}/+health", "application/json"))
                time.sleep(_LOOK_SECONDS)
            for sender in senders:
                sender.join()
    finally:
        over.set()
        watching.join()
    note = f"{_CONNECTIONS} connections, each with {_BYTES // 1024} KiB of requests for a page of {_FILES:,} files"
    name = f"clients that never read, {way.name}"
    return [
        Figure(f"{name}: memory more", (max(seen) - before) / MEGABYTE, "MB",
               target=Target("below", _MOST_MEGABYTES, of="value"), note=note),
        Figure(f"{name}: slowest answer to others", max(delays) * 1e3, "ms",
               target=Target("below", _MOST_MILLISECONDS, of="value"), note=f"of {len(delays)}"),
    ]  # fmt: skip


def _connect(way: _Way) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", way.port), 60)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not way.secure:
        return plain
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)


def _ask(connection: socket.socket, way: _Way, page: str) -> None:
    """Send the requests; stop when the server takes no more."""
    parts = urlsplit(page)
    headers = {"Host": parts.netloc, "Accept": INSTALLER_ACCEPT, **way.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET {parts.path} HTTP/1.1\r\n{lines}\r\n".encode("ascii")
    connection.settimeout(1)
    pieces = [request] * (_BYTES // len(request))
    try:
        for piece in pieces if way.separately else [b"".join(pieces)]:
            connection.sendall(piece)
            time.sleep(_BETWEEN_SECONDS)  # else many segments are read at once
    except OSError:
        pass


def _resident(pids: Sequence[int]) -> int:
    return sum(Server.memory_of(pid)["VmRSS"] for pid in pids)


def _certificate(folder: Path) -> tuple[Path, Path]:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key, certificate
