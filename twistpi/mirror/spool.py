"""A body on its way into a file: written in batches in another thread, the sender held back when the disk is slower."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from twistpi.mirror.body import BodyReader, read_at_once
from twistpi.mirror.inflight import Waiters
from twistpi.mirror.trouble import Trouble

_FIRST_AHEAD: Final = 128 * 1024
"""Bytes that may wait for the thread before the sender has to, at first: the first must not be late because of the next."""
_MOST_AHEAD: Final = 2 * 1024 * 1024
"""The same once several batches were written; as many again may be on their way to the disk."""


class Spool(BodyReader):
    """Hands what arrives to ``write``, one batch at a time, each as large as what gathered during the one before.

    The thread takes the next batch itself: the reactor is busy receiving and sending, and writing must not wait for it.
    """

    def __init__(
        self,
        clock: Any,
        silence: float,
        offload: Callable[..., Deferred[Any]],
        write: Callable[[list[bytes]], Any],
        written: Callable[[], object],
    ) -> None:
        """``write`` gets the pieces of a batch in another thread; ``written`` is called in the reactor after each batch.

        ``clock`` is a reactor: its ``callLater`` and its ``callFromThread`` are used.
        """
        super().__init__(clock, silence)
        self._offload = offload
        self._write = write
        self._written = written
        self._lock = Lock()
        """Held to touch the next three."""
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._taking = False
        """Whether a thread will look for pieces again."""
        self._ahead = _FIRST_AHEAD
        self._works = 0
        """How many threads were begun and not heard of since: a second one when pieces come just as the first leaves."""
        self._paused = False
        self._outcome: Failure | None = None
        self._over = False
        """Whether no more will come."""
        self._settled: Waiters[None] = Waiters()
        """Who waits until no more will come and no thread is at work."""
        self.ended.addCallbacks(lambda _: self._end(None), self._end)

    async def read(self, deliver: Callable[[IProtocol], object]) -> None:
        """Have ``deliver`` send the body here; returns when all of it has come and is written.

        Raises ``Trouble`` when not all came, yet after writing what did; or what ``write`` raised.  Who cancels this hears of it
        when no thread writes any more, and may close the file then: its number could soon be that of another.
        """
        deliver(self)
        try:
            await self._settle()
        except CancelledError:
            self.give_up(Trouble("nobody wants it any more"))
            await self._settle()
            raise
        if self._outcome is not None:
            self._outcome.raiseException()

    async def _settle(self) -> None:
        if self._works or not self._over:
            await self._settled.wait()

    def connectionMade(self) -> None:
        """The body begins."""
        super().connectionMade()
        read_at_once(self.transport, self._ahead // 2)

    def received(self, data: bytes) -> None:
        """A piece of the body."""
        with self._lock:
            self._pieces.append(data)
            self._waiting += len(data)
            is_enough = self._waiting >= self._ahead
            is_taken, self._taking = self._taking, True
        if not is_taken:
            self._works += 1
            self._offload(self._work).addCallbacks(self._done, self._failed)
        elif is_enough and not self._paused:
            self._paused = True
            self.rest()
            assert self.transport is not None
            self.transport.pauseProducing()  # type: ignore[attr-defined]

    def _work(self) -> None:
        """In the thread: write for as long as there is something to write."""
        while pieces := self._take():
            self._write(pieces)
            self._clock.callFromThread(self._advance)

    def _take(self) -> list[bytes]:
        with self._lock:
            pieces, self._pieces, self._waiting = self._pieces, [], 0
            self._taking = bool(pieces)
            return pieces

    def _advance(self) -> None:
        """A batch was written, and what came in the meantime taken."""
        if self._ahead < _MOST_AHEAD:
            self._ahead *= 2
            read_at_once(self.transport, self._ahead // 2)
        if self._paused:
            self._paused = False
            self.watch()
            if self.transport is not None:
                self.transport.resumeProducing()  # type: ignore[attr-defined]
        self._written()

    def _done(self, _: object) -> None:
        self._works -= 1
        self._look()

    def _failed(self, failure: Failure) -> None:
        self._outcome = failure
        self.give_up(Trouble("nothing more can be written"))
        self._done(None)

    def _end(self, failure: Failure | None) -> None:
        self._over = True
        self._outcome = self._outcome or failure
        self._look()

    def _look(self) -> None:
        if self._over and not self._works:
            self._settled.fire(None)
