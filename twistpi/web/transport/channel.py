"""An HTTP connection that bounds how long a request may take to arrive, takes one request at a time, and can answer before a
body has arrived.

*Time limits.* The head of a request has to be complete ``HEADERS_WITHIN`` seconds after its first byte, and a body has to bring
``LEAST_RATE`` bytes a second, checked every ``LOOK_EVERY`` seconds. A request that comes in one piece, as almost all do, costs no
timer. Time in which the server itself does not read is not counted.

*One at a time.* A client may send many requests before it reads an answer. The next one is taken in another turn of the reactor
than the one before, and only when at most 64 KiB of former answers wait to be sent: until then the parser is ``paused``, requests
wait in its buffer, and the connection is not read when more than ``_MOST_HELD`` bytes of them do.

*Early answers.* Closing a connection on which bytes still arrive makes the other system discard what its program has not read
yet, the answer included. So after an early answer the connection lingers (RFC 9112, 9.6): what arrives is dropped until the
client has read the answer and closes.
"""

from __future__ import annotations

from typing import Final, Literal

from twisted.internet.interfaces import IDelayedCall, IPushProducer, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.server import Request, Site

LEAST_RATE: Final = 500
"""Bytes a second that a client has to send or take; slower than a modem of the eighties."""
HEADERS_WITHIN: Final = 30.0
"""Seconds."""
LOOK_EVERY: Final = 60.0
"""Seconds between two checks of how much of a body came."""
NOT_WORTH_HURRY: Final = 1024 * 1024
"""If no more bytes of a body than this are outstanding, an early answer waits for them, and the connection can go on."""
_LENGTH_DIGITS: Final = 18
"""Of a body's length; more are beyond what systems call a size."""
_MOST_HELD: Final = 16 * 1024
"""Bytes of further requests that may wait while one is answered; what one read brought may come on top."""
_LINGER_IDLE: Final = 10.0
"""Seconds without a byte after which a lingering connection is cut."""
_LINGER_LONGEST: Final = 600.0
"""Seconds after which it is cut anyway. Most clients send all of a body before they read, so this is generous."""
_FLUSHED_WITHIN: Final = 60.0
"""Seconds in which a client has to take the last of what is on its way to it when the connection closes."""
_Stage = tuple[Literal["head", "body"], int]
"""What is arriving, and of which request of the connection."""


class IClientTransport(ITCPTransport, IPushProducer):
    """What TCP connections, TLS connections and those of unix sockets can do."""


