"""What the fast way understands, and what it leaves alone."""

from __future__ import annotations

import pytest

from twistpi.simple.negotiate import Representation
from twistpi.web.fast.answers import RequestHeadParser

PIP = (
    b"Host: localhost:3141\r\nUser-Agent: pip/26.3 {}\r\nAccept-Encoding: gzip, deflate\r\n"
    b"Accept: application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01\r\n"
    b"Connection: keep-alive\r\nCache-Control: max-age=0\r\n"
)


def request(headers: bytes = PIP, line: bytes = b"GET /root/pypi/+simple/x/ HTTP/1.1") -> bytes:
    return line + b"\r\n" + headers + b"\r\n"


def test_an_installers_plain_get_is_understood() -> None:
    heads = RequestHeadParser()
    for _ in range(2):
        seen = heads.look(request(PIP + b'If-None-Match: "a", W/"b"\r\n'))
        assert seen is not None
        path, head = seen
        assert path == b"/root/pypi/+simple/x/"
        assert set(head.tags or ()) == {'"a"', '"b"'}
        assert head.negotiated.representation is Representation.JSON_V1
        assert head.negotiated.gzip
        assert head.negotiated.installer
        assert not head.negotiated.json


@pytest.mark.parametrize(
    "line",
    [
        b"Authorization: Basic YTpi", b"X-Devpi-Auth: YTpi", b"X-Outside-Url: http://evil.example", b"Range: bytes=0-1",
        b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: Upgrade", b"Expect: x",
        b"Upgrade: h2c", b"If-Modified-Since: Sun, 22 Nov 2026 17:24:48 GMT", b'If-Range: "a"', b'If-Match: "a"', b"Cookie: a=b",
        b"X-Forwarded-Host: evil.example", b"X-Real-IP: 192.0.2.1", b"X-Twistpi-Passed-On: http://a.example 192.0.2.1 local",
        b"TE: trailers", b" folded", b"no colon", b"bad name: x", b"nul: \0", b"cr: a\rb",
    ],
)  # fmt: skip
def test_unusual_headers_are_left_to_the_ordinary_way(line: bytes) -> None:
    assert RequestHeadParser().look(request(PIP + line + b"\r\n")) is None
    assert RequestHeadParser().look(request(line + b"\r\n" + PIP)) is None


@pytest.mark.parametrize(
    "data",
    [
        request()[:-2], request()[:-1], request() + b"x", request() + request(), request(line=b"HEAD / HTTP/1.1"),
        request(line=b"GET / HTTP/1.0"), request(line=b"get / HTTP/1.1"), request(line=b"GET http://x/ HTTP/1.1"),
        request(line=b"GET /"), b"", b"\r\n\r\n", b"\r\n" + request(), request(line=b"GET / HTTP/1.1 "),
        request(PIP.replace(b"\r\n", b"\n")), request(b"A: b\r\n" * 200), request(b"A: " + b"b" * 9000 + b"\r\n"),
    ],
)  # fmt: skip
def test_anything_but_one_whole_get_is_left_to_the_ordinary_way(data: bytes) -> None:
    assert RequestHeadParser().look(data) is None


def test_memory_is_bounded_whatever_clients_send() -> None:
    heads = RequestHeadParser()
    for number in range(5000):
        heads.look(request(b"X: %d\r\n" % number))
    assert len(heads._blocks) <= 2048
    before = len(heads._blocks)
    assert heads.look(request(b"X: " + b"y" * 3000 + b"\r\n")) is not None
    assert len(heads._blocks) == before


def test_what_nobody_can_serve_has_no_representation_unless_lenient() -> None:
    image = b"Accept: image/png\r\n"
    strict, lenient = RequestHeadParser().look(request(image)), RequestHeadParser(lenient=True).look(request(image))
    assert strict is not None
    assert lenient is not None
    assert strict[1].negotiated.representation is None
    assert lenient[1].negotiated.representation is Representation.TEXT_HTML
