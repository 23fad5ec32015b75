"""An HTTP proxy on loopback: forwards http requests, opens tunnels for CONNECT, may want a password."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import attrs
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure


@attrs.define(eq=False)
class FakeProxy:
    """The proxy."""

    reactor: Any
    user: str | None = None
    """``user:password`` it wants."""
    refuses: bool = False
    asked: list[str] = attrs.field(factory=list)
    """First lines of the requests it got."""
    _port: Any = None

    def start(self) -> FakeProxy:
        """Listen on loopback."""
        factory = Factory.forProtocol(lambda: _Client(self))
        factory.noisy = False
        self._port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        return self

    @property
    def url(self) -> str:
        """What ``HTTP_PROXY`` says."""
        userinfo = f"{self.user}@" if self.user else ""
        return f"http://{userinfo}127.0.0.1:{self._port.getHost().port}"

    async def stop(self) -> None:
        """Be gone."""
        await self._port.stopListening()


class _Client(Protocol):
    """A connection from somebody who wants something."""

    def __init__(self, proxy: FakeProxy) -> None:
        self._proxy = proxy
        self._buffer = b""
        self._target: Any = None

    def dataReceived(self, data: bytes) -> None:
        if self._target is not None:
            self._target.transport.write(data)
            return
        self._buffer += data
        if b"\r\n\r\n" in self._buffer:
            self._open()

    def _open(self) -> None:
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        first, *headers = head.split(b"\r\n")
        self._proxy.asked.append(first.decode())
        method, url, _ = first.split(b" ", 2)
        wanted = self._proxy.user and b"Basic " + b64encode(self._proxy.user.encode())
        given = next((line.partition(b": ")[2] for line in headers if line.lower().startswith(b"proxy-authorization:")), None)
        assert self.transport is not None
        if self._proxy.refuses or (wanted and given != wanted):
            self.transport.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            self.transport.loseConnection()
            return
        authority = url if method == b"CONNECT" else url.split(b"/", 3)[2]
        host, _, port = authority.partition(b":")
        endpoint = HostnameEndpoint(self._proxy.reactor, host, int(port or b"80"))
        connecting = connectProtocol(endpoint, _Target(self))
        if method == b"CONNECT":
            connecting.addCallback(self._opened, b"HTTP/1.1 200 Connection established\r\n\r\n", rest)
        else:
            kept = [line for line in headers if not line.lower().startswith((b"proxy-", b"connection"))]
            path = b"/" + url.split(b"/", 3)[3]
            request = b"\r\n".join([method + b" " + path + b" HTTP/1.1", *kept, b"Connection: close", b"", b""])
            connecting.addCallback(self._opened, b"", request + rest)
        connecting.addErrback(self._give_up)

    def _give_up(self, _: Failure) -> None:
        assert self.transport is not None
        self.transport.loseConnection()

    def _opened(self, target: Any, answer: bytes, request: bytes) -> None:
        self._target = target
        assert self.transport is not None
        self.transport.write(answer)
        target.transport.write(request)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._target is not None:
            self._target.transport.loseConnection()


class _Target(Protocol):
    """The connection to where the client wanted to go."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    def dataReceived(self, data: bytes) -> None:
        assert self._client.transport is not None
        self._client.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self._client.transport is not None
        self._client.transport.loseConnection()
