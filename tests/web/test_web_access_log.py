"""The access log, and request ids."""

from __future__ import annotations

import io
import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address

from tests.web.web_wire import Wire
from tests.web.web_world import MIRROR, World, link
from twistpi.web.access_log import AccessLog, Logged, clean_target, logged_head
from twistpi.web.transport.channel import HEADERS_WITHIN

LOGGED = Logged(
    "192.0.2.1", "GET", "/root/pypi/+simple/?format=x&token=secret&flag", "HTTP/1.1", 200, 1234,
    "https://me:secret@pkgs.example/a?b=secret", 'pip/26.3 {"a"}', 0.01234567, "abc-1",
)  # fmt: skip


def _line(format: Any, logged: Logged = LOGGED, now: float = 1_795_000_000.25) -> str:
    out = io.StringIO()
    AccessLog("-", format, out).note(logged, now)
    assert out.getvalue().count("\n") == 1
    return out.getvalue().rstrip("\n")


def test_the_combined_format_is_that_of_other_servers() -> None:
    assert _line("text") == (
        '192.0.2.1 - - [18/Nov/2026:11:06:40 +0000] "GET /root/pypi/+simple/?format=x&token=***&flag HTTP/1.1" 200 1234'
        ' "https://pkgs.example/a" "pip/26.3 {\\x22a\\x22}"'
    )


def test_in_json_a_line_has_the_time_it_took_and_the_name_of_the_request() -> None:
    told = json.loads(_line("json"))
    assert told["time"] == "2026-11-18T11:06:40.250Z"
    assert (told["event"], told["status"], told["bytes"], told["seconds"], told["request"]) == (
        "request", 200, 1234, 0.012346, "abc-1",
    )  # fmt: skip
    assert told["target"] == "/root/pypi/+simple/?format=x&token=***&flag"
    assert "secret" not in _line("json")


@given(st.text(), st.text(), st.text())
def test_nothing_a_client_says_makes_two_lines_or_breaks_the_format(target: str, referrer: str, agent: str) -> None:
    logged = Logged("192.0.2.1", "GET", target, "HTTP/1.1", 200, 0, referrer, agent)
    assert _line("text", logged).isascii()
    json.loads(_line("json", logged))


@pytest.mark.parametrize(
    ("target", "clean"),
    [
        ("/a/b?password=x", "/a/b?password=***"),
        ("/a?x", "/a?x"),
        ("/a/x@y", "/a/x@y"),
        ("/a?b=c&format=json", "/a?b=***&format=json"),
    ],
)
def test_of_a_query_only_the_names_are_kept(target: str, clean: str) -> None:
    assert clean_target(target) == clean


@pytest.mark.parametrize("format", ["text", "json"])
def test_what_lets_somebody_in_is_written_nowhere_whatever_a_client_mistakes_for_a_path(format: str) -> None:
    token = "twistpi-0123456789abcdef-secretsecretsecretsecret"
    url = "//me:secret@pkgs.example/"
    for target in (f"http:{url}", url, f"/https:{url}", f"/a/{token}"):
        line = _line(format, attrs.evolve(LOGGED, target=target, agent=f"pip/26.3 {token} http://me:secret@pkgs.example/"))
        assert "secret" not in line
        assert "***" in line


def test_both_ways_of_answering_log_alike() -> None:
    asked = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nUser-Agent: pip/26.3\r\nREFERER: y\r\n\r\n"
    logged = logged_head(IPv4Address("TCP", "192.0.2.1", 1), asked, 304, 0)
    assert logged == Logged("192.0.2.1", "GET", "/a?b=c", "HTTP/1.1", 304, 0, "y", "pip/26.3")


def test_a_log_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), "text", io.StringIO())
    log.note(LOGGED, 0)
    path.rename(tmp_path / "access.log.1")
    log.note(LOGGED, 0)
    log.reopen()
    log.note(LOGGED, 0)
    log.close()
    assert len((tmp_path / "access.log.1").read_text().splitlines()) == 2
    assert len(path.read_text().splitlines()) == 1


def test_a_log_that_cannot_be_written_stops_no_answer() -> None:
    class Full(io.StringIO):
        def write(self, text: str, /) -> int:
            raise OSError(28, "No space left on device")

    AccessLog("-", "text", Full()).note(LOGGED, 0)


@pytest.mark.parametrize(
    ("peer", "told", "taken"),
    [
        ("127.0.0.1", "abc/1.2:3-4", True),
        *(("127.0.0.1", odd, False) for odd in ("a b", "x" * 129, 'a"}')),
        ("192.0.2.1", "abc", False),
    ],
)
def test_a_request_is_called_what_a_trusted_proxy_calls_it(tmp_path: Path, peer: str, told: str, taken: bool) -> None:
    log = tmp_path / "access.log"
    world = World(str(tmp_path), trusted_proxies=(ip_network("127.0.0.1"),), access_log=str(log))
    world.list_links("hello", [link("hello-1.0.tar.gz")])
    wire = Wire(world, named=True)
    wire.transport.peerAddr = IPv4Address("TCP", peer, 5000)
    for path in (f"/{MIRROR}/+simple/hello/", "/nothing/here/at/all", f"/{MIRROR}/+simple"):
        named = [wire.ask(path, x_request_id=told).headers["x-request-id"] for _ in range(2)]
        assert (named == [told, told]) is taken
        assert taken or named[0] != named[1]
    world.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"no request\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX-Half: ", 408),
        (b"PUT /new HTTP/1.1\r\nContent-Length: " + b"9" * 29 + b"\r\n\r\n", 413),
    ],
)
def test_what_is_refused_before_it_is_a_request_is_logged_once(tmp_path: Path, sent: bytes, status: int) -> None:
    world = World(str(tmp_path), access_log=str(tmp_path / "access.log"))
    wire = Wire(world)
    wire.send(sent)
    world.clock.advance(HEADERS_WITHIN)
    wire.lose()
    world.close()
    (line,) = (tmp_path / "access.log").read_text().splitlines()
    client, _, told = line.partition(" - - ")
    assert (client, told.partition('] "')[2].split()[:2]) == (wire.transport.getPeer().host, ['-"', str(status)])
