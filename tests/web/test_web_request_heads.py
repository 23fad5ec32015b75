"""Which request heads are valid, on both paths, and how a request ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.web_uploads import DEV, NAME, SDIST, files, path_of, sdist, upload, with_stages
from tests.web.web_wire import Wire, read_answer
from tests.web.web_world import MIRROR, World, link
from twistpi.web.paths import is_host
from twistpi.web.transport.channel import HEADERS_WITHIN

PAGE = f"/{MIRROR}/+simple/hello/"
FILE = f"/{MIRROR}/+f/123/1234567890123/hello-1.0.tar.gz"
CHUNKED = b"2\r\n{}\r\n0\r\n\r\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(str(tmp_path))
    world.list_links("hello", [link("hello-1.0.tar.gz")])
    yield world
    world.close()


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join([line, *headers, "", ""]).encode("latin-1")


# Host --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hosts",
    [
        [], ["Host:"], ["Host: a", "Host: a"], ["Host: a", "Host: b"], ["Host: a, b"], ["Host: a b"], ["Host: a/b"],
        ["Host: x@y"], ["Host: http://a"], ["Host: a:b"], ["Host: a:123456"], ["Host: [::1"], ["Host: [x]"],
        ["Host: \xe4.example"], ["Host: a?b"], ["Host: \"a\""], ["Host: <script>"],
    ],
    ids=repr,
)  # fmt: skip
def test_a_request_without_one_good_host_is_refused_on_both_paths(world: World, hosts: list[str]) -> None:
    for _ in range(2):
        Wire(world).ask(PAGE)  # it is ready from now on
    for fast in (True, False):
        wire = Wire(world, fast=fast)
        for path in (PAGE, "/+api", "/"):
            answer = read_answer(wire.send(head(f"GET {path} HTTP/1.1", *hosts)))
            assert answer.status == 400
            assert b"Host" in answer.body
            assert answer.headers["x-devpi-api-version"] == "2"


def test_names_and_addresses_are_hosts(world: World) -> None:
    for host in (
        "a",
        "A.example.",
        "a_b",
        "xn--bcher-kva.example:3141",
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]",
        "[2001:db8::1]:443",
    ):
        assert is_host(host)
        assert read_answer(Wire(world).send(head(f"GET {PAGE} HTTP/1.1", f"Host: {host}"))).status == 200


def test_the_first_version_of_http_needs_no_host(world: World) -> None:
    assert Wire(world).send(head("GET /+health HTTP/1.0")).startswith(b"HTTP/1.0 200 ")


# The address -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [f"{PAGE}#x", f"{FILE}#x", f"/{MIRROR}#{FILE}", "/#", f"http://a{PAGE}", "a:80"])
def test_an_address_that_is_no_path_is_refused_for_every_method(world: World, address: str) -> None:
    for method in ("GET", "POST", "PUT", "PUSH"):
        asked = head(f"{method} {address} HTTP/1.1", "Host: a", "Content-Length: 2") + b"{}"
        answer = read_answer(Wire(world).send(asked))
        assert answer.status == 400
        assert b"address" in answer.body


# Where a request ends ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        ("1.1", ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]),
        ("1.1", ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"]),
        ("1.1", ["Transfer-Encoding: identity", "Transfer-Encoding: chunked"]),
        ("1.1", ["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"]),
        ("1.1", ["Transfer-Encoding: gzip, chunked"]),
        ("1.1", ["Transfer-Encoding: identity"]),
        ("1.1", ["Transfer-Encoding:"]),
        ("1.1", ["transfer-encoding: Identity", "Content-Length: 2"]),
        ("1.1", ["Content-Length: 2", "Transfer-Encoding: chunked"]),
        ("1.1", ["Content-Length: 2", "Content-Length: 2"]),
        ("1.1", ["Content-Length: 2, 2"]),
        ("1.1", ["Content-Length: +2"]),
        ("1.0", ["Transfer-Encoding: chunked"]),
    ],
    ids=repr,
)
def test_a_request_whose_end_is_unclear_is_refused_and_the_last_one(world: World, version: str, lines: list[str]) -> None:
    wire = Wire(world)
    answer = wire.send(head(f"POST /+login HTTP/{version}", "Host: a", *lines, "X-Other: 1") + CHUNKED)
    assert read_answer(answer).status == 400
    assert read_answer(answer).headers["connection"] == "close"
    assert wire.transport.disconnecting


@pytest.mark.parametrize("lines", [["Connection: close, TE"], ["Connection: TE,close"], ["Connection: TE", "connection: Close"]])
def test_who_says_that_a_request_is_the_last_is_believed(world: World, lines: list[str]) -> None:
    wire = Wire(world)
    assert read_answer(wire.send(head("GET /+api HTTP/1.1", "Host: a", *lines))).headers["connection"] == "close"
    assert wire.transport.disconnecting
    wire = Wire(world)
    assert read_answer(wire.send(head("GET /+api HTTP/1.1", "Host: a", "Connection: keep-alive, TE"))).status == 200
    assert not wire.transport.disconnecting


def test_nobody_is_spoken_to_in_http_2(world: World) -> None:
    wire = Wire(world)
    assert wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert wire.transport.disconnecting
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    assert read_answer(Wire(world).send(head(f"GET {PAGE} HTTP/1.1", "Host: a", *upgrade))).status == 200


# Sizes -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (head("GET /+api HTTP/1.1", "Host: a", f"X-Long: {'a' * 20_000}"), 431),
        (head("GET /+api HTTP/1.1", "Host: a", f"X-Long: {'a' * 20_000}")[:-4], 431),
        (head("GET /+api HTTP/1.1", "Host: a", *[f"X-Long: {'a' * 5000}"] * 4), 431),
        (head("GET /+api HTTP/1.1", "Host: a", *["X-Many: a"] * 600), 431),
        (head(f"GET /{'a' * 20_000} HTTP/1.1", "Host: a"), 414),
        (head(f"GET /{'a' * 3_000} HTTP/1.1", "Host: a"), 414),
        *(
            (head(f"{method} {path} HTTP/1.1", "Host: a", kind, f"Content-Length: {'9' * digits}") + b"{}", 413)
            for digits in (17, 29, 5000)
            for method, path, kind in (
                ("POST", "/+login", "Content-Type: application/json"),
                ("POST", "/root/dev/", "Content-Type: application/json"),
                ("POST", "/root/dev/", "Content-Type: multipart/form-data; boundary=x"),
                ("PUT", "/new", "Content-Type: multipart/form-data; boundary=x"),
                ("GET", "/+api", "Content-Type: application/json"),
            )
        ),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_what_is_too_large_is_told_at_once_and_nothing_more_is_read(world: World, asked: bytes, status: int) -> None:
    wire = Wire(world)
    answer = wire.send(asked)
    world.clock.advance(0)
    answer = answer or bytes(wire.transport.value())
    assert read_answer(answer).status == status
    if len(asked) < 4000 and status == 414:
        return  # that one was read whole
    assert read_answer(answer).headers["connection"] == "close"
    wire.transport.clear()
    assert wire.send(b"x" * 100_000 + head("GET /+api HTTP/1.1", "Host: a")) == b""
    world.clock.advance(HEADERS_WITHIN)
    assert wire.transport.disconnected or wire.transport.disconnecting, "who does not close is cut off"


def test_a_length_may_begin_with_zeros(world: World) -> None:
    answer = Wire(world).send(head("PUT /new HTTP/1.1", "Host: a", f"Content-Length: {'0' * 28}2") + b"{}")
    assert read_answer(answer).status == 400


def test_a_chunked_body_is_refused_as_soon_as_too_much_came(world: World) -> None:
    wire = Wire(world)
    world.components.storage.max_upload_size = 3_000_000
    wire.send(head("POST /+login HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"))
    for _ in range(3):
        assert wire.send(b"100000\r\n" + bytes(0x100000) + b"\r\n") == b""
        world.clock.advance(0)
    assert read_answer(bytes(wire.transport.value())).status == 413


# Doubled slashes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "location"),
    [
        (f"/{MIRROR}/+simple//hello/", PAGE),
        (f"/{MIRROR}//+simple/hello/", PAGE),
        (f"/{MIRROR}/+simple/hello//", PAGE),
        (f"//{MIRROR}///+simple////hello/", PAGE),
        (f"/{MIRROR}/+simple//hello/?a=b//c", f"{PAGE}?a=b//c"),
        (f"/{MIRROR}/+simple//", f"/{MIRROR}/+simple/"),
        (f"/{MIRROR}//hello", f"/{MIRROR}/hello"),
        (f"/{MIRROR}//+f/123/4567890123456/a%20b", f"/{MIRROR}/+f/123/4567890123456/a%20b"),
        (f"//evil.example//{MIRROR}", f"/evil.example/{MIRROR}"),
    ],
)
def test_doubled_slashes_in_what_is_read_lead_to_the_address_without(world: World, path: str, location: str) -> None:
    for agent in ("pip/26.3", "uv/1.0", "curl/8"):
        for method in ("GET", "HEAD", "GET"):
            answer = Wire(world).ask(path, method, user_agent=agent)
            assert (answer.status, answer.headers["location"]) == (301, location)


def test_slashes_before_a_path_are_as_one(world: World) -> None:
    assert Wire(world).ask(f"//{PAGE}").status == 200


@pytest.mark.parametrize("outside", ["https://pypi.example/pre/fix", "https://pypi.example"])
def test_the_redirect_has_the_prefix_that_a_proxy_keeps_or_removes(world: World, outside: str) -> None:
    world.components.addresses.outside_url = outside
    prefix = outside.removeprefix("https://pypi.example")
    for sent in {"", prefix}:
        answer = Wire(world).ask(f"{sent}/{MIRROR}/+simple//hello/")
        assert (answer.status, answer.headers["location"]) == (301, prefix + PAGE)


@pytest.mark.parametrize("path", ["/{}//", "//{}/", "/root//{}//pypi", "/root/pypi//+f//{}", "/root/pypi/+simple//{}/hello/"])
def test_steps_out_of_a_folder_stay_refused(world: World, path: str) -> None:
    for step in ("..", ".", "%2e%2e", "%2E.", "a%2Fb", "a%5Cb", "%2F"):
        for method in ("GET", "POST", "DELETE"):
            assert Wire(world).ask(path.format(step), method).status == 404


def test_what_writes_is_done_at_the_address_without_them(world: World) -> None:
    alice = with_stages(world)
    for number, index in enumerate(("alice//dev/", f"{DEV}//", f"/{DEV}")):
        version = f"1.{number}"
        answer = upload(alice, index, f"demo_pkg-{version}.tar.gz", sdist(version), version=version)
        assert answer.status == 200, answer.raw
    assert len(files(world, DEV)) == 3
    path = path_of(world, DEV, SDIST)
    answer = alice.ask("POST", path.replace("+f/", "+f//"), {})
    assert answer.status == 200, answer.raw
    assert alice.ask("DELETE", f"/alice//dev//{NAME}").status == 200
