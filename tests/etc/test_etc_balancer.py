"""The balancer of a cluster: a dead node costs no request but those it was answering, and no change is sent twice."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.etc.front import Nginx
from tests.etc.talking import Answer, ask
from tests.fakes.live_cluster import balancer
from tests.fakes.ports import free_port
from tests.http.raw_server import RawConnection, RawServer, ok
from tests.in_reactor import in_reactor, wait_for

reactor: Any = _reactor
READS = ("GET", "HEAD", "OPTIONS")
CHANGES = ("POST", "PATCH", "PUT", "DELETE", "PUSH")
BODY = b"x" * 200_000


@attrs.define(eq=False)
class Balanced:
    """One nginx, which has nodes of their own for each method, so that none profits from what another one found out."""

    living: RawServer
    dying: RawServer
    """Reads requests and breaks the connection."""
    dead: dict[str, str]
    """Addresses in front of two nodes that are gone and ``living``, by method."""
    breaking: dict[str, str]
    """In front of ``dying`` and ``living``."""
    failing: dict[str, str]
    """In front of ``dying``, which is two nodes."""

    async def ask(self, url: str, method: str) -> Answer:
        body = BODY if method in CHANGES else None
        answer: Answer = await deferToThread(ask, url, method, body)
        return answer

    def arrived(self, method: str) -> int:
        return sum(head.startswith(method.encode() + b" ") for head in self.living.heads)


def answer(connection: RawConnection, head: bytes) -> None:
    """Once the body is there."""
    if not connection.is_whole:
        reactor.callLater(0.001, answer, connection, head)
    elif head.startswith(b"HEAD "):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
    else:
        connection.send(ok(b"%d" % len(connection.body)))


@pytest.fixture(scope="module")
def balanced() -> Iterator[Balanced]:
    with tempfile.TemporaryDirectory(prefix="twistpi-balancer-") as folder:
        Path(folder).chmod(0o755)  # nginx's user has to get in
        living = RawServer(reactor, answer).start()
        dying = RawServer(reactor, lambda connection, _head: connection.transport.abortConnection()).start()
        twin = RawServer(reactor, lambda connection, head: dying.script(connection, head)).start()
        nginx, blocks = Nginx(Path(folder)), []
        made: dict[str, dict[str, str]] = {}
        for kind, ports in (
            ("dead", [free_port(), free_port(), living.port]),
            ("breaking", [dying.port, living.port]),
            ("failing", [dying.port, twin.port]),
        ):
            made[kind] = {method: f"http://127.0.0.1:{free_port()}/" for method in (*READS, *CHANGES)}
            for method, url in made[kind].items():
                port = int(url[:-1].rpartition(":")[2])
                blocks.append(balancer(ports, port).replace("twistpi_", f"{kind}_{method.lower()}_"))
        nginx.configure(blocks)
        nothing = next(iter(made["dead"].values()))
        wait_for(deferToThread(nginx.start, nothing))
        living.heads.clear()
        yield Balanced(living, dying, **made)
        nginx.stop()
        for server in (living, dying, twin):
            wait_for(Deferred.fromCoroutine(server.stop()))


@pytest.mark.parametrize("method", [*READS, *CHANGES])
@in_reactor
async def test_nodes_that_are_gone_cost_nothing_whatever_is_asked(balanced: Balanced, method: str) -> None:
    before = balanced.arrived(method)
    answer = await balanced.ask(balanced.dead[method], method)
    assert answer.status == 200
    assert answer.body == {"HEAD": b"", **dict.fromkeys(CHANGES, b"200000")}.get(method, b"0")
    assert balanced.arrived(method) == before + 1


@pytest.mark.parametrize("method", READS)
@in_reactor
async def test_what_a_node_did_not_begin_to_answer_another_one_answers(balanced: Balanced, method: str) -> None:
    assert (await balanced.ask(balanced.breaking[method], method)).status == 200
    assert any(head.startswith(method.encode()) for head in balanced.dying.heads)


@pytest.mark.parametrize("method", CHANGES)
@in_reactor
async def test_a_change_that_a_node_read_is_sent_to_no_other_one(balanced: Balanced, method: str) -> None:
    before = balanced.arrived(method)
    assert (await balanced.ask(balanced.breaking[method], method)).status == 502
    assert any(head.startswith(method.encode()) for head in balanced.dying.heads)
    assert balanced.arrived(method) == before


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@in_reactor
async def test_when_all_nodes_failed_a_moment_ago_they_are_tried_all_the_same(balanced: Balanced, method: str) -> None:
    former, url = balanced.dying.script, balanced.failing[method]
    for _node in range(2):
        assert (await balanced.ask(url, method)).status == 502
    balanced.dying.script = answer
    try:
        assert (await balanced.ask(url, method)).status == 200
    finally:
        balanced.dying.script = former
