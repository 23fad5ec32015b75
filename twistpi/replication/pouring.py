"""A body on its way into something that blocks: handed over in another thread, the sender held back when that is slower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from twistpi.replication.bodies import BodyReader

_AHEAD: Final = 1024 * 1024
"""Bytes that may wait for the thread before the sender has to."""


class Pouring:
    """One body: ``deliver`` it to ``reader`` and wait for ``done``."""

    def __init__(
        self,
        clock: Any,
        silence: float,
        offload: Callable[..., Deferred[Any]],
        take: Callable[[list[bytes]], object],
    ) -> None:
        """``take`` gets pieces in a thread, no two calls at a time; ``silence`` is in seconds, see ``BodyReader``."""
        self.done: Deferred[None] = Deferred(lambda _: self._give_up())
        """Fires when the body ended and all of it was taken.  Fails with ``BodyBroken`` when it did not end as it should, yet
        after what came was taken; with what ``take`` raised; or, when it is cancelled, with ``CancelledError``."""
        self._offload = offload
        self._take = take
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._paused = False
        self._working = False
        self._over = False
        self._outcome: Failure | None = None
        self._reader = BodyReader(clock, silence, self._received)
        self._reader.ended.addCallbacks(lambda _: self._ended(None), self._broken)

    @property
    def reader(self) -> IProtocol:
        """Whom to deliver the body to."""
        return self._reader

    def _give_up(self) -> None:
        """Nobody wants it any more: what was not handed over yet never will be."""
        self._pieces.clear()
        self._reader.ended.cancel()

    def _received(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._waiting += len(piece)
        if self._waiting > _AHEAD and not self._paused:
            self._paused = True
            self._reader.pause()
        self._work()

    def _work(self) -> None:
        if self._working or not self._pieces:
            return
        pieces, self._pieces, self._waiting = self._pieces, [], 0
        self._working = True
        self._offload(self._take, pieces).addCallbacks(self._taken, self._failed)
        if self._paused:
            self._paused = False
            self._reader.resume()

    def _taken(self, _: object) -> None:
        self._working = False
        self._work()
        self._finish_if_over()

    def _failed(self, failure: Failure) -> None:
        self._working = False
        self._pieces.clear()
        self._outcome = failure
        self._over = True
        self._reader.give_up("nothing more can be taken")
        self._finish_if_over()

    def _broken(self, failure: Failure) -> None:
        if not failure.check(CancelledError):  # type: ignore[no-untyped-call]  # which ``done`` was told already
            self._ended(failure)

    def _ended(self, failure: Failure | None) -> None:
        self._over = True
        self._outcome = self._outcome or failure
        self._finish_if_over()

    def _finish_if_over(self) -> None:
        if not self._over or self._working or self._pieces or self.done.called:
            return
        if self._outcome is None:
            self.done.callback(None)
        else:
            self.done.errback(self._outcome)
