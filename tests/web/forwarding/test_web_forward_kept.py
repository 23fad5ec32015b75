"""The connections of a worker to the first process: kept for the next request, and never a danger to it."""

from __future__ import annotations

import socket
from pathlib import Path
from threading import Event

import orjson
import pytest
from twisted.internet.threads import deferToThread

from tests.in_reactor import in_reactor
from tests.web.forwarding.forward_setup import (
    CUT,
    TOO_MUCH,
    Setup,
    Signer,
    answer,
    asked,
    reactor,
    read_until,
    request,
    say,
    talking,
    upload_too_much,
    wait_for_close,
    worker,
)
from tests.web.web_world import World
from twistpi.http.agent import unix_agent
from twistpi.web.forwarding.peers import first_process_backend

GET = request("GET", "/+status")
OK = answer(b"ok")


async def body_of(setup: Setup, data: bytes = GET) -> bytes:
    return (await asked(setup, data)).partition(b"\r\n\r\n")[2]


@in_reactor
async def test_reads_go_over_one_connection(tmp_path: Path) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nthe\r\n4\r\n end\r\n0\r\nX-Sum: 7\r\n\r\n"
    async with worker(tmp_path, say(answer(b"one"), chunked, answer(b"three"))) as (setup, server):
        assert await body_of(setup) == b"one"
        assert (await asked(setup, GET.replace(b"close", b"keep-alive").replace(b"1.1", b"1.0"))).endswith(b"\r\n\r\nthe end")
        assert await body_of(setup) == b"three"
        assert server.used == [1, 1, 1]
        assert not any(b"connection" in head.lower() for _number, head in server.asked)


@in_reactor
async def test_answers_without_a_body_leave_the_connection_where_it_was(tmp_path: Path) -> None:
    bodiless = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 1000\r\n\r\n',
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + answer(b"the end"),
    )
    async with worker(tmp_path, say(*bodiless)) as (setup, server):
        assert b"Content-Length: 1000\r\n" in await asked(setup, request("HEAD", "/+status"))
        assert (await asked(setup, GET)).startswith(b"HTTP/1.1 204 ")
        assert (await asked(setup, request("GET", "/+status", b"", 'If-None-Match: "a"'))).startswith(b"HTTP/1.1 304 ")
        assert await body_of(setup) == b""
        assert await body_of(setup) == b"the end"
        assert server.used == [1] * 5


@in_reactor
async def test_an_answer_whose_end_comes_late_leaves_the_connection_where_it_was(tmp_path: Path) -> None:
    begun = Event()

    def act(connection: socket.socket, rest: bytes) -> None:
        connection.sendall(answer(b"begun, ended")[:-5])
        begun.wait(60)
        connection.sendall(b"ended")

    def client(port: int) -> None:
        with talking(port) as connection:
            connection.sendall(GET)
            read_until(connection, b"begun")
            begun.set()
            read_until(connection, b"ended")

    async with worker(tmp_path, act) as (setup, server):
        for _ in range(3):
            begun.clear()
            await deferToThread(client, setup.port)
        assert server.used == [1, 1, 1]


@in_reactor
async def test_what_may_change_something_has_a_new_connection_which_is_kept_then(tmp_path: Path) -> None:
    def act(connection: socket.socket, rest: bytes) -> None:
        if b"Expect" in server.heads[-1]:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            rest += read_until(connection, b"body")
        connection.sendall(answer(b"got " + rest))

    def client(port: int) -> bytes:
        with talking(port) as connection:
            connection.sendall(request("PUT", "/alice/dev", b"", "Content-Length: 4", "Expect: 100-continue"))
            assert read_until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"body")
            return read_until(connection, b"got body")

    async with worker(tmp_path, act) as (setup, server):
        assert await body_of(setup) == b"got "
        assert await body_of(setup, request("POST", "/alice/dev")) == b"got "
        assert await body_of(setup, request("GET", "/+status", b"odd")) == b"got odd"
        assert (await deferToThread(client, setup.port)).startswith(b"HTTP/1.1 200 OK")
        assert await body_of(setup) == b"got "
        assert server.used == [1, 2, 3, 4, 4]


@in_reactor
async def test_the_first_process_may_be_started_anew_between_two_requests(tmp_path: Path) -> None:
    async with worker(tmp_path, say(OK)) as (setup, server):
        assert await body_of(setup) == b"ok"
        server.close()
        assert (await asked(setup, GET)).startswith(b"HTTP/1.1 503 ")
        server.open()
        assert await body_of(setup) == b"ok"
        assert server.used == [1, 2]


CHANGE = request("DELETE", "/alice/dev")


