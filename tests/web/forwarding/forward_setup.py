"""A server that forwards requests to another on this machine, and a server whose answers a test chooses."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.in_reactor import settle
from tests.web.web_world import NODE_ID, SECRET, World
from twistpi.auth.tokens import NodeTokens
from twistpi.http.agent import make_agent, unix_agent
from twistpi.web.forwarding.forwarder import Forwarder
from twistpi.web.forwarding.peers import Backend, first_process_backend, primary_backend
from twistpi.web.paths import replica_answers, worker_answers
from twistpi.web.replication.authentication import NodeAuthenticator

reactor: Any = installed_reactor
CUT = b"(cut)"
"""Ends an answer after which the connection is closed."""
TOO_MUCH = b"HTTP/1.1 413 Too Much\r\nContent-Length: 8\r\n\r\ntoo much"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Devpi-Serial: 3\r\n\r\nok"


class Signer:
    """Makes tokens by the primary's clock, or by one that is wrong."""

    def __init__(self, seconds: Callable[[], float], secret: bytes = SECRET) -> None:
        self.tokens = NodeTokens(secret)
        self.seconds = seconds
        self.offset = 0.0

    def token(self, method: str, target: str, told: str) -> str:
        return self.tokens.make(NODE_ID, method, target, self.seconds() + self.offset, os.urandom(16).hex(), told)

    def clock_is(self, seconds: float) -> None:
        self.offset = seconds - self.seconds()


class Setup:
    """A replica, a world of its own, in front of whatever answers at ``port``."""

    def __init__(
        self, folder: Path, port: int, signer: Signer, *, path: str = "", patience: float = 30.0, **settings: Any
    ) -> None:
        folder.mkdir()
        self.replica = World(str(folder), **settings)
        self.reached: list[int] = []
        self.signer = signer
        self.reaches = True
        base = f"http://127.0.0.1:{port}{path}"
        backend = primary_backend(base, base, make_agent(reactor, {}, connections_per_host=0), signer)
        self.forward = self.replica.site.forwarder = Forwarder(
            backend, self.replica.components.addresses, reactor, replica_answers, patience=patience, reach=self._reach,
            serial=lambda: 1, mark=((b"X-Devpi-Proxy", b"replica"),),
        )  # fmt: skip
        self._listening = reactor.listenTCP(0, self.replica.site, interface="127.0.0.1")
        self.port: int = self._listening.getHost().port

    def forward_to(self, backend: Backend, is_answered_here: Callable[[bytes, bytes], bool]) -> None:
        """Forward requests to ``backend`` as a worker does."""
        self.forward = self.replica.site.forwarder = Forwarder(
            backend, self.replica.components.addresses, reactor, is_answered_here
        )

    async def _reach(self, serial: int) -> bool:
        self.reached.append(serial)
        return self.reaches

    async def close(self) -> None:
        await self._listening.stopListening()
        await settle()
        self.replica.close()


class Primary:
    """A world that listens, and believes who has its secret."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        folder.mkdir()
        self.world = World(str(folder), **settings)
        nodes = NodeAuthenticator(NodeTokens(SECRET), reactor.seconds, self.world.clock.seconds() - 10)
        self.world.components.replication.nodes = nodes
        self.world.rebuild()
        self.seconds = nodes.now
        self._listening = reactor.listenTCP(0, self.world.site, interface="127.0.0.1")
        self.port: int = self._listening.getHost().port

    async def close(self) -> None:
        await self._listening.stopListening()
        await settle()
        self.world.close()


Act = Callable[[socket.socket, bytes], None]
"""Answers a request on its connection; what came behind the head is the second argument."""


class Scripted:
    """A server in threads that reads a request's head and then does what ``act`` does with the connection.

    At a unix socket, that of a first process, it reads one request after the other; at a port, it closes after the first one.
    """

    def __init__(self, act: Act, path: Path | None = None) -> None:
        self._act, self._path = act, path
        self.asked: list[tuple[int, bytes]] = []
        """For each request the number of its connection, and its head."""
        self._connections: list[socket.socket] = []
        self.open()

    @property
    def heads(self) -> list[bytes]:
        return [head for _number, head in self.asked]

    @property
    def used(self) -> list[int]:
        """The numbers of the connections, in the order in which requests came."""
        return [number for number, _head in self.asked]

    def open(self) -> None:
        if self._path is None:
            self._listening = socket.create_server(("127.0.0.1", 0))
            self.port: int = self._listening.getsockname()[1]
        else:
            self._listening = socket.socket(socket.AF_UNIX)
            self._listening.bind(str(self._path))
            self._listening.listen()
        Thread(target=self._serve, args=(self._listening,), daemon=True).start()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self._connections.append(connection)
            Thread(target=self._one, args=(connection, len(self._connections)), daemon=True).start()

    def _one(self, connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            while connection.fileno() >= 0:
                head, _, rest = read_until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")
                self.asked.append((number, head))
                self._act(connection, rest)
                if self._path is None:
                    # What was not read yet would have the system take back what was said.
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1 << 16):
                        pass

    def close(self) -> None:
        """Accept no more; at a unix socket, close all connections, too, as a process that ends."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # closing alone would leave the thread in accept
        self._listening.close()
        if self._path is not None:
            self._path.unlink()
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


