"""Project pages of mirrors: served while fresh, confirmed when stale, kept whatever happens upstream.

``PageService.ensure`` sees to it that the view has what can be known of a project.  It decides whether the page is fresh, joins
the requests for the same page, and waits for its source (``page_source``) no longer than a client may wait.  A response that
takes longer serves the next client: the request goes on when its waiters have left.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.defer import CancelledError, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twistpi.http.backoff import Blocked, CircuitBreaker
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.single_flight import SingleFlight
from twistpi.mirror.page_source import Kind, Known, PageSource
from twistpi.mirror.upload_times import lacks_times
from twistpi.mirror.upstream import OFFLINE, STOPPING, StaleConfig, UpstreamConfig, is_fresh, upstream_config
from twistpi.model.errors import UnknownFile, UnknownIndex, UnknownProject, UpstreamFailed, UpstreamUnreachable
from twistpi.model.names import project_of_filename
from twistpi.model.records import Freshness, Index, KnownFile
from twistpi.model.server_errors import LogUnreachable, StorageFull
from twistpi.view.read import Reader, Readers

__all__ = ["GONE", "TIMEOUTS", "Kind", "PageService", "PageState"]

GONE: Final = "the upstream has this project no more"
"""Why a page lists cached files only."""
TIMEOUTS: Final = 6
"""How many request timeouts a source may take to respond, and a client with nothing to be served waits while it responds."""
_RECENT: Final = 10.0
"""Seconds for which a page is new enough to be believed that a file is not on it."""
UNRECORDED_EXPIRY: Final = 30.0
"""Seconds for which a page holds, at most, that could not be recorded: then that is tried again."""
_MOST_CHANGES: Final = 5
"""How often the configuration of an index may change while one request waits."""

Key = tuple[str, str, str, bool, bool, int | None]
"""Index, project, ``mirror_url``, whether it is flat, whether older serials are accepted, and ``mirror_unknown_status``.

With another configuration, neither a request that is on its way nor a failure that is remembered counts.
"""


@attrs.frozen
class PageState:
    """How current what the view has of a project is."""

    kind: Kind
    age: float
    """Seconds since the upstream last confirmed it."""
    source: str
    """The upstream's scheme, host and port."""
    reason: str | None = None
    """Why it is stale, or what else is to be said."""
    fresh_for: float = 0.0
    """Seconds for which asking again would say the same."""


