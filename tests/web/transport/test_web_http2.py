"""Clients that chose HTTP/2: the same answers, bodies both ways at their own pace, streams that leave each other alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from twisted.logger import LogLevel, capturedLogs

from tests.web.transport.web_http2 import Http2Wire
from tests.web.web_asking import basic
from tests.web.web_uploads import DEV, SDIST, TYPE, form, sdist, with_stages
from tests.web.web_wire import GONE, HTML_PAGE, JSON_PAGE, Wire
from tests.web.web_world import MIRROR, World, link

LARGE = os.urandom(3_000_000)
WHEEL, BIG = link("hello-1.0-py3-none-any.whl", b"wheel"), link("hello-1.0.tar.gz", LARGE)
PAGE = f"/{MIRROR}/+simple/hello/"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(str(tmp_path))
    world.list_links("hello", [WHEEL, BIG])
    yield world
    world.close()


@pytest.mark.parametrize("accept", [JSON_PAGE, HTML_PAGE, "image/png"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_answers_are_those_of_http_1(world: World, accept: str, method: str) -> None:
    wire = Http2Wire(world)
    for path in (PAGE, "/", "/nobody/nothing/", f"/{MIRROR}/+simple/Hello/", "/..", world.cache_file("hello", WHEEL, b"wheel")):
        old, new = Wire(world, fast=False).ask(path, method, accept=accept), wire.ask(path, method, accept=accept)
        assert new.ended
        assert (new.status, new.body) == (old.status, old.body)
        for headers in (old.headers, new.headers):
            headers.pop(":status", None)
            headers.pop("connection", None)
            headers.pop("x-request-id", None)
        assert new.headers == old.headers
        assert new.headers.get("location") == old.headers.get("location")


def test_a_page_is_confirmed_with_304(world: World) -> None:
    wire = Http2Wire(world)
    tag = wire.ask(PAGE, accept=JSON_PAGE).headers["etag"]
    got = wire.ask(PAGE, accept=JSON_PAGE, if_none_match=tag)
    assert (got.status, got.body, got.ended) == (304, b"", True)


@pytest.mark.parametrize("window", [10_000, 65_535, 1 << 30])
def test_a_large_file_comes_whole_and_no_faster_than_it_is_read(world: World, window: int) -> None:
    path = world.cache_file("hello", BIG, LARGE)
    wire = Http2Wire(world, window=window)
    wire.transport.streaming = True
    whole, part = wire.ask(path), wire.ask(path, range="bytes=1000-1999")
    wire.exchange(5000)
    assert (whole.status, part.status) == (200, 206)
    assert whole.body == LARGE
    assert part.body == LARGE[1000:2000]


def test_what_is_not_read_waits_in_bounds_and_costs_no_turns(world: World) -> None:
    path = world.cache_file("hello", BIG, LARGE)
    wire = Http2Wire(world, window=100_000)
    wire.reads = False
    got = wire.ask(path)
    assert len(got.body) == 100_000
    queued = wire.channel._http2._queued(wire.number(got))
    assert queued <= 400_000
    # Nothing is due at once: the connection sleeps until the client reads on.
    assert all(call.getTime() > world.clock.seconds() for call in world.clock.getDelayedCalls())
    other = wire.ask(PAGE, accept=JSON_PAGE)
    assert other.status == 200
    wire.read_on()
    wire.exchange(5000)
    assert got.body == LARGE


def test_a_client_with_an_endless_window_does_not_have_a_file_read_into_memory(world: World) -> None:
    path = world.cache_file("hello", BIG, LARGE)
    wire = Http2Wire(world, window=1 << 30)
    wire.channel._http2.pauseProducing()  # the socket takes nothing
    stream = wire.conn.get_next_available_stream_id()
    wire.conn.send_headers(
        stream, [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", path)], end_stream=True
    )
    wire.channel.dataReceived(wire.conn.data_to_send())
    world.clock.advance(0)
    assert 0 < wire.channel._http2._queued(stream) <= 400_000


def test_a_client_that_takes_nothing_is_cut_off(world: World) -> None:
    path = world.cache_file("hello", BIG, LARGE)
    wire = Http2Wire(world, window=100_000)
    wire.reads = False
    got = wire.ask(path)
    for _ in range(3):
        world.clock.advance(80)
        wire.exchange()
    assert got.reset is not None
    assert not got.ended


def test_uploads_come_in_and_are_stored(world: World) -> None:
    alice = with_stages(world)
    wire = Http2Wire(world)
    content = sdist(payload=os.urandom(300_000))
    got = wire.ask(
        f"/{DEV}/", "POST", body=form(SDIST, content, filetype="sdist"), content_type=TYPE,
        x_devpi_auth=basic(alice.credentials or ""),
    )  # fmt: skip
    assert got.status == 200, got
    assert SDIST in wire.ask(f"/{DEV}/+simple/demo-pkg/").body.decode()


def test_a_refused_upload_is_told_at_once_and_the_connection_goes_on(world: World) -> None:
    with_stages(world)
    wire = Http2Wire(world)
    body = form(SDIST, os.urandom(5_000_000), filetype="sdist")
    got = wire.ask(f"/{DEV}/", "POST", body=body[:200_000], more=True, content_type=TYPE, content_length=str(len(body)))
    world.clock.advance(0)
    wire.exchange()
    assert got.status == 401
    assert got.ended
    assert got.reset is None, "the answer is to be read first"
    wire.send(wire.number(got), body[200_000:400_000])
    world.clock.advance(1)
    wire.exchange()
    assert got.reset == ErrorCodes.NO_ERROR, "the client need not send the rest"
    assert wire.ask(PAGE, accept=JSON_PAGE).status == 200


def test_a_body_in_the_way_of_nobody_arrives_in_pieces(world: World) -> None:
    alice = with_stages(world)
    wire = Http2Wire(world)
    body = form(SDIST, sdist(payload=os.urandom(500_000)), filetype="sdist")
    got = wire.ask(
        f"/{DEV}/", "POST", body=body[:100_000], more=True, content_type=TYPE, x_devpi_auth=basic(alice.credentials or "")
    )
    assert wire.ask(PAGE, accept=JSON_PAGE).status == 200
    wire.send(wire.number(got), body[100_000:], end=True)
    assert got.status == 200


def test_a_stream_that_the_client_gives_up_ends_alone(world: World) -> None:
    path = world.cache_file("hello", BIG, LARGE)
    wire = Http2Wire(world, window=100_000)
    wire.reads = False
    given_up = wire.ask(path)
    wire.reset(given_up)
    assert wire.ask(PAGE, accept=JSON_PAGE).status == 200
    assert not wire.transport.disconnecting
    assert wire.channel.is_idle


def test_requests_that_are_taken_back_in_the_same_breath_are_never_begun(world: World) -> None:
    path = world.cache_file("hello", BIG, LARGE)
    wire = Http2Wire(world)
    with capturedLogs() as lines:
        for _ in range(10):
            wire.reset(wire.announce(path))
    assert lines == []
    assert wire.ask(PAGE, accept=JSON_PAGE).status == 200
    assert {kind for kind, _status, _ in world.services.traffic.answered} == {"page"}


def test_requests_whose_body_ends_in_the_breath_that_takes_them_back_are_never_begun(world: World) -> None:
    wire = Http2Wire(world)
    with capturedLogs() as lines:
        got = wire.announce("/root", "PATCH", end=False, content_type="application/json")
        wire.exchange()
        wire.conn.send_data(wire.number(got), b"{}", end_stream=True)
        wire.reset(got)
    assert lines == []
    assert wire.ask(PAGE, accept=JSON_PAGE).status == 200
    assert {kind for kind, _status, _ in world.services.traffic.answered} == {"page"}


def test_an_answer_that_is_given_up_in_the_breath_that_makes_room_for_it_ends_alone(world: World) -> None:
    path = world.cache_file("hello", BIG, LARGE)
    wire = Http2Wire(world, window=100_000)
    wire.reads = False
    given_up, read = wire.ask(path), wire.ask(path)
    with capturedLogs() as lines:
        wire.conn.acknowledge_received_data(len(given_up.body), wire.number(given_up))
        wire.reset(given_up)
        wire.reads = True
        wire.conn.acknowledge_received_data(len(read.body), wire.number(read))
        wire.exchange(5000)
    assert lines == []
    assert read.body == LARGE


def test_what_comes_with_the_last_drop_of_a_flood_of_resets_is_not_looked_at(world: World) -> None:
    path = world.cache_file("hello", BIG, LARGE)
    wire = Http2Wire(world)
    with capturedLogs() as lines:
        while not wire.left:
            for _ in range(90):
                wire.conn.reset_stream(wire.number(wire.announce(path)))
            last = wire.announce(PAGE)
            wire.exchange()
    assert not last.headers
    assert wire.transport.disconnecting
    assert not [line for line in lines if line["log_level"] >= LogLevel.error]


def test_a_body_that_comes_too_slowly_is_cut(world: World) -> None:
    wire = Http2Wire(world)
    got = wire.ask("/root", "PATCH", body=b"{", more=True, content_type="application/json")
    for _ in range(3):
        world.clock.advance(30)
        wire.send(wire.number(got), b" ")
    assert got.reset is not None
    assert not wire.transport.disconnecting


def test_a_silent_connection_is_closed_and_pings_do_not_keep_it(world: World) -> None:
    wire = Http2Wire(world)
    assert wire.ask(PAGE).status == 200
    for _ in range(3):
        assert not wire.transport.disconnecting
        world.clock.advance(26)
        wire.conn.ping(b"12345678")
        wire.exchange()
    assert wire.transport.disconnecting


def test_a_request_that_takes_long_is_waited_for(world: World) -> None:
    download = world.grow_file(link("slow-1.0.tar.gz", LARGE), len(LARGE))
    world.list_links("slow", [link("slow-1.0.tar.gz", LARGE)])
    path = world.cache_file("hello", WHEEL, b"wheel").replace("hello", "slow")
    assert path
    wire = Http2Wire(world)
    got = wire.ask(f"/{MIRROR}/+f/{link('slow-1.0.tar.gz', LARGE).hashes['sha256'][:3]}/"
                   f"{link('slow-1.0.tar.gz', LARGE).hashes['sha256'][3:16]}/slow-1.0.tar.gz")  # fmt: skip
    for _ in range(4):
        world.clock.advance(70)
        wire.exchange()
    assert not wire.transport.disconnecting
    download.grow(LARGE, end=True)
    wire.exchange(5000)
    assert got.body == LARGE


def test_a_connection_that_is_to_end_finishes_what_it_was_asked(world: World) -> None:
    path = world.cache_file("hello", BIG, LARGE)
    wire = Http2Wire(world, window=100_000)
    wire.reads = False
    got = wire.ask(path)
    wire.channel.finish_up()
    wire.exchange()
    assert not wire.transport.disconnecting
    wire.read_on()
    wire.exchange(5000)
    assert got.body == LARGE
    assert wire.left
    assert wire.transport.disconnecting


def test_an_idle_connection_that_is_to_end_does_so_at_once(world: World) -> None:
    wire = Http2Wire(world)
    assert wire.ask(PAGE).status == 200
    assert wire.channel.is_idle
    wire.channel.finish_up()
    assert wire.transport.disconnecting
    wire.channel.connectionLost(GONE)
    assert len(world.services.connections) == 0


def test_requests_of_http2_are_counted_and_logged_like_others(world: World) -> None:
    wire = Http2Wire(world)
    wire.ask(PAGE)
    wire.ask("/nobody")
    assert {(kind, status) for kind, status, _ in world.services.traffic.answered} >= {("page", 200), ("reading", 404)}
