"""Writes downloads from memory to the disk every half minute, and when the server stops; has a replica's sent to its primary."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from datetime import date, datetime
from typing import Final, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi.http.offload import Offload
from twistpi.model.changes import Change, IndexDeleted
from twistpi.model.errors import TwistpiError
from twistpi.model.monitoring import Measure
from twistpi.statistics.database import StatisticsFile
from twistpi.statistics.download_tables import (
    Batch,
    acknowledge,
    add_rows,
    forget_indexes,
    forget_unsent,
    next_batch,
    receive,
    sum_old,
)
from twistpi.statistics.tally import Row, Tally

INTERVAL: Final = 30.0
"""Seconds between two times that something is written: what a killed process loses."""
_SENDING: Final = 60.0
"""Seconds between two batches for the primary."""
_log = Logger()


class Delivery(Protocol):
    """Sends batches to the primary."""

    async def send(self, batch: Batch) -> None:
        """Return when the primary has counted ``batch``; raise ``TwistpiError`` when that is not certain."""


@attrs.define(eq=False)
class Recorder:
    """Writes what ``tally`` has."""

    _file: StatisticsFile
    tally: Tally
    _clock: IReactorTime
    _offload: Offload
    _now: Callable[[], datetime]
    """The time in UTC."""
    _days: int
    """Days that are kept one by one."""
    _delivery: Delivery | None = None
    """None on a primary."""
    received: Callable[[Sequence[Row]], object] = attrs.field(default=lambda rows: None, init=False)
    """Called with the rows that another server counted, once they are stored here."""
    written: int = attrs.field(default=0, init=False)
    """Downloads that were written since the start."""
    _turn: DeferredLock = attrs.field(factory=DeferredLock, init=False)
    """Held while something is written, so that ``stop`` returns after the last time."""
    _summed_at: date | None = attrs.field(default=None, init=False)
    _flushing: LoopingCall = attrs.field(init=False)
    _sending: LoopingCall = attrs.field(init=False)
    _sends: Deferred[None] | None = attrs.field(default=None, init=False)
    _deleted: set[str] = attrs.field(factory=set, init=False)
    """Indexes whose downloads are to be forgotten."""
    _failing: set[str] = attrs.field(factory=set, init=False)
    """What was logged already, until it succeeds again."""

    def __attrs_post_init__(self) -> None:
        self.tally.full = lambda: self._clock.callLater(0, self._flush_soon)
        self._flushing = LoopingCall(lambda: Deferred.fromCoroutine(self.flush()))
        self._sending = LoopingCall(self._begin_to_send)
        self._flushing.clock = self._sending.clock = self._clock

    def start(self) -> None:
        """Begin to write and to send."""
        self._flushing.start(INTERVAL)
        if self._delivery is not None:
            self._sending.start(_SENDING)

    async def stop(self) -> None:
        """Write what is left."""
        for repeated in (self._flushing, self._sending):
            if repeated.running:
                repeated.stop()
        if self._sends is not None:
            self._sends.cancel()
        await self.flush()

    def changed(self, _serial: int, changes: Sequence[Change]) -> None:
        """Forget the downloads of indexes that an entry deleted: another one of that name is another owner's, perhaps."""
        deleted = {change.index for change in changes if isinstance(change, IndexDeleted)}
        if deleted:
            self._deleted |= deleted
            self.tally.add([row for row in self.tally.take() if row[0] not in deleted])
            self._flush_soon()

    async def flush(self) -> None:
        """Write what was counted; what cannot be written is kept for the next time."""
        await self._turn.acquire()
        try:
            await self._flush()
        finally:
            self._turn.release()

    async def _flush(self) -> None:
        rows, today = self.tally.take(), self._now().date()
        deleted, self._deleted = self._deleted, set()
        if not rows and not deleted and self._summed_at == today:
            return
        try:
            await self._offload(self._file.write, lambda connection: self._write(connection, rows, deleted, today))
        except (sqlite3.Error, OSError) as error:
            self.tally.add(rows)
            self._deleted |= deleted
            self._complain("written", f"Downloads cannot be written to {self._file.path}: {error}")
            return
        self._failing.discard("written")
        self.written += sum(int(row[-1]) for row in rows)
        self._summed_at = today

    async def receive(self, sender: str, batch: Batch, rows: list[tuple[str, Row]]) -> None:
        """Count the ``rows`` of a follower's batch, each with its day, once; raise ``sqlite3.Error`` and ``OSError``."""
        today = self._now().date().isoformat()
        days: dict[str, list[Row]] = {}
        for day, row in rows:
            days.setdefault(min(day, today), []).append(row)
        now, is_sent = self._clock.seconds(), self._delivery is not None
        name = f"{sender}/{batch.ledger}"
        await self._offload(
            self._file.write,
            lambda connection: receive(connection, name, batch.sequence, days.items(), now, is_sent=is_sent),
        )
        self.received([row for _day, row in rows])

    def measures(self) -> list[Measure]:
        """See ``Measured``."""
        missed = "Downloads that were not counted, because the disk did not take them"
        return [
            Measure("twistpi_downloads", "counter", "Downloads of files, written every half minute", self.written),
            Measure("twistpi_downloads_missed", "counter", missed, self.tally.missed),
        ]

    def _write(self, connection: sqlite3.Connection, rows: list[Row], deleted: Collection[str], today: date) -> None:
        forget_indexes(connection, deleted)
        add_rows(connection, today.isoformat(), rows, is_sent=self._delivery is not None)
        if self._summed_at != today:
            sum_old(connection, today, self._days)
            if self._delivery is None:
                forget_unsent(connection)

    def _flush_soon(self) -> None:
        if self._flushing.running:
            self._flushing.reset()
            Deferred.fromCoroutine(self.flush())

    def _begin_to_send(self) -> Deferred[None]:
        self._sends = Deferred.fromCoroutine(self._send())
        return self._sends.addErrback(self._not_sent)

    def _not_sent(self, failure: Failure) -> None:
        """Let a failure not end the rounds."""
        if not failure.check(CancelledError):
            _log.failure("Downloads could not be sent to the primary", failure=failure)

    async def _send(self) -> None:
        """Send all that is written, batch after batch, until the primary does not take one."""
        assert self._delivery is not None
        try:
            while (batch := await self._offload(self._file.write, next_batch)) is not None:
                await self._delivery.send(batch)
                sequence = batch.sequence
                await self._offload(self._file.write, lambda connection, sequence=sequence: acknowledge(connection, sequence))
        except (TwistpiError, sqlite3.Error, OSError) as error:
            self._complain("sent", f"Downloads are not sent to the primary, and kept for later: {error}")
        else:
            self._failing.discard("sent")

    def _complain(self, what: str, sentence: str) -> None:
        """Log ``sentence`` once, until ``what`` succeeds again."""
        if what not in self._failing:
            _log.warn("{sentence}", sentence=sentence)
            self._failing.add(what)
