"""Telling a former primary that this server was promoted, for as long as it takes until it knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from twistpi.model.following_errors import PrimaryUnreachable, StrangePrimary
from twistpi.model.peers import FenceNote, Peer
from twistpi.model.promotion_errors import NotFenced
from twistpi.replication.peers import ask_peer, tell
from twistpi.replication.primary import Primary

PATIENCE = 10.0
"""Seconds for an answer."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
"""Seconds between two attempts; each pause is twice the one before.  One that comes back and knows no follower takes writes until
it is told, and they will not count: so it must not be for long.
"""

_log = Logger()


@attrs.define(eq=False)
class Telling:
    """Tells one server; ``start`` begins, ``stop`` gives up for now."""

    _other: Primary
    _note: Callable[[], Awaitable[FenceNote]]
    """What it is told."""
    _done: Callable[[], object]
    """Called when there is nothing left to tell it."""
    _refused: Callable[[Peer], Awaitable[None]]
    """Handed what the other server is when it does not step back: it may be this one that has to."""
    _clock: Any
    _working: Deferred[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._working = Deferred.fromCoroutine(self._work())
        self._working.addErrback(self._ended)

    def stop(self) -> None:
        """Stop."""
        if self._working is not None:
            self._working.cancel()

    def _ended(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            _log.failure("Telling the former primary at {url} failed", failure=failure, url=self._other.url)

    async def _work(self) -> None:
        pause = FIRST_PAUSE
        while not await self.attempt():
            await deferLater(self._clock, pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def attempt(self) -> bool:
        """Tell it once; return whether nothing is left to tell."""
        url = self._other.url
        try:
            told = await tell(self._other, await self._note(), PATIENCE)
        except NotFenced as refusal:
            _log.warn("The server at {url} does not step back: {reason}.", url=url, reason=refusal.reason)
            return await self._look_who_it_is()
        except (PrimaryUnreachable, StrangePrimary) as error:
            _log.debug("The former primary at {url} does not know of its successor yet: {reason}", url=url, reason=str(error))
            return False
        _log.info("The former primary at {url} knows that this server was promoted; it has serial {serial}.",
                  url=url, serial=told.serial)  # fmt: skip
        self._done()
        return True

    async def _look_who_it_is(self) -> bool:
        try:
            other = await ask_peer(self._other, PATIENCE)
        except (PrimaryUnreachable, StrangePrimary):
            return False
        self._done()
        await self._refused(other)
        return True
