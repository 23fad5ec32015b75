"""The service of a replica that follows its primary.

It asks for the feed after the last line that is here; the writer checks, appends and folds the lines that come.  When the
connection ends, it asks again, after delays that grow while nothing comes.  Nothing of this needs a human, except where the two
logs do not belong together: then what is here is served, the status says so, and the primary is asked again every minute, since
it may be put right.

Where two logs diverged is found by halving: the primary tells the chain of any serial, and two logs whose chains are the same at
a serial are the same up to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twistpi.changelog.files import FileChangelog
from twistpi.http.backoff import Backoff
from twistpi.http.offload import Offload
from twistpi.model.errors import TwistpiError
from twistpi.model.monitoring import Measure
from twistpi.model.records import Json
from twistpi.model.server_errors import FollowingRefused, PrimaryUnreachable, StrangePrimary, UnknownSerial, WriterStopped
from twistpi.replication.feed import FeedConnection, Heartbeat, Receive
from twistpi.replication.primary import Primary, PrimaryAnswer
from twistpi.replication.progress import Progress, state_after
from twistpi.rules.replication import ForkSearch

HEARTBEAT: Final = 5.0
"""Seconds between two heartbeats of a primary, at most."""
_log = Logger()
T = TypeVar("T")


@attrs.frozen
class PauseLengths:
    """Seconds between two attempts to connect."""

    shortest: float = 0.1
    """After the first failure; each further one doubles it."""
    longest: float = 30.0
    stuck: float = 60.0
    """While the primary cannot be followed, and a human has to put something right."""


@attrs.define(eq=False)
class Following:
    """Follows one primary, from ``start`` to ``stop``."""

    primary: Primary
    log_id: str
    """Of the changelog here."""
    _changelog: FileChangelog
    _receive: Receive
    _epoch: Callable[[], int]
    """The epoch that the changelog here has reached."""
    _offload: Offload
    _clock: IReactorTime
    """Its seconds are Unix time."""
    _chance: Callable[[], float]
    """Returns a number from 0 up to 1, which keeps many replicas from asking at the same moment."""
    _compressed: bool = False
    """Whether the feed is asked for in gzip, which is worth it over a network."""
    _silence: float = 3 * HEARTBEAT
    """Seconds without a byte after which the primary counts as gone."""
    _pauses: PauseLengths = PauseLengths()
    progress: Progress = attrs.field(init=False)
    complete: Deferred[None] = attrs.field(factory=Deferred, init=False)
    """Fires once this replica has everything that its primary has."""
    _running: Deferred[None] | None = attrs.field(default=None, init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _pause: Deferred[None] | None = attrs.field(default=None, init=False)
    """Ends a pause when it is fired."""
    _backoff: Backoff = attrs.field(init=False)
    _waiters: list[tuple[int, Deferred[None]]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.progress = Progress(self._clock.seconds(), self._changelog.last.serial)
        self._backoff = Backoff(self._pauses.shortest, self._pauses.longest, self._chance)

    def start(self) -> None:
        """Begin to follow."""
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(lambda failure: _log.failure("Following ended", failure=failure))

    def stop(self) -> None:
        """Stop following.  The writer finishes what it was handed."""
        self._stopped = True  # what is cancelled may end with another error
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        waiters, self._waiters = self._waiters, []
        for _serial, waiter in waiters:
            waiter.errback(WriterStopped())

    @property
    def is_stopped(self) -> bool:
        """Whether the primary is not followed any more."""
        return self._stopped

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        return self.progress.measures(self._clock.seconds())

    def hurry(self) -> None:
        """End a pause, because the primary is likely to be there."""
        self._backoff.reset()
        if self._pause is not None and not self._pause.called:
            self._pause.callback(None)

    def hindrance(self) -> str | None:
        """Return why it is not certain that the whole log is here; None when it is."""
        if self.progress.is_complete:
            return None
        return "this replica does not know at the moment whether it has the whole log of its primary"

    def changed(self, serial: int, _changes: object) -> None:
        """Note that readers see the entries up to ``serial``; called in the reactor, after the caches were invalidated."""
        self.progress.applied(serial, self._clock.seconds())
        if self._waiters:
            due = [waiter for wanted, waiter in self._waiters if wanted <= serial]
            self._waiters = [(wanted, waiter) for wanted, waiter in self._waiters if wanted > serial]
            for waiter in due:
                waiter.callback(None)
        if not self.complete.called:
            self._note_if_complete()

    def wait_for(self, serial: int, timeout: float) -> Deferred[None]:
        """Return a Deferred that fires when readers of the view see ``serial``.

        It fails with ``TwistpiError`` after ``timeout`` seconds, and with ``WriterStopped`` once nobody is followed any more.
        """
        if self.progress.serial >= serial:
            return succeed(None)
        if self._stopped:
            return fail(WriterStopped())
        waiting: Deferred[None] = Deferred(lambda _: self._forget(waiting))
        self._waiters.append((serial, waiting))
        timer = self._clock.callLater(timeout, self._too_late, serial, timeout, waiting)

        def stop_timer(result: T) -> T:
            if timer.active():
                timer.cancel()
            return result

        waiting.addBoth(stop_timer)
        return waiting

    def _forget(self, waiting: Deferred[None]) -> None:
        self._waiters = [pair for pair in self._waiters if pair[1] is not waiting]

    def _too_late(self, serial: int, timeout: float, waiting: Deferred[None]) -> None:
        self._forget(waiting)
        waiting.errback(
            TwistpiError(
                (
                    f"Serial {serial} is not here yet: after {timeout:g} s this server was at "
                    f"{self.progress.serial}. What was changed is in force at the primary, and will be here."
                ),
                504,
            )
        )

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
        """Follow until that ends, with an exception."""
        last = self._changelog.last
        path = f"/+changelog?after={last.serial}&chain={last.chain}&epoch={self._epoch()}"
        headers = {"Accept-Encoding": "gzip" if self._compressed else "identity"}
        answer = await self.primary.ask("GET", path, headers=headers)
        if answer.status != 200:
            raise await self._refusal(answer)
        theirs = answer.header("X-Twistpi-Log-Id") or ""
        if theirs != self.log_id:
            answer.discard()
            raise self._other_log(theirs)
        self.progress.primary_uuid = answer.header("X-Devpi-Primary-Uuid")
        connection = FeedConnection(self.primary.url, self._receive, self._clock, self._silence, self._heard)
        try:
            await connection.run(answer)
        finally:
            self.progress.disconnected(self._clock.seconds())

    def _heard(self, beat: Heartbeat) -> None:
        if not self.progress.is_connected:
            _log.info("Following {url}, which is at serial {serial}.", url=self.primary.url, serial=beat.serial)
        self._backoff.reset()
        self.progress.heard(beat, self._clock.seconds())
        self._note_if_complete()

    def _note_if_complete(self) -> None:
        if self.progress.is_complete and not self.complete.called:
            self.complete.callback(None)

    def _note(self, error: Exception) -> None:
        """Log what is wrong, once, and show it in the status."""
        sentence = str(error)
        if not isinstance(error, TwistpiError):
            _log.failure("Following {url} failed", url=self.primary.url)
            sentence = f"{type(error).__name__}: {error}"
        elif sentence != self.progress.last_error:
            _log.warn("{reason}", reason=sentence)
        self.progress.failed(state_after(error), sentence, self._clock.seconds())

    async def _wait(self, error: Exception) -> None:
        """Pause, or until ``hurry``."""
        seconds = self._backoff.next()
        if isinstance(error, FollowingRefused):
            seconds = self._pauses.stuck * (1 + self._chance()) / 2
        self._pause = Deferred()
        timer = self._clock.callLater(seconds, self._pause.callback, None)
        try:
            await self._pause
        finally:
            if timer.active():
                timer.cancel()

    async def _refusal(self, answer: PrimaryAnswer) -> TwistpiError:
        """Return the error that ``answer``, which is no feed, means.

        Raise ``PrimaryUnreachable`` when the primary is gone before everything is understood.
        """
        url = self.primary.url
        if answer.status in (502, 503, 504):
            reply = " ".join((await answer.read(64 * 1024)).decode("utf-8", "replace").split())[:200]
            return PrimaryUnreachable(url, f"it answers {answer.status}{f' ({reply})' if reply else ''}")
        if answer.status not in (403, 409):
            answer.discard()
            return StrangePrimary(url, f"it answers {answer.status} where it should hand out its changelog")
        fields: Json = await answer.json()
        if not isinstance(fields, dict):
            return StrangePrimary(url, "its refusal cannot be understood")
        reason = fields.get("reason")
        if answer.status == 403:
            text = f"it does not let this server in ({reason or 'no reason given'}); do both have the same secret?"
            if reason == "wrong secret":
                text = "it has another secret; start both with the same --secretfile"
            return FollowingRefused(f"The primary at {url} refuses to be followed: {text}.")
        return await self._conflict(str(reason), str(fields.get("log_id", "")), fields)

    async def _conflict(self, reason: str, log_id: str, fields: Json) -> FollowingRefused:
        url, last = self.primary.url, self._changelog.last.serial
        if reason == "other log" or log_id != self.log_id:
            return self._other_log(log_id)
        if reason == "fenced":
            return FollowingRefused(
                f"The server at {url} is no primary any more: another server was promoted; the one there is of epoch "
                f"{fields.get('epoch')}. What is here is served; name the new primary with --primary-url.",
                "fenced",
            )
        if reason == "behind":
            return FollowingRefused(
                f"The server at {url} cannot be followed from here: it has no entry right after serial {last} any more. "
                "Follow one that has the whole log, or start anew: twistpi resync.",
                "behind",
            )
        if reason == "diverged":
            serial = fields.get("serial")
            return await self._diverged(last, serial if isinstance(serial, int) else last)
        return FollowingRefused(f"The primary at {url} refuses to be followed: {fields.get('message', reason)}.")

    def _other_log(self, theirs: str) -> FollowingRefused:
        return FollowingRefused(
            f"The primary at {self.primary.url} has another log than this replica: that is {theirs or 'unknown'}, and this one "
            f"is {self.log_id}. What is here is served and stays as it is. Name the right primary with --primary-url; or, to "
            "have the other log from now on: twistpi resync.",
            "other log",
        )

    async def _diverged(self, ours: int, theirs: int) -> FollowingRefused:
        """Return the error with the serial at which the logs, which end at ``ours`` and ``theirs``, diverge."""
        search = ForkSearch.between(self._changelog.begins_after.serial, ours, theirs)
        while (wanted := search.wanted) is not None:
            search.learn(wanted, same=await self._is_same(wanted))
        serial = search.differ
        if serial > theirs:
            text = f"the primary ends before it, at {theirs}, and this replica goes on up to {ours}"
        elif serial > ours:
            text = f"this replica ends before it, at {ours}, and the primary goes on up to {theirs}"
        else:
            text = f"from there on, the primary (up to {theirs}) and this replica (up to {ours}) have different entries"
        return FollowingRefused(
            f"The primary at {self.primary.url} and this replica diverged at serial {serial}: {text}. What is here is served and "
            "stays as it is. Where the primary is right: twistpi resync, which saves what only this server has. Where it was "
            "restored from an old backup, and this replica is right: twistpi promote.",
            "diverged",
        )

    async def _is_same(self, serial: int) -> bool:
        try:
            ours = await self._offload(self._changelog.position, serial)
        except UnknownSerial:
            return False
        answer = await self.primary.ask("GET", f"/+changelog/position?serial={serial}")
        if answer.status == 404:
            answer.discard()
            return False
        fields = await answer.json()
        return answer.status == 200 and isinstance(fields, dict) and fields.get("chain") == ours.chain