@asynccontextmanager
async def scripted(folder: Path, act: Act, **more: Any) -> AsyncIterator[tuple[Setup, Scripted]]:
    """A replica of a server that does ``act``."""
    server = Scripted(act)
    setup = Setup(folder, server.port, Signer(reactor.seconds), **more)
    try:
        yield setup, server
    finally:
        server.close()
        await setup.close()


@asynccontextmanager
async def worker(folder: Path, act: Act) -> AsyncIterator[tuple[Setup, Scripted]]:
    """A worker of a first process that does ``act``."""
    server = Scripted(act, folder / "first")
    setup = Setup(folder / "worker", 0, Signer(reactor.seconds))
    backend = first_process_backend(unix_agent(reactor, str(folder / "first")))
    setup.forward_to(backend, worker_answers)
    try:
        yield setup, server
    finally:
        server.close()
        await setup.close()


def request(method: str, path: str, body: bytes = b"", *lines: str, version: str = "1.1") -> bytes:
    head = [f"{method} {path} HTTP/{version}", "Host: replica.example:4041", "Connection: close", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


def answer(body: bytes, *lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} 200 OK", f"Content-Length: {len(body)}", *lines, "", ""]).encode() + body


def say(*answers: bytes) -> Act:
    """What answers each request with the next of ``answers``; the last one again and again."""
    left = list(answers)

    def act(connection: socket.socket, rest: bytes) -> None:
        said = left.pop(0) if len(left) > 1 else left[0]
        connection.sendall(said.removesuffix(CUT))
        if said.endswith(CUT):
            connection.shutdown(socket.SHUT_RDWR)

    return act


def asked(setup: Setup, *pieces: bytes) -> Deferred[bytes]:
    return deferToThread(ask, setup.port, *pieces)


def talking(port: int) -> socket.socket:
    """Return a connection to ``port``. Blocking."""
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def ask(port: int, *pieces: bytes) -> bytes:
    """Send ``pieces`` and read until the other side closes.  Blocking."""
    with talking(port) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the end; ``ConnectionError`` when that is no orderly one."""
    data = b""
    while piece := connection.recv(1 << 16):
        data += piece
    return data


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        piece = connection.recv(1 << 16)
        if not piece:
            raise ConnectionError(f"closed after {data!r}")
        data += piece
    return data


def upload_too_much(port: int) -> bytes:
    """Send the beginning of a large body; return the answer ``TOO_MUCH`` to it.  Blocking."""
    with talking(port) as connection:
        connection.sendall(request("POST", "/alice/dev", b"", "Content-Length: 100000000").replace(b"close", b"keep-alive"))
        connection.sendall(b"x" * 100_000)
        return read_until(connection, b"too much")


def wait_for_close(connection: socket.socket, gone: Event) -> None:
    """Read until the other side is gone, and say so."""
    try:
        while connection.recv(1 << 16):
            pass
    except OSError:
        pass
    gone.set()
