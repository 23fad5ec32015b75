"""Loads the set of advisories that was accepted last into the store, and then calls those that keep answers made from it.

Primaries, replicas and the nodes of a cluster do the same; where the blob of the set is not here yet, it is fetched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twistpi.advisories.store import AdvisoryStore
from twistpi.blobs.address import blob_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.backoff import Backoff
from twistpi.http.offload import Offload
from twistpi.model.changes import ADVISORY_SET, Change
from twistpi.model.errors import TwistpiError
from twistpi.model.monitoring import Measure
from twistpi.model.records import AdvisorySet, Json
from twistpi.view.read import KeptBlob, Readers

Changed = Callable[[frozenset[str] | None], object]
"""Called with the projects whose advisories changed; None if that may be all of them."""
_RETRIES: Final = (1.0, 300.0)
"""Seconds of the shortest and of the longest pause after a failure."""
_log = Logger("twistpi.advisories")


@attrs.define(eq=False)
class AdvisoryLoader:
    """Loads accepted sets.  For the reactor's thread."""

    store: AdvisoryStore
    _readers: Readers
    _blobs: IBlobs
    _clock: IReactorTime
    _offload: Offload
    _call_in_reactor: Callable[[Callable[[], object]], object]
    """``reactor.callFromThread``."""
    _bring: Callable[[KeptBlob], Awaitable[object]] | None = None
    """Fetches a blob that is not here; None where nobody else has it."""
    listeners: list[Changed] = attrs.field(factory=list, init=False)
    failure: str | None = attrs.field(default=None, init=False)
    """Why the newest set could not be loaded, the last time; None when it was."""
    _backoff: Backoff = attrs.field(factory=lambda: Backoff(*_RETRIES), init=False)
    _retry: IDelayedCall | None = attrs.field(default=None, init=False)
    _running: Deferred[None] | None = attrs.field(default=None, init=False)

    def start(self) -> None:
        """Open the store.  If the blob of a newer set is here, load it before anything is answered, which blocks for seconds."""
        self.store.damaged = lambda: self._call_in_reactor(self._follow)
        self.store.open()
        accepted = self._lacking()
        if accepted is not None and self._blobs.find(blob_address(accepted.sha256, ADVISORY_SET)) == accepted.size:
            try:
                self._load(accepted)
            except (TwistpiError, OSError) as error:
                self._failed(error)
        elif accepted is not None:
            self._follow()

    def stop(self) -> Deferred[None] | None:
        """Cancel what is under way."""
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        if self._running is not None:
            self._running.cancel()
        return self._running

    @property
    def is_running(self) -> bool:
        """Whether a set is being loaded, or listeners are still to be called."""
        return self._running is not None

    def changed(self, _serial: int, _changes: Sequence[Change]) -> None:
        """Load the newest set; to be called after entries that accept one."""
        self._follow()

    def facts(self) -> dict[str, Json]:
        """For the status: which set counts here."""
        accepted = self._readers.get().advisory_set()
        return {
            "accepted": None if accepted is None else attrs.asdict(accepted),
            "loaded": self.store.count if self.store.digest else None,
            "is-current": accepted is None or accepted.sha256 == self.store.digest,
            "load-failure": self.failure,
        }

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        yield Measure("twistpi_advisories", "gauge", "Advisories that count here", self.store.count)
        help = "1 while the newest set of advisories is not loaded"
        yield Measure("twistpi_advisories_behind", "gauge", help, int(self._lacking() is not None))

    def _lacking(self) -> AdvisorySet | None:
        """Return the newest accepted set if the store does not have it."""
        accepted = self._readers.get().advisory_set()
        return None if accepted is None or accepted.sha256 == self.store.digest else accepted

    def _follow(self) -> None:
        if self._running is not None:
            return  # which looks again in the end
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        running = self._running = Deferred.fromCoroutine(self._run())
        if running.called:
            self._running = None

    async def _run(self) -> None:
        try:
            while (accepted := self._lacking()) is not None:
                await self._bring_and_load(accepted)
            self._backoff.reset()
            self.failure = None
        except CancelledError:
            return
        except Exception as error:
            if not isinstance(error, TwistpiError | OSError):
                _log.failure("Advisories could not be loaded")
            self._failed(error)
        finally:
            self._running = None

    async def _bring_and_load(self, accepted: AdvisorySet) -> None:
        address = blob_address(accepted.sha256, ADVISORY_SET)
        if self._bring is not None and self._blobs.find(address) != accepted.size:
            await self._bring(KeptBlob(address.digits, address.filename, accepted.sha256, accepted.size))
        changed = await self._offload(self._load, accepted)
        for listener in self.listeners:
            listener(changed)

    def _load(self, accepted: AdvisorySet) -> frozenset[str] | None:
        """Make the store of a set that is here; blocking."""
        with self._blobs.open(blob_address(accepted.sha256, ADVISORY_SET)) as file:
            changed = self.store.load(file, accepted.sha256)
        _log.info("{count} advisories of {source} count from now on.", count=self.store.count, source=accepted.source)
        return changed

    def _failed(self, error: Exception) -> None:
        reason = "the file of the set is not here; run twistpi advisories refresh" if _is_missing(error) else str(error)
        if reason != self.failure:
            _log.warn("The newest advisories do not count yet: {reason}", reason=reason)
        self.failure = reason
        self._retry = self._clock.callLater(self._backoff.next(), self._follow)


def _is_missing(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError)
