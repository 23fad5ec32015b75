"""The service of a follower: stays connected to its primary, whatever happens to either, and knows how far it is.

It asks for what comes after the last line that is here; what arrives is checked, appended and folded by the writer; when the
connection is over, for whatever reason, it asks again, after pauses that grow while nothing comes.  Nothing of this needs a
human, except where the two logs do not belong together: then what is here is served, the status says so, and the primary is
asked again every minute, since it may be put right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger

from twistpi.model.errors import TwistpiError, WriterStopped
from twistpi.model.following_errors import FollowingRefused, NotHereYet
from twistpi.model.monitoring import Measure
from twistpi.model.peers import Position
from twistpi.replication.feed import Heartbeat
from twistpi.replication.inflow import Inflow, Receive
from twistpi.replication.primary import Primary, PrimaryAnswer
from twistpi.replication.progress import Progress, state_after
from twistpi.replication.refusals import Refusals

HEARTBEAT: Final = 5.0
"""Seconds between two heartbeats of a primary, at most."""
_log = Logger()


@attrs.frozen
class PauseLengths:
    """How long is waited between two attempts to connect, in seconds."""

    shortest: float = 0.1
    """After something went wrong that had not for a while; twice as long each time after."""
    longest: float = 30.0
    stuck: float = 60.0
    """When a primary cannot be followed, and a human has to put something right."""


@attrs.define(eq=False)
class Following:
    """Follows one primary, from ``start`` to ``stop``."""

    primary: Primary
    log_id: str
    """Of the changelog here."""
    _last: Callable[[], Position]
    """The end of the changelog here."""
    _receive: Receive
    _epoch: Callable[[], int]
    """The epoch that the changelog here has reached."""
    _refusals: Refusals
    _clock: Any
    """An ``IReactorTime`` whose seconds are Unix time."""
    _chance: Callable[[], float]
    """A number from 0 up to 1, which keeps many replicas from asking at the same moment."""
    _compressed: bool = False
    """Whether the feed is asked for in gzip, which is worth it where the way is longer than this machine."""
    _silence: float = 3 * HEARTBEAT
    """Seconds without a byte after which the primary counts as gone."""
    _pauses: PauseLengths = PauseLengths()
    progress: Progress = attrs.field(init=False)
    complete: Deferred[None] = attrs.field(factory=Deferred, init=False)
    """Fires once everything is here that the primary had."""
    _running: Deferred[None] | None = attrs.field(default=None, init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _pause: Any = attrs.field(default=None, init=False)
    """The Deferred that ends a pause."""
    _failures: int = attrs.field(default=0, init=False)
    """Attempts since the primary was last followed."""
    _waiters: list[tuple[int, Deferred[None]]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.progress = Progress(self._clock.seconds(), self._last().serial)

    def start(self) -> None:
        """Begin to follow."""
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(lambda failure: _log.failure("Following ended", failure=failure))

    def stop(self) -> None:
        """Follow no more; what the writer was handed it still writes."""
        self._stopped = True  # what is cancelled may end with another error
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        waiters, self._waiters = self._waiters, []
        for _serial, waiter in waiters:
            waiter.errback(WriterStopped())

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        return self.progress.measures(self._clock.seconds())

    def hurry(self) -> None:
        """End a pause: something happened that makes it likely that the primary is there."""
        self._failures = 0
        if self._pause is not None and not self._pause.called:
            self._pause.callback(None)

    def hindrance(self) -> str | None:
        """Why it is not certain that the whole log is here; None when it is."""
        if self.progress.is_complete:
            return None
        return "this replica does not know at the moment whether it has the whole log of its primary"

    def changed(self, serial: int, _changes: object) -> None:
        """The entries up to ``serial`` are in the view; called in the reactor, after all who forget what they made old."""
        self.progress.applied(serial, self._clock.seconds())
        if self._waiters:
            due = [waiter for wanted, waiter in self._waiters if wanted <= serial]
            self._waiters = [(wanted, waiter) for wanted, waiter in self._waiters if wanted > serial]
            for waiter in due:
                waiter.callback(None)
        if not self.complete.called:
            self._look_whether_complete()

    def wait_for(self, serial: int, timeout: float) -> Deferred[None]:
        """Fires when readers of the view see ``serial``; ``NotHereYet`` when they do not within ``timeout`` seconds,
        ``WriterStopped`` once nobody is followed any more.
        """
        if self.progress.serial >= serial:
            return succeed(None)
        if self._stopped:
            return fail(WriterStopped())
        waiting: Deferred[None] = Deferred(lambda _: self._forget(waiting))
        self._waiters.append((serial, waiting))
        timer = self._clock.callLater(timeout, self._too_late, serial, timeout, waiting)

        def told(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            return result

        return waiting.addBoth(told)

    def _forget(self, waiting: Deferred[None]) -> None:
        self._waiters = [pair for pair in self._waiters if pair[1] is not waiting]

    def _too_late(self, serial: int, timeout: float, waiting: Deferred[None]) -> None:
        self._forget(waiting)
        waiting.errback(NotHereYet(serial, timeout, self.progress.serial))

    async def _run(self) -> None:
        while not self._stopped:
            try:
                try:
                    await self._follow_once()
                except (CancelledError, WriterStopped):
                    raise
                except Exception as error:
                    if self._stopped:
                        return
                    self._note(error)
                    await self._wait(error)
            except (CancelledError, WriterStopped):
                return

    async def _follow_once(self) -> None:
        """Follow until that ends, which it does with an exception."""
        last = self._last()
        path = f"/+changelog?after={last.serial}&chain={last.chain}&epoch={self._epoch()}"
        headers = {"Accept-Encoding": "gzip" if self._compressed else "identity"}
        answer = await self.primary.ask("GET", path, headers=headers)
        if answer.status != 200:
            raise await self._refusals.of(answer, self.log_id)
        self._check_log(answer)
        self.progress.primary_uuid = answer.header("X-Devpi-Primary-Uuid")
        inflow = Inflow(self.primary.url, self._receive, self._clock, self._silence, self._heard)
        try:
            await inflow.run(answer)
        finally:
            self.progress.disconnected(self._clock.seconds())

    def _check_log(self, answer: PrimaryAnswer) -> None:
        theirs = answer.header("X-Twistpi-Log-Id") or ""
        if theirs != self.log_id:
            answer.discard()
            raise self._refusals.other_log(theirs, self.log_id)

    def _heard(self, beat: Heartbeat) -> None:
        if not self.progress.is_connected:
            _log.info("Following {url}, which is at serial {serial}.", url=self.primary.url, serial=beat.serial)
        self._failures = 0
        self.progress.heard(beat, self._clock.seconds())
        self._look_whether_complete()

    def _look_whether_complete(self) -> None:
        if self.progress.is_complete and not self.complete.called:
            self.complete.callback(None)

    def _note(self, error: Exception) -> None:
        """Say what is wrong; the same thing again only in the status."""
        sentence = str(error)
        if not isinstance(error, TwistpiError):
            _log.failure("Following {url} failed", url=self.primary.url)
            sentence = f"{type(error).__name__}: {error}"
        elif sentence != self.progress.last_error:
            _log.warn("{reason}", reason=sentence)
        self.progress.failed(state_after(error), sentence, self._clock.seconds())

    async def _wait(self, error: Exception) -> None:
        """Pause for longer each time in a row; returns early for ``hurry``."""
        longest = min(self._pauses.longest, self._pauses.shortest * 2**self._failures)
        if isinstance(error, FollowingRefused):
            longest = self._pauses.stuck
        self._failures = min(self._failures + 1, 16)
        self._pause = Deferred()
        timer = self._clock.callLater(longest * (1 + self._chance()) / 2, self._pause.callback, None)
        try:
            await self._pause
        finally:
            if timer.active():
                timer.cancel()
