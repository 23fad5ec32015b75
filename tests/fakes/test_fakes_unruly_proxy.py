"""The unruly proxy fails exactly where a test says, so the other tests show what they claim."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fakes.unruly_proxy import Cut, Flip, Reply, Stall, UnrulyProxy

BODY = bytes(range(256)) * 64


class _Handler(BaseHTTPRequestHandler):
    """Serves the same bytes at every path, and hands back what it is sent."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(BODY)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Its clients are cut off: that is what is tested."""


@pytest.fixture
def proxy() -> Iterator[UnrulyProxy]:
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    with UnrulyProxy(f"http://127.0.0.1:{server.server_address[1]}") as unruly:
        yield unruly
    server.shutdown()
    server.server_close()
    thread.join()


def _connect(proxy: UnrulyProxy, patience: float = 10.0) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=patience)


def _get(connection: http.client.HTTPConnection, path: str = "/") -> bytes:
    connection.request("GET", path)
    return connection.getresponse().read()


def _post(connection: http.client.HTTPConnection, body: bytes) -> bytes:
    connection.request("POST", "/", body=body)
    return connection.getresponse().read()


def _received(connection: http.client.HTTPConnection) -> bytes:
    """What comes of a body until it breaks."""
    response = connection.getresponse()
    received = b""
    try:
        while piece := response.read1(100):
            received += piece
    except OSError:
        pass
    return received


def test_what_is_not_disturbed_passes_unchanged(proxy: UnrulyProxy) -> None:
    with closing(_connect(proxy)) as connection:
        assert _get(connection) == _get(connection, "/again") == BODY
    assert proxy.connected == 1


def test_a_connection_is_cut_after_exactly_so_many_bytes_of_the_body_that_was_meant(proxy: UnrulyProxy) -> None:
    proxy.will(Cut(asked=b"GET /blob", behind=b"\r\n\r\n", after=1001))
    with closing(_connect(proxy)) as connection:
        assert _get(connection, "/page") == BODY
        connection.request("GET", "/blob")
        assert _received(connection) == BODY[:1001]
    proxy.wait_until_happened(1)
    with closing(_connect(proxy)) as connection:
        assert _get(connection, "/blob") == BODY


def test_faults_that_wait_for_the_same_strike_one_request_after_the_other(proxy: UnrulyProxy) -> None:
    proxy.will(*(Flip(asked=b"GET /", behind=b"\r\n\r\n", after=place) for place in (10, 20)))
    with closing(_connect(proxy)) as connection:
        wrong = [[place for place in range(len(BODY)) if body[place] != BODY[place]] for body in map(_get, [connection] * 3)]
    assert wrong == [[10], [20], []]


def test_a_request_is_cut_on_its_way_to_the_server(proxy: UnrulyProxy) -> None:
    proxy.will(Cut(direction="up", behind=b"\r\n\r\n", after=10))
    with closing(_connect(proxy)) as connection, pytest.raises((OSError, http.client.HTTPException)):
        _post(connection, BODY)
    assert [type(fault) for fault in proxy.happened] == [Cut]


def test_one_byte_is_flipped_and_the_rest_is_right(proxy: UnrulyProxy) -> None:
    proxy.will(Flip(behind=b"\r\n\r\n", after=5000))
    with closing(_connect(proxy)) as connection:
        body = _get(connection)
        assert body != BODY
        assert body[:5000] + bytes([body[5000] ^ 1]) + body[5001:] == BODY
        assert _get(connection) == BODY


def test_a_stalled_connection_stays_open_and_goes_on_when_it_is_released(proxy: UnrulyProxy) -> None:
    proxy.will(Stall(behind=b"\r\n\r\n", after=3))
    with closing(_connect(proxy)) as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.read(3) == BODY[:3]
        proxy.wait_until_happened(1)
        assert connection.sock is not None
        connection.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.sock.recv(1, socket.MSG_PEEK)
        connection.sock.settimeout(60)
        proxy.release()
        assert response.read() == BODY[3:]


def test_everything_can_be_stalled_and_cut_at_once(proxy: UnrulyProxy) -> None:
    with closing(_connect(proxy)) as connection:
        assert _get(connection) == BODY
        proxy.stall()
        connection.request("GET", "/")
        proxy.cut()
        with pytest.raises((OSError, http.client.HTTPException)):
            connection.getresponse()


def test_who_connects_is_refused_while_it_refuses(proxy: UnrulyProxy) -> None:
    proxy.refuses = True
    with closing(_connect(proxy)) as connection, pytest.raises((OSError, http.client.HTTPException)):
        _get(connection)
    proxy.refuses = False
    with closing(_connect(proxy)) as connection:
        assert _get(connection) == BODY


def test_a_slow_connection_takes_its_time_and_delivers_everything(proxy: UnrulyProxy) -> None:
    proxy.bytes_per_second = 4 * len(BODY)
    began = monotonic()
    with closing(_connect(proxy)) as connection:
        assert _get(connection) == BODY
    assert monotonic() - began > 0.2  # it cannot be faster; how much slower it is, is the machine's business


def test_a_request_is_answered_with_other_bytes_and_never_arrives(proxy: UnrulyProxy) -> None:
    proxy.will(Reply(asked=b"POST /other", content=b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"))
    with closing(_connect(proxy)) as connection:
        assert _get(connection) == BODY
        connection.request("POST", "/other", b"something")
        response = connection.getresponse()
        assert (response.status, response.read()) == (503, b"")
    with closing(_connect(proxy)) as connection:
        connection.request("POST", "/other", b"something")
        assert connection.getresponse().read() == b"something"
