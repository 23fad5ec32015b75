"""How commands find the server that has the directory, and tell it from another program that answers there."""

from __future__ import annotations

import base64
import json
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import attrs
import click
import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from tests.cli.commands import now, run, settings
from tests.cli.http_server import reply, serving
from twistpi.auth.tokens import LoginTokens, is_valid_for
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.cli.administration import Administration, administer
from twistpi.cli.clients import LocalClient
from twistpi.model.changes import UserCreated
from twistpi.model.codec import encode_content
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.directory import ServerDirectory, read_secret
from twistpi.server.listening import address_of
from twistpi.server.node import Running, read_node, read_running, record_running, record_stopped


@attrs.define
class Answering:
    """A server that says what a test wants, and keeps what it is asked."""

    uuid: str = ""
    authstatus: tuple[Any, ...] = ("ok", "carol", [])
    status: int = 200
    body: dict[str, Any] = attrs.field(factory=dict)
    is_ready: bool = True
    """Otherwise it builds its view, and answers nothing."""
    asked: list[tuple[str, str, str, bytes]] = attrs.field(factory=list)
    """Method, path, credentials and body."""


@contextmanager
def answering(told: Answering, unix: Path | None = None) -> Iterator[str]:
    """Serve, on loopback or a unix socket; gives the address."""

    def answer(request: BaseHTTPRequestHandler, body: bytes) -> None:
        told.asked.append((request.command, request.path, request.headers.get("X-Devpi-Auth", ""), body))
        is_api = request.path == "/+api"
        content = {"result": {"authstatus": told.authstatus}} if is_api else told.body
        text = json.dumps(content).encode() if told.is_ready else b""
        status = 503 if not told.is_ready else 200 if is_api else told.status
        reply(request, status, text, X_Devpi_Uuid=told.uuid, Content_Type="application/json")

    with serving(answer, unix=unix) as address:
        yield address


@contextmanager
def held(path: Path, *addresses: str) -> Iterator[None]:
    """Somebody has the directory, and says to answer at ``addresses``."""
    holder = ServerDirectory.open(str(path))
    record_running(str(path), addresses)
    try:
        yield
    finally:
        record_stopped(str(path))
        holder.close()


@contextmanager
def asking(path: Path, told: Answering) -> Iterator[Administration]:
    """Administer a directory whose server says what a test wants."""
    with answering(told) as address, held(path, address), administer(settings(path), now) as administration:
        yield administration


def node_id(path: Path) -> str:
    node = read_node(str(path))
    assert node is not None
    return node.node_id


def test_what_is_said_of_a_running_server_is_read_back_and_taken_back(tmp_path: Path) -> None:
    assert read_running(str(tmp_path)) is None
    record_running(str(tmp_path), ["http://127.0.0.1:1/", "unix:/run/x"])
    assert read_running(str(tmp_path)) == Running(os.getpid(), ("http://127.0.0.1:1/", "unix:/run/x"))
    record_stopped(str(tmp_path))
    assert os.listdir(tmp_path) == []
    record_stopped(str(tmp_path))


def test_nobody_takes_back_what_another_process_said(tmp_path: Path) -> None:
    path = tmp_path / "running.json"
    path.write_text(json.dumps({"pid": os.getpid() + 1, "addresses": []}))
    record_stopped(str(tmp_path))
    assert path.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": "x", "addresses": []}', '{"pid": 1, "addresses": 7}', "\x00"])
def test_what_cannot_be_understood_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "running.json").write_text(content)
    assert read_running(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (IPv4Address("TCP", "0.0.0.0", 3141), "127.0.0.1:3141"),
        (IPv4Address("TCP", "192.0.2.7", 80), "192.0.2.7:80"),
        (IPv6Address("TCP", "::", 3141), "[::1]:3141"),
        (UNIXAddress(b"/run/twistpi.sock"), "unix:/run/twistpi.sock"),
        (UNIXAddress(None), None),
    ],
    ids=str,
)
def test_a_port_is_reached_on_this_machine(host: object, address: str | None) -> None:
    assert address_of(host) == address


