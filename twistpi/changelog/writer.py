"""The one thread of this process that appends, and the Deferred-based interface to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from twistpi.changelog.batch import Answer, Batches, Commit, Committed, Decide, Keep, Outcome, Receive, Refresh, Request, Work
from twistpi.changelog.interfaces import IChangelog, View
from twistpi.model.changes import Change
from twistpi.model.errors import TwistpiError
from twistpi.model.monitoring import Measure
from twistpi.model.peers import Position
from twistpi.model.server_errors import LogUnreachable, StorageFull, WriterStopped

__all__ = ["Committed", "Writer"]

_TURN_SECONDS = 0.001
"""Of one turn of the reactor, for answering waiters: each may go on to render a page."""
_log = Logger()

_Pending = tuple[Request, Deferred[Any]]
"""A request and the Deferred to fire with its answer."""


@attrs.define(eq=False)
class Writer:
    """Commits of any number of callers, in one thread, with one sync for all that wait at the same time.

    While the thread works on a batch, the next one gathers.  Every method is called in the reactor's thread and every Deferred
    fires there.  Cancelling a Deferred does not take back the request.
    """

    _changelog: IChangelog
    _view: View
    _now: Callable[[], datetime] = attrs.field(kw_only=True)
    """The present time, with its time zone."""
    _call_in_reactor: Callable[..., object] = attrs.field(kw_only=True)
    """``reactor.callFromThread``."""
    _announce: Callable[[int, tuple[Change, ...]], object] = attrs.field(kw_only=True)
    """Called in the reactor, before any Deferred fires, with the serial that readers of the view see now and all changes that
    are new to them: one call for a batch, which may be thousands of entries on a follower."""
    _stop: Callable[[Exception], object] = attrs.field(kw_only=True)
    """Called in the reactor with the reason why nothing can be written any more: the server has to end."""
    _follows: bool = attrs.field(default=False, kw_only=True)
    """Whether only entries of another server are written, so that commits are refused."""

    seen: Position = attrs.field(init=False)
    """The end of the last entry that readers of the view see; set right before it is announced."""
    _waiting: SimpleQueue[list[_Pending] | None] = attrs.field(factory=SimpleQueue, init=False)
    """Batches for the thread; None is the last element."""
    _gathered: list[_Pending] | None = attrs.field(default=None, init=False)
    """Requests of this turn of the reactor.  The first would otherwise have the thread, and a sync, to itself."""
    _held: list[_Pending] | None = attrs.field(default=None, init=False)
    """The commits that wait for ``release``, while commits are held."""
    _denial: Exception | None = attrs.field(default=None, init=False)
    """Why commits are refused, though local facts are kept."""
    _refusal: Exception | None = attrs.field(default=None, init=False)
    """Why everything is refused."""
    _running: bool = attrs.field(default=False, init=False)
    _stoppers: list[Deferred[None]] = attrs.field(factory=list, init=False)
    _unanswered: deque[tuple[Deferred[Any], Answer]] = attrs.field(factory=deque, init=False)
    """The Deferreds of requests that are done, which have not fired yet."""
    _waiters: int = attrs.field(default=0, init=False)
    """Requests whose Deferred has not fired yet."""
    _batches: int = attrs.field(default=0, init=False)
    _entries: int = attrs.field(default=0, init=False)
    _shortage: StorageFull | LogUnreachable | None = attrs.field(default=None, init=False)
    """Why the last batch could not be written; None when it could."""
    _seconds: Callable[[], float] = attrs.field(default=monotonic, kw_only=True)
    """A monotonic clock."""

    @seen.default
    def _seen(self) -> Position:
        return self._view.position

    def start(self) -> None:
        """Start the thread.  It is a daemon: a process that ends without ``stop`` leaves the log as a crash would."""
        self._running = True
        Thread(target=self._run, name="twistpi writer", daemon=True).start()

    def stop(self) -> Deferred[None]:
        """Refuse further requests and held commits, finish the others and end the thread; fires when all that is done."""
        self._refuse(WriterStopped())
        if not self._running:
            return succeed(None)
        stopper: Deferred[None] = Deferred()
        self._stoppers.append(stopper)
        self._hand_over()
        self._waiting.put(None)
        return stopper

    def hold(self) -> Deferred[None]:
        """Let commits wait, undecided, until ``release`` or ``deny``; fires once all earlier requests are done.

        From then on this writer appends nothing.
        """
        if self._held is None:
            self._held = []
        return self.keep(lambda _view: None)

    def release(self) -> None:
        """End a hold: the commits that waited are decided now."""
        held, self._held = self._held, None
        for pending in held or ():
            self._enqueue(pending)

    def deny(self, reason: Exception) -> Deferred[None]:
        """Refuse commits, held ones too, with ``reason`` from now on; fires once all earlier requests are done."""
        self._denial = reason
        self._refuse_held(reason)
        return self.keep(lambda _view: None)

    @property
    def failure(self) -> Exception | None:
        """Why nothing can be written now; None as far as is known."""
        return self._refusal or self._shortage

    def retry(self) -> None:
        """Believe that there is room again, until a batch tells otherwise."""
        self._shortage = None

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        yield Measure("twistpi_writer_waiting", "gauge", "Commits that are not answered yet", self._waiters)
        yield Measure("twistpi_writer_batches", "counter", "Batches that were written, with one sync each", self._batches)
        yield Measure("twistpi_writer_entries", "counter", "Entries that were written", self._entries)

    def commit(self, decide: Decide, by: str, local: Work | None = None) -> Deferred[Committed]:
        """Append what ``decide`` returns, as one entry of the author ``by``; fires once it is synced and in the view.

        ``decide`` is called in the writer's thread with the view's reader, which shows everything committed so far.  It only
        reads, may be called again, and returns the changes (none when nothing has to change), or raises, which is the answer.
        ``local(view)`` writes local facts in the same transaction, as ``keep`` does, unless ``decide`` raises.
        Further errors: ``StorageFull``, ``SyncFailed``, ``WriterStopped``, what ``deny`` gave; ``TwistpiError`` on a follower.
        """
        if self._follows:
            return fail(TwistpiError("Nothing is written by this server, because it follows another one; ask the primary.", 503))
        waiter: Deferred[Committed] = Deferred()
        pending = (Commit(decide, by, local), waiter)
        reason = self._refusal or self._denial
        if reason:
            waiter.errback(reason)
        elif self._held is not None:
            self._held.append(pending)
        else:
            self._enqueue(pending)
        return waiter

    def keep(self, work: Work) -> Deferred[None]:
        """Write local facts, which are no entry, by ``work(view)`` with the next batch; fires once the view has them.

        They are lost with the view, and perhaps by a power loss.  ``work`` is called again after a rollback.
        """
        waiter: Deferred[None] = Deferred()
        self._enqueue((Keep(work), waiter))
        return waiter

    def receive(self, lines: Sequence[bytes]) -> Deferred[Position]:
        """Append the primary's next ``lines``, without line feeds, all or none; fires with the new end once that is announced.

        Errors: ``FeedDamaged`` for a line that does not follow the one before; ``MalformedChange`` for one
        that this version cannot fold; ``StorageFull``, ``SyncFailed``, ``WriterStopped``.  Only the last two are final.
        """
        waiter: Deferred[Position] = Deferred()
        self._enqueue((Receive(lines), waiter))
        return waiter

    def refresh(self) -> Deferred[Position]:
        """Show what others appended to the log; fires with the end of that once it is announced.

        Errors: ``LogUnreachable``, ``StorageFull``, ``WriterStopped``.
        """
        waiter: Deferred[Position] = Deferred()
        self._enqueue((Refresh(), waiter))
        return waiter

    def _enqueue(self, pending: _Pending) -> None:
        if self._refusal:
            pending[1].errback(self._refusal)
            return
        self._waiters += 1
        if self._gathered is None:
            self._gathered = [pending]
            self._call_in_reactor(self._hand_over)
        else:
            self._gathered.append(pending)

    def _hand_over(self) -> None:
        if self._gathered:
            self._waiting.put(self._gathered)
        self._gathered = None

    def _run(self) -> None:
        """The thread's loop: process all waiting requests as one batch, until None is taken or an error is fatal."""
        batches = Batches(self._changelog, self._view, self._now)
        last = False
        while not last:
            taken = [self._waiting.get()]
            taken += [self._waiting.get() for _ in range(self._waiting.qsize())]
            pending = [one for bunch in taken if bunch is not None for one in bunch]
            requests = [request for request, _ in pending]
            try:
                outcome = batches.process(requests)
            except BaseException as error:
                unforeseen = error if isinstance(error, Exception) else RuntimeError(f"the writer was ended by {error!r}")
                outcome = Outcome([unforeseen] * len(requests), fatal=unforeseen)
            last = None in taken or outcome.fatal is not None
            self._call_in_reactor(self._deliver, [waiter for _, waiter in pending], outcome)
        self._call_in_reactor(self._ended)

    def _deliver(self, waiters: Sequence[Deferred[Any]], outcome: Outcome) -> None:
        if outcome.fatal:
            self._refuse(outcome.fatal)
            self._stop(outcome.fatal)
        self._batches += 1
        self._entries += len(outcome.applied)
        shortages = [answer for answer in outcome.answers if isinstance(answer, StorageFull | LogUnreachable)]
        if shortages or outcome.applied or any(isinstance(answer, Position) for answer in outcome.answers):
            self._shortage = shortages[-1] if shortages else None
        self.seen = outcome.end or self.seen
        if outcome.applied:
            serial = outcome.applied[-1][0]
            try:
                self._announce(serial, tuple(chain.from_iterable(changes for _, changes in outcome.applied)))
            except Exception:
                _log.failure("What is written up to entry {serial} could not be announced", serial=serial)
        is_answering = bool(self._unanswered)
        self._unanswered.extend(zip(waiters, outcome.answers, strict=True))
        if not is_answering:
            self._answer_some()

    def _answer_some(self) -> None:
        """Answer requests for ``_TURN_SECONDS``; the rest in a later turn of the reactor."""
        until = self._seconds() + _TURN_SECONDS
        if self._gathered is None:
            self._gathered = []
        try:
            while self._unanswered:
                self._answer_one()
                if self._seconds() > until:
                    break
        finally:
            self._hand_over()
        if self._unanswered:
            self._call_in_reactor(self._answer_some)

    def _answer_one(self) -> None:
        waiter, answer = self._unanswered.popleft()
        self._waiters -= 1
        if isinstance(answer, Exception):
            waiter.errback(answer)
        else:
            waiter.callback(answer)

    def _refuse_held(self, reason: Exception) -> None:
        held, self._held = self._held, None
        for _, waiter in held or ():
            waiter.errback(reason)

    def _refuse(self, reason: Exception) -> None:
        """Refuse everything from now on, held commits too; the first reason stays."""
        self._refusal = self._refusal or reason
        self._refuse_held(self._refusal)

    def _ended(self) -> None:
        self._running = False
        while self._unanswered:
            self._answer_one()
        self._hand_over()
        while not self._waiting.empty():  # only after a fatal error: requests that arrived meanwhile
            for _, waiter in self._waiting.get() or ():
                waiter.errback(self._refusal)
        stoppers, self._stoppers = self._stoppers, []
        for stopper in stoppers:
            stopper.callback(None)
