"""Bodies over real sockets: the kernel's copying, slow readers, clients that leave, answers that are cut."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as installed_reactor
from twisted.internet import task
from twisted.internet.threads import deferToThread

from tests.in_reactor import in_reactor, settle, until, wait_for
from tests.web.web_wire import JSON_PAGE, read_answer, request_bytes, without_id
from tests.web.web_world import MIRROR, World, link
from twistpi.model.errors import WrongBytes
from twistpi.rules.mirrors import file_path

reactor: Any = installed_reactor
BODY = os.urandom(3 * 1024 * 1024)
SDIST = link("hello-1.0.tar.gz", BODY)
PATH = f"/{MIRROR}/{file_path(SDIST)}"
Served = tuple[World, int]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server on a port of the loopback interface."""
    world = World(str(tmp_path))
    world.list_links("hello", [SDIST])
    port = reactor.listenTCP(0, world.site, interface="127.0.0.1")
    yield world, port.getHost().port
    wait_for(port.stopListening())
    wait_for(settle())
    world.close()


def receive(connection: socket.socket) -> bytes:
    """One answer, read by its ``Content-Length``."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
    parts = [body]
    missing = length - len(body)
    while missing > 0:
        parts.append(_some(connection))
        missing -= len(parts[-1])
    return head + b"\r\n\r\n" + b"".join(parts)


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 16)
    if not data:
        raise ConnectionError("cut")
    return data


def ask(port: int, *requests: bytes) -> list[bytes]:
    """Ask on one connection, one after the other."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        answers = []
        for request in requests:
            connection.sendall(request)
            answers.append(receive(connection))
        return answers


@in_reactor
async def test_large_files_come_whole_by_either_way_and_the_connection_goes_on(served: Served) -> None:
    world, port = served
    path = world.cache_file("hello", SDIST, BODY)
    whole, part = request_bytes(path), request_bytes(path, range="bytes=1000000-2999999")
    page = request_bytes(f"/{MIRROR}/+simple/hello/")
    answers = await deferToThread(ask, port, whole, part, page, whole, whole, page)
    assert [read_answer(answer).status for answer in answers] == [200, 206, 200, 200, 200, 200]
    assert read_answer(answers[1]).body == BODY[1_000_000:3_000_000]
    for number in (0, 3, 4):
        assert read_answer(answers[number]).body == BODY
    assert without_id(answers[0]) == answers[3] == answers[4], "the slow way first, then the fast one"


@in_reactor
async def test_what_is_asked_while_a_large_body_goes_out_is_answered_after_it(served: Served) -> None:
    world, port = served
    whole = request_bytes(world.cache_file("hello", SDIST, BODY))
    page = request_bytes(f"/{MIRROR}/+simple/hello/")
    await deferToThread(ask, port, whole, page)

    def talk() -> list[bytes]:
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.sendall(whole)
            first = connection.recv(1)
            connection.sendall(page + whole)
            stream = connection.makefile("rb")
            answers = []
            for _ in range(3):
                head = first + b"".join(iter(stream.readline, b"\r\n"))
                first = b""
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                answers.append(stream.read(length))
            return answers

    first, second, third = await deferToThread(talk)
    assert first == third == BODY
    assert second.startswith(b"<!DOCTYPE html>")


@in_reactor
async def test_a_large_page_is_sent_from_memory(served: Served) -> None:
    world, port = served
    world.list_links("many", [link(f"many-1.{number}.tar.gz", b"%d" % number) for number in range(4000)])
    page = request_bytes(f"/{MIRROR}/+simple/many/", accept=JSON_PAGE)
    slow, fast, again = await deferToThread(ask, port, page, page, page)
    assert without_id(slow) == fast == again
    assert len(read_answer(fast).json()["files"]) == 4000


@in_reactor
async def test_R46_many_clients_follow_one_growing_file_at_their_own_pace(served: Served) -> None:
    world, port = served
    download = world.grow_file(SDIST, len(BODY))

    def slowly(number: int) -> str:
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536 << (number % 4))
            connection.sendall(request_bytes(PATH))
            return hashlib.sha256(read_answer(receive(connection)).body).hexdigest()

    clients = [deferToThread(slowly, number) for number in range(8)]
    await until(lambda: download.readers == 8)
    for start in range(0, len(BODY), 300_000):
        download.grow(BODY[start : start + 300_000], end=start + 300_000 >= len(BODY))
        await task.deferLater(reactor, 0.005)
    assert {await client for client in clients} == {SDIST.sha256}
    assert download.readers == 0
    assert world.downloads.opened == 8


