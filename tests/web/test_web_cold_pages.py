"""Project pages that are not ready are made without a request object, and their answers are those of the ordinary path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.web.web_wire import HTML_PAGE, JSON_PAGE, Wire, ordinary, read_answer, request_bytes
from tests.web.web_world import MIRROR, MakeWorld, World, link
from twistpi.mirror.pages import PageState
from twistpi.model.changes import IndexModified
from twistpi.model.errors import AskFirst, UpstreamFailed
from twistpi.model.server_errors import StorageFull

PAGE = f"/{MIRROR}/+simple/hello/"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(str(tmp_path), access_log=str(tmp_path / "access.log"))
    made.list_links("hello", [link("hello-1.0.tar.gz"), link("hello-1.0-py3-none-any.whl")])
    made.list_links("large", [link(f"large-1.{number}.tar.gz") for number in range(150)])
    yield made
    made.close()


def cold(world: World) -> World:
    world.components.ready.page_cache.clear()
    world.components.ready.clear()
    return world


STATES = [
    PageState("miss", 0.0, "https://upstream.example/", None, 1800.0),
    PageState("revalidated", 3.0, "https://upstream.example/", None, 1800.0),
    PageState("stale", 9000.0, "https://upstream.example/", "it answered 500", 5.0),
]
FAILURES = [
    UpstreamFailed(MIRROR, "hello", "it answered 500"),
    StorageFull("+files", "no room"),
    ValueError("a mistake"),
    AskFirst(),
]


@pytest.mark.parametrize("accept", [JSON_PAGE, HTML_PAGE, "text/html", "*/*", "application/json"])
@pytest.mark.parametrize("coding", ["gzip", "identity"])
@pytest.mark.parametrize("project", ["hello", "large", "unknown"])
def test_both_paths_give_equal_bytes(world: World, accept: str, coding: str, project: str) -> None:
    for state in STATES:
        world.mirror.state = state
        for more in ({}, {"if_none_match": "*"}, {"user_agent": "pip/26.3"}):
            asked = request_bytes(f"/{MIRROR}/+simple/{project}/", accept=accept, accept_encoding=coding, **more)
            wire = Wire(cold(world))
            seen = ordinary(wire)
            answer = wire.send(asked)
            assert answer == Wire(cold(world), fast=False).send(asked)
            assert seen == []


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("accept", [JSON_PAGE, "text/html", "application/json", "text/html, Application/JSON"])
def test_errors_are_those_of_the_ordinary_path(world: World, failure: Exception, accept: str) -> None:
    world.mirror.failure = failure
    asked = request_bytes(PAGE, accept=accept)
    wire = Wire(world)
    seen = ordinary(wire)
    assert wire.send(asked) == Wire(world, fast=False).send(asked)
    assert seen == []


@pytest.mark.parametrize(
    ("path", "more"),
    [
        (f"{PAGE}?x=1", {}), (f"/{MIRROR}/+simple/Hello/", {}), (f"/{MIRROR}/+simple/hello", {}), (f"/{MIRROR}/hello", {}),
        ("/root/unknown/+simple/hello/", {}), (PAGE, {"accept": "image/png"}), (PAGE, {"authorization": "Basic YTpi"}),
        (f"/{MIRROR}/%2bsimple/hello/", {}),
    ],
)  # fmt: skip
def test_other_requests_take_the_ordinary_path(world: World, path: str, more: dict[str, str]) -> None:
    wire = Wire(world)
    seen = ordinary(wire)
    asked = request_bytes(path, **more)
    assert wire.send(asked) == Wire(cold(world), fast=False).send(asked)
    assert len(seen) == 1


def test_a_prefix_of_the_outside_url_is_for_the_ordinary_path(make_world: MakeWorld) -> None:
    world = make_world(outside_url="https://pkgs.example/root")
    world.list_links("hello", [link("hello-1.0.tar.gz")])
    asked = request_bytes(f"/root{PAGE}")
    assert Wire(world).send(asked) == Wire(cold(world), fast=False).send(asked)


@pytest.fixture
def pending(world: World) -> Wire:
    """A connection whose page is being made until the gate of the mirror opens."""
    world.mirror.gate = Deferred()
    wire = Wire(world, named=True)
    assert wire.send(request_bytes(PAGE, accept=JSON_PAGE, user_agent="pip/26.3")) == b""
    return wire


def finish(world: World, wire: Wire) -> bytes:
    """Open the gate of the mirror; return what was sent."""
    assert world.mirror.gate
    world.mirror.gate.callback(None)
    world.clock.advance(0)
    return bytes(wire.transport.value())


def test_requests_that_come_meanwhile_are_answered_in_order(world: World, pending: Wire) -> None:
    assert not pending.channel.is_idle
    assert pending.send(request_bytes("/+api") + request_bytes("/+health")) == b""
    answers = finish(world, pending)
    assert answers.index(b"hello-1.0.tar.gz") < answers.index(b"apiconfig") < answers.index(b"alive")
    assert answers.count(b"\r\nX-Request-Id: ") == 3
    assert pending.channel.is_idle


def test_no_more_than_a_few_requests_are_read_meanwhile(world: World, pending: Wire) -> None:
    pending.send(request_bytes("/+api"))
    assert pending.transport.producerState == "producing"
    pending.send(request_bytes("/+api") * 500)
    assert pending.transport.producerState == "paused"
    answers = finish(world, pending)
    assert pending.transport.producerState == "producing"
    assert answers.count(b'"apiconfig"') == 501


def test_a_client_that_leaves_stops_nothing_and_is_counted(world: World, pending: Wire, tmp_path: Path) -> None:
    pending.lose()
    assert finish(world, pending) == b""
    assert list(world.components.traffic.answered) == [("page", 499, 1)]
    assert '" 499 - ' in (tmp_path / "access.log").read_text()


def test_an_index_that_closes_meanwhile_is_closed(world: World, pending: Wire) -> None:
    world.commit(IndexModified(MIRROR, {"acl_read": []}))
    assert read_answer(finish(world, pending)).status in (401, 403)
    assert not world.components.ready.pages


def test_the_last_page_before_a_stop_says_that_it_is_the_last(world: World, pending: Wire) -> None:
    world.components.connections.finish(10.0)
    assert read_answer(finish(world, pending)).headers["connection"] == "close"
    assert pending.transport.disconnecting


def test_a_page_is_counted_and_logged_with_its_time(world: World, pending: Wire, tmp_path: Path) -> None:
    world.clock.advance(2.0)
    finish(world, pending)
    assert list(world.components.traffic.answered) == [("page", 200, 1)]
    assert world.components.traffic.durations[1] == 2.0
    line = (tmp_path / "access.log").read_text()
    assert f'"GET {PAGE} HTTP/1.1" 200 ' in line
    assert line.endswith('"pip/26.3"\n')


def test_what_another_server_knows_better_is_forwarded(world: World) -> None:
    forwarded: list[Any] = []

    class Forwarder:
        def takes(self, request: object, method: bytes, raw: bytes) -> bool:
            return False

        async def ask_first(self, request: Any) -> None:
            forwarded.append(request.uri)
            request.setResponseCode(299)
            request.responseHeaders.setRawHeaders(b"Content-Length", [b"0"])

    site: Any = world.site
    site.forwarder = Forwarder()
    world.mirror.failure = AskFirst()
    assert Wire(world).ask(PAGE).status == 299
    assert forwarded == [PAGE.encode()]
