"""The client: redirects, credentials, limits, time."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest
from twisted.internet.defer import CancelledError, Deferred

from tests.http.raw_server import RawConnection, RawServer, answering, ok
from tests.in_reactor import in_reactor, until
from twistpi import __version__
from twistpi.http.client import HTTPClient
from twistpi.http.codings import ACCEPTED
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.urls import split_credentials

Serve = Callable[..., RawServer]
LIMIT = 1_000_000


def redirecting(to: Callable[[bytes], bytes | None], status: bytes = b"302 Found") -> Callable[[RawConnection, bytes], None]:
    """A script that redirects requests to the address that ``to`` returns for their path, and answers all others."""

    def answer(connection: RawConnection, head: bytes) -> None:
        target = to(head.split(b" ")[1])
        found = ok(b"there")
        redirect = b"HTTP/1.1 %s\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % (status, target or b"")
        connection.send(found if target is None else redirect)

    return answer


def lines(head: bytes) -> set[bytes]:
    return {line.lower() for line in head.split(b"\r\n")[1:]}


@in_reactor
async def test_a_response_has_status_headers_and_body(serve: Serve, client: HTTPClient) -> None:
    server = serve(answering(ok(b"hello", b'ETag: "x"', b"X-Name: caf\xc3\xa9")))
    response = await client.request("GET", f"{server.url}/a?b=c#d", headers={"Accept": "text/plain"})
    assert (response.status, response.url, response.length, response.phrase) == (200, f"{server.url}/a?b=c", 5, "OK")
    assert (response.header("etag"), response.header("X-Name"), response.header("none")) == ('"x"', "café", None)
    assert await response.read(LIMIT) == b"hello"
    assert server.heads[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert lines(server.heads[0]) >= {
        b"host: 127.0.0.1:%d" % server.port,
        b"accept: text/plain",
        b"accept-encoding: identity",
        f"user-agent: twistpi/{__version__}".encode(),
    }
    assert b"authorization" not in server.heads[0].lower()


@in_reactor
async def test_an_address_is_sent_as_it_stands(serve: Serve, client: HTTPClient) -> None:
    server = serve(answering(ok(b"")))
    for path in ("/a%2Fb/c+d?sig=a%2Bb%3D&x=%7e&e", "/a//b/../c", "/a|b[1]?q=%20+%2520", "/%zz"):
        (await client.request("GET", server.url + path)).discard()
        assert server.heads[-1].split(b" ")[1] == path.encode()
    (await client.request("GET", f"{server.url}/é")).discard()
    assert server.heads[-1].split(b" ")[1] == b"/%C3%A9"


@in_reactor
async def test_raw_bytes_are_not_decoded_and_pages_are(serve: Serve, client: HTTPClient) -> None:
    packed = gzip.compress(b"page " * 100_000)
    server = serve(answering(ok(packed, b"Content-Encoding: gzip")))
    raw = await client.request("GET", server.url)
    assert await raw.read(LIMIT) == packed
    page = await client.request("GET", server.url, compressed=True)
    assert await page.read(LIMIT) == b"page " * 100_000
    assert f"accept-encoding: {ACCEPTED}".encode() in lines(server.heads[1])
    bomb = await client.request("GET", server.url, compressed=True)
    with pytest.raises(RequestFailed, match="longer than 10,000 bytes") as failed:
        await bomb.read(10_000)
    assert failed.value.cause is Cause.TOO_LARGE


@in_reactor
async def test_a_redirect_is_resolved_against_the_page_it_came_from(serve: Serve, client: HTTPClient) -> None:
    moves = {b"/a/b": b"c/d", b"/a/c/d": b"../e"}
    server = serve(redirecting(moves.get))
    response = await client.request("GET", f"{server.url}/a/b")
    assert (response.url, await response.read(LIMIT)) == (f"{server.url}/a/e", b"there")
    assert client.requests == 3


@in_reactor
async def test_redirects_end(serve: Serve, client: HTTPClient) -> None:
    server = serve(redirecting(lambda path: path + b"x"))
    with pytest.raises(RequestFailed, match="in circles") as failed:
        await client.request("GET", f"{server.url}/")
    assert (len(server.heads), failed.value.cause, failed.value.unreachable) == (10, Cause.REDIRECT, False)
    nowhere = serve(redirecting(lambda _: b"ftp://elsewhere/"))
    with pytest.raises(RequestFailed, match="nobody can follow"):
        await client.request("GET", nowhere.url)


@in_reactor
async def test_other_methods_are_not_redirected(serve: Serve, client: HTTPClient) -> None:
    server = serve(redirecting(lambda _: b"/elsewhere"))
    response = await client.request("POST", server.url, body=b"x")
    assert (response.status, response.header("Location")) == (302, "/elsewhere")
    response.discard()
    response = await client.request("GET", server.url, follow=False)
    assert response.status == 302
    response.discard()


@in_reactor
async def test_credentials_stay_with_their_origin(serve: Serve, client: HTTPClient) -> None:
    other = serve(answering(ok(b"there")))
    server = serve(redirecting(lambda path: f"{other.url}/x".encode() if path == b"/away" else None))
    url = server.url.replace("//", "//me:s%20cret@")
    for given, credentials in ((url, None), (server.url, split_credentials(url)[1])):
        response = await client.request(
            "GET", f"{given}/away", headers={"Cookie": "a=b", "X-Devpi-Auth": "c"}, credentials=credentials
        )
        assert await response.read(LIMIT) == b"there"
        assert "cret" not in response.url
        assert b"authorization: basic bwu6cybjcmv0" in lines(server.heads[-1])
        assert not any(line.startswith((b"authorization", b"cookie", b"x-devpi-auth")) for line in lines(other.heads[-1]))


@in_reactor
async def test_userinfo_in_a_redirect_is_ignored(serve: Serve, client: HTTPClient) -> None:
    other = serve(answering(ok(b"there")))
    server = serve(redirecting(lambda _: f"http://you:pass@127.0.0.1:{other.port}/x".encode()))
    response = await client.request("GET", server.url)
    assert response.url == f"{other.url}/x"
    assert b"authorization" not in other.heads[0].lower()
    assert all(b"via: 1.1 twistpi" in lines(one.heads[0]) for one in (server, other)), "no request counts as one of a user here"


@in_reactor
async def test_no_cookie_is_kept(serve: Serve, client: HTTPClient) -> None:
    server = serve(answering(ok(b"", b"Set-Cookie: a=b; Path=/")))
    for _ in range(2):
        (await client.request("GET", server.url)).discard()
    assert b"cookie" not in server.heads[1].lower()


@in_reactor
async def test_nobody_there_and_no_answer_in_time(serve: Serve, client: HTTPClient) -> None:
    server = serve(lambda _connection, _head: None)
    with pytest.raises(RequestFailed, match=r"no answer within 0.05 s") as failed:
        await client.request("GET", server.url, timeout=0.05)
    assert (failed.value.cause, failed.value.unreachable) == (Cause.TIMEOUT, True)
    await until(lambda: all(connection.lost for connection in server.connections))
    with pytest.raises(RequestFailed) as failed:
        await client.request("GET", "http://127.0.0.1:1/")
    assert (failed.value.cause, failed.value.unreachable, client.failures) == (Cause.CONNECT, True, 2)


@in_reactor
async def test_a_cancelled_request_is_aborted(serve: Serve, client: HTTPClient) -> None:
    server = serve(lambda _connection, _head: None)
    asking = Deferred.fromCoroutine(client.request("GET", server.url))
    await until(lambda: server.heads)
    asking.cancel()
    with pytest.raises(CancelledError):
        await asking
    await until(lambda: server.connections[0].lost)


@in_reactor
async def test_silence_and_breaks_in_the_middle_of_a_body(serve: Serve, client: HTTPClient) -> None:
    server = serve(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"))
    response = await client.request("GET", server.url)
    with pytest.raises(RequestFailed, match=r"silent for 0.05 s") as failed:
        await response.read(LIMIT, silence=0.05)
    assert (failed.value.cause, failed.value.unreachable) == (Cause.SILENT, True)
    server.script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", then_close=True)
    response = await client.request("GET", server.url)
    with pytest.raises(RequestFailed, match="broke before the answer was complete") as failed:
        await response.read(LIMIT)
    assert (failed.value.cause, failed.value.unreachable) == (Cause.BROKEN, False)


@in_reactor
async def test_a_body_is_written_in_a_thread(serve: Serve, client: HTTPClient) -> None:
    content = bytes(range(256)) * 40_000
    server = serve(answering(ok(content)))
    response = await client.request("GET", server.url)
    written: list[bytes] = []
    await response.write_to(written.extend)
    assert b"".join(written) == content

    def full(_pieces: list[bytes]) -> None:
        raise OSError(28, "No space left on device")

    response = await client.request("GET", server.url)
    with pytest.raises(OSError, match="No space"):
        await response.write_to(full)


@in_reactor
async def test_a_body_that_was_read_can_be_read_again(serve: Serve, client: HTTPClient) -> None:
    server = serve(answering(ok(b"hello")))
    response = await client.request("GET", server.url)
    assert [await response.read(LIMIT) for _ in range(2)] == [b"hello"] * 2
    response.discard()
