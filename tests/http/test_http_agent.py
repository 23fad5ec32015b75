"""The agent on the wire: kept connections, repetition, bodies both ways, TLS, proxies, forbidden networks, unix sockets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from tests.fakes.certificates import write_certificate
from tests.fakes.proxy import FakeProxy
from tests.http.raw_server import RawConnection, RawServer, answering, ok
from tests.in_reactor import in_reactor, until, wait_for
from twistpi.http.agent import Agent, Pool, make_agent, unix_agent
from twistpi.http.body import BytesBody
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.routes import NONE, ForbiddenNetworks
from twistpi.http.wire_response import WireResponse

reactor: Any = _reactor
Serve = Callable[..., RawServer]
ANYWHERE = ForbiddenNetworks.parse((NONE,))


class Collected(Protocol):
    """Keeps a body."""

    transport: Any

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended: Deferred[BaseException | None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(reason.value)


@implementer(IBodyProducer)
class Body:
    """A request body that is written by the test."""

    def __init__(self, length: Any = UNKNOWN_LENGTH) -> None:
        self.length = length
        self.consumer: Any = None
        self.done: Deferred[None] = Deferred()
        self.paused = 0
        self.is_paused = self.is_stopped = False

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self.consumer = consumer
        return self.done

    def pauseProducing(self) -> None:
        self.paused += 1
        self.is_paused = True

    def resumeProducing(self) -> None:
        self.is_paused = False

    def stopProducing(self) -> None:
        self.is_stopped = True


@pytest.fixture
def agent() -> Iterator[Agent]:
    made = make_agent(reactor, {}, forbidden=ANYWHERE)
    yield made
    made.close()


async def ask(agent: Agent, url: str, method: bytes = b"GET", body: IBodyProducer | None = None, path: str = "/") -> WireResponse:
    response: Any = await agent.request(method, f"{url}{path}".encode(), Headers({"A": ["b"]}), body)
    assert isinstance(response, WireResponse)
    return response


async def read(response: WireResponse) -> bytes:
    collected = Collected()
    response.deliverBody(collected)
    assert isinstance(await collected.ended, ResponseDone)
    return bytes(collected.data)


async def fetch(agent: Agent, url: str, method: bytes = b"GET", body: IBodyProducer | None = None) -> bytes:
    return await read(await ask(agent, url, method, body))


# Connections ---------------------------------------------------------------------------------------------------------


@in_reactor
async def test_a_connection_serves_one_request_after_the_other(serve: Serve, agent: Agent) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    server = serve(answering(ok(b"one"), chunked, b"HTTP/1.1 204 X\r\n\r\n", ok(b"four")))
    assert [await fetch(agent, server.url) for _ in range(4)] == [b"one", b"ab", b"", b"four"]
    assert len(server.connections) == 1
    assert server.heads[0] == b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nA: b" % server.port


@in_reactor
async def test_requests_at_the_same_time_have_connections_of_their_own(serve: Serve) -> None:
    agent = make_agent(reactor, {}, forbidden=ANYWHERE, connections_per_host=2)
    server = serve(answering(ok(b"x")))
    waiting = [Deferred.fromCoroutine(fetch(agent, server.url)) for _ in range(4)]
    assert [await one for one in waiting] == [b"x"] * 4
    await until(lambda: sum(one.lost is None for one in server.connections) == 2)
    agent.close()
    await until(lambda: all(one.lost for one in server.connections))


@in_reactor
@pytest.mark.parametrize(
    "answer",
    [
        ok(b"x", b"Connection: close"), ok(b"x", b"Connection: x-custom, Close"), ok(b"x") + b"garbage", ok(b"x") + ok(b"y"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + ok(b"y"),
    ],
)  # fmt: skip
async def test_a_connection_that_cannot_be_trusted_or_ends_is_closed(serve: Serve, agent: Agent, answer: bytes) -> None:
    server = serve(answering(answer))
    assert [await fetch(agent, server.url) for _ in range(2)] == [b"x", b"x"]
    assert len(server.connections) == 2
    await until(lambda: all(one.lost for one in server.connections))


@in_reactor
async def test_what_nobody_asked_for_closes_a_waiting_connection(serve: Serve, agent: Agent) -> None:
    server = serve(answering(ok(b"x")))
    await fetch(agent, server.url)
    server.connections[0].send(ok(b"for somebody else"))
    await until(lambda: server.connections[0].lost)
    assert await fetch(agent, server.url) == b"x"
    assert len(server.connections) == 2


def test_connections_wait_for_a_minute() -> None:
    class Kept:
        is_closed = False

        def abort(self) -> None:
            self.is_closed = True
            pool.forget("route", self)  # type: ignore[arg-type]

    clock = Clock()
    pool = Pool(clock, 2)
    first, second, third = Kept(), Kept(), Kept()
    pool.keep("route", first)  # type: ignore[arg-type]
    clock.advance(30)
    pool.keep("route", second)  # type: ignore[arg-type]
    pool.keep("route", third)  # type: ignore[arg-type]
    assert (first.is_closed, second.is_closed, third.is_closed) == (False, False, True)
    clock.advance(30)
    assert (first.is_closed, second.is_closed) == (True, False)
    assert pool.take("route") is second  # type: ignore[arg-type, comparison-overlap]
    assert pool.take("route") is None  # type: ignore[arg-type]
    clock.advance(60)
    assert not clock.getDelayedCalls()


# Repetition ------------------------------------------------------------------------------------------------------------


def closing_when_used_again(connection: RawConnection, _head: bytes) -> None:
    """Answers the first request of a connection, and closes it at the second."""
    if connection.requests > 1:
        connection.close()
    else:
        connection.send(ok(b"x"))


@in_reactor
async def test_a_request_is_repeated_when_a_kept_connection_was_closed(serve: Serve, agent: Agent) -> None:
    server = serve(closing_when_used_again)
    assert [await fetch(agent, server.url) for _ in range(2)] == [b"x"] * 2
    assert await fetch(agent, server.url, b"PUT", BytesBody(b"body")) == b"x"
    assert (len(server.connections), len(server.heads)) == (3, 5)


@in_reactor
async def test_a_request_that_may_not_be_repeated_fails_then(serve: Serve, agent: Agent) -> None:
    server = serve(closing_when_used_again)
    for method, body in ((b"POST", BytesBody(b"body")), (b"PUT", Body())):
        await fetch(agent, server.url)
        with pytest.raises(RequestFailed, match="closed before an answer came") as failed:
            await fetch(agent, server.url, method, body)
        assert failed.value.cause is Cause.CLOSED
    assert len(server.connections) == 2


@in_reactor
async def test_nothing_is_repeated_over_a_new_connection(serve: Serve, agent: Agent) -> None:
    server = serve(lambda connection, _head: connection.close())
    with pytest.raises(RequestFailed) as failed:
        await fetch(agent, server.url)
    assert (failed.value.cause, failed.value.unreachable, len(server.connections)) == (Cause.CLOSED, False, 1)


@pytest.mark.parametrize("start", [b"\r", b"H", b"HTTP/1", b"HTTP/1.", b"HTTP/1.1 20", b"HTTP/1.1 103 Early\r\n\r\n"])
@in_reactor
async def test_an_answer_that_began_is_not_asked_for_again(serve: Serve, agent: Agent, start: bytes) -> None:
    server = serve(answering(ok(b"x")))
    await fetch(agent, server.url)
    server.script = answering(start, then_close=True)
    with pytest.raises(RequestFailed, match="broke before the answer was complete") as failed:
        await fetch(agent, server.url)
    assert (failed.value.cause, len(server.heads)) == (Cause.BROKEN, 2)


# Responses -----------------------------------------------------------------------------------------------------------


@in_reactor
async def test_a_body_may_end_with_its_connection_unless_that_breaks(serve: Serve, agent: Agent) -> None:
    server = serve(answering(b"HTTP/1.1 200 OK\r\n\r\nab", then_close=True))
    for reason in (PotentialDataLoss, RequestFailed):
        response, collected = await ask(agent, server.url), Collected()
        response.deliverBody(collected)
        assert isinstance(await collected.ended, reason)
        assert collected.data == b"ab"

        def breaking(connection: RawConnection, _head: bytes) -> None:
            connection.send(b"HTTP/1.1 200 OK\r\n\r\nab")
            reactor.callLater(0.05, connection.transport.abortConnection)

        server.script = breaking


@in_reactor
async def test_a_malformed_answer_is_an_error_also_in_the_middle(serve: Serve, agent: Agent) -> None:
    server = serve(answering(b"220 smtp.example ESMTP\r\n"))
    with pytest.raises(RequestFailed, match="what is no HTTP") as failed:
        await fetch(agent, server.url)
    assert failed.value.cause is Cause.MALFORMED

    def bad_chunk(connection: RawConnection, _head: bytes) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        reactor.callLater(0.02, connection.send, b"zz\r\n")

    server.script = bad_chunk
    response, collected = await ask(agent, server.url), Collected()
    response.deliverBody(collected)
    reason = await collected.ended
    assert (bytes(collected.data), getattr(reason, "cause", None)) == (b"ab", Cause.MALFORMED)
    await until(lambda: all(one.lost for one in server.connections))


@in_reactor
async def test_a_server_is_held_back_until_its_body_is_read(serve: Serve, agent: Agent) -> None:
    content = bytes(20_000_000)
    server = serve(answering(ok(content), then_close=True))
    response = await ask(agent, server.url)
    await deferLater(reactor, 0.2)
    assert server.connections[0].lost is None, "most of it is not sent yet"
    assert await read(response) == content
    await until(lambda: server.connections[0].lost)


@in_reactor
async def test_who_reads_may_pause_and_leave(serve: Serve, agent: Agent) -> None:
    server = serve(answering(ok(bytes(20_000_000))))
    response, collected = await ask(agent, server.url), Collected()
    response.deliverBody(collected)
    collected.transport.pauseProducing()
    came = len(collected.data)
    server.script = answering(ok(b"other"))
    assert await fetch(agent, server.url) == b"other"
    assert len(collected.data) == came
    collected.transport.resumeProducing()
    await until(lambda: len(collected.data) > came)
    collected.transport.abortConnection()
    assert isinstance(await collected.ended, RequestFailed)
    await until(lambda: server.connections[0].lost)


@in_reactor
async def test_a_whole_body_is_at_hand_and_leaving_after_it_closes_nothing(serve: Serve, agent: Agent) -> None:
    server = serve(answering(ok(b"x")))
    response = await ask(agent, server.url)
    assert response.take_content() == b"x"
    response.abortConnection()
    assert await fetch(agent, server.url) == b"x"
    assert len(server.connections) == 1


@in_reactor
async def test_informational_responses_are_told(serve: Serve, agent: Agent) -> None:
    server = serve(answering(b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"x")))
    told: list[int] = []
    response = await agent.send(b"GET", server.url.encode(), [], informed=lambda status, _lines: told.append(status))
    assert (await read(response), told) == (b"x", [100])


# Requests with a body ------------------------------------------------------------------------------------------------


@in_reactor
async def test_bodies_are_sent_with_their_length_or_in_chunks(serve: Serve, agent: Agent) -> None:
    server = serve(answering(ok(b"x")))
    await fetch(agent, server.url, b"POST", BytesBody(b"in memory"))
    assert server.heads[0].endswith(b"\r\nContent-Length: 9")
    assert server.connections[0].body == b"in memory"
    await fetch(agent, server.url, b"POST")
    assert server.heads[1].endswith(b"\r\nContent-Length: 0")
    for length, wire in ((6, b"abcdef"), (UNKNOWN_LENGTH, b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")):
        server.script = lambda _connection, _head: None
        body, requests = Body(length), len(server.heads)
        asking = Deferred.fromCoroutine(fetch(agent, server.url, b"POST", body))
        await until(partial(lambda before: len(server.heads) > before, requests))
        body.consumer.write(b"abc")
        body.consumer.write(b"")
        body.consumer.write(b"def")
        body.done.callback(None)
        connection = server.connections[-1]
        await until(partial(lambda connection, wire: connection.body.endswith(wire), connection, wire))
        connection.send(ok(b"x"))
        assert await asking == b"x"
    assert server.heads[-1].endswith(b"\r\nTransfer-Encoding: chunked")
    assert len(server.connections) == 1


@in_reactor
async def test_a_body_of_another_length_than_announced_fails(serve: Serve, agent: Agent) -> None:
    server = serve(lambda _connection, _head: None)
    body = Body(3)
    asking = Deferred.fromCoroutine(fetch(agent, server.url, b"POST", body))
    await until(lambda: body.consumer)
    with pytest.raises(ValueError, match="longer"):
        body.consumer.write(b"abcd")
    body.done.callback(None)
    with pytest.raises(ValueError, match="shorter"):
        await asking
    await until(lambda: all(one.lost for one in server.connections))


@in_reactor
async def test_a_producer_that_fails_closes_the_connection(serve: Serve, agent: Agent) -> None:
    server = serve(lambda _connection, _head: None)
    body = Body(3)
    asking = Deferred.fromCoroutine(fetch(agent, server.url, b"POST", body))
    await until(lambda: body.consumer)
    body.done.errback(OSError("the file is gone"))
    with pytest.raises(OSError, match="the file is gone"):
        await asking
    await until(lambda: all(one.lost for one in server.connections))


@in_reactor
async def test_a_slow_server_holds_the_producer_back(serve: Serve, agent: Agent) -> None:
    server = serve(lambda connection, _head: connection.transport.pauseProducing())
    body = Body(100_000_000)
    asking = Deferred.fromCoroutine(fetch(agent, server.url, b"POST", body))
    await until(lambda: body.consumer and server.heads)
    written = 0
    while not body.is_paused:
        body.consumer.write(bytes(1_000_000))
        written += 1_000_000
        assert written < 50_000_000
    server.connections[0].transport.resumeProducing()
    await until(lambda: not body.is_paused)
    asking.cancel()
    with pytest.raises(CancelledError):
        await asking
    assert body.is_stopped
    await until(lambda: server.connections[0].lost)


@in_reactor
async def test_an_error_before_the_body_is_sent_stops_the_producer(serve: Serve, agent: Agent) -> None:
    server = serve(answering(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"))
    body = Body(1000)
    response = await ask(agent, server.url, b"POST", body)
    assert (response.code, await read(response), body.is_stopped) == (413, b"no", True)
    body.consumer.write(b"too late")
    await until(lambda: server.connections[0].lost)


@in_reactor
async def test_an_answer_may_come_while_the_body_is_sent(serve: Serve, agent: Agent) -> None:
    server = serve(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhe"))
    body = Body(2)
    response = await ask(agent, server.url, b"POST", body)
    assert not body.is_stopped
    body.consumer.write(b"ab")
    body.done.callback(None)
    server.connections[0].send(b"re")
    assert await read(response) == b"here"
    server.script = answering(ok(b"x"))
    assert await fetch(agent, server.url) == b"x"
    assert len(server.connections) == 1


@in_reactor
async def test_a_lost_connection_stops_the_producer(serve: Serve, agent: Agent) -> None:
    server = serve(lambda connection, _head: connection.transport.abortConnection())
    body = Body(1000)
    with pytest.raises(RequestFailed) as failed:
        await ask(agent, server.url, b"POST", body)
    assert (failed.value.cause, body.is_stopped) == (Cause.CLOSED, True)


# TLS -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def secured(tmp_path: Path, serve: Serve) -> tuple[RawServer, str, str]:
    """A server behind TLS, its address, and the file with its certificate."""
    key, certificate = write_certificate(tmp_path)
    context = DefaultOpenSSLContextFactory(str(key), str(certificate))
    server = serve(answering(ok(b"secret")), context)
    return server, f"https://127.0.0.1:{server.port}", str(certificate)


@in_reactor
async def test_an_extra_authority_is_trusted_and_a_stranger_is_not(secured: tuple[RawServer, str, str], agent: Agent) -> None:
    server, url, authority = secured
    trusting = make_agent(reactor, {}, extra_ca_file=authority, forbidden=ANYWHERE)
    assert [await fetch(trusting, url) for _ in range(2)] == [b"secret"] * 2
    assert len(server.connections) == 1
    trusting.close()
    with pytest.raises(RequestFailed, match=r"its certificate is not accepted \(certificate verify failed\)") as failed:
        await fetch(agent, url)
    assert (failed.value.cause, failed.value.unreachable) == (Cause.CONNECT, True)
    with pytest.raises(RequestFailed, match="it is for another host") as failed:
        await fetch(make_agent(reactor, {}, extra_ca_file=authority, forbidden=ANYWHERE), url.replace("127.0.0.1", "localhost"))
    assert failed.value.cause is Cause.CONNECT


@in_reactor
async def test_a_silent_peer_behind_tls_can_be_left(tmp_path: Path) -> None:
    # A plain listener that accepts and says nothing: not even the handshake is answered.
    server = RawServer(reactor, lambda _connection, _head: None).start()
    agent = make_agent(reactor, {}, forbidden=ANYWHERE)
    asking = Deferred.fromCoroutine(fetch(agent, f"https://127.0.0.1:{server.port}"))
    await until(lambda: server.connections)
    asking.cancel()
    with pytest.raises(CancelledError):
        await asking
    await until(lambda: server.connections[0].lost)
    await server.stop()


@in_reactor
async def test_a_body_behind_tls_can_be_left_and_may_break(secured: tuple[RawServer, str, str]) -> None:
    server, url, authority = secured
    agent = make_agent(reactor, {}, extra_ca_file=authority, forbidden=ANYWHERE)
    server.script = answering(b"HTTP/1.1 200 OK\r\n\r\nab")
    response, collected = await ask(agent, url), Collected()
    response.deliverBody(collected)
    # Nothing is read any more, so that a polite end would not be heard.
    server.connections[0].transport.pauseProducing()
    collected.transport.loseConnection()
    assert isinstance(await collected.ended, RequestFailed)
    response, collected = await ask(agent, url), Collected()
    response.deliverBody(collected)
    server.connections[1].transport.abortConnection()
    assert isinstance(await collected.ended, RequestFailed)
    assert collected.data == b"ab"


# Ways ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    running = FakeProxy(reactor, user="me:secret").start()
    yield running
    wait_for(Deferred.fromCoroutine(running.stop()))


@in_reactor
async def test_http_goes_through_a_proxy_with_its_password(serve: Serve, proxy: FakeProxy) -> None:
    server = serve(answering(ok(b"x", b"Connection: close")))
    agent = make_agent(reactor, {"HTTP_PROXY": proxy.url, "NO_PROXY": "localhost"}, forbidden=ANYWHERE)
    assert await fetch(agent, server.url) == b"x"
    assert proxy.asked == [f"GET {server.url}/ HTTP/1.1"]
    assert b"proxy-authorization" not in server.heads[0].lower()
    assert await fetch(agent, server.url.replace("127.0.0.1", "localhost")) == b"x"
    assert len(proxy.asked) == 1


@in_reactor
async def test_https_goes_through_a_tunnel_that_is_kept(secured: tuple[RawServer, str, str], proxy: FakeProxy) -> None:
    server, url, authority = secured
    agent = make_agent(reactor, {"HTTPS_PROXY": proxy.url}, extra_ca_file=authority, forbidden=ANYWHERE)
    assert [await fetch(agent, url) for _ in range(2)] == [b"secret"] * 2
    assert proxy.asked == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"]
    agent.close()


@in_reactor
async def test_a_proxy_that_refuses_or_is_silent(secured: tuple[RawServer, str, str], proxy: FakeProxy, serve: Serve) -> None:
    server, url, _authority = secured
    proxy.refuses = True
    with pytest.raises(RequestFailed, match="the proxy refused: 407") as failed:
        await fetch(make_agent(reactor, {"HTTPS_PROXY": proxy.url}, forbidden=ANYWHERE), url)
    assert (failed.value.cause, server.heads) == (Cause.CONNECT, [])
    silent = serve(lambda _connection, _head: None)
    asking = Deferred.fromCoroutine(fetch(make_agent(reactor, {"HTTPS_PROXY": silent.url}, forbidden=ANYWHERE), url))
    await until(lambda: silent.heads)
    asking.cancel()
    with pytest.raises(CancelledError):
        await asking
    await until(lambda: silent.connections[0].lost)


@in_reactor
@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "0xa9fea9fe", "2852039166"])
async def test_no_forbidden_address_is_connected_to_not_even_by_a_proxy(host: str, proxy: FakeProxy) -> None:
    for environment in ({}, {"ALL_PROXY": proxy.url}):
        for scheme in ("http", "https"):
            with pytest.raises(RequestFailed, match=r"\(setting forbidden-networks\)") as failed:
                await fetch(make_agent(reactor, environment), f"{scheme}://{host}")
            assert failed.value.cause is Cause.FORBIDDEN
    assert proxy.asked == []


@in_reactor
async def test_a_name_is_checked_as_it_is_connected_to(serve: Serve) -> None:
    server = serve(answering(ok(b"x")))
    loopback = ForbiddenNetworks.parse(["127.0.0.0/8", "::1"])
    with pytest.raises(RequestFailed) as failed:
        await fetch(make_agent(reactor, {}, forbidden=loopback), f"http://localhost:{server.port}")
    assert (failed.value.cause, server.connections) == (Cause.FORBIDDEN, [])


@in_reactor
async def test_an_ipv6_address_is_asked(serve: Serve) -> None:
    server = RawServer(reactor, answering(ok(b"six"))).start(interface="::1")
    agent = make_agent(reactor, {}, forbidden=ANYWHERE)
    assert await fetch(agent, f"http://[::1]:{server.port}") == b"six"
    assert b"Host: [::1]:%d\r\n" % server.port in server.heads[0]
    agent.close()
    await server.stop()


@in_reactor
async def test_a_unix_socket_stands_for_every_origin(tmp_path: Path) -> None:
    server = RawServer(reactor, answering(ok(b"local"))).start(path=str(tmp_path / "socket"))
    agent = unix_agent(reactor, str(tmp_path / "socket"))
    assert [await fetch(agent, "http://localhost/+api") for _ in range(2)] == [b"local"] * 2
    assert (len(server.connections), server.heads[0].split(b"\r\n")[1]) == (1, b"Host: localhost")
    agent.close()
    await server.stop()
    with pytest.raises(RequestFailed) as failed:
        await fetch(agent, "http://localhost/+api")
    assert failed.value.cause is Cause.CONNECT


@in_reactor
async def test_what_cannot_be_requested_is_not(serve: Serve, agent: Agent) -> None:
    server = serve(answering(ok(b"x")))
    with pytest.raises(ValueError, match="cannot be requested"):
        await ask(agent, server.url, path="/a b")
    with pytest.raises(ValueError, match="cannot be sent"):
        await agent.send(b"GET", server.url.encode(), [(b"A", b"b\r\nX: y")])
    with pytest.raises(ValueError, match="not an http"):
        await ask(agent, "ftp://elsewhere.example")


def test_what_is_no_certificate_or_no_proxy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        make_agent(reactor, {}, extra_ca_file=os.fspath(tmp_path / "missing.pem"))
    with pytest.raises(ValueError, match="not an http"):
        make_agent(reactor, {"HTTP_PROXY": "socks5://127.0.0.1:1080"})
