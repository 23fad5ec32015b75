"""Project pages of upstreams: served while fresh, confirmed when stale, kept whatever happens upstream.

``Mirror.ensure`` sees to it that the view knows what can be known of a project.  The way of a page: ``freshness`` says whether
the upstream must be asked; ``inflight`` joins who asks already; ``upstream`` asks, conditionally; ``simple.parse`` reads the
answer; ``rules.mirrors`` decides what is different; the writer appends that.  What the upstream does not answer in time, it
answers to whoever comes next: the fetch goes on when its waiters have left.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
from twisted.internet.defer import TimeoutError
from twisted.logger import Logger

from twistpi.mirror.breaker import Breaker, Pause
from twistpi.mirror.freshness import Standing, standing
from twistpi.mirror.inflight import Inflight
from twistpi.mirror.learning import Kind, Learner
from twistpi.mirror.page_source import PageSource, UpstreamPages
from twistpi.mirror.place import Place, is_aimed_at, place_of
from twistpi.mirror.trouble import Outdated, Trouble
from twistpi.mirror.upstream import Offload, Upstream
from twistpi.model.errors import StorageFull, UnknownFile, UnknownIndex, UnknownProject, UpstreamFailed, UpstreamUnreachable
from twistpi.model.names import project_of_filename
from twistpi.model.records import Freshness, Index, KnownFile

__all__ = ["GONE", "Kind", "Mirror", "PageSource", "PageState"]

GONE: Final = "the upstream has this project no more"
"""Why a page holds cached files only."""
_PATIENCE: Final = 6
"""How many request timeouts a fetch may take to begin when nobody waits for it any more, or to end while somebody does."""
_RECENT: Final = 10.0
"""Seconds for which a page is new enough to be believed that a file is not on it."""
_MOST_CHANGES: Final = 5
"""How often an index may be set up anew while one and the same request for it waits."""


@attrs.frozen
class PageState:
    """How a project's page came to be what the view says of it."""

    kind: Kind
    age: float
    """Seconds since the upstream last confirmed it."""
    source: str
    """The upstream's address, without credentials."""
    reason: str | None = None
    """Why it is stale, or what else is to be said."""
    fresh_for: float = 0.0
    """Seconds for which asking again would say the same."""


Wanted = tuple[str, str, str, bool]
"""Index, project, ``mirror_url`` and whether older serials are accepted: what a fetch is for.  When an index is set up anew,
neither a fetch that is on its way nor a failure that is remembered is in the way."""


