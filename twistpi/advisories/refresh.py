"""Keeps the set of advisories up to date with a feed: everything once a day, and what is new every ten minutes.

Nothing is taken from a feed that fails or looks broken: the known advisories stay, installs go on, and the status says so.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twistpi.advisories.candidates import Candidate, candidate_of_feed, candidate_with
from twistpi.advisories.feed_state import FeedState
from twistpi.advisories.feeds import Feed, Validators
from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.blobs.incoming import IncomingFile
from twistpi.blobs.interfaces import IBlobs
from twistpi.changelog.writer import Writer
from twistpi.http.backoff import Backoff
from twistpi.http.offload import Offload
from twistpi.model.changes import ADVISORY_SET, AdvisoriesAccepted, Change
from twistpi.model.errors import TwistpiError
from twistpi.model.monitoring import Check, Measure
from twistpi.model.records import AdvisorySet, Json
from twistpi.model.server_errors import SyncFailed
from twistpi.rules.advisories import check_plausible
from twistpi.view.read import Reader, Readers

BY: Final = "+advisories"
"""The author of the entries."""
DAY: Final = 86400.0
_FIRST: Final = 1.0
"""Seconds from the start of the server to the first look."""
_PROBE: Final = 600.0
"""Seconds between two looks at what is new."""
_TURN: Final = 30.0
"""Seconds after which a server that does not lead checks whether it does now."""
_RETRIES: Final = (600.0, 6 * 3600.0)
"""Seconds of the shortest and of the longest pause before everything is read again after a failure."""
_STALE: Final = 3 * DAY
"""Seconds after which advisories count as old."""
_log = Logger("twistpi.advisories")


@attrs.define(eq=False)
class AdvisoryRefresh:
    """Reads one feed.  For the reactor's thread."""

    _feed: Feed
    _blobs: IBlobs
    _readers: Readers
    _writer: Writer
    _clock: IReactorTime
    _offload: Offload
    _state_path: str = attrs.field(kw_only=True)
    """The path of the file with the state of the feed (``FeedState``)."""
    _leads: Callable[[], bool] = attrs.field(default=lambda: True, kw_only=True)
    """Whether it is up to this server; of the nodes of a cluster, one reads the feed."""
    _fail: Callable[[Exception], object] = attrs.field(default=lambda error: None, kw_only=True)
    """Called when a sync failed, after which the server has to stop (law 10)."""
    state: FeedState = attrs.field(factory=FeedState, init=False)
    _retry_at: float = attrs.field(default=0.0, init=False)
    """Unix seconds before which a feed that failed is not read as a whole again."""
    _backoff: Backoff = attrs.field(factory=lambda: Backoff(*_RETRIES), init=False)
    _planned: IDelayedCall | None = attrs.field(default=None, init=False)
    _running: Deferred[None] | None = attrs.field(default=None, init=False)
    _is_stopped: bool = attrs.field(default=False, init=False)
    runs: int = attrs.field(default=0, init=False)
    """How often the feed was looked at, which includes the look under way."""

    def start(self) -> None:
        """Begin to look at the feed."""
        self.state = FeedState.load(self._state_path, self._feed.name)
        self._planned = self._clock.callLater(_FIRST, self._due)

    def stop(self) -> Deferred[None] | None:
        """Cancel what is under way."""
        self._is_stopped = True
        if self._planned is not None and self._planned.active():
            self._planned.cancel()
        if self._running is not None:
            self._running.cancel()
        return self._running

    @property
    def is_running(self) -> bool:
        """Whether the feed is being read."""
        return self._running is not None

    def ask(self, *, force: bool) -> int:
        """Read everything now, and with ``force`` accept it also if it looks broken; return the number of the run that does.

        Raise ``TwistpiError`` while the feed is being read, or when another node of the cluster reads it.
        """
        if self._running is not None:
            raise TwistpiError("The advisories are being read at this moment; try again when that is done.", 409)
        if not self._leads():
            raise TwistpiError("Another node of the cluster reads the advisories; ask that one, or try again.", 409)
        self._begin(self._read_and_probe(Validators(), force=force))
        return self.runs

    def facts(self) -> dict[str, Json]:
        """For the status: what is known of the feed."""
        state = self.state
        return {
            "feed": self._feed.name,
            "checked-at": state.checked_at,
            "probed-at": state.probed_at,
            "failure": state.failure,
            "refused-records": state.refused,
            "first-refusal": state.first_refusal or None,
            "is-stale": self.is_stale(),
            "running": self.is_running,
            "runs": self.runs,
        }

    def is_stale(self) -> bool:
        """Return whether the feed could not be read for so long that advisories are old."""
        checked_at = self.state.checked_at
        if checked_at is None:
            return self.state.failure is not None
        return self._clock.seconds() - checked_at > _STALE

    def checks(self) -> Iterator[Check]:
        """See ``Checked``; stale advisories stop nobody."""
        failure = f" {self.state.failure}" if self.state.failure else ""
        if self.is_stale() and self._leads():
            sentence = f"The advisories are old: their feed could not be read for days.{failure} What is known still counts."
            yield Check("advisories", False, sentence, needed=False)
        else:
            yield Check("advisories", True, f"The advisories are as new as their feed.{failure}", needed=False)

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        checked = "When the feed of advisories was last read, in Unix seconds; 0 for never"
        yield Measure("twistpi_advisories_checked_seconds", "gauge", checked, self.state.checked_at or 0)
        failing = "1 while the feed of advisories cannot be read, or is not accepted"
        yield Measure("twistpi_advisories_failing", "gauge", failing, int(self.state.failure is not None))
        refused = "Records of the feed that could not be read"
        yield Measure("twistpi_advisories_refused_records", "gauge", refused, self.state.refused)

    def _due(self) -> None:
        if self._running is not None:
            return  # which plans the next look
        if self._leads():
            self._begin(self._look())
        else:
            self._plan(_TURN)

    def _plan(self, seconds: float = _PROBE) -> None:
        if not self._is_stopped and (self._planned is None or not self._planned.active()):
            self._planned = self._clock.callLater(seconds, self._due)

    def _begin(self, work: Coroutine[Deferred[object], object, None]) -> None:
        self.runs += 1
        running = self._running = Deferred.fromCoroutine(self._run(work))
        if running.called:
            self._running = None

    async def _run(self, work: Coroutine[Deferred[object], object, None]) -> None:
        try:
            await self._attempt(work)
            await self._offload(self.state.save, self._state_path)
        except CancelledError:
            pass
        except OSError as error:
            _log.warn("What is known of the feed of advisories cannot be kept: {reason}", reason=str(error))
        finally:
            self._running = None
            self._plan()

    async def _attempt(self, work: Coroutine[Deferred[object], object, None]) -> None:
        try:
            await work
            self.state.failure = None
        except CancelledError:
            raise
        except TwistpiError as error:
            self._failed(error)
        except Exception as error:
            _log.failure("The feed of advisories could not be read")
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, SyncFailed):
            self._fail(error)
        if str(error) != self.state.failure:
            _log.warn("{reason} What is known already still counts.", reason=str(error))
        self.state.failure = str(error)
        self._retry_at = self._clock.seconds() + self._backoff.next()

    async def _look(self) -> None:
        """Read what is new, or everything where it is time for that."""
        former, now = self._readers.get().advisory_set(), self._clock.seconds()
        checked_at = self.state.checked_at
        is_of_feed = former is not None and former.source == self._feed.name
        if former is None or not is_of_feed or checked_at is None or not checked_at <= now < checked_at + DAY:
            if now >= self._retry_at:
                await self._read_and_probe(self.state.validators if is_of_feed else Validators(), force=False)
        elif not await self._probe():
            await self._read_all(Validators(), force=False)

    async def _read_and_probe(self, validators: Validators, *, force: bool) -> None:
        """Read everything, which may be some hours old, and then what is new."""
        await self._read_all(validators, force=force)
        await self._probe()

    async def _probe(self) -> bool:
        """Read what is new; return whether that is all that is to be read."""
        records = await self._feed.changed_since(self.state.modified, self.state.validators)
        former = self._readers.get().advisory_set()
        if records is None or former is None:
            return False
        if records:
            await self._merge(former, records)
        self.state.probed_at = self._clock.seconds()
        return True

    async def _read_all(self, validators: Validators, *, force: bool) -> None:
        with await self._offload(self._blobs.incoming) as download:
            fetched = await self._feed.fetch(validators, download)
            if fetched is not None:
                path, name = fetched.path, self._feed.name
                await self._accept(lambda into: candidate_of_feed(path, name, into, self._is_wanted), force=force)
                self.state.validators = fetched.validators
        self.state.checked_at = self.state.probed_at = self._clock.seconds()
        self._backoff.reset()
        self._retry_at = 0.0

    async def _merge(self, former: AdvisorySet, records: Sequence[Json]) -> None:
        address = blob_address(former.sha256, ADVISORY_SET)

        def make(into: IncomingFile) -> Candidate:
            with self._blobs.open(address) as file:
                return candidate_with(records, file, into, self._is_wanted)

        try:
            await self._accept(make, force=False, since=self.state.modified)
        except FileNotFoundError:  # somebody removed it
            await self._read_all(Validators(), force=False)

    def _is_wanted(self) -> bool:
        return not self._is_stopped

    async def _accept(self, make: Callable[[IncomingFile], Candidate], *, force: bool, since: str = "") -> None:
        """Keep the set that ``make`` writes, and have it count; it has all that changed up to ``since`` at least."""
        with await self._offload(self._blobs.incoming) as into:
            made = await self._offload(make, into)
            source, modified = self._feed.name, max(made.report.modified, since)

            def decide(view: Reader) -> Sequence[Change]:
                former = view.advisory_set()
                if former is not None and (former.sha256, former.source) == (made.sha256, source):
                    return ()
                if not force:
                    check_plausible(former, made.count, source)
                return (AdvisoriesAccepted(made.sha256, made.size, made.count, source, modified),)

            if not force:
                check_plausible(self._readers.get().advisory_set(), made.count, source)
            address: BlobAddress = blob_address(made.sha256, ADVISORY_SET)
            await self._offload(self._blobs.keep, into, address, made.sha256)
            await self._writer.commit(decide, BY)
        self.state.modified = modified
        self.state.refused, self.state.first_refusal = made.report.refused, made.report.first_refusal
        if made.report.refused:
            _log.warn(
                "{refused} of the advisories of {source} cannot be read; the first is {first}",
                refused=made.report.refused, source=source, first=made.report.first_refusal,
            )  # fmt: skip
