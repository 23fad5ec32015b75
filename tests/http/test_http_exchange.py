"""Requests that are sent exactly as they are, for those who forward them."""

from __future__ import annotations

from collections.abc import Callable

from tests.http.conftest import reactor
from tests.http.raw_server import RawConnection, RawServer, answering, ok
from tests.in_reactor import in_reactor
from twistpi.http.agent import make_agent
from twistpi.http.messages import Request
from twistpi.http.routes import NONE, ForbiddenNetworks
from twistpi.http.urls import origin_of

Serve = Callable[..., RawServer]


@in_reactor
async def test_target_and_headers_are_sent_as_they_stand_and_no_proxy_is_asked(serve: Serve) -> None:
    server = serve(answering(ok(b"")))
    agent = make_agent(reactor, {"http_proxy": "http://127.0.0.1:9"}, forbidden=ForbiddenNetworks.parse((NONE,)))
    for target in (b"/a?", b"//b/../c?x#y", b"*", b"http://other.example/d"):
        request = Request(b"GET", target, ((b"Host", b"name.example"), (b"x-ODD", b"1"), (b"X-Odd", b"2")))
        assert (await agent.exchange(request, origin_of(server.url))).code == 200
        assert server.heads[-1].split(b"\r\n") == [
            b"GET " + target + b" HTTP/1.1",
            b"Host: name.example",
            b"x-ODD: 1",
            b"X-Odd: 2",
        ]
    agent.close()


@in_reactor
async def test_a_fresh_connection_is_new_and_kept_afterwards(serve: Serve) -> None:
    numbers: list[int] = []

    def answer(connection: RawConnection, _head: bytes) -> None:
        numbers.append(connection.number)
        connection.send(ok(b""))

    server = serve(answer)
    agent = make_agent(reactor, {}, forbidden=ForbiddenNetworks.parse((NONE,)))
    request = Request(b"GET", b"/", ((b"Host", b"name.example"),))
    for fresh in (False, False, True, False):
        await agent.exchange(request, origin_of(server.url), fresh=fresh)
    assert numbers == [1, 1, 2, 2]
    agent.close()
