"""The body of a forwarded response, between two connections of different speed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from twistpi.http.wire_response import WireResponse
from twistpi.model.errors import answer_lost

_MOST_WAITING: Final = 256 * 1024
"""Bytes of a response that may wait for the client before the other server has to."""


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
