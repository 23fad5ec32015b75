"""One request and its answer, both as they come, over a connection to another server (``links``).

Twisted's own client hands out an answer only when all of the request was sent.  Here an answer may come first, a refusal of an
upload for example, and ``100 Continue`` is heard.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError

from twistpi.web.forwarding.answer_head import AnswerHead, Malformed, read_head

LONGEST_HEAD: Final = 256 * 1024
"""Bytes of status line and headers."""
_BODILESS: Final = frozenset({204, 304})
_END: Final = b"\r\n\r\n"


class Listener(Protocol):
    """Who is told what happens in an exchange."""

    def connected(self) -> None:
        """The head of the request is on its way; its body may follow."""

    def go_on(self) -> None:
        """The server waits for the body: ``100 Continue``."""

    def answered(self, head: AnswerHead) -> None:
        """The head of the answer came."""

    def received(self, data: bytes) -> None:
        """Some of the answer's body came."""

    def ended(self) -> None:
        """All of the answer came; nothing is told after this."""

    def broken(self, reason: str) -> None:
        """The answer will not come, or not to its end; nothing is told after this."""

    def full(self) -> None:
        """The server takes no more of the body for now."""

    def drained(self) -> None:
        """It does again."""


class Connection(Protocol):
    """What carries an exchange (``links.Link``)."""

    def write(self, data: bytes) -> None:
        """Send ``data``."""

    def pause(self) -> None:
        """Read nothing for now."""

    def resume(self) -> None:
        """Read on."""

    def release(self) -> None:
        """The exchange is over, and nothing of it is on its way any more."""

    def abort(self) -> None:
        """The exchange is over, wherever it was."""


class Exchange:
    """One exchange; from ``begin`` until all of the answer came, it has a connection for itself."""

    def __init__(self, head: bytes, listener: Listener, *, has_body: bool, bodiless: bool) -> None:
        """``head`` is that of the request, with the empty line, and ``has_body`` says whether a body follows; ``bodiless`` says
        that none follows the answer's: the request is ``HEAD``.
        """
        self._head = head
        self._listener = listener
        self._is_request_sent = not has_body
        """Whether all of the request was sent."""
        self._bodiless = bodiless
        self._connection: Connection | None = None
        """None before it began, and when nothing of the answer is on its way any more."""
        self._came = b""
        self._answer: AnswerHead | None = None
        self._missing: int | None = None
        """Bytes of the body that are still to come, where that is known."""
        self._decoder: Any = None
        self._over = False
        """Whether the listener is told nothing more."""
        self.moved = 0
        """Another number whenever something was sent or came."""
        self.heard = False
        """Whether anything at all came back."""

    # The request ---------------------------------------------------------------------------------------------------

    def begin(self, connection: Connection) -> None:
        """Send the head over ``connection``, on which nothing else is on its way."""
        self._connection = connection
        connection.write(self._head)
        self._listener.connected()

    def send(self, data: bytes) -> None:
        """Send some of the body, as it goes over the wire."""
        if self._connection is not None:
            self.moved += 1
            self._connection.write(data)

    def request_sent(self) -> None:
        """All of the request was sent."""
        self._is_request_sent = True

    def full(self) -> None:
        """The connection holds enough."""
        self._listener.full()

    def drained(self) -> None:
        """The connection takes more."""
        self.moved += 1
        self._listener.drained()

    # The answer ----------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Read no more of the answer for now."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        self.moved += 1
        if self._connection is not None:
            self._connection.resume()

    def stop(self) -> None:
        """Hang up: nobody wants the answer any more.  The listener is told nothing."""
        self._over = True
        self._let_go(reusable=False)

    def came(self, data: bytes) -> None:
        """Some of the answer came."""
        self.moved += 1
        self.heard = True
        try:
            if self._answer is None:
                self._read_heads(data)
            else:
                self._read_body(data)
        except (Malformed, _MalformedChunkedDataError) as error:
            self._break(f"it answers with what is no HTTP: {error}")

    def lost(self, reason: Failure) -> None:
        """The connection ended, which ends the body, too, when nothing else tells its end."""
        endless = self._answer is not None and self._decoder is None and self._missing is None
        if endless and reason.check(ConnectionDone):  # type: ignore[no-untyped-call]
            self._let_go(reusable=False)
            self._end()
        else:
            self._break("the connection was closed")

    def _read_heads(self, data: bytes) -> None:
        self._came += data
        while self._answer is None and not self._over:
            top, end, rest = self._came.partition(_END)
            if not end:
                if len(top) > LONGEST_HEAD:
                    raise Malformed("its head is too long")
                return
            self._came = rest
            head = read_head(top)
            if head.status == 100:
                self._listener.go_on()
            elif head.status >= 200:
                self._came = b""
                self._begin_body(head, rest)

    def _begin_body(self, head: AnswerHead, data: bytes) -> None:
        self._answer = head
        if self._bodiless or head.status in _BODILESS:
            self._missing = 0
        elif head.chunked:
            self._decoder = _ChunkedTransferDecoder(self._listener.received, self._chunks_end)
        else:
            self._missing = head.length
        if self._missing == 0:
            self._let_go(reusable=not data)
        self._listener.answered(head)
        if self._missing == 0:
            self._end()
        elif data and not self._over:
            self._read_body(data)

    def _read_body(self, data: bytes) -> None:
        if self._decoder is not None:
            self._decoder.dataReceived(data)
            return
        if self._missing is not None:
            data, rest = data[: self._missing], data[self._missing :]
            self._missing -= len(data)
            if self._missing == 0:
                self._let_go(reusable=not rest)
        self._listener.received(data)
        if self._missing == 0:
            self._end()

    def _chunks_end(self, rest: bytes) -> None:
        self._let_go(reusable=not rest)
        self._end()

    def _let_go(self, *, reusable: bool) -> None:
        """Nothing of the answer is on its way any more.  Before the listener is told: who has all of it hangs up."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if reusable and self._is_request_sent and self._answer is not None and self._answer.persistent:
            connection.release()
        else:
            connection.abort()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._listener.ended()

    def _break(self, reason: str) -> None:
        if not self._over:
            self.stop()
            self._listener.broken(reason)
