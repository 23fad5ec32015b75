"""Raw requests to a site without a network: bytes in, bytes out."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import attrs
import orjson
from twisted.internet import reactor as installed_reactor
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.in_reactor import settle
from tests.web.web_world import World

reactor: Any = installed_reactor
_REQUEST_ID = re.compile(rb"X-Request-Id: [^\r]*\r\n")
GONE = Failure(ConnectionLost())
JSON_PAGE = "application/vnd.pypi.simple.v1+json"
HTML_PAGE = "application/vnd.pypi.simple.v1+html"


@attrs.frozen
class Answer:
    """One response, taken apart."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes

    def json(self) -> Any:
        return orjson.loads(self.content)

    @property
    def content(self) -> bytes:
        """The body with its coding undone."""
        return gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body


class Wire:
    """One connection to a site, in memory."""

    def __init__(self, world: World, *, fast: bool = True, named: bool = False) -> None:
        """``named`` leaves in answers what tells one request from the next."""
        self._named = named
        self._is_lost = False
        self._clock = world.clock
        channel = world.site.buildProtocol(None)
        assert channel is not None
        self.channel: Any = channel
        self.channel.callLater = world.clock.callLater
        self.transport: Any = StringTransport()
        self.channel.makeConnection(self.transport)
        world.on_close.append(self.lose)
        if not fast:
            self.channel._answer = lambda data: False

    def lose(self) -> None:
        """End the connection, if it did not end yet."""
        if not self._is_lost:
            self._is_lost = True
            self.channel.connectionLost(GONE)

    def send(self, data: bytes) -> bytes:
        """What comes back at once, or in the reactor's next turns."""
        self.channel.dataReceived(data)
        if self.channel.paused:
            self._clock.advance(0)
        answer = bytes(self.transport.value())
        self.transport.clear()
        return answer if self._named else without_id(answer)

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Ask and take the answer apart; ``accept_encoding="gzip"`` is a header."""
        return read_answer(self.send(request_bytes(path, method, **headers)), head=method == "HEAD")


def request_bytes(path: str, method: str = "GET", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost:3141"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def read_answer(raw: bytes, *, head: bool = False) -> Answer:
    """Take the bytes of one response apart; its length must be what it says."""
    top, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = top.decode("latin-1").split("\r\n")
    assert status.startswith("HTTP/1.1 "), raw[:200]
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name.lower() == "set-cookie":
            value = "\n".join(filter(None, (headers.pop("set-cookie", ""), value)))
        assert name.lower() not in headers, f"{name} is there twice"
        headers[name.lower()] = value
    code = int(status.split(" ")[1])
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    elif head or code in (204, 304):
        assert body == b""
    else:
        assert int(headers["content-length"]) == len(body)
    return Answer(code, headers, body, raw)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return whole


def without_id(answer: bytes) -> bytes:
    """``answer`` without what tells one request from the next."""
    return _REQUEST_ID.sub(b"", answer)


@contextmanager
def connection(world: World) -> Iterator[Wire]:
    """A connection that is lost at the end."""
    wire = Wire(world)
    yield wire
    wire.transport.abortConnection()


@asynccontextmanager
async def listening(world: World) -> AsyncIterator[int]:
    """The number of a port of loopback at which the site of ``world`` listens."""
    port = reactor.listenTCP(0, world.site, interface="127.0.0.1")
    world.components.connections.listens(port)
    try:
        yield port.getHost().port
    finally:
        await port.stopListening()
        await settle()


def ordinary(wire: Wire) -> list[object]:
    """The requests of ``wire`` that the ordinary path gets from now on."""
    seen: list[object] = []
    factory = wire.channel.requestFactory

    def noting(*arguments: Any) -> Any:
        seen.append(factory(*arguments))
        return seen[-1]

    wire.channel.requestFactory = noting
    return seen