@in_reactor
@pytest.mark.parametrize(
    ("said", "requests", "bodies", "used"),
    [
        pytest.param([OK, CUT, OK, CUT, OK], [GET] * 3, [b"ok"] * 3, [1, 1, 2, 2, 3], id="a read is asked again"),
        pytest.param([OK, CUT, CUT], [GET] * 2, [b"ok", None], [1, 1, 2], id="but not a third time"),
        pytest.param([OK, CUT], [GET, CHANGE], [b"ok", None], [1, 2], id="a change is never asked again"),
        pytest.param([OK, b"H" + CUT], [GET] * 2, [b"ok", None], [1, 1], id="nor what was answered in part"),
    ],
)
async def test_a_kept_connection_that_ends_without_a_word(
    tmp_path: Path, said: list[bytes], requests: list[bytes], bodies: list[bytes | None], used: list[int]
) -> None:
    async with worker(tmp_path, say(*said)) as (setup, server):
        for one, body in zip(requests, bodies, strict=True):
            try:
                came = await asked(setup, one)
            except ConnectionError:
                came = b"HTTP/1.1 503 "  # cut off, so that it does not look whole
            assert came.startswith(b"HTTP/1.1 503 ") if body is None else came.endswith(b"\r\n\r\n" + body)
        assert server.used == used


@in_reactor
async def test_a_refusal_before_the_end_of_a_body_ends_the_connection(tmp_path: Path) -> None:
    gone = Event()

    def act(connection: socket.socket, rest: bytes) -> None:
        if b"POST" in server.heads[-1]:
            connection.sendall(TOO_MUCH)
            wait_for_close(connection, gone)
        else:
            connection.sendall(OK)

    async with worker(tmp_path, act) as (setup, server):
        assert (await deferToThread(upload_too_much, setup.port)).startswith(b"HTTP/1.1 413 Too Much")
        assert await deferToThread(gone.wait, 60)
        assert await body_of(setup) == b"ok"
        assert server.used == [1, 2]


@in_reactor
async def test_who_leaves_in_the_middle_of_an_answer_leaves_nothing_of_it_to_the_next(tmp_path: Path) -> None:
    gone = Event()

    def act(connection: socket.socket, rest: bytes) -> None:
        if len(server.asked) != 2:
            connection.sendall(OK)
            return
        connection.sendall(answer(b"x" * 100_000)[:50_000])
        wait_for_close(connection, gone)

    def client(port: int) -> None:
        with talking(port) as connection:
            connection.sendall(GET)
            read_until(connection, b"xxx")

    async with worker(tmp_path, act) as (setup, server):
        assert await body_of(setup) == b"ok"
        await deferToThread(client, setup.port)
        assert await deferToThread(gone.wait, 60)
        assert await body_of(setup) == b"ok"
        assert server.used == [1, 1, 2]


@in_reactor
async def test_an_answer_that_waits_for_its_reader_does_not_hold_up_the_next(tmp_path: Path) -> None:
    large = b"x" * 5_000_000

    def slowly(port: int) -> int:
        with talking(port) as connection:
            connection.sendall(GET)
            came = len(read_until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")[2])
            while came < len(large):
                came += len(connection.recv(1 << 20))
            return came

    async with worker(tmp_path, say(answer(large), OK)) as (setup, server):
        assert await deferToThread(slowly, setup.port) == len(large)
        assert await body_of(setup) == b"ok"
        assert server.used == [1, 1]


# A real first process --------------------------------------------------------------------------------------------------


@in_reactor
async def test_each_request_of_a_shared_connection_is_that_of_its_own_asker(tmp_path: Path) -> None:
    path, folder = str(tmp_path / "socket"), tmp_path / "real"
    folder.mkdir()
    first = World(str(folder))
    first.components.trusted_peers.workers_at = path
    listening = reactor.listenUNIX(path, first.site)
    setup = Setup(tmp_path / "worker", 0, Signer(reactor.seconds))
    components = setup.replica.components
    setup.forward_to(first_process_backend(unix_agent(reactor, path)), lambda method, path: False)
    try:
        for host in (b"one.example", b"two.example", b"three.example"):
            told = await body_of(setup, request("GET", "/+api").replace(b"replica.example:4041", host))
            assert orjson.loads(told)["result"]["login"] == f"http://{host.decode()}/+login"
        assert first.components.connections.accepted == 1
        assert list(first.components.traffic.answered) == [], "the worker counts them"
        assert list(components.traffic.answered) == [("reading", 200, 3)]
    finally:
        await listening.stopListening()
        await setup.close()
        first.close()
