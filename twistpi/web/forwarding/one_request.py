"""One request on its way to the server that answers it, and the answer on its way back; see ``forward``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.server import Request

from twistpi.model.forwarding_errors import AnswerLost, HeadTooLarge, NotBelieved, NothingForwarded
from twistpi.web.forwarding.exchange import AnswerHead, Exchange
from twistpi.web.forwarding.heads import Line, answer_lines
from twistpi.web.forwarding.passed_on import REFUSED, TIME
from twistpi.web.forwarding.relayed_body import RelayedBody
from twistpi.web.send import send_body
from twistpi.web.transport.channel_flow import ChannelFlow

_MOST_WAITING: Final = 256 * 1024
"""Bytes of a body that wait for the connection, or are kept in case the head has to be signed anew."""
_NOT_WORTH_HURRY: Final = 1024 * 1024
"""When no more bytes than this are still to come, an early answer waits for them, and the connection can go on afterwards."""
_LONGEST_HEAD: Final = 16 * 1024
"""Bytes of a request's head that every server takes."""
_EXPECT: Final = b"expect"
_LOOKS: Final = 4
"""How often, within the seconds of silence that are put up with, it is looked whether anything moved."""


class Forwarder(Protocol):
    """What is known of the other server (``forward.Forward``)."""

    passed: int
    """How many requests were handed on."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def patience(self) -> float:
        """Seconds in which nothing moves before it counts as lost."""

    @property
    def tokens_pass(self) -> bool:
        """Whether it is for the other server, and whoever passed the request on, to make out whether they believe each other."""

    @property
    def mark(self) -> tuple[Line, ...]:
        """Headers that say who passed an answer on."""

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """A connection to it."""

    def head_of(self, request: Request, method: bytes, raw: bytes, length: int | None, *, has_body: bool) -> bytes:
        """The head to be sent."""

    async def caught_up(self, head: AnswerHead, method: bytes) -> tuple[Line, ...]:
        """Wait until what was changed can be read here, too; headers that say so when it cannot."""

    def clock_is(self, seconds: float) -> None:
        """Its clock, because it found a signature too old."""

    def call_later(self, seconds: float, function: Callable[[], object]) -> Any:
        """See ``IReactorTime``."""


class Forwarding:
    """One request on its way; for Twisted it is the object that the body is written to."""

    def __init__(
        self, forward: Forwarder, request: Request, method: bytes, raw: bytes, length: int | None, *, has_body: bool
    ) -> None:
        self._forward = forward
        self._request = request
        self._method, self._raw, self._length = method, raw, length
        self._has_body = has_body
        self._flow = ChannelFlow(request)
        self._exchange: Exchange | None = None
        self._connecting: Deferred[Any] | None = None
        self._connected = False
        self._kept: list[bytes] | None = []
        """The body so far, while it can all be sent again; None when not any more."""
        self._size = 0
        """Bytes of the body that came."""
        self._complete = not has_body
        self._paused = False
        self._expects = False
        """Whether the asker waits for leave to send the body."""
        self._hurried = False
        self._signed_anew = False
        self._answer: Deferred[AnswerHead] = Deferred()
        self._body = RelayedBody(self._pause_answer, self._resume_answer)
        self._closed = False
        self._watch: Any = None
        self._seen = -1
        """``Exchange.moved`` at the last look."""
        self._quiet = 0
        """Looks since which nothing moved."""

    # Both ways -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and send what there is."""
        self._forward.passed += 1
        if self._has_body:
            # Twisted would tell the asker to go on; here that is for the other server to say.
            expected = self._request.requestHeaders.getRawHeaders(_EXPECT) or ()
            self._expects = any(value.lower() == b"100-continue" for value in expected)
        self._connect()
        self._request.requestHeaders.removeHeader(_EXPECT)
        self._look_later()

    def _connect(self) -> None:
        forward = self._forward
        head = forward.head_of(self._request, self._method, self._raw, self._length, has_body=self._has_body)
        if len(head) > _LONGEST_HEAD:
            self._fail(HeadTooLarge(forward.name, len(head), _LONGEST_HEAD))
            return
        exchange = self._exchange = Exchange(head, self, bodiless=self._method == b"HEAD")
        factory = Factory.forProtocol(lambda: exchange)
        factory.noisy = False
        self._connecting = connecting = forward.connect(factory)
        connecting.addCallbacks(lambda _: None, self._not_connected)

    def close(self) -> None:
        """The request is over, or its asker gone.  May be called again."""
        if self._closed:
            return
        self._closed = True
        if self._watch is not None and self._watch.active():
            self._watch.cancel()
        if self._connecting is not None and not self._connected:
            self._connecting.cancel()
        if self._exchange is not None and self._connected:
            self._exchange.stop()
        self._body.close()
        if not self._answer.called:
            self._answer.addErrback(lambda _: None)
            self._answer.cancel()

    def _look_later(self) -> None:
        self._watch = self._forward.call_later(self._forward.patience / _LOOKS, self._look)

    def _look(self) -> None:
        """Whether the other server is still there: it is not while it should send something, and nothing moves."""
        if self._exchange is None:
            return
        is_asker_waited_for = self._body.is_full or (
            self._connected and not self._complete and not self._paused and not self._answer.called
        )
        moved, self._seen = self._exchange.moved != self._seen, self._exchange.moved
        self._quiet = 0 if moved or is_asker_waited_for else self._quiet + 1
        if self._quiet < _LOOKS:
            self._look_later()
            return
        if self._connected:
            self._exchange.stop()
        self.broken(f"nothing came for {self._forward.patience:g} s")

    # The body, from Twisted ----------------------------------------------------------------------------------------

    def write(self, data: bytes) -> int:
        """A piece of the body came."""
        if not data:
            return 0  # an empty chunk would be the last one
        self._size += len(data)
        if self._kept is not None:
            self._kept.append(data)
            if self._size > _MOST_WAITING:
                if self._connected:
                    self._kept = None
                else:
                    self._pause()
        if self._connected:
            self._send(data)
        return len(data)

    def complete(self) -> None:
        """The request is to be answered: all of the body came, unless an early answer was asked for."""
        if not self._complete and not self._hurried:
            self._complete = True
            if self._connected:
                self._send_end()

    def tell(self) -> int:
        """Bytes that came."""
        return self._size

    def seek(self, offset: int, whence: int = 0) -> int:
        """Twisted rewinds a body that is complete; there is nothing to rewind."""
        return 0

    def read(self, size: int = -1) -> bytes:
        """Nothing: it was sent on."""
        return b""

    def _send(self, data: bytes) -> None:
        assert self._exchange is not None
        self._exchange.send(data if self._length is not None else b"%x\r\n%s\r\n" % (len(data), data))

    def _send_end(self) -> None:
        if self._has_body and self._length is None and self._exchange is not None:
            self._exchange.send(b"0\r\n\r\n")

    def _pause(self) -> None:
        if not self._paused and not self._complete and not self._answer.called:
            self._paused = True
            self._flow.hold()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self._closed:
                self._flow.release()

    # What happens on the other side (``exchange.Listener``) ----------------------------------------------------------

    def connected(self) -> None:
        """The head of the request was sent."""
        self._connected = True
        for piece in self._kept or ():
            self._send(piece)
        if self._size > _MOST_WAITING:
            self._kept = None
        if self._complete:
            self._send_end()
        self._resume()

    def go_on(self) -> None:
        """The other server wants the body."""
        if self._expects and not self._closed:
            self._expects = False
            self._flow.go_on()

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
                self._fail(NotBelieved(self._forward.name, refused))
            return
        self._answer.callback(head)
        self._hurry()

    def received(self, data: bytes) -> None:
        """Some of its body came."""
        self._body.append(data)

    def ended(self) -> None:
        """All of it came."""
        self._body.finish(None)
        self._resume()

    def broken(self, reason: str) -> None:
        """It will not come."""
        self._fail(AnswerLost(self._forward.name, reason))

    def _not_connected(self, failure: Failure) -> None:
        if not self._closed:
            reason = failure.getErrorMessage().rstrip(".")
            self._fail(NothingForwarded(self._forward.name, reason))

    def _fail(self, error: Exception) -> None:
        self._body.finish(error)
        if self._closed or self._answer.called:
            return
        self._answer.errback(error)
        self._hurry()

    def _hurry(self) -> None:
        """The answer is known: have it sent before the body's end, when much is still to come, or the asker waits for leave."""
        if self._complete:
            return
        self._resume()
        if self._expects or self._length is None or self._length - self._size > _NOT_WORTH_HURRY:
            self._hurried = True
            self._flow.answer_now()

    def _sign_anew(self, head: AnswerHead, refused: str) -> bool:
        """Ask once more with a new signature, when the first was refused and all of the body is still here."""
        if refused == "expired" and (time := _seconds(head.header(TIME))) is not None:
            self._forward.clock_is(time)
        if self._signed_anew or refused not in ("expired", "replayed"):
            return False
        exchange, self._signed_anew = self._exchange, True
        assert exchange is not None
        if self._kept is None:
            return False
        if self._expects:  # to ask for leave once more would make the asker wait for longer than some do
            self.go_on()
        self._connected = False
        exchange.stop()
        self._connect()
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
        await send_body(request, self._body, length=head.length)

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
    for name, _values in list(request.responseHeaders.getAllRawHeaders()):
        if name.lower() != b"connection":
            request.responseHeaders.removeHeader(name)
    for name, value in lines:
        request.responseHeaders.addRawHeader(name, value)