class Channel(HTTPChannel):
    """One HTTP connection of a client."""

    site: Site
    transport: IClientTransport
    endless = False
    """Whether the answer that is being sent has no end of its own: it is not waited for when the server stops."""
    _answering = False
    """Whether a request is being answered; until then, its head or body is arriving."""
    _check: IDelayedCall | None = None
    """The next check of the time limits."""
    _checked: _Stage | None = None
    """What that check is about."""
    _heads = 0
    """Complete heads so far."""
    _came = 0
    """Bytes since the last check."""
    _held_up = False
    """Whether the server does not read."""
    _lingering = False
    """Whether what arrives is dropped."""
    _linger_end: IDelayedCall | None = None
    _cutting: IDelayedCall | None = None
    _gone = False
    _turn: IDelayedCall | None = None
    """The turn of the reactor in which the next of the waiting requests is taken."""

    @property
    def request_line(self) -> tuple[bytes, bytes]:
        """Method and target of the request whose head just became complete; ``Request`` learns them after the body."""
        return self._command, self._path

    @property
    def version(self) -> bytes:
        """The protocol of that request."""
        return self._version

    @property
    def idle_timeout(self) -> float:
        """Seconds for which an idle connection is kept."""
        return self.site.timeOut or 0.0

    @property
    def is_between_requests(self) -> bool:
        """Whether no request is arriving or being answered."""
        return not self.requests and not self._buffer

    # Reading ---------------------------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        if self._lingering:
            self.resetTimeout()
            return
        self._came += len(data)
        super().dataReceived(data)
        self._hold_back()
        arriving = self._arriving()
        if arriving != self._checked:
            self._stop_checking()
            if arriving is not None and not self._lingering:
                self._start_checking(arriving)

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Return whether another request may follow ``request``, whose head is complete."""
        self._heads += 1
        options = b",".join(request.requestHeaders.getRawHeaders(b"connection", ())).lower().split(b",")
        if b"close" in [option.strip(b" \t") for option in options]:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return version == b"HTTP/1.1"

    def headerReceived(self, line: bytes) -> bool:
        """Take a header; return False for one that leaves open where the request ends, as Twisted does for others."""
        name, _, value = line.lower().partition(b":")
        value = value.strip(b" \t")
        if name == b"transfer-encoding" and (value != b"chunked" or self._version != b"HTTP/1.1"):
            self._respondToBadRequestAndDisconnect()
            return False
        if name == b"content-length" and len(value.lstrip(b"0")) > _LENGTH_DIGITS and value.isdigit():
            self.too_large(413)
            return False
        return bool(super().headerReceived(line))

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line of a head that is too long."""
        self.too_large(431 if self.requests else 414)

    def too_large(self, status: int) -> None:
        """Refuse a request whose target, head or body is too large."""
        self.close_soon()

    def allContentReceived(self) -> None:
        """The request is to be answered."""
        self._answering = True
        if self.timeOut is None:  # stopped by pause_reading; Twisted restores it after the answer
            self.setTimeout(self.idle_timeout)
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        """The answer is complete; the next request may be parsed already."""
        self._answering = not self.persistent
        self.paused = bool(self.persistent and (self._buffer or self._dataBuffer or self._waitingForTransport))
        super().requestDone(request)
        if self.paused:
            self.await_turn()

    def pauseProducing(self) -> None:
        """Too much waits to be sent: take no further request."""
        super().pauseProducing()
        self.paused = self.paused or not self._handlingRequest

    def resumeProducing(self) -> None:
        """Everything is sent."""
        super().resumeProducing()
        if self.paused:
            self.await_turn()

    def await_turn(self) -> None:
        """Take the next request in another turn of the reactor, if one waits, once all is sent and nothing is being answered."""
        if self._answering or self._waitingForTransport:
            self._hold_back()
        elif not self._buffer:
            self._take_turn()
        elif self._turn is None:
            self._turn = self.callLater(0, self._take_turn)
            self._hold_back()

    def _take_turn(self) -> None:
        self._turn = None
        if self._cutting is not None or self._lingering:
            return
        self.paused = False
        if not self._held_up:
            self.transport.resumeProducing()
        data, self._buffer = self._buffer, b""
        if data:
            self.dataReceived(data)

    def _hold_back(self) -> None:
        """Stop reading if enough requests wait; ``_take_turn`` reads on."""
        if self.paused and len(self._buffer) > _MOST_HELD:
            self.transport.pauseProducing()

    def pause_reading(self) -> None:
        """Read no more of a body for now. May be called again."""
        self._held_up = True
        self.setTimeout(None)
        self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """Read on."""
        if self._held_up:
            self._held_up = False
            self._came += int(LEAST_RATE * LOOK_EVERY)
        if not self._answering:
            self.setTimeout(self.idle_timeout)
        if not self._waitingForTransport:
            self.transport.resumeProducing()

    def send_continue(self) -> None:
        """Tell the client to send the body."""
        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def too_slow(self) -> None:
        """Refuse a request that takes too long to arrive."""
        self.close_soon()

    def _arriving(self) -> _Stage | None:
        if self._answering or self.paused:
            return None
        if not self.line_mode:
            return "body", self._heads
        return None if self.is_between_requests else ("head", self._heads)

    def _start_checking(self, stage: _Stage) -> None:
        self._checked = stage
        self._came = 0
        seconds = HEADERS_WITHIN if stage[0] == "head" else LOOK_EVERY
        self._check = self.callLater(seconds, self._check_speed)

    def _stop_checking(self) -> None:
        _cancel(self._check)
        self._check = self._checked = None

    def _check_speed(self) -> None:
        stage = self._arriving()
        self._check = self._checked = None
        if stage is None:
            return
        if stage[0] == "body" and (self._held_up or self._came >= LEAST_RATE * LOOK_EVERY):
            self._start_checking(stage)
        else:
            self.too_slow()

    # Early answers ---------------------------------------------------------------------------------------------------

    def answer_soon(self, request: Request) -> None:
        """Let ``request`` be answered in the reactor's next turn, as the connection's last, although its body is still arriving.

        Does nothing if all of the body is here by then, or the client gone. Not at once: callers may be inside the body's
        ``write``.
        """
        self.callLater(0, lambda: self._answer_early(request))

    def _answer_early(self, request: Request) -> None:
        if not self.requests or self.requests[-1] is not request or self._answering or self._lingering:
            return
        self._linger()
        self._linger_end = self.callLater(_LINGER_LONGEST, self.cut)
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        self.allContentReceived()

    def refuse(self, answer: bytes, *, linger: bool = False) -> None:
        """Send ``answer``, a complete response, instead of reading the request that is arriving, and close.

        With ``linger``, that is left to the client, which may still be sending.
        """
        self._linger()
        self.transport.write(answer)
        if linger:
            self._linger_end = self.callLater(_LINGER_LONGEST, self.cut)
        self.loseConnection()

    def _linger(self) -> None:
        self._lingering = True
        self.persistent = False
        self._buffer = b""
        self._stop_checking()

    # The end ---------------------------------------------------------------------------------------------------------

    def loseConnection(self) -> None:
        """The last answer is out: close, or linger until the client does."""
        if self._linger_end is not None:
            self.setTimeout(_LINGER_IDLE)
        else:
            self.close_soon()

    def timeoutConnection(self) -> None:
        """The client was silent for too long."""
        self.cut() if self._lingering else self.close_soon()

    def close_soon(self) -> None:
        """Close; cut the connection if the client does not take what is on its way to it. May be called again."""
        if self._cutting is None and not self._gone:
            self._cutting = self.callLater(_FLUSHED_WITHIN, self.cut)
            super().loseConnection()

    def cut(self) -> None:
        """End now, in the middle of whatever is being sent."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone."""
        self._gone = True
        self._stop_checking()
        _cancel(self._linger_end)
        _cancel(self._cutting)
        _cancel(self._turn)
        self._buffer = b""
        super().connectionLost(reason)


def _cancel(call: IDelayedCall | None) -> None:
    if call is not None and call.active():
        call.cancel()


def channel_of(request: Request) -> Channel:
    """Return the connection of ``request``."""
    channel = request.channel
    assert isinstance(channel, Channel)
    return channel
