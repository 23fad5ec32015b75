"""One request of an HTTP/2 connection and its answer: a channel to its request, as ``FastChannel`` is for HTTP/1.1."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.web._http2 import _END_STREAM_SENTINEL, H2Stream

from twistpi.web.transport.patient import LEAST_RATE, LOOK_EVERY


class Http2Stream(H2Stream):
    """One request and its answer; see ``http2`` for what is different from Twisted's."""

    _conn: Any
    """An ``Http2Connection``."""
    _request: Any
    _version = b"HTTP/2"
    persistent = True
    came = 0
    """Bytes of the body since they were looked at last."""
    ended = False
    """Whether the client has sent all of it."""
    handed_on = False
    """Whether the request is being answered, or was."""
    held_up = False
    """Whether the server itself does not take the body."""

    @property
    def _command(self) -> bytes:
        """As channels of HTTP/1.1 have it."""
        command: Any = self.command
        return bytes(command)

    @property
    def _path(self) -> bytes:
        path: Any = self.path
        return bytes(path)

    @property
    def is_over(self) -> bool:
        """Whether all of the answer was made; some of it may still wait to be sent."""
        return bool(self._request.finished or self._request._disconnected)

    def callLater(self, seconds: float, work: Any, *arguments: Any) -> Any:
        """As channels of HTTP/1.1 have it."""
        return self._conn.callLater(seconds, work, *arguments)

    def _convertHeaders(self, headers: list[tuple[bytes, bytes]]) -> None:
        request, fields = self._request, self._request.requestHeaders
        length: int | None = None
        for name, value in headers:
            if name == b":method":
                self.command = value
            elif name == b":path":
                self.path = value
            elif name == b":authority":
                fields.setRawHeaders(b"Host", [value])
            elif not name.startswith(b":") and (name != b"host" or not fields.hasHeader(b"Host")):
                fields.addRawHeader(name, value)
                if name == b"content-length":
                    length = int(value)
        request.clientproto = self._version
        request.gotLength(0 if length is None and self.command in (b"GET", b"HEAD") else length)
        request.parseCookies()
        expected = fields.getRawHeaders(b"Expect")
        if expected and expected[0].lower() == b"100-continue" and not self._conn.is_taken_back(self.streamID):
            self._send100Continue()  # type: ignore[no-untyped-call]

    # The body ------------------------------------------------------------------------------------------------------

    def receiveDataChunk(self, data: bytes, flowControlledLength: int) -> None:
        """A piece of the body came."""
        self.came += len(data)
        if self.handed_on:  # answered early: nobody wants the rest
            self._conn.openStreamWindow(self.streamID, flowControlledLength)
        else:
            super().receiveDataChunk(data, flowControlledLength)  # type: ignore[no-untyped-call]

    def requestComplete(self) -> None:
        """All of the body came."""
        self.ended = True
        if not self.handed_on and self.producing:
            self._hand_on()
        elif not self.handed_on:
            self._inboundDataBuffer.append((_END_STREAM_SENTINEL, None))

    def _hand_on(self) -> None:
        self.handed_on = True
        self._request.requestReceived(self.command, self.path, self._version)

    def pause_reading(self) -> None:
        """See ``PatientChannel``: the window of the stream stays shut."""
        self.held_up = True
        self.producing = False

    def resume_reading(self) -> None:
        """See ``PatientChannel``."""
        if self.held_up:
            self.held_up = False
            self.came += int(LEAST_RATE * LOOK_EVERY)
            self.resumeProducing()  # type: ignore[no-untyped-call]

    def answer_soon(self, request: object) -> None:
        """See ``LingeringChannel``."""
        self.callLater(0, self.answer_now, request)

    def answer_now(self, _request: object) -> None:
        """See ``LingeringChannel``; the connection goes on."""
        if not self.handed_on and self._conn.streams.get(self.streamID) is self:
            self.producing = True
            dropped = sum(length for _data, length in self._inboundDataBuffer if length)
            self._inboundDataBuffer.clear()
            self._conn.openStreamWindow(self.streamID, dropped)
            self._hand_on()

    # The answer ----------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """A piece of the answer."""
        if self._conn.streams.get(self.streamID) is self:
            super().write(data)  # type: ignore[no-untyped-call]
            self._conn.hold_back(self)

    def requestDone(self, request: object) -> None:
        """The answer is complete."""
        if self._conn.streams.get(self.streamID) is self:
            super().requestDone(request)  # type: ignore[no-untyped-call]

    def abortConnection(self) -> None:
        """Cut this stream, and tell whoever makes its answer."""
        if self._conn.streams.get(self.streamID) is self:
            super().abortConnection()  # type: ignore[no-untyped-call]
            self._request.connectionLost(Failure(ConnectionLost("cut")))  # type: ignore[no-untyped-call]
