"""One forwarded request: its body on the way to the other server, and the response on its way back; see ``forwarder``."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer, IDelayedCall, IReactorTime
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from twisted.web.server import Request
from zope.interface import implementer

from twistpi.http.errors import Cause, RequestFailed, request_failed
from twistpi.http.messages import Line
from twistpi.http.messages import Request as OutgoingRequest
from twistpi.http.wire_response import WireResponse
from twistpi.model.errors import TwistpiError, answer_lost
from twistpi.web.forwarding.headers import REFUSED, TIME, response_lines
from twistpi.web.forwarding.peers import Backend
from twistpi.web.forwarding.response_body import ResponseBody
from twistpi.web.replies import forget_headers
from twistpi.web.transport.channel import NOT_WORTH_HURRY, channel_of
from twistpi.web.transport.send import send_body

_MOST_KEPT: Final = 256 * 1024
"""Bytes of a request's body that wait for the connection, or are kept in case the head has to be signed again."""
_ONLY_READ: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})

Informed = Callable[[int, list[Line]], object]
"""Is told status and headers of each 1xx response."""
MakeOutgoing = Callable[[IBodyProducer | None, Informed], OutgoingRequest]
"""Returns the request to send, with a new signature. Raises ``TwistpiError``."""


@implementer(IBodyProducer)
class ForwardedRequest:
    """One request on its way.

    Twisted writes its body to this object, which sends it on and keeps its beginning in case it has to be sent once more.
    """

    def __init__(
        self,
        request: Request,
        method: bytes,
        length: int | None,
        *,
        backend: Backend,
        clock: IReactorTime,
        patience: float,
        outgoing: MakeOutgoing,
        own_headers: Callable[[WireResponse], Awaitable[list[Line]]],
    ) -> None:
        """``patience`` is in seconds. ``own_headers`` returns what this server adds to the response."""
        self._request = request
        self._channel = channel_of(request)
        self._method = method
        self._backend, self._clock, self._patience = backend, clock, patience
        self._outgoing, self._own_headers = outgoing, own_headers
        self.length: int | str = UNKNOWN_LENGTH if length is None else length
        self._size = 0
        """Bytes of the body that came."""
        self._is_complete = length == 0
        self._kept: list[bytes] | None = []
        """All that came, as long as it can be sent once more."""
        self._consumer: IConsumer | None = None
        """The other server's connection, while it takes the body."""
        self._sent: Deferred[None] = Deferred()
        self._response_body = ResponseBody(backend.name, self._moved)
        self._response: WireResponse | None = None
        self._paused = False
        """Whether the client is held back."""
        self._answered = False
        """Whether the response, or that there will be none, is known."""
        self._hurried = False
        self._closed = False
        self._silent = False
        expected = request.requestHeaders.getRawHeaders(b"Expect") or ()
        self._expects = length != 0 and any(value.lower() == b"100-continue" for value in expected)
        """Whether the client waits for ``100 Continue``."""
        self._timer: IDelayedCall = clock.callLater(patience, self._check_silence)
        self._answer = Deferred.fromCoroutine(self._ask())
        # Twisted would tell the client to continue; here that is for the other server to say.
        request.requestHeaders.removeHeader(b"Expect")

    def complete(self) -> None:
        """The request is to be answered: all of the body came, unless an early answer was asked for."""
        if self._hurried or self._is_complete:
            return
        self._is_complete = True
        self._moved()
        if self._consumer is not None:
            self._sent.callback(None)

    async def relay(self, request: Request) -> None:
        """Send the response to the client. Raise ``TwistpiError`` and the like before any of it was sent.

        To be called when all of the body is here, or an early answer was asked for.
        """
        response = await self._answer
        own_headers = await self._own_headers(response)
        lines = response_lines(response.lines, to_servers=self._backend.signer is None)
        request.setResponseCode(response.code, response.phrase)
        forget_headers(request)
        for name, value in lines + own_headers:
            request.responseHeaders.addRawHeader(name, value)
        length = None if response.length is UNKNOWN_LENGTH else int(response.length)
        if self._method != b"HEAD" and response.code not in (204, 304) and length != 0:
            await send_body(request, self._response_body, length=length)

    def close(self) -> None:
        """The request is over, or its client gone. May be called again."""
        if self._closed:
            return
        self._closed = True
        if self._timer.active():
            self._timer.cancel()
        self._answer.addErrback(lambda _: None)
        self._answer.cancel()
        if self._response is not None:
            self._response.abortConnection()
        self._response_body.close()

    # The body, from Twisted ------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> int:
        """Take a piece of the body."""
        if self.length == 0:
            return len(data)  # behind a head without a body, bytes would be the next request
        self._size += len(data)
        if self._kept is not None:
            self._kept.append(data)
        if self._consumer is not None:
            if self._size > _MOST_KEPT:
                self._kept = None
            self._moved()
            self._consumer.write(data)
        elif self._size > _MOST_KEPT and self._kept is not None:
            self._pause()
        return len(data)

    def tell(self) -> int:
        """Return how many bytes came."""
        return self._size

    def seek(self, offset: int, whence: int = 0) -> int:
        """Do nothing: Twisted rewinds a complete body, but this one is not kept."""
        return 0

    def read(self, size: int = -1) -> bytes:
        """Return nothing: the body was sent on."""
        return b""

    def _pause(self) -> None:
        if not self._paused and not self._is_complete and not self._answered:
            self._paused = True
            self._channel.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self._closed:
                self._channel.resume_reading()

    # The body, to the other server -----------------------------------------------------------------------------------

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Send what is here to ``consumer``, and what comes."""
        self._consumer, self._sent = consumer, Deferred()
        for piece in self._kept or ():
            consumer.write(piece)
        if self._size > _MOST_KEPT:
            self._kept = None
        if self._is_complete:
            self._sent.callback(None)
        self._resume()
        return self._sent

    def stopProducing(self) -> None:
        """Send no more."""
        self._consumer = None

    def pauseProducing(self) -> None:
        """The connection holds enough for now."""
        self._pause()

    def resumeProducing(self) -> None:
        """The connection takes more."""
        self._moved()
        self._resume()

    # The other server ------------------------------------------------------------------------------------------------

    async def _ask(self) -> WireResponse:
        """Send the request; return the response when its head is here."""
        name = self._backend.name
        try:
            self._response = response = await self._send()
        except CancelledError:
            if self._silent:
                raise answer_lost(name, f"nothing came for {self._patience:g} s") from None
            raise
        except TwistpiError:
            raise
        except Exception as error:
            failed = request_failed(error)
            if isinstance(failed, RequestFailed) and failed.cause in (Cause.CONNECT, Cause.FORBIDDEN):
                raise TwistpiError(
                    f"Only {name} can do this, and it cannot be reached: {failed!s}. Nothing was changed; try "
                    "again later. What is here can be read meanwhile.",
                    503,
                ) from error
            raise answer_lost(name, str(failed)) from error
        finally:
            self._answered = True
            self._kept = None
            self._hurry()
        self._response_body.receive(response)
        return response

    async def _send(self) -> WireResponse:
        backend, signed_again = self._backend, False
        body = self if self.length != 0 else None
        repeatable = self._method in _ONLY_READ and body is None
        while True:
            outgoing = self._outgoing(body, self._informed)
            response = await backend.send(outgoing, repeatable=repeatable)
            self._moved()
            refused = None if backend.signer is None else _header(response, REFUSED)
            if backend.signer is None or refused is None:
                return response
            response.abortConnection()
            time = _seconds(_header(response, TIME))
            if refused == "expired" and time is not None:
                backend.signer.clock_is(time)
            if signed_again or refused not in ("expired", "replayed") or self._kept is None:
                raise TwistpiError(
                    (
                        f"Only {backend.name} can do this, and it refuses to trust this server as a replica: "
                        f"{refused}. Both need the same secret (the setting secretfile). Nothing was "
                        "changed."
                    ),
                    502,
                )
            # The request was refused unread: ask once more with a new signature.
            signed_again = True
            if self._expects:  # to wait for another 100 Continue would take longer than some clients wait
                self._informed(100, [])

    def _informed(self, status: int, _lines: list[Line]) -> None:
        """An informational response came."""
        self._moved()
        if status == 100 and self._expects and not self._closed:
            self._expects = False
            self._channel.send_continue()

    def _hurry(self) -> None:
        """Answer the client before the end of its body if much is outstanding, or if it waits for ``100 Continue``."""
        if self._is_complete or self._closed:
            return
        self._resume()
        outstanding = self.length - self._size if isinstance(self.length, int) else math.inf
        if self._expects or outstanding > NOT_WORTH_HURRY:
            self._hurried = True
            self._channel.answer_soon(self._request)

    # Silence ---------------------------------------------------------------------------------------------------------

    def _moved(self) -> None:
        """Something was sent or came."""
        if self._timer.active():
            self._timer.reset(self._patience)

    def _check_silence(self) -> None:
        """Give the other server up, unless it is the client that has to do something."""
        awaits_client = self._consumer is not None and not self._is_complete and not self._paused and not self._answered
        if awaits_client or self._response_body.is_full:
            self._timer = self._clock.callLater(self._patience, self._check_silence)
            return
        self._silent = True
        if self._response is None:
            self._answer.cancel()
        else:
            self._response.abortConnection()


def _header(response: WireResponse, name: str) -> str | None:
    values = response.headers.getRawHeaders(name)
    return values[0] if values else None


def _seconds(text: str | None) -> float | None:
    """Return the time another server tells; None for anything that could not be signed by."""
    try:
        time = float(text or "")
    except ValueError:
        return None
    return time if math.isfinite(time) else None
