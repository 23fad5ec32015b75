"""Making the primary of a replica whose server runs.

A promotion with the primary at hand loses nothing: the primary is asked to **hold** its writes and says its last serial, this
server waits until it has that, begins the next epoch, says so, and restarts as the primary; the writes that were held are then
refused there, with the name of the new primary.  If this server dies in between, the hold ends by itself and the primary goes
on.  With the primary gone, or by force, the epoch begins behind what is here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi.http.backoff import Backoff, sleep
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import FenceNote, Peer
from twistpi.model.records import Json
from twistpi.model.server_errors import NotFenced, PrimaryUnreachable, StrangePrimary, promotion_refused
from twistpi.model.text import counted
from twistpi.replication.fencing import Fencing
from twistpi.replication.following import Following
from twistpi.replication.primary import Primary
from twistpi.rules.replication import HOLD, PRIMARY, SHORTEST_HOLD, check_directness, decide_promotion

WAIT = 20.0
"""Seconds for which outstanding entries and files are waited for; well within a hold."""
PATIENCE = 5.0
"""Seconds after which a primary counts as gone."""

NOTIFICATION_TIMEOUT = 10.0
"""Seconds for the answer of a former primary to the notification."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two attempts to tell it.  A former primary that comes back and knows no follower takes writes until it is told,
and they will not count: so it must not be for long.
"""

_MANY_FILES = 100
"""So many that are lacking are not waited for while a primary holds its writes."""
_BETWEEN = 0.1
"""Seconds between two looks at how many files are lacking."""
State = Literal["none", "under way", "failed"]
_log = Logger()


class TakeOver(Protocol):
    """What has the server begin an epoch as the primary, and restart."""

    def __call__(self, epoch: int, *, notify: bool) -> Awaitable[object]:
        """Begin ``epoch``; notify the former primary before the restart with ``notify``, else after it."""


@attrs.define(eq=False)
class Promotion:
    """What ``/+promote`` begins and asks for.  On a primary it only says that it is one."""

    _fencing: Fencing
    _primary: Primary | None
    """Whom this server follows; None on a primary."""
    _following: Following | None
    _take_over: TakeOver
    _former_url: Callable[[], str | None]
    """The former primary that has not been told yet."""
    _missing_files: Callable[[], int]
    """How many files are known to be lacking here."""
    _clock: IReactorTime
    _state: State = attrs.field(default="none", init=False)
    _failure: str = attrs.field(default="", init=False)
    _notes: list[str] = attrs.field(factory=list, init=False)

    def begin(self, *, force: bool) -> None:
        """Begin, unless that is under way.  Raise ``TwistpiError``.

        With ``force``, go without what the primary has and this server lacks, or take over again from a successor that is lost.
        """
        if self._fencing.facts.role == PRIMARY and self._fencing.fence is None:
            raise promotion_refused("it is a primary already")
        if self._state == "under way":
            return
        self._state, self._failure, self._notes = "under way", "", []
        if self._primary is None or self._following is None:
            work = self._overcome(force=force)
        else:
            work = self._promote(self._primary, self._following, force=force)
        working: Deferred[None] = Deferred.fromCoroutine(work)
        working.addErrback(self._failed)

    def facts(self) -> dict[str, Json]:
        """Return how far the promotion is, for ``/+promote``."""
        role = "fenced" if self._fencing.fence else self._fencing.facts.role
        return {
            "role": role,
            "epoch": self._fencing.epoch,
            "serial": self._fencing.serial,
            "state": self._state,
            "failure": self._failure,
            "told": list(self._notes),
            "former": self._former_url(),
        }

    async def _overcome(self, *, force: bool) -> None:
        """Take over again from a server that had been promoted, and is lost."""
        own = await self._fencing.peer()
        await self._take_over(decide_promotion(own, None, self._fencing.fence if force else None).epoch_start.epoch, notify=False)

    async def _promote(self, primary: Primary, following: Following, *, force: bool) -> None:
        there = await self._ask(primary)
        epoch = decide_promotion(await self._fencing.peer(), there).epoch_start.epoch
        if there is not None and not force:
            check_directness(there, primary.url)
            if self._missing_files() > _MANY_FILES:
                raise self._lacks_files()
            await self._hold_writes(primary, there, following)
        if missing := self._missing_files():
            self._note(f"Not here yet: {counted(missing, 'file')}; copy from the former primary's folder +files.")
        _log.info("This server is promoted.")
        await self._take_over(epoch, notify=there is not None)

    async def _ask(self, primary: Primary) -> Peer | None:
        """Return what the primary is; None when it is gone, or a server of another log."""
        try:
            there = await primary.peer(PATIENCE)
        except (PrimaryUnreachable, StrangePrimary) as error:
            self._note(f"The primary was not asked: {error}")
            return None
        if there.log_id != self._fencing.facts.log_id:
            self._note(f"The server at {primary.url} has another log, so it is not asked.")
            return None
        return there

    async def _hold_writes(self, primary: Primary, there: Peer, following: Following) -> None:
        """Ask the primary to hold its writes, and wait until all that it has is here."""
        own = await self._fencing.peer()
        note = FenceNote(own.node_id, own.log_id, decide_promotion(own, there).epoch_start, own.url, hold=HOLD)
        try:
            held = await primary.notify(note, PATIENCE)
        except NotFenced as refusal:
            raise promotion_refused(f"the primary does not step back: {refusal.reason}") from None
        except (PrimaryUnreachable, StrangePrimary) as error:
            self._note(f"The primary could not be told: {error}")
            return
        try:
            await self._catch_up(primary, held.serial, following)
        except TwistpiError:
            await self._release_writes(primary, note)
            raise

    async def _catch_up(self, primary: Primary, last: int, following: Following) -> None:
        """Wait until the entries up to ``last`` are here, and all files."""
        until = self._clock.seconds() + WAIT
        missing = last - self._fencing.serial
        if missing > 0:
            self._note(f"Waiting for {counted(missing, 'entry', 'entries')} of the primary, up to serial {last}.")
        following.hurry()
        try:
            await following.wait_for(last, WAIT)
        except TwistpiError:
            waited = f", after {WAIT:g} seconds"
            raise TwistpiError(
                f"Nothing was changed: the primary at {primary.url} has the entries up to {last}, this server "
                f"only up to {self._fencing.serial}{waited}. Try again when they are here, or go without "
                "them: twistpi promote --force.",
                409,
            ) from None
        while self._missing_files():
            if self._clock.seconds() > until:
                raise self._lacks_files()
            await sleep(self._clock, _BETWEEN)

    def _lacks_files(self) -> TwistpiError:
        missing = self._missing_files()
        those = counted(missing, "file is", "files are")
        return promotion_refused(f"{those} not here yet; try again when they are (twistpi status), or: twistpi promote --force")

    async def _release_writes(self, primary: Primary, note: FenceNote) -> None:
        """Let the primary write again at once, since nobody is promoted."""
        with contextlib.suppress(NotFenced, PrimaryUnreachable, StrangePrimary):
            await primary.notify(attrs.evolve(note, hold=SHORTEST_HOLD), PATIENCE)

    def _note(self, sentence: str) -> None:
        self._notes.append(sentence)
        _log.info("{sentence}", sentence=sentence)

    def _failed(self, failure: Failure) -> None:
        self._state, self._failure = "failed", failure.getErrorMessage()
        if not failure.check(TwistpiError):
            _log.failure("The promotion failed", failure=failure)


@attrs.define(eq=False)
class PromotionNotifier:
    """Tells a former primary that this server was promoted, until it knows."""

    _other: Primary
    _fencing: Fencing
    _done: Callable[[], Awaitable[object]]
    """Called when it need not be notified any more."""
    _clock: IReactorTime
    _working: Deferred[None] | None = None

    def start(self) -> None:
        """Begin to try."""
        self._working = Deferred.fromCoroutine(self._work())
        self._working.addErrback(self._ended)

    def stop(self) -> None:
        """Give up until the next start of the server."""
        if self._working is not None:
            self._working.cancel()

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("Telling the former primary at {url} failed", failure=failure, url=self._other.url)

    async def _work(self) -> None:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while not await self.attempt():
            await backoff.wait(self._clock)

    async def attempt(self) -> bool:
        """Tell it once; return whether nothing is left to tell."""
        own, url = await self._fencing.peer(), self._other.url
        note = FenceNote(own.node_id, own.log_id, own.epoch_start, own.url)
        try:
            try:
                answer = await self._other.notify(note, NOTIFICATION_TIMEOUT)
            except NotFenced as refusal:
                _log.warn("The server at {url} does not step back: {reason}.", url=url, reason=refusal.reason)
                other = await self._other.peer(NOTIFICATION_TIMEOUT)
                await self._done()
                await self._fencing.learn(other)  # it may be this server that has to
                return True
        except (PrimaryUnreachable, StrangePrimary) as error:
            _log.debug("The former primary at {url} does not know of its successor yet: {reason}", url=url, reason=str(error))
            return False
        known = "The former primary at {url} knows that this server was promoted; it has serial {serial}."
        _log.info(known, url=url, serial=answer.serial)
        await self._done()
        return True
