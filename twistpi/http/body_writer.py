"""Writing the body of a response to a file, say: in another thread, with a fast sender held back."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from twistpi.http.body import BodyReader, Deliver
from twistpi.http.errors import RequestFailed
from twistpi.http.offload import Offload
from twistpi.http.single_flight import Waiters

_FIRST_AHEAD: Final = 128 * 1024
"""Bytes that may wait for the thread before the sender is held back; few at first, so that the first are not late."""
_MOST_AHEAD: Final = 2 * 1024 * 1024
"""The same after several batches; as many bytes again may be on their way to the disk."""


class BodyWriter:
    """Writes a body with a function that blocks, in another thread, one batch at a time.

    The thread takes the next batch itself: the reactor is busy receiving and sending, and writing must not wait for it.
    """

    def __init__(
        self,
        clock: IReactorTime,
        silence: float,
        offload: Offload,
        call_in_reactor: Callable[[Callable[[], object]], object],
        write: Callable[[list[bytes]], object],
        written: Callable[[], object] = lambda: None,
    ) -> None:
        """``write`` gets the pieces of a batch in another thread; ``written`` is called in the reactor after each batch.

        ``silence`` is in seconds, ``call_in_reactor`` is ``IReactorFromThreads.callFromThread``.
        """
        self._offload = offload
        self._call_in_reactor = call_in_reactor
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
        """Threads that were started and have not returned: a second one when pieces come just as the first leaves."""
        self._paused = False
        self._held = False
        self._outcome: Failure | None = None
        self._over = False
        """Whether the body ended."""
        self._settled: Waiters[None] = Waiters()
        """Those that wait until the body ended and no thread is at work."""
        self._reader = BodyReader(clock, silence, self._received)
        self._reader.ended.addCallbacks(lambda _: self._end(None), self._end)

    async def take(self, deliver: Deliver) -> None:
        """Write the body that ``deliver`` sends; return when all of it is written.

        Raise ``RequestFailed`` when it broke off, after writing its beginning; or what ``write`` raised.  When this is cancelled,
        it ends only when no thread writes any more, so that the file may be closed then.
        """
        deliver(self._reader)
        self._reader.read_size(self._ahead // 2)
        try:
            await self._settle()
        except CancelledError:
            self._reader.give_up(RequestFailed("nobody wants it any more"))
            await self._settle()
            raise
        if self._outcome is not None:
            self._outcome.raiseException()

    def hold(self) -> None:
        """Hold the sender back until ``go_on``, though all is written."""
        self._held = True
        if not self._paused:
            self._paused = True
            self._reader.pause()

    def go_on(self) -> None:
        """End ``hold``."""
        if self._held:
            self._held = self._paused = False
            self._reader.resume()

    def give_up(self, error: Exception) -> None:
        """Close the connection; ``take`` raises ``error``."""
        self._reader.give_up(error)

    async def _settle(self) -> None:
        if self._works or not self._over:
            await self._settled.wait()

    def _received(self, data: bytes) -> None:
        with self._lock:
            self._pieces.append(data)
            self._waiting += len(data)
            is_enough = self._waiting >= self._ahead
            is_taken, self._taking = self._taking, True
        if not is_taken:
            self._works += 1
            self._offload(self._work).addBoth(self._done)
        elif is_enough and not self._paused:
            self._paused = True
            self._reader.pause()

    def _work(self) -> None:
        """Write for as long as there is something to write; in the thread."""
        while pieces := self._take():
            self._write(pieces)
            self._call_in_reactor(self._advance)

    def _take(self) -> list[bytes]:
        with self._lock:
            pieces, self._pieces, self._waiting = self._pieces, [], 0
            self._taking = bool(pieces)
            return pieces

    def _advance(self) -> None:
        """Go on after a batch was written."""
        if self._ahead < _MOST_AHEAD:
            self._ahead *= 2
            self._reader.read_size(self._ahead // 2)
        if self._paused and not self._held:
            self._paused = False
            self._reader.resume()
        self._written()

    def _done(self, failure: Failure | None) -> None:
        if failure is not None:
            self._outcome = failure
            self._reader.give_up(RequestFailed("nothing more can be written"))
        self._works -= 1
        self._look()

    def _end(self, failure: Failure | None) -> None:
        self._over = True
        self._outcome = self._outcome or failure
        self._look()

    def _look(self) -> None:
        if self._over and not self._works:
            self._settled.fire(None)
