"""Epochs: a server begins one when it is promoted, answers for its own, and heeds those of others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twistpi.changelog.batch import Batches, Commit
from twistpi.changelog.writer import Writer
from twistpi.model.changes import EpochBegan
from twistpi.replication.fencing import Fencing, KnownFollowers
from twistpi.replication.following import Following
from twistpi.replication.primary import Primary
from twistpi.replication.promotion import PromotionNotifier
from twistpi.server.node import PRIMARY
from twistpi.server.process import Process
from twistpi.server.storage import Storage

BY: Final = "+promote"
"""The author of the entry with which an epoch begins."""

_log = Logger()


def begin_epoch(storage: Storage, epoch: int, former_url: str | None, now: Callable[[], datetime]) -> int:
    """Append the entry with which this server's ``epoch`` begins, then note that it is a primary; return the entry's serial.

    For the one process that has the server directory, while no writer is at work.  What it is about to do is noted before: what
    a crash interrupts, ``finish_promotion`` ends.
    """
    node = storage.serverdir.node
    storage.serverdir.note(promoting=epoch, former_url=former_url)

    began = [EpochBegan(epoch, node.node_id)]
    outcome = Batches(storage.changelog, storage.view, now).process([Commit(lambda _reader: began, BY)])
    answer = outcome.answers[0]
    if isinstance(answer, Exception):
        raise answer
    _become_primary(storage)
    return storage.changelog.last.serial


def finish_promotion(storage: Storage) -> None:
    """At a start, complete a promotion that was interrupted if its entry is in the log, and undo it otherwise.

    With the entry, this server would tell whom it follows of an epoch without a primary, and that one would write no more.
    """
    node, epochs = storage.serverdir.node, storage.view.reader.epochs()
    if node.promoting is None:
        return
    if epochs and epochs[-1][:2] == (node.promoting, node.node_id):
        _become_primary(storage)
        _log.warn("This server was being promoted when it ended; it is the primary now, of epoch {epoch}.", epoch=node.promoting)
    else:
        storage.serverdir.note(promoting=None, former_url=None)
        _log.warn("This server was about to be promoted when it ended; it is not: twistpi promote")


def begin_after_restore(storage: Storage, now: Callable[[], datetime]) -> None:
    """Begin an epoch if the directory comes from a backup and was not served since; at a start.

    The former server may have gone on with the same log.  Where both are known, the later epoch tells which of them counts.
    """
    serial = storage.serverdir.node.restored_from
    if serial is None:
        return
    epoch = storage.view.reader.epoch() + 1
    begin_epoch(storage, epoch, None, now)
    _log.warn("This server was restored to serial {serial}; epoch {epoch} begins with it.", serial=serial, epoch=epoch)


def _become_primary(storage: Storage) -> None:
    storage.serverdir.note(role=PRIMARY, primary_url=None, fence=None, promoting=None, restored_from=None)


@attrs.define(eq=False)
class Epochs:
    """Heeds the epochs of others, and begins one of this server's own."""

    fencing: Fencing
    followers: KnownFollowers
    """Who is asked at the next start."""
    _storage: Storage
    _writer: Writer
    _following: Following | None
    """None on a primary."""
    _reach: Callable[[str], Primary]
    """Makes a client of the server at a URL."""
    _process: Process
    _notifier: PromotionNotifier | None = attrs.field(default=None, init=False)
    _asking: Deferred[None] | None = attrs.field(default=None, init=False)

    def start(self) -> None:
        """Ask who follows before any write is taken, and tell a former primary that does not know yet."""
        others = [self._reach(url) for url in self.followers.urls.values()]
        self._asking = Deferred.fromCoroutine(self.fencing.start(others))
        self._asking.addErrback(lambda failure: _log.failure("The followers could not be asked", failure=failure))
        former = self._storage.serverdir.node.former_url
        if former is not None and self.fencing.facts.role == PRIMARY:
            self._notifier = self._notifier_of(former)
            self._notifier.start()

    def stop(self) -> None:
        """Stop asking and telling."""
        self.fencing.stop()
        if self._notifier is not None:
            self._notifier.stop()

    async def take_over(self, epoch: int, *, notify: bool) -> None:
        """Begin ``epoch`` as the primary of the log: write its entry, and restart.

        With ``notify``, the former primary is told before the restart.  It holds its writes, and refuses them from then on.
        """
        fence = self.fencing.fence
        former = self._storage.serverdir.node.primary_url if fence is None else fence.url
        if self._following is not None:
            self._following.stop()
        try:
            await self._writer.stop()
            begin_epoch(self._storage, epoch, former, self._process.now)
        except Exception as error:  # the next start finds out how far it came
            self._process.fail(error)
            raise
        if notify and former is not None:
            await self._notifier_of(former).attempt()
        self._process.restart()

    def _notifier_of(self, former: str) -> PromotionNotifier:
        return PromotionNotifier(self._reach(former), self.fencing, self._former_knows, self._process.reactor)

    async def _former_knows(self) -> None:
        try:
            await self._process.offload(lambda: self._storage.serverdir.note(former_url=None))
        except Exception:
            _log.failure("It could not be written down that the former primary knows")
