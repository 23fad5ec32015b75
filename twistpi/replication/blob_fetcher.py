"""Fetches the files of a replica from its primary before anybody asks for them, while the log goes on.

A blob is found missing when an entry that names it is announced, or in a walk through the view: after a start, and whenever more
was announced than could be remembered.  Uploaded files come before those of mirrors, because nobody else has them.  Small blobs
are fetched many per request (``blob_batch.py``), large ones by themselves, as for a client, so that both share one fetch.

Nothing here stops the log.  A blob that comes otherwise than it should is not kept.  It is shown in the status and tried again
after growing delays; one that nothing names any more by then is forgotten.  While the primary is gone, everything waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.backoff import Backoff, Pause
from twistpi.http.offload import Offload
from twistpi.model.changes import Change
from twistpi.model.errors import FileNotHereYet, TwistpiError
from twistpi.model.monitoring import Measure
from twistpi.model.records import Json
from twistpi.model.server_errors import PrimaryUnreachable, StorageFull, SyncFailed
from twistpi.replication.blob_batch import Batch
from twistpi.replication.missing_blobs import BlobSearch, FailedBlobs, Key, MissingBlob, Naming, PendingBlobs, index_of
from twistpi.replication.primary import Primary
from twistpi.rules.replication import BlobPolicy
from twistpi.view.read import KeptBlob
from twistpi.view.read_releases import BEGINNING, Mark

_ENOUGH: Final = 5_000
"""Blobs that wait to be fetched; the walk goes on when there are fewer."""
_MOST_NEWS: Final = 5_000
"""Changes that are remembered until somebody looks; beyond, the view is walked through."""
_NEWS_AT_ONCE: Final = 500
_PAUSES: Final = (0.1, 30.0)
"""Seconds of the shortest and of the longest pause after failures."""
_SILENCE: Final = 15.0  # seconds without a byte of an answer
_BUSY: Final = 1.0  # seconds between two looks at whether the log is still far behind


@attrs.define(eq=False)
class BlobFetcher:
    """Fetches missing blobs.  Only the reactor's thread touches it."""

    _primary: Primary
    _search: BlobSearch
    _bring_one: Callable[[KeptBlob], Awaitable[object]]
    """Returns once a blob is here, sharing one fetch with clients (``mirror.files.FileService.bring``)."""
    _blobs: IBlobs
    _clock: IReactorTime
    _offload: Offload = attrs.field(kw_only=True)
    _policy: BlobPolicy = attrs.field(kw_only=True)
    _at_once: int = attrs.field(default=4, kw_only=True)
    """How many requests are under way at a time."""
    _fail: Callable[[Exception], object] = attrs.field(default=lambda error: None, kw_only=True)
    """Called when a sync failed, after which the server has to stop (law 10)."""
    _is_busy: Callable[[], bool] = attrs.field(default=lambda: False, kw_only=True)
    """Whether the log is far behind, and catches up: then what it names is not looked for, which would slow it down."""
    failures: FailedBlobs = attrs.field(factory=FailedBlobs, init=False)
    fetched: int = attrs.field(default=0, init=False)
    """Blobs that came before anybody asked for them, since the process began."""
    _fetched_bytes: int = attrs.field(default=0, init=False)
    last_error: str | None = attrs.field(default=None, init=False)
    """Why nothing could be fetched, the last time; it stays after it was put right."""
    searched_at: float | None = attrs.field(default=None, init=False)
    """When it was first known what is missing, in Unix seconds; None before."""
    _in_sync_at: float | None = attrs.field(default=None, init=False)
    """When nothing was last known to be missing, before something was again, in Unix seconds."""
    _pending: PendingBlobs = attrs.field(factory=PendingBlobs, init=False)
    _fetching: set[Key] = attrs.field(factory=set, init=False)
    _alone: int = attrs.field(default=0, init=False)
    """How many of the requests under way are for one blob."""
    _work: set[Deferred[None]] = attrs.field(factory=set, init=False)
    _requests: int = attrs.field(default=0, init=False)
    _news: list[Naming] = attrs.field(factory=list, init=False)
    _mark: Mark | None = attrs.field(default=None, init=False)
    """How far the walk through the view has come; None while there is none."""
    _walk_again: bool = attrs.field(default=False, init=False)
    _forgotten: bool = attrs.field(default=False, init=False)
    """Whether more failed than could be remembered."""
    _looking: bool = attrs.field(default=False, init=False)
    _pauses: Pause = attrs.field(init=False)  # while nobody is asked for anything
    _waits: Pause = attrs.field(init=False)  # while nothing is looked for
    _retry: IDelayedCall | None = attrs.field(default=None, init=False)
    """Of the blobs that failed."""
    _stopped: bool = attrs.field(default=True, init=False)
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.replication"))

    def __attrs_post_init__(self) -> None:
        self._pauses, self._waits = (Pause(self._clock, Backoff(*_PAUSES), self._go_on) for _ in range(2))

    def start(self) -> None:
        """Begin, with a walk through the view."""
        self._stopped = False
        if self._policy.wants_nothing:
            self.searched_at = self._clock.seconds()
        self.walk()

    def walk(self) -> None:
        """Walk through all that the view names, because much of it may be new."""
        if self._stopped or self._policy.wants_nothing:
            return
        self._in_sync_at = self.in_sync_at(self._clock.seconds())
        if self._mark is None:
            self._mark = BEGINNING
        else:
            self._walk_again = True
        self._go_on()

    def changed(self, _serial: int, changes: Sequence[Change]) -> None:
        """Entries were announced, which brought ``changes``."""
        if self._policy.wants_nothing or self._stopped:
            return
        news = [change for change in changes if isinstance(change, Naming) and self._policy.wants(index_of(change))]
        if not news:
            return
        self._in_sync_at = self.in_sync_at(self._clock.seconds())
        self._news += news
        if len(self._news) > _MOST_NEWS:
            self._news.clear()
            self.walk()
        self._go_on()

    def stop(self) -> None:
        """Cancel what is on its way, because the server stops."""
        self._stopped = True
        self._pauses.stop()
        self._waits.stop()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        for work in list(self._work):
            work.cancel()

    @property
    def outstanding(self) -> int:
        """Blobs that are known to be lacking."""
        return len(self._pending) + len(self._fetching) + len(self.failures)

    @property
    def is_searching(self) -> bool:
        """Whether there may be more, since not all was looked at."""
        return self._mark is not None or bool(self._news) or self._looking

    def in_sync_at(self, now: float) -> float | None:
        """When every file was last known to be here, in Unix seconds; ``now`` while it is so, None when it never was."""
        if self.outstanding or self.is_searching or self.searched_at is None:
            return self._in_sync_at
        return now

    def facts(self, *, with_names: bool = False) -> dict[str, Json]:
        """For the status; see ``FailedBlobs.facts``."""
        return {
            "policy": str(self._policy),
            "outstanding": self.outstanding,
            "searching": self.is_searching,
            "fetched": self.fetched,
            "fetched-bytes": self._fetched_bytes,
            "failing": self.failures.facts(with_names=with_names),
            "failing-count": len(self.failures),
            "last-error": self.last_error,
        }

    def measures(self) -> Iterable[Measure]:
        """See ``Measured``."""
        prefix = "twistpi_replica_files"
        yield Measure(f"{prefix}_outstanding", "gauge", "Files that this replica is known to lack", self.outstanding)
        yield Measure(f"{prefix}_failing", "gauge", "Files that failed to come and will be tried again", len(self.failures))
        yield Measure(f"{prefix}_fetched", "counter", "Files that came from the primary unasked", self.fetched)
        yield Measure(f"{prefix}_fetched_bytes", "counter", "Bytes of these files", self._fetched_bytes)

    def _go_on(self) -> None:
        """Fetch what is known to be lacking, and look for more."""
        if self._stopped or self._pauses.until is not None:
            return
        while self._requests < self._at_once and self._fetch_next():
            pass
        has_room = len(self._pending) < _ENOUGH
        may_look = self._pauses.until is None and self._waits.until is None and not self._looking
        if may_look and has_room and (self._news or self._mark is not None):
            if self._is_busy():
                self._waits.begin(_BUSY)
                return
            self._looking = True
            self._begin(self._look())

    async def _look(self) -> None:
        news, self._news = self._news[:_NEWS_AT_ONCE], self._news[_NEWS_AT_ONCE:]
        try:
            if self._mark is None or news:
                found = await self._offload(self._search.look, news)
            else:
                found, self._mark = await self._offload(self._search.walk, self._mark)
                if self._mark is None and self._walk_again:
                    self._mark, self._walk_again = BEGINNING, False
                elif self._mark is None and self.searched_at is None:
                    self.searched_at = self._clock.seconds()
        except Exception:
            self._news[:0] = news  # looked at again, when whatever is wrong may be put right
            raise
        finally:
            self._looking = False
        for missing in found:
            self._want(missing)

    def _want(self, missing: MissingBlob) -> None:
        if missing.key not in self._fetching and missing.key not in self.failures:
            self._pending.put(missing)

    def _begin(self, work: Coroutine[Deferred[object], object, None]) -> None:
        """Begin ``work``, and go on afterwards."""
        running = Deferred.fromCoroutine(work)
        if not running.called:
            self._work.add(running)
        running.addErrback(self._surprised)
        running.addBoth(lambda _: self._work.discard(running))
        running.addBoth(lambda _: self._go_on())

    def _surprised(self, failure: Failure) -> None:
        if failure.check(CancelledError):  # the server stops
            return
        if not failure.check(TwistpiError):
            self._log.failure("Files could not be fetched", failure)
        self._rest(_reason(failure.value))

    def _fetch_next(self) -> bool:
        """Begin one more request; False when nothing is to be fetched now."""
        # Large ones leave a way free for small ones.
        batch = self._pending.take(alone=self._alone < max(1, self._at_once - 1))
        if not batch:
            return False
        self._fetching.update(missing.key for missing in batch)
        self._begin(self._fetch(batch))
        return True

    async def _fetch(self, batch: Sequence[MissingBlob]) -> None:
        is_alone = len(batch) == 1
        self._requests += 1
        self._alone += is_alone
        try:
            await (self._bring(batch[0]) if is_alone else self._together(batch))
        finally:
            self._requests -= 1
            self._alone -= is_alone

    async def _together(self, together: Sequence[MissingBlob]) -> None:
        batch = Batch([missing.blob for missing in together], self._store)
        by_blob = {missing.blob: missing for missing in together}
        reason: str | None = None
        try:
            reason = await batch.fetch(self._primary, self._offload, _SILENCE)
        except (PrimaryUnreachable, StorageFull) as error:
            reason = _reason(error)
        except SyncFailed as final:
            self._fail(final)
            raise
        finally:
            self._fetching.difference_update(missing.key for missing in together)
            for blob in batch.stored:
                self._came(by_blob.pop(blob).blob)
            for blob, wrong in batch.refused:
                self._note(by_blob.pop(blob), wrong)
            for missing in by_blob.values():
                self._want(missing)
        if reason is not None and not batch.stored:
            self._rest(reason)
        self.last_error = reason or self.last_error

    def _store(self, blob: KeptBlob, content: bytes) -> None:
        with self._blobs.incoming() as incoming:
            incoming.write(content)
            self._blobs.keep(incoming, BlobAddress(blob.digits, blob.filename), blob.sha256)

    async def _bring(self, missing: MissingBlob) -> None:
        """Fetch one blob."""
        try:
            await self._bring_one(missing.blob)
        except (FileNotHereYet, StorageFull) as error:
            if missing.key in self.failures:
                self.failures.put_off(missing.key, self._clock.seconds())
            else:
                self._pending.put(missing)
            self._rest(_reason(error))
        except TwistpiError as error:
            self._note(missing, str(error))
        else:
            self.failures.forget(missing.key)
            self._came(missing.blob)
        finally:
            self._fetching.discard(missing.key)

    def _came(self, blob: KeptBlob) -> None:
        self.fetched += 1
        self._fetched_bytes += blob.size
        self._pauses.reset()

    def _note(self, missing: MissingBlob, reason: str) -> None:
        """A blob failed, and will be tried again."""
        if self.failures.reason(missing.key) != reason:
            self._log.warn("{filename} did not come from the primary: {reason}", filename=missing.blob.filename, reason=reason)
        next_at = self.failures.note(missing, reason, self._clock.seconds())
        self._forgotten = self._forgotten or next_at is None
        self._plan_retry(next_at)

    def _plan_retry(self, next_at: float | None) -> None:
        """Try again at ``next_at``, unless something is tried again before that; after a pause, if there is one."""
        if self._stopped or next_at is None:
            return
        next_at = max(next_at, self._pauses.until or 0.0)
        if self._retry is not None:
            if self._retry.getTime() <= next_at:
                return
            self._retry.cancel()
        self._retry = self._clock.callLater(max(0.0, next_at - self._clock.seconds()), lambda: self._begin(self._try_again()))

    async def _try_again(self) -> None:
        self._retry = None
        due = self.failures.due(self._clock.seconds())
        try:
            still = {missing.key for missing in await self._offload(self._search.still, due)}
            for missing in due:
                if missing.key not in still:
                    self.failures.forget(missing.key)
            for missing in due:
                if missing.key in still and self._pauses.until is None:
                    await self._bring(missing)  # by itself, since with others it failed
        finally:
            self._plan_retry(self.failures.next_at())
        if self._forgotten and not self.failures:
            self._forgotten = False
            self.walk()

    def _rest(self, reason: str) -> None:
        self.last_error = reason
        if not self._stopped:
            self._pauses.begin()


def _reason(error: BaseException | None) -> str:
    """Why nothing comes, without the names of files and folders: everybody may know."""
    return str(getattr(error, "reason", type(error).__name__))
