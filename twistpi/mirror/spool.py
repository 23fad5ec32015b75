"""A body on its way into a file: written in batches in another thread, the sender held back when the disk is slower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twistpi.mirror.body import BodyReader, read_at_once
from twistpi.mirror.trouble import Trouble

_FIRST_AHEAD: Final = 128 * 1024
"""Bytes that may wait for the thread before the sender has to, at first: the first must not be late because of the next."""
_MOST_AHEAD: Final = 2 * 1024 * 1024
"""The same once several batches were written; as many again may be on their way to the disk."""


class Spool(BodyReader):
    """Hands what arrives to ``write``, one batch at a time, each as large as what gathered during the one before."""

    def __init__(
        self,
        clock: Any,
        silence: float,
        offload: Callable[..., Deferred[Any]],
        write: Callable[[list[bytes]], Any],
        written: Callable[[], object],
    ) -> None:
        """``write`` gets the pieces of a batch in another thread; ``written`` is called in the reactor after each batch."""
        super().__init__(clock, silence)
        self.complete: Deferred[None] = Deferred()
        """Fires when all has come and is written.  Fails with ``Trouble`` when not all came, yet after writing what did; or with
        what ``write`` raised."""
        self._offload = offload
        self._write = write
        self._written = written
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._ahead = _FIRST_AHEAD
        self._busy = False
        self._paused = False
        self._outcome: Failure | None = None
        self._over = False
        self.ended.addCallbacks(lambda _: self._end(None), self._end)

    def connectionMade(self) -> None:
        """The body begins."""
        super().connectionMade()
        read_at_once(self.transport, self._ahead // 2)

    def received(self, data: bytes) -> None:
        """A piece of the body."""
        self._pieces.append(data)
        self._waiting += len(data)
        if not self._busy:
            self._start()
        elif self._waiting >= self._ahead and not self._paused:
            self._paused = True
            self.rest()
            assert self.transport is not None
            self.transport.pauseProducing()  # type: ignore[attr-defined]

    def _start(self) -> None:
        pieces, self._pieces, self._waiting = self._pieces, [], 0
        self._busy = True
        self._offload(self._write, pieces).addCallbacks(self._done, self._failed)
        if self._paused:
            self._paused = False
            self.watch()
            if self.transport is not None:
                self.transport.resumeProducing()  # type: ignore[attr-defined]

    def _done(self, _: object) -> None:
        self._busy = False
        if self._ahead < _MOST_AHEAD:
            self._ahead *= 2
            read_at_once(self.transport, self._ahead // 2)
        self._written()
        if self._pieces:
            self._start()
        elif self._over:
            self._finish()

    def _failed(self, failure: Failure) -> None:
        self._busy = False
        self._pieces.clear()
        self._outcome = failure
        if self._over:
            self._finish()
        else:
            self.give_up(Trouble("nothing more can be written"))

    def _end(self, failure: Failure | None) -> None:
        self._over = True
        self._outcome = self._outcome or failure
        if not self._busy:
            self._finish()

    def _finish(self) -> None:
        complete, self.complete = self.complete, Deferred()
        if self._outcome is None:
            complete.callback(None)
        else:
            complete.errback(self._outcome)
