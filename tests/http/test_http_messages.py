"""Heads of requests, and responses read strictly, in whatever pieces they come."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.messages import LONGEST_HEAD, Line, ResponseParser, request_head

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
PERSISTENT, CLOSING = True, False


def parse(*data: bytes, is_head: bool = False) -> tuple[ResponseParser, bytes]:
    parser = ResponseParser(is_head)
    return parser, b"".join(piece for one in data for piece in parser.feed(one))


@pytest.mark.parametrize(
    ("wire", "body", "persistent"),
    [
        (OK + b"Content-Length: 2\r\n\r\nab", b"ab", PERSISTENT),
        (OK + b"content-length:2\r\n\r\nab", b"ab", PERSISTENT),
        (OK + b"Content-Length: 0\r\n\r\n", b"", PERSISTENT),
        (OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nab", b"ab", CLOSING),
        (OK + b"Content-Length: 2\r\nConnection: a, Close\r\n\r\nab", b"ab", CLOSING),
        (OK + b"Content-Length: 2\r\nConnection: closed\r\n\r\nab", b"ab", PERSISTENT),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", b"ab", CLOSING),
        (b"\r\n" + OK + b"Content-Length: 2\r\n\r\nab", b"ab", PERSISTENT),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nab", b"ab", PERSISTENT),
        (CHUNKED + b"2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n", b"abcde", PERSISTENT),
        (CHUNKED + b"2\r\nab\r\n0\r\nTrailer: x\r\n\r\n", b"ab", PERSISTENT),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", b"ab", CLOSING),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", PERSISTENT),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", b"", PERSISTENT),
        (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nab", b"ab", PERSISTENT),
    ],
)  # fmt: skip
def test_a_body_ends_where_the_head_says(wire: bytes, body: bytes, persistent: bool) -> None:
    for pieces in ([wire], [bytes([byte]) for byte in wire], [wire[:-1], wire[-1:]]):
        parser, found = parse(*pieces)
        assert (found, parser.is_complete, parser.is_persistent) == (body, True, persistent)
        assert b"Trailer" not in dict(parser.lines)


def test_there_is_no_body_after_head() -> None:
    for wire in (OK + b"Content-Length: 5\r\n\r\n", CHUNKED, OK + b"\r\n"):
        parser, _ = parse(wire, is_head=True)
        assert (parser.is_complete, parser.is_persistent) == (True, True)
    parser, body = parse(OK + b"Content-Length: 5\r\n\r\nhello", is_head=True)
    assert (body, parser.is_persistent) == (b"", False)


@pytest.mark.parametrize("rest", [b"x", b"HTTP/1.1 200 OK\r\n", OK + b"Content-Length: 0\r\n\r\n"])
@pytest.mark.parametrize(
    "start", [OK + b"Content-Length: 2\r\n\r\nab", CHUNKED + b"2\r\nab\r\n0\r\n\r\n", b"HTTP/1.1 204 X\r\n\r\n"]
)
def test_what_comes_after_the_end_spoils_the_connection(start: bytes, rest: bytes) -> None:
    parser, body = parse(start + rest)
    assert (body[:2], parser.is_complete, parser.is_persistent) == (body, True, False)


def test_what_comes_after_a_long_body_spoils_the_connection() -> None:
    parser, body = parse(OK + b"Content-Length: 4\r\n\r\nab", b"cdX")
    assert (body, parser.is_complete, parser.is_persistent) == (b"abcd", True, False)


def test_a_body_may_end_with_its_connection() -> None:
    parser, body = parse(OK + b"\r\nab", b"cd")
    assert (body, parser.is_complete, parser.ends_with_connection) == (b"abcd", False, True)
    parser.close(is_clean=True)
    assert parser.is_complete
    parser, _ = parse(OK + b"\r\nab")
    with pytest.raises(RequestFailed, match="broke before"):
        parser.close(is_clean=False)


@pytest.mark.parametrize("wire", [b"", b"HTT", OK, OK + b"Content-Length: 2\r\n\r\na", CHUNKED + b"2\r\nab\r\n"])
def test_an_end_before_the_end_is_a_break(wire: bytes) -> None:
    parser, _ = parse(wire)
    with pytest.raises(RequestFailed) as failed:
        parser.close(is_clean=True)
    assert failed.value.cause is Cause.BROKEN


@pytest.mark.parametrize(
    "wire",
    [
        OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        OK + b"Content-Length: 2, 2\r\n\r\nab",
        OK + b"Content-Length: +2\r\n\r\nab",
        OK + b"Content-Length: \r\n\r\nab",
        OK + b"Content-Length: 99999999999999999999999\r\n\r\nab",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\nab",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: xchunked\r\n\r\nab",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nab",
        OK + b"A: b\nContent-Length: 2\r\n\r\nab",
        OK + b"A: b\rContent-Length: 2\r\n\r\nab",
        OK + b"A: b\0c\r\nContent-Length: 2\r\n\r\nab",
        OK + b"A: b\r\n c\r\nContent-Length: 2\r\n\r\nab",
        OK + b"A : b\r\nContent-Length: 2\r\n\r\nab",
        OK + b" A: b\r\nContent-Length: 2\r\n\r\nab",
        OK + b"Abc\r\nContent-Length: 2\r\n\r\nab",
        OK + b": b\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.5 200 OK\r\nContent-Length: 2\r\n\r\nab",
        b"RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
        CHUNKED + b"2\r\nabX",
        CHUNKED + b"2\nab\r\n0\r\n\r\n",
        CHUNKED + b"0x2\r\nab\r\n0\r\n\r\n",
        CHUNKED + b"-2\r\nab\r\n0\r\n\r\n",
        CHUNKED + b"fffffffffffffffff\r\nab\r\n0\r\n\r\n",
        CHUNKED + b"\r\nab\r\n0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"<html>",
        OK + b"A: " + b"x" * LONGEST_HEAD,
        OK + b"A: b\r\n" * (LONGEST_HEAD // 6),
        b"HTTP/1.1 100 Continue\r\n\r\n" * (LONGEST_HEAD // 20),
        CHUNKED + b"0\r\nA: " + b"x" * LONGEST_HEAD,
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_an_error(wire: bytes) -> None:
    for size in (len(wire), 1000 if len(wire) > 1000 else 1):
        with pytest.raises(RequestFailed, match="what is no HTTP") as failed:
            parse(*(wire[start : start + size] for start in range(0, len(wire), size)))
        assert failed.value.cause is Cause.MALFORMED


def test_informational_responses_are_told() -> None:
    told: list[tuple[int, list[Line]]] = []
    parser = ResponseParser(informed=lambda status, lines: told.append((status, lines)))
    parser.feed(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK + b"A: b\r\nContent-Length: 0\r\n\r\n")
    assert told == [(103, [(b"Link", b"x")]), (100, [])]
    assert (parser.status, parser.phrase, parser.lines[0]) == (200, b"OK", (b"A", b"b"))


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.lists(st.integers(1, 30), min_size=1))
def test_a_chunked_body_comes_out_whole_however_it_is_cut(chunks: list[bytes], sizes: list[int]) -> None:
    wire = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    parser, found = ResponseParser(), b""
    while wire:
        size = sizes[len(wire) % len(sizes)]
        found += b"".join(parser.feed(wire[:size]))
        wire = wire[size:]
    assert (found, parser.is_complete) == (b"".join(chunks), True)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_response_or_an_error(data: bytes) -> None:
    with contextlib.suppress(RequestFailed):
        parse(b"HTTP/1.1 200 " + data, b"\r\n\r\n", data)


@pytest.mark.parametrize(
    ("method", "target", "line"),
    [
        (b"GET X", b"/", (b"A", b"b")), (b"", b"/", (b"A", b"b")), (b"GET", b"/a b", (b"A", b"b")), (b"GET", b"", (b"A", b"b")),
        (b"GET", b"/\r\nX: y", (b"A", b"b")), (b"GET", b"/", (b"A b", b"b")), (b"GET", b"/", (b"A:", b"b")),
        (b"GET", b"/", (b"A", b"b\r\nX: y")), (b"GET", b"/", (b"A", b"b\0")), (b"GET", b"/\xc3\xa9", (b"A", b"b")),
    ],
)  # fmt: skip
def test_what_would_not_be_read_as_it_is_meant_is_not_sent(method: bytes, target: bytes, line: Line) -> None:
    assert request_head(b"GET", b"/a?b", [(b"A", b"b")]) == b"GET /a?b HTTP/1.1\r\nA: b\r\n\r\n"
    with pytest.raises(ValueError, match="cannot be"):
        request_head(method, target, [line])
