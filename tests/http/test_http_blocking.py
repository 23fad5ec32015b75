"""The blocking client: kept connections, limits, reasons, unix sockets."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.http.raw_server import ok
from twistpi.http.blocking import SILENT, BlockingClient
from twistpi.http.errors import Cause, RequestFailed

Answer = Callable[[int, int], bytes | None]
"""Gets the numbers of the connection and of the request on it, from 1; returns what is sent, None for the end."""


@contextmanager
def answering(answer: Answer, path: str | None = None) -> Iterator[str]:
    """Serve on loopback or at the unix socket ``path``; gives the address."""
    connections = 0

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            nonlocal connections
            connections += 1
            mine, requests = connections, 0
            while data := self.request.recv(65536):
                requests += data.count(b"\r\n\r\n")
                found = answer(mine, requests)
                if found is None:
                    return
                self.request.sendall(found)

    class Tcp(socketserver.ThreadingTCPServer):
        daemon_threads = True

    class Unix(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    server: Any = Tcp(("127.0.0.1", 0), Handler) if path is None else Unix(path, Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}" if path is None else "http://localhost"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def client() -> Iterator[BlockingClient]:
    made = BlockingClient(60.0)
    yield made
    made.close()


def test_connections_are_kept_and_replaced_when_they_were_closed(client: BlockingClient) -> None:
    seen: list[tuple[int, int]] = []

    def answer(connection: int, request: int) -> bytes | None:
        seen.append((connection, request))
        return ok(b"x", b"A: b") if request < 3 else None

    with answering(answer) as url:
        got = [client.request("GET", f"{url}/a?b") for _ in range(4)]
        assert [(one.status, one.body, one.header("a"), one.header("c")) for one in got] == [(200, b"x", "b", None)] * 4
        with pytest.raises(RequestFailed):
            client.request("POST", url, body=b"not sent twice")
    assert seen == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]


def test_at_most_so_much_of_a_body_is_read(client: BlockingClient) -> None:
    with answering(lambda _connection, _request: ok(bytes(1000))) as url:
        cut = client.request("GET", url, limit=10)
        assert (len(cut.body), cut.is_whole) == (10, False)
        assert client.request("GET", url, limit=1000).is_whole


def test_a_unix_socket_stands_for_every_origin(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with answering(lambda _connection, _request: ok(b'{"message": "hello"}'), path) as url:
        client = BlockingClient(60.0, unix_socket=path)
        assert client.request("GET", f"{url}/+api").message == "hello"
        client.close()


def test_why_there_is_no_response(client: BlockingClient) -> None:
    with answering(lambda _connection, _request: b"220 mail.example ready\r\n") as url:
        with pytest.raises(RequestFailed, match="does not speak HTTP") as failed:
            client.request("GET", url)
        assert failed.value.cause is Cause.MALFORMED
    with answering(lambda _connection, _request: b"") as url:
        with pytest.raises(RequestFailed, match=SILENT) as failed:
            BlockingClient(0.05).request("GET", url)
        assert (failed.value.cause, failed.value.unreachable) == (Cause.TIMEOUT, True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(RequestFailed, match="refused") as failed:
            client.request("GET", f"http://127.0.0.1:{free.getsockname()[1]}/")
        assert failed.value.cause is Cause.CONNECT
    with pytest.raises(RequestFailed, match="http or https"):
        client.request("GET", "ftp://elsewhere.example/")


def test_what_a_server_says_for_people(client: BlockingClient) -> None:
    texts = [ok(b'{"message": "no"}'), ok(b"plain\n", b"Content-Type: text/plain"), ok(b"<p>"), ok(b"[1]")]
    with answering(lambda _connection, request: texts[request - 1]) as url:
        assert [client.request("GET", url).message for _ in texts] == ["no", "plain", "200 OK", "200 OK"]