@attrs.define
class PageService:
    """Keeps the view current with the project pages of upstreams."""

    _source: PageSource
    _readers: Readers
    _clock: IReactorTime
    """Its seconds are Unix time."""
    _cache_expiry: float = attrs.field(default=1800.0, kw_only=True)
    """Seconds for which a page holds where its index does not say."""
    _request_timeout: float = attrs.field(default=5.0, kw_only=True)
    """Seconds a client waits for the upstream."""
    _offline: bool = attrs.field(default=False, kw_only=True)
    _negative_expiry: float = attrs.field(default=60.0, kw_only=True)
    """Seconds for which a 404 of the upstream is remembered."""
    _failure_pause: float = attrs.field(default=5.0, kw_only=True)
    """Seconds for which an upstream that failed is not asked again."""
    _failures: CircuitBreaker = attrs.field(init=False)
    """Of upstreams, by index and ``mirror_url``, and of single pages, by ``Key``."""
    _missing: CircuitBreaker = attrs.field(init=False)
    _untimed: CircuitBreaker = attrs.field(init=False)
    """Pages whose files did not all say when they were uploaded, by index and project."""
    _requests: SingleFlight[tuple[Key, bool], tuple[Kind, Freshness]] = attrs.field(init=False, factory=SingleFlight)
    _responding: set[Key] = attrs.field(init=False, factory=set)
    """Pages whose response has begun."""
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.mirror"))

    def __attrs_post_init__(self) -> None:
        self._failures = CircuitBreaker(self._failure_pause)
        self._missing = CircuitBreaker(self._negative_expiry)
        self._untimed = CircuitBreaker(self._negative_expiry)

    async def ensure(self, index: Index, project: str, *, force: bool = False) -> PageState:
        """Bring ``project`` (a normalised name) up to date in the view as far as possible; return how current it is.

        ``force`` asks the upstream however fresh the page is, and however lately the upstream failed.  Raise
        ``UnknownProject`` when the upstream has no such project, ``UpstreamFailed`` or ``UpstreamUnreachable`` when nothing is
        known and the upstream cannot tell, ``StorageFull`` when it told but nothing can be written, ``UnknownIndex`` when the
        index was deleted meanwhile.  An index whose configuration changes meanwhile is asked again.
        """
        for _ in range(_MOST_CHANGES):
            try:
                return await self._ensure(index, project, force=force)
            except StaleConfig:
                found = self._readers.get().index(index.name)
                if found is None:
                    raise UnknownIndex(index.name) from None
                if not found.is_mirror:
                    raise UnknownProject(index.name, project) from None
                index = found
        raise UpstreamFailed(index.name, project, "the index is set up anew all the time")

    async def find_file(self, index: Index, path: str) -> tuple[str, KnownFile]:
        """Return the project and file at ``path`` below ``index``, also when the page was never requested from this server.

        ``path`` is not percent-encoded and has no leading slash.  Lock files hold such paths; the project is found by the file
        name.  Raise ``UnknownFile``, ``UpstreamFailed`` or ``UpstreamUnreachable``.
        """
        found = self._readers.get().file_by_path(index.name, path)
        project = project_of_filename(path.rpartition("/")[2])
        if found is None and project is not None and index.is_mirror:
            try:
                state = await self.ensure(index, project)
                found = self._readers.get().file_by_path(index.name, path)
                if found is None and state.kind == "hit" and state.age > _RECENT and not self._offline:
                    await self.ensure(index, project, force=True)
                    found = self._readers.get().file_by_path(index.name, path)
            except UnknownProject as error:
                raise UnknownFile(index.name, path) from error
        if found is None:
            raise UnknownFile(index.name, path)
        return found

    def failing(self) -> dict[str, str]:
        """Return the indexes whose upstream did not respond when it was last asked, and why."""
        reader = self._readers.get()
        found = {}
        for key, blocked in self._failures.failing():
            if isinstance(key, tuple) and len(key) == 2:  # an upstream, not a page of it
                index = reader.index(key[0])
                if index is not None and index.config.get("mirror_url") == key[1]:
                    found[index.name] = blocked.reason
        return found

    def stop(self) -> None:
        """Cancel all requests, because the server stops."""
        self._requests.cancel_all()

    async def _ensure(self, index: Index, project: str, *, force: bool) -> PageState:
        """As ``ensure``; raise ``StaleConfig`` when ``index`` is not what it was."""
        reader = self._readers.get()
        is_known = reader.has_project(index.name, project)
        freshness = reader.freshness(index.name, project) if is_known else None
        now = self._clock.seconds()
        try:
            config = upstream_config(index, project, self._cache_expiry)
        except UpstreamFailed as error:
            if not is_known:
                raise
            return PageState("stale", _age(freshness, now), "", error.reason, self._failure_pause)
        if is_known and not self._offline and self._lacks_times(reader, index.name, project, now):
            freshness = None  # the page has to come whole
        known = Known(is_known, freshness)
        if self._offline:
            if not known.is_known:
                raise UpstreamUnreachable(index.name, project, OFFLINE)
            return PageState("hit", _age(freshness, now), config.shown, "offline", config.expiry)
        if not force:
            expiry = config.expiry
            if freshness is not None and freshness.missing:
                expiry = min(expiry, self._negative_expiry)
            expiry = self._limit_unrecorded(config, project, expiry)
            if freshness is not None and known.is_known and is_fresh(freshness, config.source, expiry, now):
                return self._confirmed("hit", config, project, freshness, expiry)
            key = _key(config, project)
            if not known.is_known and self._is_missing(config, key, now):
                raise UnknownProject(index.name, project)
            blocked = self._failures.blocked(_upstream_key(config), now) or self._failures.blocked(key, now)
            # A response that has begun is worth waiting for, whatever failed lately.
            if blocked is not None and key not in self._responding:
                return self._fall_back(config, project, known, blocked)
        return await self._refresh(config, project, known, force)

    def _lacks_times(self, reader: Reader, index: str, project: str, now: float) -> bool:
        """Return whether a policy needs times that are not known, and were not looked for a moment ago."""
        return lacks_times(reader, index, project) and self._untimed.blocked((index, project), now) is None

    def _is_missing(self, config: UpstreamConfig, key: Key, now: float) -> bool:
        """Return whether the upstream said so lately; for no longer than its other responses hold."""
        blocked = self._missing.blocked(key, now)
        return blocked is not None and now < blocked.until - self._negative_expiry + config.expiry

    def _confirmed(self, kind: Kind, config: UpstreamConfig, project: str, freshness: Freshness, expiry: float) -> PageState:
        """Return the state of a page that the upstream confirmed within its expiry.

        Raise ``UnknownProject`` when it confirmed that there is none, and no file of it is cached.
        """
        unrecorded = self._readers.unrecorded.get(config.index, project)
        reason = None if unrecorded is None else f"it cannot be recorded: {unrecorded.reason}"
        if freshness.missing:
            found = self._readers.get().project(config.index, project)
            if found is None or not found.files:
                raise UnknownProject(config.index, project)
            reason = GONE
        age = _age(freshness, self._clock.seconds())
        return PageState(kind, age, config.shown, reason, max(0.0, expiry - age))

    def _fall_back(self, config: UpstreamConfig, project: str, known: Known, blocked: Blocked) -> PageState:
        """Return what is known, marked stale; raise the error when that is nothing."""
        now = self._clock.seconds()
        if not known.is_known:
            failure = UpstreamUnreachable if blocked.unreachable else UpstreamFailed
            raise failure(config.index, project, blocked.reason).later(blocked.until - now if blocked.is_asked_for else None)
        return PageState("stale", _age(known.freshness, now), config.shown, blocked.reason, max(0.0, blocked.until - now))

    async def _refresh(self, config: UpstreamConfig, project: str, known: Known, force: bool) -> PageState:
        started = self._clock.seconds()
        key = _key(config, project)
        try:
            kind, learned = await self._wait(key, config, project, known, force and self._source.minds_force)
        except RequestFailed as failed:
            now = self._clock.seconds()
            self._failures.failed(key, started, now, failed)
            self._failures.failed_in_part(_upstream_key(config), project, started, now, failed)
            config.require_current(self._readers.get().index(config.index))
            blocked = self._failures.blocked(key, now) or Blocked(started, failed.reason, failed.unreachable)
            return self._fall_back(config, project, known, blocked)
        except (StorageFull, LogUnreachable) as error:
            if not known.is_known:
                raise
            return self._fall_back(config, project, known, Blocked(started + self._failure_pause, str(error), False))
        if lacks_times(self._readers.get(), config.index, project):
            now = self._clock.seconds()
            self._untimed.failed((config.index, project), now, now, RequestFailed("no upload times", Cause.UNUSABLE))
        return self._confirmed(kind, config, project, learned, self._limit_unrecorded(config, project, config.expiry))

    def _limit_unrecorded(self, config: UpstreamConfig, project: str, expiry: float) -> float:
        """Return for how long a page holds, if that is ``expiry`` seconds for one that is recorded."""
        return expiry if self._readers.unrecorded.get(config.index, project) is None else min(expiry, UNRECORDED_EXPIRY)

    async def _wait(self, key: Key, config: UpstreamConfig, project: str, known: Known, force: bool) -> tuple[Kind, Freshness]:
        """Wait for the source, but no longer than a client may wait.

        A client with nothing to be served waits on when the response has begun: large pages take their time.
        """
        for _ in range(TIMEOUTS):
            waiter = self._requests.join((key, force), lambda: self._request(key, config, project, known, force))
            waiter.addTimeout(self._request_timeout, self._clock)
            try:
                return await waiter
            except TimeoutError as error:
                if known.is_known or key not in self._responding:
                    raise RequestFailed(f"no answer within {self._request_timeout:g} s", Cause.TIMEOUT) from error
        raise RequestFailed(f"its answer did not end within {TIMEOUTS * self._request_timeout:g} s", Cause.TIMEOUT)

    async def _request(self, key: Key, config: UpstreamConfig, project: str, known: Known, force: bool) -> tuple[Kind, Freshness]:
        """Ask the source once; the one piece of work behind any number of waiters."""

        def responding() -> None:
            self._responding.add(key)
            self._failures.answered(_upstream_key(config), self._clock.seconds())

        started = self._clock.seconds()
        try:
            learned = await self._source.refresh(config, project, known, force=force, responding=responding)
        except CancelledError as stopped:
            raise RequestFailed(STOPPING, Cause.CONNECT) from stopped
        except UnknownProject:
            now = self._clock.seconds()
            self._missing.failed(key, now, now, RequestFailed("unknown upstream", Cause.UNUSABLE))
            raise
        except RequestFailed as failed:
            text = "{index}: the upstream {source} failed for {project}: {reason}"
            self._log.warn(text, index=config.index, source=config.shown, project=project, reason=failed.reason)
            # All who waited may have left.
            self._failures.failed_in_part(_upstream_key(config), project, started, self._clock.seconds(), failed)
            raise
        finally:
            self._responding.discard(key)
        self._failures.forget(key)
        return learned


def _key(config: UpstreamConfig, project: str) -> Key:
    return config.index, project, config.mirror_url, config.is_flat, config.ignores_serial, config.unknown_status


def _upstream_key(config: UpstreamConfig) -> tuple[str, str]:
    """Return what is left alone when nobody answers there; mirrors are no judges of each other's upstreams."""
    return config.index, config.mirror_url


def _age(freshness: Freshness | None, now: float) -> float:
    return max(0.0, now - freshness.checked_at) if freshness else 0.0
