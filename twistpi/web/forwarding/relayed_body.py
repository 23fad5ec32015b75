"""The body of an answer that comes from another server: what came and was not sent yet, and when the other has to wait."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred

_MOST: Final = 256 * 1024
"""Bytes that may wait for the asker before the other server has to."""


class RelayedBody:
    """See ``bodies.Body``."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self.offset = 0
        self._pause, self._resume = pause, resume
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._error: Exception | None = None
        self._waiter: Deferred[None] | None = None
        self.is_full = False
        """Whether the other server is kept waiting."""

    # For whom it comes from ------------------------------------------------------------------------------------------

    def append(self, data: bytes) -> None:
        """More came."""
        if self._ended:
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _MOST and not self.is_full:
            self.is_full = True
            self._pause()
        self._wake()

    def finish(self, error: Exception | None) -> None:
        """Nothing more comes; ``error`` is why, when something is missing.  May be called again, to no effect."""
        if not self._ended:
            self._ended, self._error = True, error
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.called:
            waiter.callback(None)

    # For whom it goes to ---------------------------------------------------------------------------------------------

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
        self._taken(sent)
        return sent

    def read(self, limit: int) -> bytes:
        """The next bytes."""
        data = self._pieces[0][:limit]
        self._taken(len(data))
        return data

    async def more(self) -> None:
        """Wait for more; raises what keeps it from coming."""
        while not self._pieces and not self._ended:
            self._waiter = Deferred()
            await self._waiter
        if not self._pieces and self._error is not None:
            raise self._error

    def close(self) -> None:
        """Let go of what waits."""
        self._pieces.clear()
        self._size = 0
        self._ended = True

    def _taken(self, size: int) -> None:
        piece = self._pieces.popleft()
        if size < len(piece):
            self._pieces.appendleft(piece[size:])
        self._size -= size
        self.offset += size
        if self.is_full and self._size <= _MOST // 4:
            self.is_full = False
            self._resume()
