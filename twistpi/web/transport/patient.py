"""Connections that give a client time, but not for ever: what comes slower than any network is no request but a siege.

The head of a request has to be here ``HEADERS_WITHIN`` seconds after its first byte, and a body has to bring ``LEAST_RATE`` bytes
a second, looked at every ``LOOK_EVERY`` seconds.  A request that comes in one piece, as almost all do, costs no timer.  Time in
which the server itself did not read is not held against a client.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

HEADERS_WITHIN: Final = 30.0
"""Seconds."""
LOOK_EVERY: Final = 60.0
"""Seconds between two looks at how much of a body came."""
LEAST_RATE: Final = 500
"""Bytes a second, in either direction; slower than a modem of the eighties."""
_DONE = Failure(CONNECTION_DONE)  # type: ignore[no-untyped-call]
_Stage = Literal["head", "body"]


class PatientChannel(HTTPChannel):
    """An HTTP connection with bounds on how long a request may take to come."""

    site: Any
    _watch: Any = None
    """The call that looks."""
    _watched: tuple[_Stage, int] | None = None
    """What it looks at: the head or the body of which request of this connection."""
    _heads = 0
    """Heads that are complete."""
    _came = 0
    """Bytes since the last look."""
    _held_up = False
    """Whether the server itself does not read."""

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        self._came += len(data)
        super().dataReceived(data)  # type: ignore[no-untyped-call]
        watched = self._now_coming()
        if watched != self._watched:
            self._stop_watching()
            if watched is not None:
                self._begin_watching(watched)

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """The head of ``request`` is complete; whether another request may follow it."""
        self._heads += 1
        return bool(super().checkPersistence(request, version))  # type: ignore[no-untyped-call]

    def pause_reading(self) -> None:
        """Read nothing more of a body for a while; may be called again."""
        self._held_up = True
        self.setTimeout(None)  # type: ignore[no-untyped-call]
        self._networkProducer.pauseProducing()

    def resume_reading(self) -> None:
        """Read on."""
        if self._held_up:
            self._held_up = False
            self._came += int(LEAST_RATE * LOOK_EVERY)
        if self._handlingRequest:
            self._savedTimeOut = self.site.timeOut
        else:
            self.setTimeout(self.site.timeOut)  # type: ignore[no-untyped-call]
        if not self._waitingForTransport:
            self._networkProducer.resumeProducing()

    def connectionLost(self, reason: Failure = _DONE) -> None:
        """The client is gone."""
        self._stop_watching()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def too_slow(self) -> None:
        """The client is not worth waiting for."""
        raise NotImplementedError

    def _now_coming(self) -> tuple[_Stage, int] | None:
        if self._handlingRequest:
            return None
        if not self.line_mode:
            return "body", self._heads
        return ("head", self._heads) if self.requests or self._buffer else None

    def _begin_watching(self, watched: tuple[_Stage, int]) -> None:
        self._watched = watched
        self._came = 0
        seconds = HEADERS_WITHIN if watched[0] == "head" else LOOK_EVERY
        self._watch = self.callLater(seconds, self._look)  # type: ignore[no-untyped-call]

    def _stop_watching(self) -> None:
        self._watched = None
        watch, self._watch = self._watch, None
        if watch is not None and watch.active():
            watch.cancel()

    def _look(self) -> None:
        watched = self._now_coming()
        self._watch = self._watched = None
        if watched is None:
            return
        if watched[0] == "body" and (self._held_up or self._came >= LEAST_RATE * LOOK_EVERY):
            self._begin_watching(watched)
        else:
            self.too_slow()
