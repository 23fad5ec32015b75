"""Sockets from which several processes accept: none takes more than its share."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from tests.in_reactor import in_reactor, until
from twistpi.server.listening import InheritedSocket
from twistpi.workers.fair_ports import shared_endpoint
from twistpi.workers.pool import remove_socket, socket_path

reactor: Any = installed_reactor


class Counting(Protocol):
    factory: Any

    def connectionMade(self) -> None:
        self.factory.made.append(self)

    def connectionLost(self, reason: object = None) -> None:
        self.factory.lost += 1


class Counter(Factory):
    """What one worker has."""

    protocol = Counting
    noisy = False

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.lost = 0


async def listen(server: socket.socket, endpoint: str, worker: Counter, is_my_turn: Callable[[], bool]) -> Any:
    inherited = InheritedSocket(endpoint, os.dup(server.fileno()), server.family)
    return await shared_endpoint(reactor, inherited, is_my_turn).listen(worker)


@in_reactor
async def test_connections_that_come_at_once_are_shared_out_evenly() -> None:
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    server.setblocking(False)
    workers = [Counter(), Counter(), Counter()]
    clients = [socket.create_connection(server.getsockname()) for _ in range(12)]
    ports = []
    for worker in workers:

        def is_my_turn(worker: Counter = worker) -> bool:
            return len(worker.made) <= min(len(other.made) for other in workers)

        ports.append(await listen(server, "tcp:0", worker, is_my_turn))
    await until(lambda: sum(len(worker.made) for worker in workers) == 12)
    assert [len(worker.made) for worker in workers] == [4, 4, 4]
    for port in ports:
        await port.stopListening()
    for client in clients:
        client.close()
    await until(lambda: sum(worker.lost for worker in workers) == 12)
    server.close()


@in_reactor
async def test_a_connection_is_taken_by_who_has_most_when_nobody_else_comes() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    worker = Counter()
    port = await listen(server, "tcp:0", worker, lambda: False)
    client = socket.create_connection(server.getsockname())
    await until(lambda: worker.made)
    client.close()
    await until(lambda: worker.lost)
    await port.stopListening()
    server.close()


@in_reactor
async def test_a_port_that_was_told_to_accept_nothing_does_not_begin_again_by_itself() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    worker = Counter()
    port = await listen(server, "tcp:0", worker, lambda: False)
    port.doRead()  # it leaves the connection to others for a moment
    port.stopReading()
    client = socket.create_connection(server.getsockname())
    await deferLater(reactor, 0.05)
    assert worker.made == []
    port.startReading()
    await until(lambda: worker.made)
    client.close()
    await until(lambda: worker.lost)
    await port.stopListening()
    server.close()


@in_reactor
async def test_a_socket_in_the_file_system_keeps_its_permissions_and_its_file(tmp_path: Path) -> None:
    path = tmp_path / "twistpi.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    path.chmod(0o600)
    server.listen()
    server.setblocking(False)
    port = await listen(server, f"unix:{path}:mode=600", Counter(), lambda: True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await port.stopListening()
    assert path.exists()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))  # the others go on
    server.close()


def test_there_is_a_path_for_the_socket_however_long_the_path_of_the_server_directory_is(tmp_path: Path) -> None:
    short = socket_path("/srv/twistpi")
    assert short == "/srv/twistpi/workers.sock"
    long = socket_path(str(tmp_path / ("x" * 100)))
    assert len(long) < 100
    assert stat.S_IMODE(os.stat(os.path.dirname(long)).st_mode) == 0o700
    Path(long).touch()
    remove_socket(long)
    assert not os.path.exists(os.path.dirname(long))
