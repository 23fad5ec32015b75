"""Asking from outside: over few connections, no more bytes than wanted, and the login to nobody else."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import attrs
import pytest

from tests.cli.http_server import reply, serving
from tests.fakes.certificates import write_certificate
from twistpi.cli.diagnostics.machine import days_left
from twistpi.cli.diagnostics.survey import Fetcher, Query
from twistpi.http.blocking import SILENT, BlockingClient
from twistpi.http.routes import ProxyRules
from twistpi.http.urls import split_credentials

LONG = bytes(1 << 20)
PARTLY = {"X-Partly": "yes"}


@attrs.define
class Seen:
    """What a server saw."""

    url: str = ""
    requests: list[tuple[str, str]] = attrs.field(factory=list)
    """Target and ``Authorization``."""


@pytest.fixture
def seen() -> Iterator[Seen]:
    """A server on loopback that notes what it is asked."""
    with application() as told:
        yield told


@contextmanager
def application(certificate: tuple[Path, Path] | None = None) -> Iterator[Seen]:
    """Serve, with TLS where a key and a certificate are given."""
    told = Seen()

    def answer(request: BaseHTTPRequestHandler, _: bytes) -> None:
        told.requests.append((request.path, request.headers.get("Authorization", "")))
        if request.path == "/refuses":
            return request.send_error(413)
        if request.path == "/waits":
            request.rfile.read(int(request.headers["Content-Length"]))
        if request.path == "/buffers":  # as proxies do that pass on what came when their buffer is full
            request.rfile.read(64 << 10)
        if request.path == "/gone":
            request.close_connection = True
            return None
        more = {"Connection": "close"} if request.path == "/once" else {}
        return reply(request, 200, LONG if request.path.startswith("/long") else b"hello", **more)

    with serving(answer, tls=certificate) as told.url:
        yield told


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    with closing(BlockingClient()) as client:
        yield Fetcher(client)


def test_an_answer_is_as_the_client_has_it(fetcher: Fetcher, seen: Seen) -> None:
    exchange = fetcher.ask(Query(f"{seen.url}/long?b=c", most=100))
    assert (exchange.status, len(exchange.body), exchange.is_whole, exchange.kept_open) == (200, 100, False, True)
    assert fetcher.ask(Query(f"{seen.url}/once", "POST")).kept_open is False
    assert [target for target, _ in seen.requests] == ["/long?b=c", "/once"]


def test_no_answer_has_a_reason(fetcher: Fetcher, seen: Seen) -> None:
    gone = fetcher.ask(Query(f"{seen.url}/gone"))
    assert (gone.status, gone.outcome) == (0, f"no answer ({gone.failure})")
    assert "without response" in gone.failure
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        assert "refused" in fetcher.ask(Query(f"http://127.0.0.1:{port}/")).failure
    assert "http or https" in fetcher.ask(Query("ftp://pkgs.example/")).failure
    assert fetcher.ask(Query(f"{seen.url}/ä")).failure


def test_the_login_goes_to_its_own_server_and_not_where_it_is_unwanted(fetcher: Fetcher, seen: Seen) -> None:
    address, credentials = split_credentials(f"{seen.url}/".replace("//", "//alice:secret@"))
    told: list[str] = []
    fetcher = Fetcher(fetcher.client, credentials, lambda: told.append("a request"))
    other = Query(address.replace("127.0.0.1", "localhost"))
    for query in (Query(address), Query(address, headers={"Authorization": ""}), other):
        assert fetcher.ask(query).status == 200
    assert [login[:5] for _, login in seen.requests] == ["Basic", "", ""]
    assert len(told) == 3


def test_a_proxy_is_asked_where_the_environment_names_one(seen: Seen) -> None:
    environment = {"http_proxy": seen.url.replace("//", "//me:word@"), "no_proxy": "127.0.0.1"}
    with closing(BlockingClient(proxies=ProxyRules.from_environment(environment))) as client:
        assert Fetcher(client).ask(Query("http://pkgs.example/simple/")).body == b"hello"
        assert Fetcher(client).ask(Query(f"{seen.url}/direct")).body == b"hello"
    assert [target for target, _ in seen.requests] == ["http://pkgs.example/simple/", "/direct"]


def test_of_a_large_upload_only_the_head_is_sent(fetcher: Fetcher, seen: Seen) -> None:
    large = 1 << 40
    assert fetcher.ask(Query(f"{seen.url}/at-once", "POST", PARTLY, announced=large)).status == 200
    assert Fetcher(BlockingClient(0.1)).ask(Query(f"{seen.url}/waits", "POST", PARTLY, announced=1000)).failure == SILENT
    refused = fetcher.ask(Query(f"{seen.url}/refuses", "POST", PARTLY, announced=large))
    assert (refused.status, refused.reason) == (413, "Request Entity Too Large")
    assert refused["Content-Type"].startswith("text/html")
    assert "without response" in fetcher.ask(Query(f"{seen.url}/gone", "POST", PARTLY, announced=1)).failure


@pytest.mark.parametrize("secured", [False, True])
def test_a_proxy_that_waits_for_the_beginning_of_a_large_upload_gets_it(tmp_path: Path, *, secured: bool) -> None:
    key_and_certificate = write_certificate(tmp_path) if secured else None
    context = ssl.create_default_context(cafile=str(key_and_certificate[1])) if key_and_certificate else None
    with application(key_and_certificate) as told:
        client = BlockingClient(0.5, context=context)
        assert Fetcher(client).ask(Query(f"{told.url}/buffers", "POST", PARTLY, announced=1 << 40)).status == 200


def test_a_certificate_is_looked_at_and_one_that_is_not_trusted_is_no_answer(tmp_path: Path) -> None:
    key, certificate = write_certificate(tmp_path)
    with application((key, certificate)) as told:
        with closing(BlockingClient(context=ssl.create_default_context(cafile=str(certificate)))) as trusting:
            assert Fetcher(trusting).ask(Query(f"{told.url}/")).status == 200
            days = days_left(trusting, f"{told.url}/", time.time())
            assert days == pytest.approx(1, abs=0.05)
            assert days_left(trusting, "http://127.0.0.1/", 0.0) is None
        strange = BlockingClient()
        refused = Fetcher(strange).ask(Query(f"{told.url}/"))
        assert "its certificate is not accepted: self-signed certificate" in refused.failure
        assert days_left(strange, f"{told.url}/", 0.0) is None
