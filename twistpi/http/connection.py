"""One connection to a server: a request, its response, and then perhaps another request.

The response may come before all of the request's body is sent.  A response with an error status ends the sending; the connection
is closed after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import PotentialDataLoss
from zope.interface import implementer

from twistpi.http.body import BODY_DONE, BytesBody
from twistpi.http.errors import Cause, RequestFailed, request_failed
from twistpi.http.messages import Request, RequestBody, ResponseParser
from twistpi.http.wire_response import WireResponse

_BODY_ENDED: Final = Failure(PotentialDataLoss())


@implementer(IPushProducer)
class Connection(Protocol):
    """A connection, which carries one request at a time."""

    transport: Any

    def __init__(self, released: Callable[[Connection], object], lost: Callable[[Connection], object]) -> None:
        """``released`` is called when another request may be sent, ``lost`` when none ever will."""
        self._released, self._lost = released, lost
        self._parser: ResponseParser | None = None
        """Reads the response that has not come entirely; None between requests."""
        self._waiting: Deferred[WireResponse] | None = None
        self._response: WireResponse | None = None
        self._sending: RequestBody | None = None
        """None when all of the request was sent, or nothing more of it will be."""
        self._is_aborted = False

    def connectionMade(self) -> None:
        """Set options of the socket."""
        for option in ("setTcpNoDelay", "setTcpKeepAlive"):
            getattr(self.transport, option, lambda _on: None)(True)

    def send(self, request: Request) -> Deferred[WireResponse]:
        """Send ``request``; return a Deferred that fires with its response when the head is there.  One request at a time.

        It fails with ``RequestFailed``, ``ValueError`` for what cannot be sent, or what the body's producer failed with;
        cancelling it closes the connection.
        """
        assert self._parser is None, "one request at a time"
        head = request.head()
        self._response = self._sending = None
        self._parser = ResponseParser(request.method == b"HEAD", request.informed)
        waiting: Deferred[WireResponse] = Deferred(lambda _: self.abort())
        self._waiting = waiting
        if isinstance(request.body, BytesBody):
            self.transport.write(head + request.body.content)
        else:
            self.transport.write(head)
            if request.body is not None:
                self._send_body(RequestBody(self.transport, request.body))
        return waiting

    def abort(self) -> None:
        """Close the connection at once; a request on its way fails."""
        self._is_aborted = True
        self._stop_sending()
        self._lost(self)
        self.transport.abortConnection()

    # The request's body -----------------------------------------------------------------------------------------------

    def _send_body(self, sending: RequestBody) -> None:
        self._sending = sending
        self.transport.registerProducer(self, True)

        def sent(_: object) -> None:
            sending.finish()
            if self._sending is sending:
                self._sending = None
                self.transport.unregisterProducer()

        def failed(failure: Failure) -> None:
            if self._sending is sending:
                self._fail(failure)
                self.abort()

        maybeDeferred(sending.producer.startProducing, sending).addCallback(sent).addErrback(failed)

    def _stop_sending(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.detach()
            self.transport.unregisterProducer()
            sending.producer.stopProducing()

    def pauseProducing(self) -> None:
        """The transport has enough of the request's body for now."""
        if self._sending is not None:
            self._sending.producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The transport takes more of the request's body."""
        if self._sending is not None:
            self._sending.producer.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: ``connectionLost`` is called, too."""

    # The response ---------------------------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Take a part of the response; data without a request make the connection unusable."""
        parser = self._parser
        if parser is None or self._is_aborted:
            self.abort()
            return
        try:
            pieces = parser.feed(data)
        except RequestFailed as error:
            self._fail(error)
            self.abort()
        else:
            if parser.has_head:
                self._proceed(parser, pieces)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the response, if any, with the connection."""
        self._lost(self)
        self._stop_sending()
        parser = self._parser
        if parser is None:
            return
        try:
            if not parser.is_begun:
                raise _never_answered(reason, aborted=self._is_aborted)
            parser.close(is_clean=isinstance(reason.value, ConnectionDone) and not self._is_aborted)
        except RequestFailed as error:
            self._fail(error)
            return
        self._parser = None
        if self._response is not None:
            self._response.ended(_BODY_ENDED)

    def _proceed(self, parser: ResponseParser, pieces: list[bytes]) -> None:
        """Hand on ``pieces`` after releasing the connection: the reader of a whole response may send the next request."""
        response, waiting = self._response, self._waiting
        is_over = parser.is_complete
        if response is None:
            response = self._response = WireResponse(parser, None if is_over else self)
            self._waiting = None
        else:
            waiting = None
        if parser.status >= 300 and self._sending is not None:
            # An error came before all of the request was sent: the server does not want the rest.
            parser.is_persistent = False
            self._stop_sending()
        if is_over:
            response.detach()
            self._finish(parser)
        response.received(pieces)
        if is_over:
            response.ended(BODY_DONE)
        if waiting is not None and not waiting.called:
            waiting.callback(response)
        if not is_over and self._response is response:
            response.hold()

    def _finish(self, parser: ResponseParser) -> None:
        """End a complete response."""
        is_sent = self._sending is None
        self._stop_sending()
        self._parser = self._response = None
        if parser.is_persistent and is_sent and not self._is_aborted:
            self._released(self)
        else:
            self.abort()

    def _fail(self, error: Failure | RequestFailed) -> None:
        """End the response, or the waiting for it, with ``error``."""
        waiting, self._waiting = self._waiting, None
        response, self._response = self._response, None
        self._stop_sending()
        self._parser = None
        failure = error if isinstance(error, Failure) else Failure(error)
        if waiting is not None and not waiting.called:
            waiting.errback(failure)
        elif response is not None:
            response.ended(failure)


def _never_answered(reason: Failure, *, aborted: bool) -> RequestFailed:
    """Return why there is no response at all."""
    assert reason.value is not None
    failed = request_failed(reason.value)
    if isinstance(failed, RequestFailed) and failed.cause is not Cause.BROKEN:
        return failed
    is_closed = aborted or isinstance(reason.value, ConnectionDone)
    return RequestFailed("the connection was closed before an answer came" if is_closed else str(failed), Cause.CLOSED)
