"""A server on loopback that answers with exactly the bytes it is told to."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

Script = Callable[["RawConnection", bytes], None]
"""Gets the connection and the head of a request that came over it."""


class RawConnection(Protocol):
    """One connection of a ``RawServer``."""

    transport: Any

    def __init__(self, server: RawServer) -> None:
        self._server = server
        self.number = 0
        """Which connection of the server this is, from 1."""
        self.requests = 0
        """Requests whose head came."""
        self.body = b""
        """What came after the last head: the body of a request."""
        self._waiting = b""
        self._is_chunked = False
        """Whether a body in chunks is on its way."""
        self._missing = 0
        """Bytes of a body of known length that are still to come."""
        self.lost: Failure | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all of a body of known length came."""
        return self._missing == 0

    def connectionMade(self) -> None:
        self._server.connections.append(self)
        self.number = len(self._server.connections)

    def dataReceived(self, data: bytes) -> None:
        if self._is_chunked:
            self.body += data
            self._is_chunked = not self.body.endswith(b"0\r\n\r\n")
            return
        body, self._waiting = data[: self._missing], self._waiting + data[self._missing :]
        self.body += body
        self._missing -= len(body)
        while b"\r\n\r\n" in self._waiting:
            head, _, self._waiting = self._waiting.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            size = int(length[1]) if length else 0
            self.body, self._waiting = self._waiting[:size], self._waiting[size:]
            self._missing = size - len(self.body)
            if b"\r\ntransfer-encoding:" in head.lower():
                self.body, self._waiting, self._is_chunked = self._waiting, b"", True
            self.requests += 1
            self._server.heads.append(head)
            self._server.script(self, head)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason

    def send(self, data: bytes) -> None:
        """Send ``data`` as it stands."""
        self.transport.write(data)

    def close(self) -> None:
        """End the connection after all is sent."""
        self.transport.loseConnection()


class RawServer:
    """See the module; ``heads`` are those of all requests, ``connections`` all that were made."""

    def __init__(self, reactor: Any, script: Script) -> None:
        self._reactor = reactor
        self.script = script
        self.heads: list[bytes] = []
        self.connections: list[RawConnection] = []
        self._port: Any = None

    def start(self, context: Any = None, interface: str = "127.0.0.1", path: str | None = None) -> RawServer:
        """Listen on loopback, behind TLS when there is a ``context``, or at the unix socket ``path``."""
        factory = Factory.forProtocol(lambda: RawConnection(self))
        factory.noisy = False
        if path is not None:
            self._port = self._reactor.listenUNIX(path, factory)
        elif context is not None:
            self._port = self._reactor.listenSSL(0, factory, context, interface=interface)
        else:
            self._port = self._reactor.listenTCP(0, factory, interface=interface)
        return self

    @property
    def port(self) -> int:
        return int(self._port.getHost().port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        stopped: Deferred[None] | None = self._port.stopListening()
        for connection in self.connections:
            if connection.lost is None:
                connection.transport.abortConnection()
        if stopped is not None:
            await stopped


def answering(*answers: bytes, then_close: bool = False) -> Script:
    """A script that gives one answer after the other, and the last one again and again."""
    left = list(answers)

    def answer(connection: RawConnection, _head: bytes) -> None:
        connection.send(left.pop(0) if len(left) > 1 else left[0])
        if then_close:
            connection.close()

    return answer


def ok(body: bytes, *headers: bytes) -> bytes:
    """A plain response with ``body``."""
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers, b"", body])
