"""One request on its way to the server that answers it, and the answer on its way back; see ``forward``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.server import Request

from twistpi.model.forwarding_errors import AnswerLost, HeadTooLarge, NotBelieved, NothingForwarded
from twistpi.web.forwarding.answer_head import AnswerHead
from twistpi.web.forwarding.exchange import Exchange
from twistpi.web.forwarding.heads import Line, answer_lines
from twistpi.web.forwarding.interfaces import Forwarder
from twistpi.web.forwarding.links import Link
from twistpi.web.forwarding.passed_on import REFUSED, TIME
from twistpi.web.forwarding.relayed_body import RelayedBody
from twistpi.web.forwarding.request_body import RequestBody
from twistpi.web.forwarding.silence import Silence
from twistpi.web.replies import forget_headers
from twistpi.web.transport.channel import NOT_WORTH_HURRY, Channel
from twistpi.web.transport.send import send_body

_LONGEST_HEAD: Final = 16 * 1024
"""Bytes of a request's head that every server takes."""
_EXPECT: Final = b"expect"
_ONLY_READ: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Forwarding:
    """One request on its way; for Twisted it is the object that the body is written to."""

    def __init__(
        self, forward: Forwarder, request: Request, method: bytes, raw: bytes, length: int | None, *, has_body: bool
    ) -> None:
        self._forward = forward
        self._request = request
        self._method, self._raw = method, raw
        self._request_body = RequestBody(length, comes=has_body)
        assert isinstance(request.channel, Channel)
        self._channel = request.channel
        self._exchange: Exchange | None = None
        self._connecting: Deferred[Any] | None = None
        self._connected = False
        self._is_repeatable = method in _ONLY_READ and not has_body
        """Whether it may be asked again when a connection that served before ends without a word."""
        self._paused = False
        self._expects = False
        """Whether the asker waits for leave to send the body."""
        self._hurried = False
        self._signed_anew = False
        self._answer: Deferred[AnswerHead] = Deferred()
        self._answer_body = RelayedBody(self._pause_answer, self._resume_answer)
        self._closed = False
        self._silence: Silence | None = None

    # Both ways -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and send what there is."""
        self._forward.passed += 1
        if self._request_body.comes:
            # Twisted would tell the asker to go on; here that is for the other server to say.
            expected = self._request.requestHeaders.getRawHeaders(_EXPECT) or ()
            self._expects = any(value.lower() == b"100-continue" for value in expected)
        self._silence = Silence(self._forward.call_later, self._forward.patience, self._moved, self._given_up)
        self._connect(self._forward.links.take() if self._is_repeatable else None)
        self._request.requestHeaders.removeHeader(_EXPECT)

    def _connect(self, link: Link | None) -> None:
        """Ask over ``link``, or a new connection."""
        forward, body = self._forward, self._request_body
        head = forward.head_of(self._request, self._method, self._raw, body.length, has_body=body.comes)
        if len(head) > _LONGEST_HEAD:
            self._fail(HeadTooLarge(forward.way.name, len(head), _LONGEST_HEAD))
            return
        exchange = self._exchange = Exchange(head, self, has_body=body.comes, bodiless=self._method == b"HEAD")
        if link is not None:
            link.carry(exchange)
            return
        self._is_repeatable = False
        self._connecting = connecting = forward.links.make()
        connecting.addCallbacks(lambda link: link.carry(exchange), self._not_connected)

    def close(self) -> None:
        """The request is over, or its asker gone.  May be called again."""
        if self._closed:
            return
        self._closed = True
        if self._silence is not None:
            self._silence.stop()
        if self._connecting is not None and not self._connected:
            self._connecting.cancel()
        if self._exchange is not None:
            self._exchange.stop()
        self._answer_body.close()
        if not self._answer.called:
            self._answer.addErrback(lambda _: None)
            self._answer.cancel()

    def _moved(self) -> int | None:
        """See ``Silence``: while the asker is waited for, the other server need not say anything."""
        if self._exchange is None or self._answer_body.is_full:
            return None
        if self._connected and not self._request_body.complete and not self._paused and not self._answer.called:
            return None
        return self._exchange.moved

    def _given_up(self) -> None:
        if self._exchange is not None:
            self._exchange.stop()
        self._fail(AnswerLost(self._forward.way.name, f"nothing came for {self._forward.patience:g} s"))

    # The body, from Twisted ----------------------------------------------------------------------------------------

    def write(self, data: bytes) -> int:
        """A piece of the body came."""
        body = self._request_body
        if not data or not body.comes:
            # An empty chunk would be the last one; and behind a head that tells of no body, bytes would be the next request.
            return len(data)
        body.came(data)
        if self._connected:
            body.forget_if_large()
            self._send(body.wire(data))
        elif body.is_large and body.is_kept:
            self._pause()
        return len(data)

    def complete(self) -> None:
        """The request is to be answered: all of the body came, unless an early answer was asked for."""
        if not self._request_body.complete and not self._hurried:
            self._request_body.complete = True
            if self._connected:
                self._send_end()

    def tell(self) -> int:
        """Bytes that came."""
        return self._request_body.size

    def seek(self, offset: int, whence: int = 0) -> int:
        """Twisted rewinds a body that is complete; there is nothing to rewind."""
        return 0

    def read(self, size: int = -1) -> bytes:
        """Nothing: it was sent on."""
        return b""

    def _send(self, data: bytes) -> None:
        assert self._exchange is not None
        self._exchange.send(data)

    def _send_end(self) -> None:
        assert self._exchange is not None
        if end := self._request_body.wire_end:
            self._exchange.send(end)
        self._exchange.request_sent()

    def _pause(self) -> None:
        if not self._paused and not self._request_body.complete and not self._answer.called:
            self._paused = True
            self._channel.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self._closed:
                self._channel.resume_reading()

    # What happens on the other side (``exchange.Listener``) ----------------------------------------------------------

    def connected(self) -> None:
        """The head of the request was sent."""
        self._connected = True
        if again := self._request_body.wire_again():
            self._send(again)
        self._request_body.forget_if_large()
        if self._request_body.complete:
            self._send_end()
        self._resume()

    def go_on(self) -> None:
        """The other server wants the body."""
        if self._expects and not self._closed:
            self._expects = False
            self._channel.send_continue()

    def full(self) -> None:
        """It takes no more for now."""
        self._pause()

    def drained(self) -> None:
        """It takes more."""
        self._resume()

    def answered(self, head: AnswerHead) -> None:
        """The head of the answer came."""
        if self._closed or self._answer.called:
            return
        refused = None if self._forward.tokens_pass else head.header(REFUSED)
        if refused is not None:
            if not self._sign_anew(head, refused):
                self._fail(NotBelieved(self._forward.way.name, refused))
            return
        self._answer.callback(head)
        self._hurry()

    def received(self, data: bytes) -> None:
        """Some of its body came."""
        self._answer_body.append(data)

    def ended(self) -> None:
        """All of it came."""
        self._answer_body.finish(None)
        self._resume()

    def broken(self, reason: str) -> None:
        """It will not come; over a connection that served before, only because the other server was just closing that."""
        if self._is_repeatable and self._exchange is not None and not self._exchange.heard and not self._closed:
            self._connected = False
            self._connect(None)
            return
        self._fail(AnswerLost(self._forward.way.name, reason))

    def _not_connected(self, failure: Failure) -> None:
        if not self._closed:
            reason = failure.getErrorMessage().rstrip(".")
            self._fail(NothingForwarded(self._forward.way.name, reason))

    def _fail(self, error: Exception) -> None:
        self._answer_body.finish(error)
        if self._closed or self._answer.called:
            return
        self._answer.errback(error)
        self._hurry()

    def _hurry(self) -> None:
        """The answer is known: have it sent before the body's end, when much is still to come, or the asker waits for leave."""
        if self._request_body.complete:
            return
        self._resume()
        if self._expects or self._request_body.outstanding > NOT_WORTH_HURRY:
            self._hurried = True
            self._channel.answer_soon(self._request)

    def _sign_anew(self, head: AnswerHead, refused: str) -> bool:
        """Ask once more with a new signature, when the first was refused and all of the body is still here."""
        if refused == "expired" and (time := _seconds(head.header(TIME))) is not None:
            self._forward.way.clock_is(time)
        if self._signed_anew or refused not in ("expired", "replayed"):
            return False
        exchange, self._signed_anew = self._exchange, True
        assert exchange is not None
        if not self._request_body.is_kept:
            return False
        if self._expects:  # to ask for leave once more would make the asker wait for longer than some do
            self.go_on()
        self._connected = False
        exchange.stop()
        self._connect(None)
        return True

    # The answer, for the asker ---------------------------------------------------------------------------------------

    async def relay(self, request: Request) -> None:
        """Give the answer to the asker; raises ``NothingForwarded`` and ``AnswerLost`` before any of it was sent.

        To be called when all of the body is here, or the body asked for an early answer.
        """
        head = await self._answer
        told = await self._forward.caught_up(head, self._method)
        _put_head(request, head, (*answer_lines(head.lines, tokens_pass=self._forward.tokens_pass), *self._forward.mark, *told))
        if self._method == b"HEAD" or head.status in (204, 304) or head.length == 0:
            return
        await send_body(request, self._answer_body, length=head.length)

    def _pause_answer(self) -> None:
        if self._exchange is not None:
            self._exchange.pause()

    def _resume_answer(self) -> None:
        if self._exchange is not None:
            self._exchange.resume()


def _seconds(text: str | None) -> float | None:
    """The time another server tells; None for what is no time, by which nothing could be signed."""
    try:
        time = float(text or "")
    except ValueError:
        return None
    return time if math.isfinite(time) else None


def _put_head(request: Request, head: AnswerHead, lines: Sequence[Line]) -> None:
    request.setResponseCode(head.status, head.reason.encode("latin-1"))
    forget_headers(request)
    for name, value in lines:
        request.responseHeaders.addRawHeader(name, value)
