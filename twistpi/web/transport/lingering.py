"""Connections that can answer before the body has come, without losing the answer.

Who closes a connection on which bytes still arrive makes the other side's system throw away what it had not read yet, the answer
too.  So an answer that comes early is followed by silence: what arrives is dropped until the client has read it and closes.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure
from twisted.web.http import Request

from twistpi.web.transport.patient import PatientChannel

_IDLE: Final = 10.0
"""Seconds without a byte after which a client that had its answer is let go."""
_LONGEST: Final = 600.0
"""Seconds after which it is let go anyway.  Most clients send all of a body before they read, so this is generous."""
_FLUSHED_WITHIN: Final = 60.0
"""Seconds in which a client has to take the last of what is on its way to it when the connection closes."""
_DONE = Failure(CONNECTION_DONE)  # type: ignore[no-untyped-call]


class LingeringChannel(PatientChannel):
    """An HTTP connection that need not wait for the end of a body."""

    transport: Any
    _lingering = False
    """Whether what arrives is dropped."""
    _gone = False
    _letting_go: Any = None
    """The call that ends it."""

    def answer_soon(self, request: Request) -> None:
        """As ``answer_now``, when the reactor comes round: for who is in the midst of taking the body's bytes."""
        self.callLater(0, lambda: self.answer_now(request))  # type: ignore[no-untyped-call]

    def answer_now(self, request: Request) -> None:
        """Have ``request`` answered although its body is still coming; it is the last one of its connection.

        Does nothing when all of it is here, or the client is gone.  Not to be called from within the body's ``write``.
        """
        if not self.requests or self.requests[-1] is not request or self._handlingRequest or self._lingering:
            return
        self._linger()
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        self.allContentReceived()  # type: ignore[no-untyped-call]

    def refuse(self, answer: bytes) -> None:
        """Send ``answer``, which is whole, instead of taking the request that is coming, and close."""
        self._lingering = True
        self.persistent = False
        self._stop_watching()
        self.transport.write(answer)
        self.close_soon()

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        if self._lingering:
            self.resetTimeout()  # type: ignore[no-untyped-call]
        else:
            super().dataReceived(data)

    def loseConnection(self) -> None:
        """The answer is out: close, or wait until the client does."""
        if self._lingering and self._letting_go is not None:
            self.setTimeout(_IDLE)  # type: ignore[no-untyped-call]
        else:
            self.close_soon()

    def timeoutConnection(self) -> None:
        """The client was silent for too long."""
        if self._lingering:
            self._let_go()
        else:
            self.close_soon()

    def close_soon(self) -> None:
        """Close; cut the connection when the client does not take what is on its way to it.  May be called again."""
        if self._abortingCall is None and not self._gone:
            self._abortingCall = self.callLater(_FLUSHED_WITHIN, self.forceAbortClient)  # type: ignore[no-untyped-call]
            super().loseConnection()  # type: ignore[no-untyped-call]

    def forceAbortClient(self) -> None:
        """Cut the connection."""
        self._abortingCall = None
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = _DONE) -> None:
        """The client is gone."""
        self._gone = True
        self._forget_letting_go()
        super().connectionLost(reason)

    def _linger(self) -> None:
        self._lingering = True
        self.persistent = False
        self._stop_watching()
        self._letting_go = self.callLater(_LONGEST, self._let_go)  # type: ignore[no-untyped-call]

    def _let_go(self) -> None:
        self._forget_letting_go()
        self.forceAbortClient()

    def _forget_letting_go(self) -> None:
        call, self._letting_go = self._letting_go, None
        if call is not None and call.active():
            call.cancel()
