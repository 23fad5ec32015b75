"""Many requests before an answer is read: they wait, and cost neither memory nor other clients' time."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as installed_reactor
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from tests.fakes.certificates import write_certificate
from tests.in_reactor import in_reactor, settle
from tests.web.web_asking import nobody
from tests.web.web_wire import HTML_PAGE, Wire, listening, ordinary, request_bytes
from tests.web.web_world import MIRROR, World, link
from twistpi.server.listening import make_endpoint
from twistpi.web.replies import SMALL

reactor: Any = installed_reactor
PAGE, LARGE = f"/{MIRROR}/+simple/hello/", f"/{MIRROR}/+simple/large/"
SPECIAL = {"forwarded": "for=192.0.2.1"}
"""What the fast path leaves to the ordinary one."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(str(tmp_path))
    world.list_links("hello", [link("hello-1.0.tar.gz")])
    world.list_links("large", [link(f"large-1.{number}.tar.gz") for number in range(2500)])
    yield world
    world.close()


def answers(wire: Wire) -> int:
    return bytes(wire.transport.value()).count(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("headers", [{}, SPECIAL], ids=["fast", "ordinary"])
def test_each_request_is_taken_in_a_turn_of_its_own(world: World, headers: dict[str, str]) -> None:
    wire = Wire(world)
    wire.ask(PAGE, **headers)
    wire.channel.dataReceived(request_bytes(PAGE, **headers) * 3)
    assert answers(wire) == 1
    assert nobody(world).get("/+api").status == 200, "another client is not behind them"
    world.clock.advance(0)
    assert answers(wire) == 3
    assert wire.channel.is_idle


@pytest.mark.parametrize("headers", [{}, SPECIAL], ids=["fast", "ordinary"])
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_while_an_answer_waits_for_its_client_no_other_is_made(world: World, headers: dict[str, str], *, at_once: bool) -> None:
    wire, asked = Wire(world), request_bytes(PAGE, **headers)
    wire.send(asked)
    wire.channel.pauseProducing()  # too much waits in the transport
    for piece in [asked * 3] if at_once else [asked] * 3:
        assert wire.send(piece) == b""
    assert not wire.channel.is_idle
    wire.channel.resumeProducing()
    world.clock.advance(0)
    assert answers(wire) == 3
    assert wire.transport.producerState == "producing"


def test_a_body_that_comes_while_an_answer_waits_is_read_afterwards(world: World) -> None:
    wire = Wire(world)
    wire.send(request_bytes("/+login", "POST", content_length="9") + b"{")
    wire.channel.pauseProducing()
    assert wire.send(b'"a": 1') == b""
    wire.channel.resumeProducing()
    world.clock.advance(0)
    assert wire.send(b"}\n" + request_bytes(PAGE)).count(b"HTTP/1.1 ") == 2


def test_no_more_requests_wait_than_a_few_kilobytes_and_they_go_with_their_client(world: World) -> None:
    wire = Wire(world)
    wire.ask(PAGE)
    seen = ordinary(wire)
    wire.channel.pauseProducing()
    wire.send(request_bytes(PAGE) * 50)
    assert wire.transport.producerState == "paused", "Twisted does so at once"
    wire.send(request_bytes(PAGE) * 500)
    wire.channel.resumeProducing()
    assert wire.transport.producerState == "paused", "still more wait than are worth reading on"
    wire.lose()
    world.clock.advance(0)
    assert seen == []
    assert not world.clock.getDelayedCalls()


def test_requests_that_were_read_are_answered_before_others_are_read(world: World) -> None:
    wire, turns, most, sent = Wire(world), Clock(), 0, 0
    wire.channel.callLater = lambda seconds, call, *arguments: turns.callLater(seconds or 1, call, *arguments)
    while sent < 2000:
        if wire.transport.producerState == "producing":
            wire.channel.dataReceived(request_bytes("/+api") * 500)
            sent += 500
        most = max(most, len(wire.channel._buffer))
        turns.advance(1)
    assert most < len(request_bytes("/+api") * 500) + 16 * 1024
    turns.pump([1] * 900)
    assert bytes(wire.transport.value()).count(b'"apiconfig"') == 2000


# Real connections --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _listening(world: World, folder: Path, *, secure: bool) -> AsyncIterator[int]:
    if not secure:
        async with listening(world) as number:
            yield number
        return
    key, certificate = write_certificate(folder)
    endpoint = make_endpoint(reactor, f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}")
    port: Any = await endpoint.listen(world.site)
    yield port.getHost().port
    await port.stopListening()
    await settle()


def _connect(number: int, *, secure: bool) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", number), 60)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not secure:
        return client
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(client)


def _pages(world: World) -> int:
    """How many pages were sent or are being sent."""
    traffic = world.components.traffic
    return traffic.ready_pages + sum(number for _kind, _status, number in traffic.answered)


@in_reactor
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("headers", [{}, SPECIAL], ids=["fast", "ordinary"])
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
async def test_a_client_that_does_not_read_gets_no_more_than_it_takes(
    world: World, tmp_path: Path, headers: dict[str, str], *, at_once: bool, secure: bool
) -> None:
    count = 60
    asked = request_bytes(LARGE, accept=HTML_PAGE, **headers)
    size = len(Wire(world).send(asked))
    Wire(world).send(asked)
    before = _pages(world)

    def ask(number: int) -> socket.socket:
        client = _connect(number, secure=secure)
        for piece in [asked * count] if at_once else [asked] * count:
            client.sendall(piece)
        return client

    def read(client: socket.socket) -> bytes:
        got = bytearray()
        while len(got) < count * (size - 100):
            piece = client.recv(1 << 20)
            if not piece:
                break
            got += piece
        return bytes(got)

    async with _listening(world, tmp_path, secure=secure) as number:
        client = await deferToThread(ask, number)
        await settle()
        await settle()
        assert 1 <= _pages(world) - before < count / 3
        answer = await deferToThread(read, client)
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == count
        assert answer.count(b"</html>") >= count - 1
        await deferToThread(client.close)
        await settle()


@pytest.mark.parametrize("headers", [{}, SPECIAL], ids=["fast", "ordinary"])
def test_a_large_page_has_the_same_head_and_bytes_on_both_paths_cold_and_hot(world: World, headers: dict[str, str]) -> None:
    path, small = f"/{MIRROR}/+simple/large/", f"/{MIRROR}/+simple/hello/"
    whole = Wire(world, fast=False).ask(path, accept=HTML_PAGE)
    world.components.ready.page_cache.clear()
    world.components.ready.clear()
    for _ in range(3):
        wire = Wire(world)
        answer = wire.ask(path, accept=HTML_PAGE, **headers)
        assert answer.body == whole.body
        assert len(answer.body) > 5 * SMALL
        about = wire.ask(path, "HEAD", accept=HTML_PAGE, **headers)
        assert (about.status, about.headers["content-length"]) == (200, str(len(whole.body)))
        assert wire.ask(path, accept=HTML_PAGE, if_none_match=answer.headers["etag"], **headers).status == 304
        assert wire.ask(small, **headers).status == 200, "the connection goes on"
        assert wire.channel.is_idle


def test_a_large_json_answer_is_sent_piece_by_piece_and_whole(world: World) -> None:
    for method, accept in (("GET", "application/json"), ("HEAD", "application/json")):
        answer = Wire(world).ask(f"/{MIRROR}/large", method, accept=accept)
        assert answer.status == 200
        assert int(answer.headers["content-length"]) > 5 * SMALL
        assert method == "HEAD" or len(answer.json()["result"]) == 2500
