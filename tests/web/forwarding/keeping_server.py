"""A worker, and a first process that does whatever a test wants with the connections that the worker keeps."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread

from tests.web.forwarding.forward_setup import Setup, Signer, reactor
from twistpi.http.agent import unix_agent
from twistpi.web.forwarding.forwarder import Forwarder
from twistpi.web.forwarding.peers import first_process_backend
from twistpi.web.paths import worker_answers


class KeepingServer:
    """A server in threads, at a unix socket, that reads one request's head after the other and does what ``act`` does."""

    def __init__(self, path: Path, act: Callable[[socket.socket, bytes], None]) -> None:
        self._path, self._act = path, act
        self.asked: list[tuple[int, bytes]] = []
        """For each request the number of its connection, and its head."""
        self._connections: list[socket.socket] = []
        self.open()

    @property
    def used(self) -> list[int]:
        """The numbers of the connections, in the order in which requests came."""
        return [number for number, _head in self.asked]

    def open(self) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self._path))
        self._listening.listen()
        Thread(target=self._serve, args=(self._listening,), daemon=True).start()

    def die(self) -> None:
        """As a process that ends: nobody listens, and all connections are closed."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # closing alone would leave the thread in accept
        self._listening.close()
        self._path.unlink()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

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
            data = b""
            while connection.fileno() >= 0:
                while b"\r\n\r\n" not in data:
                    piece = connection.recv(1 << 16)
                    if not piece:
                        return
                    data += piece
                head, _, rest = data.partition(b"\r\n\r\n")
                self.asked.append((number, head))
                self._act(connection, rest)
                data = b""


@asynccontextmanager
async def worker(folder: Path, act: Callable[[socket.socket, bytes], None]) -> AsyncIterator[tuple[Setup, KeepingServer]]:
    """A worker of a first process that does ``act``."""
    server = KeepingServer(folder / "first", act)
    setup = Setup(folder / "worker", 0, Signer(reactor.seconds))
    backend = first_process_backend(unix_agent(reactor, str(folder / "first")))
    replica = setup.replica
    setup.forward = replica.site.forwarder = Forwarder(backend, replica.components.addresses, reactor, worker_answers)
    try:
        yield setup, server
    finally:
        server.die()
        await setup.close()
