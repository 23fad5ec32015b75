"""The parts of the fast path: what it parses, where the bytes of pages are kept, and heads that are sent at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from twistpi.simple.negotiate import Representation
from twistpi.web.fast.answers import RequestHeadParser
from twistpi.web.fast.ready import Content
from twistpi.web.fast.site import write_now
from twistpi.web.replies import SMALL
from twistpi.web.transport.bodies import FileBody, MemoryBody

# Requests -------------------------------------------------------------------------------------------------------------

PIP = (
    b"Host: localhost:3141\r\nUser-Agent: pip/26.3 {}\r\nAccept-Encoding: gzip, deflate\r\n"
    b"Accept: application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01\r\n"
    b"Connection: keep-alive\r\nCache-Control: max-age=0\r\n"
)


def plain_get(headers: bytes = PIP, line: bytes = b"GET /root/pypi/+simple/x/ HTTP/1.1") -> bytes:
    host = b"" if b"Host:" in headers else b"Host: localhost\r\n"
    return line + b"\r\n" + host + headers + b"\r\n"


def test_an_installers_plain_get_is_understood() -> None:
    heads = RequestHeadParser()
    for _ in range(2):
        seen = heads.look(plain_get(PIP + b'If-None-Match: "a", W/"b"\r\n'))
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
        b"Upgrade: h2c", b"If-Modified-Since: Sun, 22 Nov 2026 17:24:48 GMT", b'If-Range: "a"', b'If-Match: "a"',
        b"X-Forwarded-Host: evil.example", b"X-Real-IP: 192.0.2.1", b"X-Twistpi-Passed-On: http://a.example 192.0.2.1 local",
        b"TE: trailers", b" folded", b"no colon", b"bad name: x", b"nul: \0", b"cr: a\rb",
        b"Host: other",
    ],
)  # fmt: skip
def test_unusual_headers_are_left_to_the_ordinary_way(line: bytes) -> None:
    assert RequestHeadParser().look(plain_get(PIP + line + b"\r\n")) is None
    assert RequestHeadParser().look(plain_get(line + b"\r\n" + PIP)) is None


@pytest.mark.parametrize(
    "data",
    [
        plain_get()[:-2], plain_get()[:-1], plain_get() + b"x", plain_get() + plain_get(), plain_get(line=b"HEAD / HTTP/1.1"),
        plain_get(line=b"GET / HTTP/1.0"), plain_get(line=b"get / HTTP/1.1"), plain_get(line=b"GET http://x/ HTTP/1.1"),
        plain_get(line=b"GET /"), b"", b"\r\n\r\n", b"\r\n" + plain_get(), plain_get(line=b"GET / HTTP/1.1 "),
        plain_get(PIP.replace(b"\r\n", b"\n")),
        plain_get(b"Host: a b\r\n"), plain_get(b"Host:\r\n"), plain_get(b"A: b\r\n" * 200),
        plain_get(b"A: " + b"b" * 9000 + b"\r\n"),
    ],
)  # fmt: skip
def test_anything_but_one_whole_get_is_left_to_the_ordinary_way(data: bytes) -> None:
    assert RequestHeadParser().look(data) is None


def test_memory_is_bounded_whatever_clients_send() -> None:
    heads = RequestHeadParser()
    for number in range(5000):
        heads.look(plain_get(b"X: %d\r\n" % number))
    assert len(heads._blocks) <= 2048
    before = len(heads._blocks)
    assert heads.look(plain_get(b"X: " + b"y" * 3000 + b"\r\n")) is not None
    assert len(heads._blocks) == before


def test_what_nobody_can_serve_has_no_representation_unless_lenient() -> None:
    image = b"Accept: image/png\r\n"
    strict, lenient = RequestHeadParser().look(plain_get(image)), RequestHeadParser(lenient=True).look(plain_get(image))
    assert strict is not None
    assert lenient is not None
    assert strict[1].negotiated.representation is None
    assert lenient[1].negotiated.representation is Representation.TEXT_HTML


# Pages in memory ------------------------------------------------------------------------------------------------------

LARGE = os.urandom(SMALL + 1)


def open_pages() -> int:
    """How many files in memory this process holds open for pages."""
    return sum("twistpi page" in os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink())


@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, 3 * SMALL])
def test_what_is_kept_is_read_and_sent_as_it_was(size: int) -> None:
    content = LARGE[:1] * size
    kept = Content(content)
    assert (kept.size, kept.read()) == (size, content)
    body = kept.body()
    sent = b""
    while not body.over:
        sent += body.read(50_000)
    body.close()
    assert sent == content


def test_large_pages_are_sent_from_a_file_and_small_ones_from_memory() -> None:
    small, large = Content(LARGE[:SMALL]).body(), Content(LARGE).body()
    assert (type(small), type(large)) == (MemoryBody, FileBody)
    large.close()


def test_a_page_that_is_forgotten_leaves_no_file_and_is_still_sent_to_its_end() -> None:
    before = open_pages()
    kept = Content(LARGE)
    assert open_pages() == before + 1
    body = kept.body()
    del kept
    assert body.read(len(LARGE)) == LARGE
    body.close()
    assert open_pages() == before


def test_where_no_file_can_be_opened_any_more_a_page_stays_in_memory() -> None:
    program = (
        "import os, resource\n"
        "from twistpi.web.fast.ready import Content\n"
        "from twistpi.web.replies import SMALL\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "kept = Content(bytes(SMALL + 1))\n"
        "print(type(kept.body()).__name__, kept.read() == bytes(SMALL + 1))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["MemoryBody", "True"]


# Heads that go out at once --------------------------------------------------------------------------------------------


@attrs.define
class Narrow:
    """A socket that takes so many bytes, or is gone."""

    room: int | None
    taken: bytes = b""
    flags: list[int] = attrs.field(factory=list)

    def send(self, data: bytes, flags: int) -> int:
        if self.room is None:
            raise BlockingIOError
        self.flags.append(flags)
        self.taken += data[: self.room]
        return len(data[: self.room])


@attrs.define
class PlainTransport:
    """As much of Twisted's as is asked of it."""

    socket: Narrow
    dataBuffer: bytes = b""  # noqa: N815
    disconnecting: bool = False
    written: bytes = b""
    _tempDataBuffer: list[bytes] = attrs.field(factory=list)  # noqa: N815

    def write(self, data: bytes) -> None:
        self.written += data


@pytest.mark.parametrize("room", [None, 0, 1, 5, 100])
def test_what_the_kernel_does_not_take_of_a_head_goes_out_after_it(room: int | None) -> None:
    transport: Any = PlainTransport(Narrow(room))
    write_now(transport, b"a whole head", more=True)
    assert transport.socket.taken + transport.written == b"a whole head"
    assert transport.socket.flags == ([] if room is None else [socket.MSG_MORE]), "marked as not the end"


def test_a_head_waits_for_what_was_written_before_it() -> None:
    transport: Any = PlainTransport(Narrow(100), dataBuffer=b"before")
    write_now(transport, b"a whole head", more=True)
    assert (transport.socket.taken, transport.written) == (b"", b"a whole head")