@in_reactor
async def test_R46_a_client_that_leaves_frees_its_reader_and_nobody_elses(served: Served) -> None:
    world, port = served
    download = world.grow_file(SDIST, len(BODY))
    leaving = socket.create_connection(("127.0.0.1", port), 10)
    leaving.sendall(request_bytes(PATH))
    staying = deferToThread(ask, port, request_bytes(PATH))
    await until(lambda: download.readers == 2)
    download.grow(BODY[:1_000_000])
    leaving.close()
    await until(lambda: download.readers == 1)
    download.grow(BODY[1_000_000:], end=True)
    assert read_answer((await staying)[0]).body == BODY


@in_reactor
async def test_R47_wrong_bytes_cut_the_connection_before_the_end(served: Served) -> None:
    world, port = served
    download = world.grow_file(SDIST, len(BODY))
    asking = deferToThread(ask, port, request_bytes(PATH))
    await until(lambda: download.readers == 1)
    download.grow(BODY[:1_000_000])
    await task.deferLater(reactor, 0.02)
    download.fail(WrongBytes(SDIST.filename, SDIST.url, "another digest"))
    with pytest.raises(ConnectionError):
        await asking
    await until(lambda: download.readers == 0)


@in_reactor
async def test_a_reader_that_stops_reading_costs_no_memory_and_is_let_go(served: Served) -> None:
    world, port = served
    whole = request_bytes(world.cache_file("hello", SDIST, BODY))
    await deferToThread(ask, port, whole)
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.connect(("127.0.0.1", port))
    lazy.sendall(whole)
    await until(lambda: _sending(world))
    channel = _sending(world)[0]
    assert channel.transport.dataBuffer == b""
    lazy.close()
    await until(lambda: channel._sender is None)


def _sending(world: World) -> list[Any]:
    """The connections of the server that have a large body on its way."""
    protocols: list[Any] = [getattr(transport, "protocol", None) for transport in reactor.getReaders() + reactor.getWriters()]
    return [one for one in protocols if getattr(one, "site", None) is world.site and one._sender is not None]


@in_reactor
async def test_a_unix_socket_serves_the_same(served: Served, tmp_path: Path) -> None:
    world, _ = served
    whole = request_bytes(world.cache_file("hello", SDIST, BODY))
    name = str(tmp_path / "socket")
    port = reactor.listenUNIX(name, world.site)

    def talk() -> list[bytes]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(name)
            answers = []
            for _ in range(3):
                connection.sendall(whole)
                answers.append(receive(connection))
            return answers

    answers = await deferToThread(talk)
    await port.stopListening()
    assert without_id(answers[0]) == answers[1] == answers[2]
    assert read_answer(answers[0]).body == BODY


@pytest.mark.parametrize("asked", [{}, {"range": "bytes=1-"}], ids=["cold", "part of a cached file"])
@in_reactor
async def test_a_client_that_takes_nothing_any_more_is_cut_off(served: Served, asked: dict[str, str]) -> None:
    world, port = served
    world.site.reactor = clock = task.Clock()
    idle = float(world.site.timeOut or 0)
    download = world.grow_file(SDIST, len(BODY))
    if asked:
        world.cache_file("hello", SDIST, BODY)
    else:
        download.grow(BODY, end=True)

    def is_open() -> bool:
        links = (os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd"))
        return any(link.endswith(SDIST.filename) for link in links)

    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await deferToThread(connection.connect, ("127.0.0.1", port))
        connection.sendall(request_bytes(PATH, **asked))
        await deferToThread(connection.recv, 100)
        assert is_open()

        def is_cut_off() -> bool:
            clock.advance(idle)
            return not is_open()

        await until(is_cut_off)
    assert download.readers == 0


@in_reactor
async def test_a_client_that_waits_for_the_upstream_is_not_cut_off(served: Served) -> None:
    world, port = served
    world.site.reactor = clock = task.Clock()
    idle = float(world.site.timeOut or 0)
    download = world.grow_file(SDIST, len(BODY))
    download.grow(BODY[:1000])
    asking = deferToThread(ask, port, request_bytes(PATH))
    await until(lambda: download.readers == 1)
    for _ in range(10):
        await settle()
        clock.advance(idle)
    download.grow(BODY[1000:], end=True)
    assert read_answer((await asking)[0]).body == BODY
