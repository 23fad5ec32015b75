"""The fast path answers byte for byte as the ordinary one, and only where it may."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.web.web_wire import HTML_PAGE, JSON_PAGE, Wire, ordinary, read_answer, request_bytes
from tests.web.web_world import MIRROR, World, link
from twistpi.mirror.pages import PageState
from twistpi.model.changes import LinksChanged

PAGE = f"/{MIRROR}/+simple/hello/"
SMALL, LARGE = b"s" * 3000, b"l" * 200_000
WHEEL, SDIST = link("hello-1.0-py3-none-any.whl", SMALL), link("hello-1.0.tar.gz", LARGE)


@attrs.define
class Prepared:
    """A server whose answers are warm."""

    world: World
    paths: list[str]
    tags: list[str]
    fast: Wire
    slow: Wire


@pytest.fixture(scope="module")
def prepared() -> Iterator[Prepared]:
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder)
        world.list_links("hello", [WHEEL, SDIST])
        paths = [
            PAGE, f"/{MIRROR}/hello", f"/{MIRROR}/hello/", f"/{MIRROR}/+simple/hello", world.cache_file("hello", WHEEL, SMALL),
            world.cache_file("hello", SDIST, LARGE), world.cache_metadata("hello", WHEEL, b"Metadata-Version: 2.1\n"),
        ]  # fmt: skip
        world.mirror.state = PageState("hit", 100.0, "https://upstream.example/", None, 1e9)
        slow, tags = Wire(world, fast=False), ['"x"', "*"]
        for path in paths:
            for accept in (JSON_PAGE, HTML_PAGE, "text/html"):
                for agent in ("pip/26.3", "curl/8"):
                    for coding in ("gzip", "identity"):
                        answer = slow.ask(path, accept=accept, user_agent=agent, accept_encoding=coding)
                        tags.append(answer.headers.get("etag", '"y"'))
        yield Prepared(world, paths, sorted(set(tags)), Wire(world), slow)
        world.close()


ACCEPTS = [
    *("*/*", "text/html", JSON_PAGE, HTML_PAGE, f"{JSON_PAGE}, text/html;q=0.1"),
    *("image/png", "application/json", "text/html;q=0", ""),
]
ODD = [
    "Range: bytes=0-9", "TE: trailers", "Authorization: Basic YTpi", "X-Devpi-Auth: YTpi", "Connection: close",
    "If-Modified-Since: Sun, 22 Nov 2026 17:24:48 GMT", "Content-Length: 0", "Via: 1.1 proxy", "X-Real-IP: ::1",
    "Cookie: twistpi_session=no",
]  # fmt: skip


@st.composite
def headers(draw: st.DrawFn, tags: list[str]) -> list[str]:
    """Header lines in any order, spelled any way."""
    lines = ["Host: localhost"]
    if draw(st.booleans()):
        lines.append(f"Accept: {draw(st.sampled_from(ACCEPTS))}")
    if draw(st.integers(0, 5)) == 0:
        lines.append(f"accept: {draw(st.sampled_from(ACCEPTS))}")
    if draw(st.booleans()):
        lines.append(f"Accept-Encoding:{draw(st.sampled_from(['gzip', ' gzip, deflate ', 'identity', 'gzip;q=0', 'br', '*']))}")
    if draw(st.booleans()):
        lines.append(f"User-Agent: {draw(st.sampled_from(['pip/26.3 {}', 'curl/8', 'Mozilla pip/1', 'uv/0.13']))}")
    if draw(st.booleans()):
        chosen = draw(st.lists(st.sampled_from(tags), min_size=1, max_size=3))
        lines.append("If-None-Match: " + ", ".join(draw(st.sampled_from(["", "W/"])) * (tag != "*") + tag for tag in chosen))
    lines += draw(st.lists(st.sampled_from(ODD), max_size=1))
    return draw(st.permutations(lines))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_both_ways_give_equal_bytes(prepared: Prepared, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(prepared.paths))
    lines = data.draw(headers(prepared.tags))
    asked = f"GET {path} HTTP/1.1\r\n{''.join(line + chr(13) + chr(10) for line in lines)}\r\n".encode("latin-1")
    fast, slow = Wire(prepared.world), Wire(prepared.world, fast=False)
    # Some examples bring a wrong password.  After a few of them the next one would wait, and the two answers would differ.
    prepared.world.authenticator.password_was_right("", fast.transport.getPeer().host)
    assert fast.send(asked) == slow.send(asked)
    fast.lose()
    slow.lose()


def _took_the_fast_way(wire: Wire, asked: bytes) -> bool:
    seen = ordinary(wire)
    wire.send(asked)
    return not seen


def test_warm_pages_files_and_their_304s_need_no_request_object(prepared: Prepared) -> None:
    for path in prepared.paths:
        for more in ({}, {"if_none_match": "*"}, {"cookie": "twistpi_session=any; other=1"}):
            asked = request_bytes(path, user_agent="pip/26.3", accept=JSON_PAGE, accept_encoding="gzip", **more)
            assert _took_the_fast_way(Wire(prepared.world), asked)


@pytest.mark.parametrize(
    "more",
    [{"range": "bytes=0-1"}, {"authorization": "Basic YTpi"}, {"x_outside_url": "http://x.example"}, {"connection": "close"},
     {"content_length": "0"}, {"if_modified_since": "x"}, {"cookie": "other=1; twistpi_serial=5"}],
)  # fmt: skip
def test_unusual_requests_take_the_ordinary_way(prepared: Prepared, more: dict[str, str]) -> None:
    asked = request_bytes(PAGE, accept=JSON_PAGE, **more)
    assert not _took_the_fast_way(Wire(prepared.world), asked)


@pytest.mark.parametrize("cut", [1, 10, 40, 60, -1])
def test_split_input_is_answered_all_the_same(prepared: Prepared, cut: int) -> None:
    asked = request_bytes(PAGE, accept=JSON_PAGE)
    wire = Wire(prepared.world)
    assert wire.send(asked[:cut]) == b""
    assert wire.send(asked[cut:]) == prepared.slow.send(asked)
    assert wire.send(asked) == prepared.slow.send(asked), "the fast way works again afterwards"


def test_pipelined_requests_are_answered_in_order(prepared: Prepared) -> None:
    first, second = request_bytes(PAGE, accept=JSON_PAGE), request_bytes(prepared.paths[4])
    wire = Wire(prepared.world)
    assert wire.send(first + second + first) == b"".join(prepared.slow.send(one) for one in (first, second, first))
    assert wire.send(first) == prepared.slow.send(first)


def test_hundreds_of_requests_on_one_connection_mix_both_ways(prepared: Prepared) -> None:
    wire = Wire(prepared.world)
    for number in range(300):
        method = "HEAD" if number % 3 == 0 else "GET"
        assert wire.ask(PAGE, method, accept=JSON_PAGE).status == 200


@pytest.fixture
def world(world: World) -> World:
    world.list_links("hello", [WHEEL])
    return world


def test_a_page_is_not_ready_any_more_after_a_change_or_its_time(world: World) -> None:
    wire, asked = Wire(world), request_bytes(PAGE)
    wire.send(asked)
    assert _is_ready(world, asked)
    world.commit(LinksChanged(MIRROR, "hello", added=(SDIST,)))
    assert not _is_ready(world, asked)
    wire.send(asked)
    assert _is_ready(world, asked)
    world.clock.advance(1700.0)
    assert not _is_ready(world, asked)


def _is_ready(world: World, asked: bytes) -> bool:
    seen = world.site.heads.look(asked)
    return seen is not None and world.site.answers.find(*seen) is not None


def test_age_and_date_move_with_the_clock(world: World) -> None:
    wire = Wire(world)
    first = wire.ask(PAGE)
    world.clock.advance(10)
    later = wire.ask(PAGE)
    assert int(later.headers["age"]) == int(first.headers["age"]) + 10
    assert later.headers["date"] != first.headers["date"]
    assert later.raw == Wire(world, fast=False).ask(PAGE).raw


def test_an_idle_connection_is_closed_after_its_time_however_it_was_answered(world: World) -> None:
    wire = Wire(world)
    for _ in range(3):
        assert wire.ask(PAGE).status == 200
        world.clock.advance(50)
        assert not wire.transport.disconnecting
    world.clock.advance(60)
    assert wire.transport.disconnecting


def test_the_access_log_has_a_line_for_every_answer(tmp_path: Any) -> None:
    world = World(str(tmp_path), access_log=str(tmp_path / "access.log"))
    world.list_links("hello", [WHEEL])
    world.site.reactor = world.clock
    world.site.startFactory()
    wire = Wire(world)
    for _ in range(3):
        wire.ask(PAGE, user_agent="pip/26.3", referer="x")
    world.site.stopFactory()
    lines = (tmp_path / "access.log").read_text().splitlines()
    assert len(lines) == 3
    assert f'"GET {PAGE} HTTP/1.1" 200' in lines[0]
    assert {line.partition("] ")[2] for line in lines} == {lines[0].partition("] ")[2]}
    assert '"pip/26.3"' in lines[0]
    world.close()


def test_bytes_that_are_no_http_are_refused_with_a_date(prepared: Prepared) -> None:
    answer = read_answer(Wire(prepared.world).send(b"\x16\x03\x01 hello\r\n\r\n"))
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert "date" in answer.headers
