"""A legacy upload endpoint on loopback that says what a test wants, when it wants."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import attrs
from multipart import MultipartParser  # type: ignore[import-untyped]
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

reactor: Any = the_reactor


@attrs.define
class Saying:
    """What is done with one request."""

    status: str = "200 OK"
    body: bytes = b""
    headers: tuple[str, ...] = ()
    early: bool = False
    """Answer as soon as the headers are here."""
    silent: bool = False
    """Read all, answer nothing."""
    stuck: bool = False
    """Neither read the body nor answer."""
    breaks: bool = False
    """Close the connection in the middle of the body."""
    keeps: bool = True
    """Keep the body, and not only count it."""
    endless: bool = False
    """Send the body again and again, without an end."""


@attrs.define
class Asked:
    """One request."""

    line: str
    headers: Mapping[str, str]
    body: bytearray = attrs.field(factory=bytearray)
    size: int = 0
    """Bytes of the body that came."""

    @property
    def form(self) -> list[tuple[str, str]]:
        """The fields that came as text, in order."""
        return [(part.name, part.value) for part in self._parts() if part.filename is None]

    @property
    def file(self) -> tuple[str, bytes]:
        """Name and bytes of the file."""
        (found,) = [(part.filename, part.raw) for part in self._parts() if part.filename is not None and part.name == "content"]
        return found

    @property
    def has_file(self) -> bool:
        """Whether one came along."""
        return any(part.filename is not None for part in self._parts())

    def _parts(self) -> list[Any]:
        boundary = self.headers["content-type"].partition("boundary=")[2]
        return list(MultipartParser(io.BytesIO(bytes(self.body)), boundary, strict=True))


class FakeRepository:
    """Answers requests one after the other as ``says`` tells, and those beyond with the last of it."""

    def __init__(self, *says: Saying) -> None:
        self.says = list(says) or [Saying()]
        self.asked: list[Asked] = []
        self.connections: set[Any] = set()
        """Those that are there now."""
        self.connected = 0
        """Connections that ever were."""
        self._closed: list[Deferred[None]] = []
        self._port: Any = None
        self.scheme = "http"

    def start(self, context: Any = None) -> FakeRepository:
        """Listen; ``context`` is that of TLS."""
        factory = Factory.forProtocol(lambda: _Connection(self))
        if context is None:
            self._port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        else:
            self.scheme = "https"
            self._port = reactor.listenSSL(0, factory, context, interface="127.0.0.1")
        return self

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self._port.getHost().port}/legacy/"

    async def stop(self) -> None:
        """Listen no more, and hang up."""
        await maybeDeferred(self._port.stopListening)
        for connection in self.connections.copy():
            connection.abortConnection()
        await self.all_closed()

    async def all_closed(self) -> None:
        """Wait until nobody is connected any more."""
        while self.connections:
            waiter: Deferred[None] = Deferred()
            self._closed.append(waiter)
            await waiter

    def closed(self, connection: Any) -> None:
        """``connection`` is gone."""
        self.connections.discard(connection)
        waiters, self._closed = self._closed, []
        for waiter in waiters:
            waiter.callback(None)


class _Connection(Protocol):
    def __init__(self, repository: FakeRepository) -> None:
        self._repository = repository
        self._head = b""
        self._asked: Asked | None = None
        self._saying = Saying()
        self._length = 0

    def connectionMade(self) -> None:
        self._repository.connections.add(self.transport)
        self._repository.connected += 1

    def dataReceived(self, data: bytes) -> None:
        if self._asked is None:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._begin(head)
            if self._saying.stuck:
                self._transport.pauseProducing()
                return
            if self._saying.early:
                self._answer()
        assert self._asked is not None
        self._asked.size += len(data)
        if self._saying.keeps:
            self._asked.body += data
        if self._saying.breaks:
            self._transport.abortConnection()
        elif self._asked.size >= self._length and not self._saying.silent and not self._saying.early:
            self._answer()

    @property
    def _transport(self) -> Any:
        return self.transport

    def _begin(self, head: bytes) -> None:
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self._asked = Asked(line, headers)
        self._length = int(headers["content-length"])
        asked, says = self._repository.asked, self._repository.says
        self._saying = says[min(len(asked), len(says) - 1)]
        asked.append(self._asked)

    def _answer(self) -> None:
        saying = self._saying
        length = () if saying.endless else (f"Content-Length: {len(saying.body)}",)
        lines = (f"HTTP/1.1 {saying.status}", *length, *saying.headers, "", "")
        self._transport.write("\r\n".join(lines).encode("latin-1") + saying.body)
        if saying.endless:
            self._transport.registerProducer(_Again(self._transport, saying.body), False)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._repository.closed(self.transport)


@attrs.define
class _Again:
    """Writes the same again and again."""

    transport: Any
    body: bytes

    def resumeProducing(self) -> None:
        self.transport.write(self.body)

    def stopProducing(self) -> None:
        """The connection is gone."""
