"""How many connections there may be, how they end, and what slow clients are given: time, but not all of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from tests.in_reactor import in_reactor, settle, wait_for
from tests.web.web_asking import basic
from tests.web.web_uploads import DEV, SDIST, TYPE, form, with_stages
from tests.web.web_wire import Wire, listening, read_answer, request_bytes
from tests.web.web_world import MIRROR, World, link
from twistpi.web.transport.channel import HEADERS_WITHIN, LEAST_RATE, LOOK_EVERY
from twistpi.web.transport.connections import Connections

# More than two systems keep of it when nobody reads, and more than is read below.
LARGE = bytes(range(256)) * 80_000
BIG = link("hello-1.0.tar.gz", LARGE)
PAGE = f"/{MIRROR}/+simple/hello/"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(str(tmp_path))
    world.list_links("hello", [BIG])
    yield world
    world.close()


@attrs.define(eq=False)
class FakePort:
    reading: bool = True

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        self.reading = True


def _limit(world: World, limit: int) -> FakePort:
    port = FakePort()
    world.components.connections.limit = limit
    world.components.connections.listens(port)
    return port


# How many ----------------------------------------------------------------------------------------------------------------


def test_over_the_limit_nobody_is_accepted_until_somebody_leaves(world: World) -> None:
    port = _limit(world, 3)
    wires = [Wire(world) for _ in range(3)]
    assert not port.reading
    late = FakePort()
    world.components.connections.listens(late)
    assert not late.reading, "a port that opens meanwhile waits, too"
    assert all(wire.ask(PAGE).status == 200 for wire in wires)
    wires[0].lose()
    assert port.reading
    assert late.reading
    figures = {measure.name: measure.value for measure in world.components.connections.measures()}
    assert figures["twistpi_connections"] == 2
    assert figures["twistpi_connections_accepted"] == 3


def test_while_others_wait_idle_connections_make_room_and_busy_ones_stay(world: World) -> None:
    _limit(world, 3)
    idle, busy, talking = Wire(world), Wire(world), Wire(world)
    idle.ask(PAGE)
    busy.send(request_bytes("/root", "PATCH", content_length="100") + b"{")
    for _ in range(3):
        talking.ask(PAGE)
        world.clock.advance(2)
    assert idle.transport.disconnecting
    assert not busy.transport.disconnecting
    assert not talking.transport.disconnecting


@in_reactor
async def test_at_a_real_port_the_next_client_waits_and_is_answered_when_there_is_room(world: World) -> None:
    world.components.connections.limit = 2

    def open_and_ask(port: int) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(request_bytes("/+api"))
        return client

    def answer(client: socket.socket, seconds: float) -> bytes:
        client.settimeout(seconds)
        try:
            return client.recv(15)
        except TimeoutError:
            return b""

    async with listening(world) as port:
        clients = [await deferToThread(open_and_ask, port) for _ in range(3)]
        assert [await deferToThread(answer, client, 5) for client in clients[:2]] == [b"HTTP/1.1 200 OK"] * 2
        assert await deferToThread(answer, clients[2], 0.1) == b""
        for _ in range(2):
            world.clock.advance(2)
            await settle()
        assert await deferToThread(answer, clients[2], 5) == b"HTTP/1.1 200 OK"
        for client in clients:
            client.close()


def test_below_the_limit_idle_connections_are_left_alone(world: World) -> None:
    _limit(world, 3)
    wires = [Wire(world) for _ in range(2)]
    for _ in range(20):
        world.clock.advance(2)
    assert not any(wire.transport.disconnecting for wire in wires)


# How they end ------------------------------------------------------------------------------------------------------------


def _finish(world: World, seconds: float) -> list[None]:
    done: list[None] = []
    world.components.connections.finish(seconds).addCallback(done.append)
    return done


@pytest.fixture
def busy(world: World) -> Wire:
    """A connection whose page is made when the gate of the mirror opens."""
    world.mirror.gate = Deferred()
    wire = Wire(world)
    assert wire.send(request_bytes(PAGE)) == b""
    return wire


def test_at_the_end_idle_connections_close_at_once_and_others_after_their_answer(world: World, busy: Wire) -> None:
    idle, silent = Wire(world), Wire(world)
    idle.ask("/+api")
    done = _finish(world, 10)
    assert idle.transport.disconnecting
    assert not busy.transport.disconnecting
    assert not silent.transport.disconnecting, "its first request may be on its way"
    assert world.mirror.gate
    world.mirror.gate.callback(None)
    answer = read_answer(bytes(busy.transport.value()))
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert busy.transport.disconnecting
    late = silent.ask(PAGE)
    assert (late.status, late.headers["connection"]) == (200, "close")
    assert silent.transport.disconnecting
    assert not done
    for wire in (idle, busy, silent):
        wire.lose()
    assert done == [None]
    assert not world.clock.getDelayedCalls()


def test_a_page_out_of_memory_is_the_last_one_at_the_end_too(world: World) -> None:
    wire = Wire(world)
    wire.ask(PAGE)
    wire.ask(PAGE)
    world.components.connections.finishing = True
    answer = wire.ask(PAGE)
    assert answer.headers["connection"] == "close"
    assert wire.transport.disconnecting


def test_a_request_whose_body_is_still_coming_is_the_last_one(world: World) -> None:
    wire = Wire(world)
    wire.send(request_bytes("/+login", "POST", content_length="2") + b"{")
    _finish(world, 10)
    assert not wire.transport.disconnecting
    answer = read_answer(wire.send(b"}"))
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert wire.transport.disconnecting


def test_who_says_nothing_is_let_go_soon_and_who_does_not_end_is_cut(world: World, busy: Wire) -> None:
    silent = Wire(world)
    _finish(world, 10)
    world.clock.advance(1)
    assert silent.transport.disconnecting
    world.clock.advance(8)
    assert not busy.transport.disconnected
    world.clock.advance(1)
    assert busy.transport.disconnected


def test_a_second_order_to_end_cuts_at_once(world: World, busy: Wire) -> None:
    first = _finish(world, 600)
    second = _finish(world, 0)
    world.clock.advance(0)
    assert busy.transport.disconnected
    busy.lose()
    assert first == second == [None]


def test_without_connections_the_end_is_at_once() -> None:
    clock = Clock()
    done: list[None] = []
    Connections(clock).finish(10).addCallback(done.append)
    assert done == [None]
    assert not clock.getDelayedCalls()


# Slow clients ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begun", "seconds"),
    [
        *((head, HEADERS_WITHIN) for head in (b"G", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nX-A: b")),
        (request_bytes("/root", "PATCH", content_length="100000"), LOOK_EVERY),
    ],
)
def test_a_head_or_a_body_that_comes_in_drops_is_not_waited_for(world: World, begun: bytes, seconds: float) -> None:
    wire = Wire(world)
    wire.send(begun)
    answer = b""
    for _ in range(int(seconds // 5)):
        assert not wire.transport.disconnecting
        world.clock.advance(5)
        answer += wire.send(b"x")
    assert read_answer(answer or bytes(wire.transport.value())).status == 408
    assert wire.transport.disconnecting
    world.clock.advance(60)
    assert wire.transport.disconnected, "who does not take the answer is cut"


def test_requests_that_come_whole_need_no_timer_and_slow_ones_after_them_have_their_time(world: World) -> None:
    wire = Wire(world)
    for _ in range(10):
        assert wire.ask("/+api").status == 200
        world.clock.advance(20)
    timers = len(world.clock.getDelayedCalls())
    wire.send(b"GET /+api HTTP/1.1\r\n")
    assert len(world.clock.getDelayedCalls()) == timers + 1
    world.clock.advance(HEADERS_WITHIN - 1)
    assert read_answer(wire.send(b"Host: x\r\n\r\n")).status == 200
    assert len(world.clock.getDelayedCalls()) == timers


def test_a_slow_body_is_waited_for_as_long_as_it_comes(world: World) -> None:
    wire = Wire(world)
    size = int(LEAST_RATE * LOOK_EVERY * 4)
    wire.send(request_bytes("/root", "PATCH", content_length=str(size)))
    answer = b""
    for _ in range(4 * 6):
        world.clock.advance(LOOK_EVERY / 6 - 0.01)
        answer += wire.send(b" " * (size // 24))
    assert read_answer(answer).status in (400, 401, 403), "it was read to its end"
    assert not wire.transport.disconnecting


def test_time_in_which_the_server_does_not_read_is_not_held_against_a_client(tmp_path: Path) -> None:
    waiting: list[Deferred[Any]] = []

    def offload(work: Any, *arguments: Any) -> Deferred[Any]:
        waiting.append(Deferred())
        return waiting[-1].addCallback(lambda _: work(*arguments))

    world = World(str(tmp_path), offload=offload)
    alice = with_stages(world)
    wire = Wire(world)
    body = form(SDIST, bytes(2_000_000), filetype="sdist")
    head = request_bytes(f"/{DEV}/", "POST", content_length=str(len(body)), content_type=TYPE)
    from_alice = head.replace(b"Host:", b"X-Devpi-Auth: " + basic(alice.credentials or "").encode() + b"\r\nHost:", 1)
    wire.send(from_alice)
    for start in range(0, 600_000, 50_000):
        wire.send(body[start : start + 50_000])
    assert waiting, "a thread has the first piece, and takes its time"
    for _ in range(10):
        world.clock.advance(LOOK_EVERY)
    assert not wire.transport.disconnecting
    assert wire.transport.value() == b""
    world.close()


@in_reactor
async def test_who_reads_an_answer_in_drops_is_cut_off_and_who_reads_slowly_is_not(world: World) -> None:
    path = world.cache_file("hello", BIG, LARGE)
    clock = Clock()
    world.site.reactor = clock

    def open_and_ask(number: int, fast: bool) -> socket.socket:
        client = socket.socket()
        # A small buffer: a client that has read a lot had it sent in the meantime.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect(("127.0.0.1", number))
        client.sendall(request_bytes(path) if fast else request_bytes(path, range="bytes=0-"))
        return client

    def sip(client: socket.socket, size: int) -> bytes:
        client.settimeout(60)
        got = b""
        while len(got) < size:
            piece = client.recv(size - len(got))
            if not piece:
                break
            got += piece
        return got

    async with listening(world) as port:
        clients = [await deferToThread(open_and_ask, port, fast) for fast in (False, True) for _ in range(2)]
        for turn in range(4):
            await settle()
            for client in clients[::2]:
                await deferToThread(sip, client, 1_000_000)
            await settle()
            clock.advance(76)
            await settle()
            if turn == 0:
                assert len(world.components.connections) == 4
        assert len(world.components.connections) == 2, "the two that read"
        for client in clients:
            client.close()
        await settle()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    yield
    wait_for(settle())
