"""Three real servers that are nodes of one cluster: each writes, any may die."""

from __future__ import annotations

import json
import signal
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import psycopg
import pytest

from tests.fakes.live_server import LiveServer
from tests.fakes.postgres import postgres
from twistpi.view.database import dump

OPTIONS = ("--no-root-pypi", "--bcrypt-cost", "4", "--root-passwd", "sesame")


def basic(user: str, token: str) -> str:
    return b64encode(f"{user}:{token}".encode()).decode()


@attrs.frozen
class Answer:
    status: int
    serial: int
    cookie: str
    body: bytes


def ask(url: str, method: str = "GET", content: object = None, **headers: str) -> Answer:
    body = None if content is None else json.dumps(content).encode()
    given = {"Content-Type": "application/json", "Accept": "application/json", **headers}
    request = urllib.request.Request(url, method=method, data=body, headers=given)
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        serial, cookie = int(answer.headers["X-Devpi-Serial"]), answer.headers.get("Set-Cookie", "")
        return Answer(answer.status, serial, cookie.partition(";")[0], answer.read())


@pytest.fixture
def url() -> str:
    """Of an empty schema: the nodes make the rest."""
    return postgres().new_schema()


Start = Callable[[], LiveServer]


@pytest.fixture
def spawn(url: str, tmp_path: Path) -> Iterator[Start]:
    """Begin to start another node."""
    nodes: list[LiveServer] = []

    def make() -> LiveServer:
        number = len(nodes)
        node = LiveServer(tmp_path / f"cache{number}", tmp_path / f"log{number}")
        node.place_option = "--cache-dir"
        node.spawn("--changelog", url, *OPTIONS)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.end(signal.SIGKILL)


def users(node: LiveServer) -> set[str]:
    return set(json.loads(ask(f"{node.url}/").body)["result"])


def log(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT serial FROM twistpi_head").fetchone()
        assert row is not None
        return int(row[0])


def test_three_nodes_that_start_together_are_one_server_of_which_any_may_die(url: str, spawn: Start) -> None:
    nodes = [spawn() for _ in range(3)]
    for node in nodes:
        node.wait_until_it_answers()
    one, two, three = nodes
    # What one node was told, each node knows when its client says how far that was, and so does a browser.
    made = ask(f"{one.url}/alice", "PUT", {"password": "sesame12"})
    assert made.status == 201
    assert made.cookie == f"twistpi_serial={made.serial}"
    assert ask(f"{two.url}/alice", **{"X-Devpi-Serial": str(made.serial)}).status == 200
    assert ask(f"{three.url}/alice", Cookie=made.cookie).status == 200
    # Whom one node signed in, all nodes know.
    login = ask(f"{one.url}/+login", "POST", {"user": "alice", "password": "sesame12"})
    token = json.loads(login.body)["result"]["password"]
    assert ask(f"{three.url}/alice", "PATCH", {"title": "x"}, **{"X-Devpi-Auth": basic("alice", token)}).status == 200

    # One is killed while all write: what was acknowledged is there, on the others and on itself when it is back.
    acknowledged: list[set[str]] = [set(), set(), set()]

    def write(number: int) -> None:
        for turn in range(25):
            name = f"user{number}x{turn}"
            try:
                answer = ask(f"{nodes[number].url}/{name}", "PUT", {"password": "sesame12"})
            except OSError:
                return
            assert answer.status == 201
            acknowledged[number].add(name)
            if number == 2 and turn == 12:
                three.end(signal.SIGKILL)
                return

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [len(names) for names in acknowledged] == [25, 25, 13]
    again = LiveServer(three.serverdir, three.log)
    again.place_option = "--cache-dir"
    again.start("--changelog", url, *OPTIONS)
    try:
        last = log(url)
        for node in (one, two, again):
            assert ask(f"{node.url}/", **{"X-Devpi-Serial": str(last)}).serial == last
            assert users(node) >= {"root", "alice"}.union(*acknowledged)
    finally:
        for node in (one, two, again):
            node.end()
    views = [list(dump(str(node.serverdir / "view.sqlite"))) for node in nodes]
    assert views[0] == views[1] == views[2]
    segments = [(node.serverdir / "changelog" / "00000000000000000001.log").read_bytes() for node in nodes]
    assert segments[0] == segments[1] == segments[2]
    assert "Traceback" not in "".join(node.told() for node in (one, two, again))