@pytest.mark.parametrize("through", ["tcp", "unix"])
def test_a_running_server_is_asked_as_the_user_it_is_about(made: Path, tmp_path: Path, through: str) -> None:
    told = Answering(node_id(made))
    with (
        answering(told, tmp_path / "socket" if through == "unix" else None) as address,
        held(made, "http://127.0.0.1:9/", address),
        administer(settings(made), now) as administration,
    ):
        administration.set_password("carol", "swordfish")
        carol = administration.reader.user("carol")
    method, path, _, body = told.asked[-1]
    assert (method, path, json.loads(body)) == ("PATCH", "/carol", {"password": "swordfish"})
    user, _, token = _decoded(told.asked[-1][2]).partition(":")
    claim = LoginTokens(read_secret(str(made), None), 36000).read(token, now().timestamp())
    assert user == "carol"
    assert claim is not None
    assert is_valid_for(claim, carol)
    assert told.asked[0][2] == "", "nothing secret is sent before it is known who answers"


def _decoded(credentials: str) -> str:
    return base64.b64decode(credentials).decode()


def test_somebody_else_who_answers_there_is_told_nothing(made: Path) -> None:
    told = Answering("0" * 32)
    pauses: list[float] = []
    with ExitStack() as stack:
        address = stack.enter_context(answering(told))
        stack.enter_context(held(made, address))
        with pytest.raises(ServerdirRefused, match="no server answers there"):
            stack.enter_context(administer(settings(made), now, pauses.append))
    assert all(credentials == "" for _, _, credentials, _ in told.asked)
    assert sum(pauses) == pytest.approx(10.0)


def test_a_server_that_just_starts_is_waited_for(made: Path) -> None:
    told = Answering(node_id(made))
    with answering(told) as address:
        holder = ServerDirectory.open(str(made))

        def pause(seconds: float) -> None:
            record_running(str(made), [address])

        with administer(settings(made), now, pause) as administration:
            assert administration.ask("/carol", "application/json") is not None
        holder.close()


def test_a_directory_that_becomes_free_meanwhile_is_used_directly(made: Path) -> None:
    holder = ServerDirectory.open(str(made))
    with administer(settings(made), now, lambda seconds: holder.close()) as administration:
        administration.set_password("carol", "swordfish")
        assert administration.ask("/carol", "application/json") is None


def test_a_server_with_another_secret_is_not_taken_for_a_refusal(made: Path) -> None:
    told = Answering(node_id(made), authstatus=("noauth", "", []))
    with (
        asking(made, told) as administration,
        pytest.raises(click.ClickException, match=r"another secret .* TWISTPI_SECRETFILE"),
    ):
        administration.set_password("carol", "swordfish")
    assert [method for method, *_ in told.asked] == ["GET", "GET"]


def test_what_the_server_refuses_is_told_in_its_words(made: Path) -> None:
    told = Answering(node_id(made), status=403, body={"message": "no permission to manage tokens of carol"})
    with (
        asking(made, told) as administration,
        pytest.raises(click.ClickException, match=r"refused: no permission to manage tokens of carol"),
    ):
        administration.revoke_token("carol", "0" * 16)


def test_an_address_where_something_else_than_http_is_spoken_is_no_server() -> None:
    class Babble(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(b"220 mail.example ready\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Babble) as server:
        threading.Thread(target=server.handle_request).start()
        with pytest.raises(OSError, match="does not speak HTTP"):
            LocalClient(f"http://127.0.0.1:{server.server_address[1]}/").ask("GET", "/")


def test_what_takes_long_is_refused_at_once_while_the_server_builds_its_view(made: Path) -> None:
    with closing(FileChangelog.open(str(made / "changelog"), Disk(), segment_limit=1)) as log:
        log.append([encode_content("2026-11-22T17:00:00.000000Z", "root", [UserCreated("eve")])], log.last.serial)
    before = sorted(os.listdir(made / "changelog"))
    with answering(Answering(node_id(made), is_ready=False)) as address, held(made, address):
        refused = run(made, "compact", "--before", "2200-01-01")
    assert (refused.exit_code, "refused: 503 Service Unavailable" in refused.output) == (1, True), refused.output
    assert sorted(os.listdir(made / "changelog")) == before, "no summary was made"
