"""The bodies of a forwarded request and of its response, each between two connections of different speed."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from twistpi.http.connection import WireResponse
from twistpi.model.errors import answer_lost

_MOST_KEPT: Final = 256 * 1024
"""Bytes of a request's body that wait for the connection, or are kept in case the head has to be signed again."""
_MOST_WAITING: Final = 256 * 1024
"""Bytes of a response that may wait for the client before the other server has to."""


@implementer(IBodyProducer)
class RequestBody:
    """The body of a request: what came is sent on, and its beginning kept in case it has to be sent once more."""

    def __init__(
        self, length: int | None, pause: Callable[[], None], resume: Callable[[], None], moved: Callable[[], None]
    ) -> None:
        self.length: int | str = UNKNOWN_LENGTH if length is None else length
        self.size = 0
        """Bytes that came."""
        self.is_complete = length == 0
        self._pause, self._resume, self._moved = pause, resume, moved
        self._kept: list[bytes] | None = []
        self._consumer: IConsumer | None = None
        self._sent: Deferred[None] = Deferred()

    @property
    def outstanding(self) -> float:
        """Bytes that are still to come; infinitely many if that is unknown."""
        return self.length - self.size if isinstance(self.length, int) else math.inf

    @property
    def is_started(self) -> bool:
        """Whether the other server takes it."""
        return self._consumer is not None

    @property
    def is_kept(self) -> bool:
        """Whether all that came can be sent once more."""
        return self._kept is not None

    def append(self, data: bytes) -> None:
        """More came."""
        if self.length == 0:
            return  # behind a head without a body, bytes would be the next request
        self.size += len(data)
        if self._kept is not None:
            self._kept.append(data)
        if self._consumer is not None:
            if self.size > _MOST_KEPT:
                self.forget()
            self._moved()
            self._consumer.write(data)
        elif self.size > _MOST_KEPT and self.is_kept:
            self._pause()

    def complete(self) -> None:
        """All of it came."""
        if not self.is_complete:
            self.is_complete = True
            self._moved()
            if self._consumer is not None:
                self._sent.callback(None)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Send what is here to ``consumer``, and what comes."""
        self._consumer, self._sent = consumer, Deferred()
        for piece in self._kept or ():
            consumer.write(piece)
        if self.size > _MOST_KEPT:
            self.forget()
        if self.is_complete:
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

    def forget(self) -> None:
        """Keep nothing: it will not be sent once more."""
        self._kept = None


class ResponseBody(Protocol):
    """The body of a response: what came and was not sent yet (a ``Body``)."""

    def __init__(self, name: str, moved: Callable[[], None]) -> None:
        self.offset = 0
        self.is_full = False
        """Whether the other server is held back."""
        self._name, self._moved = name, moved
        self._response: WireResponse
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._error: Exception | None = None
        self._waiter: Deferred[None] | None = None

    def receive(self, response: WireResponse) -> None:
        """Take the body of ``response``."""
        self._response = response
        response.deliverBody(self)

    # For the connection ----------------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """More came."""
        self._moved()
        if self._ended:
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _MOST_WAITING and not self.is_full:
            self.is_full = True
            self._response.pauseProducing()
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body ended, or broke off."""
        if not self._ended:
            self._ended = True
            if not reason.check(ResponseDone, PotentialDataLoss):
                self._error = answer_lost(self._name, reason.getErrorMessage().rstrip("."))
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.called:
            waiter.callback(None)

    # For the client --------------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether all was sent."""
        return self._ended and self._error is None and not self._pieces

    @property
    def ready(self) -> int:
        """Bytes that came and were not sent yet."""
        return self._size

    def send(self, socket_number: int) -> int:
        """Hand some to the kernel."""
        sent = os.write(socket_number, self._pieces[0])
        self._advance(sent)
        return sent

    def read(self, limit: int) -> bytes:
        """Return the next bytes."""
        data = self._pieces[0][:limit]
        self._advance(len(data))
        return data

    async def more(self) -> None:
        """Wait for more. Raise what keeps it from coming."""
        while not self._pieces and not self._ended:
            self._waiter = Deferred()
            await self._waiter
        if not self._pieces and self._error is not None:
            raise self._error

    def close(self) -> None:
        """Drop what waits."""
        self._pieces.clear()
        self._size = 0
        self._ended = True

    def _advance(self, size: int) -> None:
        piece = self._pieces.popleft()
        if size < len(piece):
            self._pieces.appendleft(piece[size:])
        self._size -= size
        self.offset += size
        if self.is_full and self._size <= _MOST_WAITING // 4:
            self.is_full = False
            self._moved()
            if not self._ended:
                self._response.resumeProducing()
