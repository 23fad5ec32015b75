"""A server whose changelog is followed over a real socket, and followers that look at every byte."""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from tests.fakes.list_view import ListView
from tests.in_reactor import offload
from tests.web.web_world import World
from twistpi.auth.tokens import NodeTokens
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.writer import Writer
from twistpi.model.changes import ProjectVanished
from twistpi.web.replication.authentication import NodeAuthenticator
from twistpi.web.replication.followers import Feeds

reactor: Any = installed_reactor
SECRET = b"s" * 32
LOG_ID = "1" * 32
NODE = "5" * 32
STRANGER = NodeTokens(b"t" * 32)


class Setup:
    """A changelog with a writer, and the site that feeds it to others."""

    def __init__(self, folder: str, *, segment_limit: int = 3000) -> None:
        self.folder = os.path.join(folder, "changelog")
        self.log = FileChangelog.open(self.folder, Disk(), segment_limit=segment_limit)
        self.view = ListView()
        self.beats = Clock()
        self.beats.advance(1_795_000_000.25)
        self.writer = Writer(
            self.log, self.view, now=lambda: datetime.now(UTC), call_in_reactor=reactor.callFromThread,
            announce=self._announce, stop=lambda error: None,
        )  # fmt: skip
        self.feeds = Feeds(self.log, LOG_ID, lambda: self.writer.seen, self.beats, offload)
        self.tokens = NodeTokens(SECRET)
        self.nodes = NodeAuthenticator(self.tokens, reactor.seconds, reactor.seconds())
        os.mkdir(os.path.join(folder, "site"))
        self.world = World(os.path.join(folder, "site"), nodes=self.nodes, feeds=self.feeds, offload=deferToThread)
        self.after_announcing: Callable[[int], object] = lambda serial: None
        self.port: Any = None
        self._nonces = itertools.count()
        self._clients: list[Client] = []

    def start(self) -> None:
        """Listen, and let the writer write."""
        self.writer.start()
        self.feeds.start()
        self.port = reactor.listenTCP(0, self.world.site, interface="127.0.0.1")

    async def stop(self) -> None:
        """End everything."""
        self.feeds.stop()
        for client in self._clients:
            client.transport.abortConnection()
            await client.ended
        await self.port.stopListening()
        await self.writer.stop()
        self.log.close()
        self.world.close()

    def _announce(self, serial: int, changes: Any) -> None:
        self.feeds.changed(serial, changes)
        self.after_announcing(serial)

    async def write(self, count: int = 1, size: int = 5) -> None:
        """Commit so many entries, one batch each or all together, as it comes."""
        committed = [
            self.writer.commit(lambda _reader: [ProjectVanished("root/pypi", os.urandom(size).hex())], "root")
            for _ in range(count)
        ]
        for one in committed:
            await one

    def bytes_after(self, serial: int) -> bytes:
        """The log's bytes on disk after the line ``serial``."""
        names = sorted(name for name in os.listdir(self.folder) if name.endswith(".log"))
        lines = []
        for name in names:
            with open(os.path.join(self.folder, name), "rb") as file:
                lines += file.read().splitlines(keepends=True)
        return b"".join(lines[serial:])

    def token(self, target: str, method: str = "GET") -> str:
        """A fresh token for one request."""
        return self.tokens.make(NODE, method, target, self.nodes.now(), f"{next(self._nonces):x}")

    async def connect(self, target: str, method: str = "GET", *, signed: bool = True, **headers: str) -> Client:
        """A request whose answer is read as it comes."""
        given = {"Host": "primary.example", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if signed:
            given.setdefault("Authorization", f"Twistpi-Node {self.token(target, method)}")
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in given.items())
        client = Client(head.encode() + b"\r\n")
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        await connectProtocol(endpoint, client)
        self._clients.append(client)
        await client.until(lambda: client.head is not None)
        return client

    async def follow(self, after: int = 0, **headers: str) -> Client:
        """A feed after the line ``after``."""
        chain = self.log.position(after).chain
        given: dict[str, Any] = headers
        client = await self.connect(f"/+changelog?after={after}&chain={chain}&epoch=1", **given)
        client.after = after
        return client

    async def ask(self, target: str, method: str = "GET", **headers: Any) -> tuple[int, Any]:
        """Status and JSON of an answer that ends."""
        client = await self.connect(target, method, **{"Connection": "close", **headers})
        await client.ended
        return client.status, orjson.loads(client.body)


class Client(Protocol):
    """One connection, one request."""

    transport: Any

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._undecoded = bytearray()
        self._waiting: list[tuple[Callable[[], object], Deferred[None]]] = []
        self._inflate = zlib.decompressobj(wbits=31)
        self.after = 0
        self._body = bytearray()
        self.head: dict[str, str] | None = None
        self.status = 0
        self.ended: Deferred[None] = Deferred()
        self.has_ended = False

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        self._undecoded += data
        if self.head is None and b"\r\n\r\n" in self._undecoded:
            top, _, rest = bytes(self._undecoded).partition(b"\r\n\r\n")
            first, *lines = top.decode("latin-1").split("\r\n")
            self.status, self._undecoded = int(first.split(" ")[1]), bytearray(rest)
            self.head = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if self.head is not None:
            self._decode(self.head)
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.has_ended = True
        self._look()
        self.ended.callback(None)

    @property
    def body(self) -> bytes:
        """What came after the head, with its codings undone."""
        return bytes(self._body)

    @property
    def lines(self) -> bytes:
        """The lines of the log that came."""
        return b"".join(line for line in self.body.splitlines(keepends=True) if not line.startswith(b"+"))

    @property
    def beats(self) -> list[tuple[int, float]]:
        """Serial and time of each heartbeat."""
        told = [line.split() for line in self.body.splitlines() if line.startswith(b"+")]
        return [(int(serial), float(time)) for _plus, serial, time in told]

    async def until(self, true: Callable[[], object]) -> None:
        """Wait until something came of what arrives."""
        if not true():
            waiter: Deferred[None] = Deferred()
            self._waiting.append((true, waiter))
            await waiter

    async def caught_up(self, setup: Setup) -> None:
        """Wait until all lines of the log are here, and a heartbeat after them."""
        last = setup.log.last.serial
        await self.until(lambda: self._ends_with_a_beat(last) and self.lines.count(b"\n") == last - self.after)

    def _ends_with_a_beat(self, serial: int) -> bool:
        return self._body.endswith(b"\n") and bytes(self._body[-60:]).splitlines()[-1].startswith(b"+ %d " % serial)

    def _decode(self, head: dict[str, str]) -> None:
        content = bytes(self._undecoded)
        self._undecoded.clear()
        if head.get("transfer-encoding") == "chunked":
            content = self._unchunk(content)
        if head.get("content-encoding") == "gzip":
            content = self._inflate.decompress(content)
        self._body += content

    def _unchunk(self, content: bytes) -> bytes:
        """The chunks that are whole; the rest is kept for later."""
        whole = []
        while b"\r\n" in content:
            size, _, rest = content.partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                break
            whole.append(rest[:length])
            content = rest[length + 2 :]
        self._undecoded += content
        return b"".join(whole)

    def _look(self) -> None:
        for true, waiter in list(self._waiting):
            if true():
                self._waiting.remove((true, waiter))
                waiter.callback(None)
            elif self.has_ended:
                self._waiting.remove((true, waiter))
                waiter.errback(AssertionError(f"the connection ended after {self.body[:2000]!r}"))
