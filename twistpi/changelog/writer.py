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

from twistpi.changelog.batch import Answer, Batches, Commit, Committed, Keep, Outcome, Receive, Request
from twistpi.changelog.interfaces import IChangelog, IView
from twistpi.model.changes import Change
from twistpi.model.errors import StorageFull, WriterStopped
from twistpi.model.monitoring import Measure
from twistpi.model.peers import Position
from twistpi.model.replication_errors import NotPrimary

__all__ = ["Committed", "Writer"]

_TURN_SECONDS = 0.001
"""For how long waiters are told at a extent: each may go on to render a page, and others wait for the reactor, too."""
_log = Logger()


@attrs.define(eq=False)
class Writer:
    """Commits of any number of waiters, in one thread, with one sync for all that wait at the same time.

    While the thread works on a batch, the next one gathers.  Every method is called in the reactor's thread and every Deferred
    fires there.  A waiter may cancel its Deferred; what it asked for happens nevertheless.
    """

    _changelog: IChangelog
    _view: IView
    _now: Callable[[], datetime] = attrs.field(kw_only=True)
    """The present time, with its time zone."""
    _call_in_reactor: Callable[..., object] = attrs.field(kw_only=True)
    """``reactor.callFromThread``."""
    _announce: Callable[[int, tuple[Change, ...]], object] = attrs.field(kw_only=True)
    """Told, in the reactor and before any waiter is, that readers of the view see the entries up to a serial from now on, and
    what these changed: all entries of a batch at once, in order, since a follower may get thousands with one."""
    _stop: Callable[[Exception], object] = attrs.field(kw_only=True)
    """Told, in the reactor, why nothing can be written any more: the server has to end."""
    _follows: bool = attrs.field(default=False, kw_only=True)
    """Whether only what another server wrote is written, so that commits are refused."""

    seen: Position = attrs.field(init=False)
    """The end of the last entry that readers of the view see; moves right before the entries up to there are announced."""
    _waiting: SimpleQueue[list[Request] | None] = attrs.field(factory=SimpleQueue, init=False)
    """None says that nothing more will come."""
    _gathered: list[Request] | None = attrs.field(default=None, init=False)
    """While waiters are told: what they ask for next.  The first would otherwise have the thread, and a sync, to itself."""
    _held: list[Commit] | None = attrs.field(default=None, init=False)
    """While commits are held: those that wait."""
    _denial: Exception | None = attrs.field(default=None, init=False)
    """Why commits are refused, though local facts are kept."""
    _refusal: Exception | None = attrs.field(default=None, init=False)
    """Why everything is refused, once it is."""
    _running: bool = attrs.field(default=False, init=False)
    _stoppers: list[Deferred[None]] = attrs.field(factory=list, init=False)
    _untold: deque[tuple[Request, Answer]] = attrs.field(factory=deque, init=False)
    _waiters: int = attrs.field(default=0, init=False)
    """Requests that are not answered yet."""
    _batches: int = attrs.field(default=0, init=False)
    _entries: int = attrs.field(default=0, init=False)
    _shortage: StorageFull | None = attrs.field(default=None, init=False)
    """Why the last batch could not be written; None when it could."""
    _seconds: Callable[[], float] = attrs.field(default=monotonic, kw_only=True)
    """Any clock that does not jump."""

    @seen.default
    def _seen(self) -> Position:
        return self._view.position

    def start(self) -> None:
        """Start the thread.  It is a daemon: a process that ends without ``stop`` leaves the log as a crash would."""
        self._running = True
        Thread(target=self._run, name="twistpi writer", daemon=True).start()

    def stop(self) -> Deferred[None]:
        """Refuse further commits and those that are held, finish those that wait, end the thread; fires when all that is done."""
        self._refuse(WriterStopped())
        if not self._running:
            return succeed(None)
        stopper: Deferred[None] = Deferred()
        self._stoppers.append(stopper)
        self._hand_over()
        self._waiting.put(None)
        return stopper

    def hold(self) -> Deferred[None]:
        """Let commits wait, undecided, until ``release`` or ``deny``; fires once all that came before is done.

        From then on the log grows no more by this writer.
        """
        if self._held is None:
            self._held = []
        return self.keep(lambda _view: None)

    def release(self) -> None:
        """End a hold: what waited is decided now."""
        held, self._held = self._held, None
        for request in held or ():
            self._enqueue(request)

    def deny(self, reason: Exception) -> Deferred[None]:
        """Refuse commits with ``reason`` from now on, those that are held included; fires once all that came before is done."""
        self._denial = reason
        self._answer_held(reason)
        return self.keep(lambda _view: None)

    @property
    def failure(self) -> Exception | None:
        """Why nothing can be written now; None as far as is known."""
        return self._refusal or self._shortage

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        yield Measure("twistpi_writer_waiting", "gauge", "Commits that are not answered yet", self._waiters)
        yield Measure("twistpi_writer_batches", "counter", "Batches that were written, with one sync each", self._batches)
        yield Measure("twistpi_writer_entries", "counter", "Entries that were written", self._entries)

    def commit(
        self, decide: Callable[[Any], Sequence[Change]], by: str, local: Callable[[Any], object] | None = None
    ) -> Deferred[Committed]:
        """Append what ``decide`` returns, as one entry of the author ``by``; fires once it is synced and in the view.

        ``local(view)`` writes local facts in the same transaction, as ``keep`` does, also when nothing has to change.  That
        spares a second turn of the thread.  It is not called when ``decide`` raises.

        ``decide`` is called in the writer's thread with the view's reader, which shows everything committed so far.  It only
        reads, may be called again, and returns the changes, or none when nothing has to change, or raises, which is the answer.
        Further errors: ``StorageFull``, ``SyncFailed``, ``WriterStopped``, and what ``deny`` was given; ``NotPrimary`` from a
        writer that follows.
        """
        if self._follows:
            return fail(NotPrimary())
        waiter: Deferred[Committed] = Deferred()
        request = Commit(decide, by, waiter, local)
        reason = self._refusal or self._denial
        if reason:
            waiter.errback(reason)
        elif self._held is not None:
            self._held.append(request)
        else:
            self._enqueue(request)
        return waiter

    def keep(self, work: Callable[[Any], object]) -> Deferred[None]:
        """Have ``work(view)`` write local facts, which are no entry, with the next batch; fires once the view has them.

        They are as durable as the view: gone with it, perhaps gone after a power loss.  ``work`` may be called again after what
        it did was rolled back.
        """
        waiter: Deferred[None] = Deferred()
        self._enqueue(Keep(work, waiter))
        return waiter

    def receive(self, lines: Sequence[bytes]) -> Deferred[Position]:
        """Take over ``lines``, without line feeds, which the primary has after the last one that is here; fires with the new end
        once they are checked, synced and in the view, and announced.

        All of them or none.  Errors: ``FeedDamaged`` for a line that does not follow the one before; ``UnknownChange`` and
        ``MalformedChange`` for one that this version cannot fold, which therefore does not get into the log; ``StorageFull``,
        ``SyncFailed``, ``WriterStopped``.  After all but the last two, this writer goes on.
        """
        waiter: Deferred[Position] = Deferred()
        self._enqueue(Receive(lines, waiter))
        return waiter

    def _enqueue(self, request: Request) -> None:
        """Let the thread have ``request`` soon, unless everything is refused."""
        if self._refusal:
            request.waiter.errback(self._refusal)
            return
        self._waiters += 1
        if self._gathered is None:
            self._waiting.put([request])
        else:
            self._gathered.append(request)

    def _hand_over(self) -> None:
        """Let the thread have what was gathered."""
        if self._gathered:
            self._waiting.put(self._gathered)
        self._gathered = None

    def _run(self) -> None:
        """The thread: takes all that waits, as long as something may come."""
        batches = Batches(self._changelog, self._view, self._now)
        last = False
        while not last:
            taken = [self._waiting.get()]
            taken += [self._waiting.get() for _ in range(self._waiting.qsize())]
            requests = [request for bunch in taken if bunch is not None for request in bunch]
            try:
                outcome = batches.process(requests)
            except BaseException as error:
                unforeseen = error if isinstance(error, Exception) else RuntimeError(f"the writer was ended by {error!r}")
                outcome = Outcome([unforeseen] * len(requests), fatal=unforeseen)
            last = None in taken or outcome.fatal is not None
            self._call_in_reactor(self._deliver, requests, outcome)
        self._call_in_reactor(self._ended)

    def _deliver(self, requests: Sequence[Request], outcome: Outcome) -> None:
        if outcome.fatal:
            self._refuse(outcome.fatal)
            self._stop(outcome.fatal)
        self._note(outcome)
        self.seen = outcome.end or self.seen
        if outcome.applied:
            self._announce_all(outcome.applied)
        told_already = bool(self._untold)
        self._untold.extend(zip(requests, outcome.answers, strict=True))
        if not told_already:
            self._tell()

    def _announce_all(self, applied: Sequence[tuple[int, tuple[Change, ...]]]) -> None:
        serial = applied[-1][0]
        try:
            self._announce(serial, tuple(chain.from_iterable(changes for _, changes in applied)))
        except Exception:
            _log.failure("What is written up to entry {serial} could not be announced", serial=serial)

    def _note(self, outcome: Outcome) -> None:
        """Count, and remember whether there is room on the disk."""
        self._batches += 1
        self._entries += len(outcome.applied)
        shortages = [answer for answer in outcome.answers if isinstance(answer, StorageFull)]
        if shortages or outcome.applied:
            self._shortage = shortages[-1] if shortages else None

    def _tell(self) -> None:
        """Tell the waiters; after a while leave the reactor a turn and go on then."""
        until = self._seconds() + _TURN_SECONDS
        self._gathered = []
        try:
            while self._untold:
                self._tell_one()
                if self._seconds() > until:
                    break
        finally:
            self._hand_over()
        if self._untold:
            self._call_in_reactor(self._tell)

    def _tell_one(self) -> None:
        request, answer = self._untold.popleft()
        self._waiters -= 1
        if isinstance(answer, Exception):
            request.waiter.errback(answer)
        else:
            request.waiter.callback(answer)

    def _answer_held(self, reason: Exception) -> None:
        held, self._held = self._held, None
        for request in held or ():
            request.waiter.errback(reason)

    def _refuse(self, reason: Exception) -> None:
        """Refuse everything from now on, and what is held; the first reason stays."""
        self._refusal = self._refusal or reason
        self._answer_held(self._refusal)

    def _ended(self) -> None:
        self._running = False
        while self._untold:
            self._tell_one()
        while not self._waiting.empty():  # only after a fatal error: requests that arrived meanwhile
            for request in self._waiting.get() or ():
                request.waiter.errback(self._refusal)
        stoppers, self._stoppers = self._stoppers, []
        for stopper in stoppers:
            stopper.callback(None)
