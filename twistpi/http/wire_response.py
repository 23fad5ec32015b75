"""A response whose head was received, as ``IResponse`` and as the transport of its body."""

from __future__ import annotations

from typing import Any, Protocol, cast

from twisted.internet.interfaces import IProtocol, IPushProducer, ITransport
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

from twistpi.http.body import BODY_DONE
from twistpi.http.messages import ResponseParser, headers_of


class Carrier(Protocol):
    """The connection that a response comes over."""

    transport: Any

    def abort(self) -> None:
        """Close the connection at once."""


@implementer(IResponse, IPushProducer)
class WireResponse:
    """A response whose head was received; also the transport of its body for the protocol that reads it."""

    def __init__(self, parser: ResponseParser, connection: Carrier | None) -> None:
        """``connection`` is None when the whole response was received already."""
        self.request = self.previousResponse = None
        self.version = (b"HTTP", *parser.version)
        self.code = parser.status
        self.phrase = parser.phrase
        self.lines = parser.lines
        self.length: int | str = UNKNOWN_LENGTH if parser.length is None else parser.length
        self._connection = connection
        self._headers: Headers | None = None
        self._pieces: list[bytes] = []
        self._reader: IProtocol | None = None
        self._end: Failure | None = None
        self._is_held = False
        """Whether the server is held back until there is a reader."""

    @property
    def headers(self) -> Headers:
        """The headers; ``lines`` has them as they were received."""
        if self._headers is None:
            self._headers = headers_of(self.lines)
        return self._headers

    def setPreviousResponse(self, response: IResponse) -> None:
        """See ``IResponse``: redirects are not followed here."""

    def take_content(self) -> bytes | None:
        """Return the whole body when it was received with the head; None when it has to be delivered."""
        if self._end is not BODY_DONE or self._reader is not None:
            return None
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    def deliverBody(self, protocol: IProtocol) -> None:
        """Send the body to ``protocol``, once; see ``IResponse``."""
        assert self._reader is None, "the body is delivered once"
        self._reader = protocol
        protocol.makeConnection(cast(ITransport, self))
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            protocol.dataReceived(piece)
        if self._end is not None:
            protocol.connectionLost(self._end)
        elif self._is_held:
            self._is_held = False
            self.resumeProducing()

    # The transport for the reader ----------------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """Hold the server back."""
        if self._connection is not None:
            self._connection.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Let the server go on."""
        if self._connection is not None:
            self._connection.transport.resumeProducing()

    def abortConnection(self) -> None:
        """Close the connection at once; without effect after the end of the body."""
        if self._connection is not None:
            self._connection.abort()

    def loseConnection(self) -> None:
        """Do the same: closing politely would wait, behind TLS, for a peer that may be silent for ever."""
        self.abortConnection()

    def stopProducing(self) -> None:
        """Do the same."""
        self.abortConnection()

    def read_size(self, size: int) -> None:
        """Let the connection, if it is a plain one, read up to ``size`` bytes at a time."""
        if self._connection is not None and hasattr(self._connection.transport, "bufferSize"):
            self._connection.transport.bufferSize = size

    # For the connection ----------------------------------------------------------------------------------------------------

    def received(self, pieces: list[bytes]) -> None:
        """Take pieces of the body."""
        if self._reader is None:
            self._pieces += pieces
        else:
            for piece in pieces:
                self._reader.dataReceived(piece)

    def hold(self) -> None:
        """Hold the server back, unless there is a reader."""
        if self._reader is None and not self._is_held:
            self._is_held = True
            self.pauseProducing()

    def ended(self, reason: Failure) -> None:
        """End the body, with or without an error in ``reason``."""
        self._end, self._connection = reason, None
        if self._reader is not None:
            self._reader.connectionLost(reason)

    def detach(self) -> None:
        """Leave the connection, which may serve another request, at the end of the body."""
        self._connection = None