@attrs.define
class Mirror:
    """Keeps what upstreams say of projects."""

    _upstream: Upstream | None
    """Asked by whom no ``pages`` are given."""
    _readers: Any
    """``view.read.Readers``."""
    _writer: Any
    """``changelog.writer.Writer``."""
    _clock: Any
    _offload: Offload = attrs.field(kw_only=True)
    _cache_expiry: float = attrs.field(default=1800.0, kw_only=True)
    """Seconds for which a page holds where its index does not say."""
    _request_timeout: float = attrs.field(default=5.0, kw_only=True)
    """Seconds a request waits for the upstream."""
    _offline: bool = attrs.field(default=False, kw_only=True)
    _negative_expiry: float = attrs.field(default=60.0, kw_only=True)
    """Seconds for which a 404 of the upstream is remembered."""
    _failure_pause: float = attrs.field(default=5.0, kw_only=True)
    """Seconds for which an upstream that failed is not asked again."""
    _pages: PageSource = attrs.field(default=None, kw_only=True)
    """Where pages come from; the upstreams themselves unless it is said."""
    _failures: Breaker = attrs.field(init=False)
    """Of upstreams, by index and ``mirror_url``, and of single pages."""
    _missing: Breaker = attrs.field(init=False)
    _fetches: Inflight[tuple[Wanted, bool], Kind] = attrs.field(init=False, factory=Inflight)
    _answering: set[Wanted] = attrs.field(init=False, factory=set)
    """Fetches whose answer has begun to come."""
    _stopping: bool = attrs.field(init=False, default=False)
    """Whether fetches fail because this server gave them up, which is no news of an upstream."""
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.mirror"))

    def __attrs_post_init__(self) -> None:
        self._failures = Breaker(self._failure_pause)
        self._missing = Breaker(self._negative_expiry)
        if self._pages is None:
            assert self._upstream is not None, "pages come from somewhere"
            learner = Learner(self._readers, self._writer, self._clock, self._offload)
            self._pages = UpstreamPages(self._upstream, self._readers, learner, _PATIENCE * self._request_timeout)

    async def ensure(self, index: Index, project: str, *, force: bool = False) -> PageState:
        """See to it that the view knows ``project`` (a normalised name) as well as it can.

        ``force`` asks the upstream however fresh the page is, and however lately the upstream failed.  Raises
        ``UnknownProject`` when the upstream has no such project, ``UpstreamFailed`` or ``UpstreamUnreachable`` when nothing is
        known and the upstream cannot tell, ``StorageFull`` when it told but nothing can be written.  An index that is set up
        anew meanwhile is asked again as it is then; ``UnknownIndex`` when it is gone.
        """
        for _ in range(_MOST_CHANGES):
            try:
                return await self._ensure(index, project, force=force)
            except Outdated:
                index = self._as_it_is_now(index.name, project)
        raise UpstreamFailed(index.name, project, "the index is set up anew all the time")

    def _as_it_is_now(self, name: str, project: str) -> Index:
        index: Index | None = self._readers.get().index(name)
        if index is None:
            raise UnknownIndex(name)
        if not index.is_mirror:
            raise UnknownProject(name, project)
        return index

    async def _ensure(self, index: Index, project: str, *, force: bool) -> PageState:
        """As ``ensure``; raises ``Outdated`` when ``index`` is not what it was."""
        reader = self._readers.get()
        freshness: Freshness | None = reader.freshness(index.name, project)
        known: bool = reader.has_project(index.name, project)
        now = self._clock.seconds()
        try:
            place = place_of(index, project, self._cache_expiry)
        except UpstreamFailed as error:
            if not known:
                raise
            return PageState("stale", _age(freshness, now), "", error.reason, self._failure_pause)
        if self._offline:
            return self._without_upstream(place, project, known, freshness)
        if not force:
            expiry = place.expiry
            if freshness is not None and freshness.missing:
                expiry = min(expiry, self._negative_expiry)
            if standing(freshness, known, place.source, expiry, now) is Standing.FRESH:
                assert freshness is not None
                return self._confirmed("hit", place, project, freshness, expiry)
            wanted = _wanted(place, project)
            if not known and self._is_missing(place, wanted, now):
                raise UnknownProject(index.name, project)
            pause = self._failures.blocked(_upstream_of(place), now) or self._failures.blocked(wanted, now)
            # What is coming in already is worth waiting for, however the upstream did lately.
            if pause is not None and wanted not in self._answering:
                return self._fall_back(place, project, known, freshness, pause)
        return await self._ask(place, project, known, freshness, force)

    async def find_file(self, index: Index, path: str) -> tuple[str, KnownFile]:
        """The project and file at ``path`` below ``index``, also when its page was never asked for in this server's life.

        ``path`` is not percent-encoded and has no leading slash.  Lock files hold such paths; the project is told from the file
        name.  Raises ``UnknownFile``, ``UpstreamFailed`` or ``UpstreamUnreachable``.
        """
        found: tuple[str, KnownFile] | None = self._readers.get().file_by_path(index.name, path)
        project = project_of_filename(path.rpartition("/")[2])
        if found is not None or project is None or not index.is_mirror:
            return _required(found, index, path)
        try:
            state = await self.ensure(index, project)
            found = self._readers.get().file_by_path(index.name, path)
            if found is None and state.kind == "hit" and state.age > _RECENT and not self._offline:
                await self.ensure(index, project, force=True)
                found = self._readers.get().file_by_path(index.name, path)
        except UnknownProject as error:
            raise UnknownFile(index.name, path) from error
        return _required(found, index, path)

    def failing(self) -> dict[str, str]:
        """The indexes whose upstream did not answer at all when it was last asked, and why."""
        reader = self._readers.get()
        found = {}
        for key, pause in self._failures.failing():
            if isinstance(key, tuple) and len(key) == 2:  # an upstream, not a page of it
                index = reader.index(key[0])
                if index is not None and index.config.get("mirror_url") == key[1]:
                    found[index.name] = pause.reason
        return found

    def stop(self) -> None:
        """Give up what is on its way, because the server stops."""
        self._stopping = True
        self._fetches.cancel_all()

    def _is_missing(self, place: Place, wanted: Wanted, now: float) -> bool:
        """Whether the upstream said so lately; for no longer than its other answers hold."""
        pause = self._missing.blocked(wanted, now)
        return pause is not None and now < pause.until - self._negative_expiry + place.expiry

    # Answers -------------------------------------------------------------------------------------------------------

    def _confirmed(self, kind: Kind, place: Place, project: str, freshness: Freshness, expiry: float) -> PageState:
        """The state of a page that the upstream confirmed within its expiry."""
        reason = None
        if freshness.missing:
            self._require_cached_files(place, project)
            reason = GONE
        age = _age(freshness, self._clock.seconds())
        return PageState(kind, age, place.source, reason, max(0.0, expiry - age))

    def _require_cached_files(self, place: Place, project: str) -> None:
        """Of a project its upstream has no more, only what is cached is worth a page."""
        known = self._readers.get().project(place.index, project)
        if known is None or not known.files:
            raise UnknownProject(place.index, project)

    def _without_upstream(self, place: Place, project: str, known: bool, freshness: Freshness | None) -> PageState:
        if not known:
            raise UpstreamUnreachable(place.index, project, "this server works offline")
        age = _age(freshness, self._clock.seconds())
        return PageState("hit", age, place.source, "offline", place.expiry)

    def _fall_back(self, place: Place, project: str, known: bool, freshness: Freshness | None, pause: Pause) -> PageState:
        """What is known, marked stale; or the error that nothing is."""
        if not known:
            failure = UpstreamUnreachable if pause.unreachable else UpstreamFailed
            raise failure(place.index, project, pause.reason)
        now = self._clock.seconds()
        return PageState("stale", _age(freshness, now), place.source, pause.reason, max(0.0, pause.until - now))

    # Asking --------------------------------------------------------------------------------------------------------

    async def _ask(self, place: Place, project: str, known: bool, freshness: Freshness | None, force: bool) -> PageState:
        started = self._clock.seconds()
        try:
            kind = await self._patiently(place, project, known, force and self._pages.minds_force)
        except Trouble as trouble:
            self._note_failure(place, project, started, trouble)
            if not is_aimed_at(self._readers.get().index(place.index), place):
                raise Outdated from trouble
            pause = self._failures.blocked(_wanted(place, project), self._clock.seconds())
            return self._fall_back(place, project, known, freshness, pause or Pause(started, trouble.reason, trouble.unreachable))
        except StorageFull as error:
            if not known:
                raise
            return self._fall_back(place, project, known, freshness, Pause(started + self._failure_pause, str(error), False))
        learned = self._readers.get().freshness(place.index, project) or Freshness(started)
        return self._confirmed(kind, place, project, learned, place.expiry)

    async def _patiently(self, place: Place, project: str, known: bool, force: bool) -> Kind:
        """Wait for the fetch, but no longer than a request may wait.

        Who has nothing to serve waits on when the answer has begun to come: large pages take their time.
        """
        wanted = _wanted(place, project)
        for _ in range(_PATIENCE):
            waiter = self._fetches.join((wanted, force), lambda: self._fetch(place, project, force))
            waiter.addTimeout(self._request_timeout, self._clock)
            try:
                return await waiter
            except TimeoutError as error:
                if known or wanted not in self._answering:
                    raise Trouble(f"no answer within {self._request_timeout:g} s", unreachable=True) from error
        raise Trouble(f"its answer did not end within {_PATIENCE * self._request_timeout:g} s", unreachable=True)

    def _note_failure(self, place: Place, project: str, started: float, trouble: Trouble) -> None:
        now = self._clock.seconds()
        self._failures.failed(_wanted(place, project), started, now, trouble.reason, trouble.unreachable)
        if trouble.unreachable:
            self._failures.failed(_upstream_of(place), started, now, trouble.reason, True)

    async def _fetch(self, place: Place, project: str, force: bool) -> Kind:
        """Ask once and learn what is said; the one piece of work behind any number of waiters."""
        wanted = _wanted(place, project)

        def answering() -> None:
            self._answering.add(wanted)
            self._failures.answered(_upstream_of(place), self._clock.seconds())

        try:
            kind = await self._pages.fetch(place, project, force=force, answering=answering)
        except UnknownProject:
            now = self._clock.seconds()
            self._missing.failed(wanted, now, now, "unknown upstream", False)
            raise
        except Trouble as trouble:
            if not self._stopping:
                text = "{index}: the upstream {source} failed for {project}: {reason}"
                self._log.warn(text, index=place.index, source=place.source, project=project, reason=trouble.reason)
            raise
        finally:
            self._answering.discard(wanted)
        self._failures.forget(wanted)
        return kind


def _wanted(place: Place, project: str) -> Wanted:
    return place.index, project, place.url, place.ignores_serial


def _upstream_of(place: Place) -> tuple[str, str]:
    """What is left alone when nobody answers there; mirrors beside each other are no judges of each other's upstreams."""
    return place.index, place.url


def _age(freshness: Freshness | None, now: float) -> float:
    return max(0.0, now - freshness.checked_at) if freshness else 0.0


def _required(found: tuple[str, KnownFile] | None, index: Index, path: str) -> tuple[str, KnownFile]:
    if found is None:
        raise UnknownFile(index.name, path)
    return found
