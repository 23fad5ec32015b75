"""The name lists of mirrors, ``/simple/``: fetched when a client asks for one, never at start and never to answer for a project.

A list may have 730,000 names in 40 MB.  It is streamed to disk, and a thread makes pages of it in small steps; only where they
are is kept in memory.  A list belongs to an index and its ``mirror_url``: with another one it is another list, and the lists of a
deleted index are removed.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred, DeferredLock, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twistpi.http.body import BodyWriter, Offload
from twistpi.http.circuit_breaker import Blocked, CircuitBreaker
from twistpi.http.errors import RequestFailed
from twistpi.http.single_flight import SingleFlight
from twistpi.mirror.download_source import Asking, Response
from twistpi.mirror.name_store import (
    LARGEST,
    Received,
    StoredNames,
    home_of,
    load,
    make_pages,
    new_folder,
    remove,
    save,
    search_names,
    sweep,
)
from twistpi.mirror.place import Place, is_aimed_at, place_of
from twistpi.mirror.refresh import Kind
from twistpi.mirror.relayed_asking import names_path
from twistpi.mirror.trouble import Outdated, Trouble
from twistpi.mirror.upstream import ACCEPT_PAGE, conditions
from twistpi.model.changes import Change, IndexDeleted, IndexModified
from twistpi.model.errors import TwistpiError, UnknownIndex, UpstreamFailed, UpstreamUnreachable
from twistpi.model.records import Index
from twistpi.view.read import Readers

__all__ = ["AGE", "NameList", "NameLists", "NameSource", "PrimaryNames", "UpstreamNames", "search_names"]

AGE: Final = "X-Twistpi-Age"
"""A header of a primary's answer: seconds since the upstream confirmed the list."""
_SUBJECT: Final = "the list of projects"
_TIMEOUT: Final = 30.0
"""Seconds an upstream may take to begin such a list."""
_MOST_CHANGES: Final = 5
"""How often the configuration of an index may change while one request waits."""
_STEPS_AT_ONCE: Final = 5
"""Steps of ``make_pages`` until the reactor has a turn without a rival for Python's lock."""

Key = tuple[str, str]
"""Index and ``mirror_url``."""
_Result = TypeVar("_Result")


class NameSource(Protocol):
    """Where lists come from."""

    async def ask(self, place: Place, headers: Mapping[str, str], timeout: float) -> tuple[Response, float]:
        """Request the list of ``place``; return the response, and how many seconds ago the upstream confirmed it.

        ``timeout`` is in seconds, until the response begins.  Raise ``Trouble``.
        """


@attrs.frozen(eq=False)
class UpstreamNames:
    """The upstream of each mirror."""

    _upstream: Asking

    async def ask(self, place: Place, headers: Mapping[str, str], timeout: float) -> tuple[Response, float]:
        """See ``NameSource``."""
        url = f"{place.source.rstrip('/')}/"
        return await self._upstream.ask(url, headers, place.credentials, patience=timeout), 0.0


@attrs.frozen(eq=False)
class PrimaryNames:
    """The primary of a replica, which has fetched the lists or does so now."""

    _primary: Asking
    """``relayed_asking.PrimaryAsking``."""

    async def ask(self, place: Place, headers: Mapping[str, str], timeout: float) -> tuple[Response, float]:
        """See ``NameSource``."""
        try:
            response = await self._primary.ask(names_path(place.index), headers, patience=timeout)
        except TwistpiError as error:
            raise Trouble(getattr(error, "reason", str(error)), unreachable=error.status == 503) from error
        try:
            return response, float(response.header(AGE) or 0)
        except ValueError:
            return response, 0.0


@attrs.frozen
class NameList:
    """A name list on disk, and its freshness."""

    folder: str
    """Holds ``page.json``, ``page.json.gz``, ``page.html``, ``page.html.gz`` and ``names.txt``."""
    etags: Mapping[str, str]
    """File name -> its strong entity tag, quoted."""
    count: int
    """Names."""
    kind: Kind
    age: float
    """Seconds since the upstream last confirmed it."""
    source: str
    """The upstream's URL, without credentials."""
    reason: str | None = None
    """Why it is stale."""
    fresh_for: float = 0.0
    """Seconds for which the upstream will not be asked again."""


@attrs.define(eq=False)
class NameLists:
    """The name lists of all mirrors."""

    _source: NameSource
    _readers: Readers
    _clock: IReactorTime
    _root: str = attrs.field(kw_only=True)
    """The folder of all lists."""
    _offload: Offload = attrs.field(kw_only=True)
    _call_in_reactor: Callable[[Callable[[], object]], object] = attrs.field(kw_only=True)
    """``IReactorFromThreads.callFromThread``."""
    _cache_expiry: float = attrs.field(default=1800.0, kw_only=True)
    _request_timeout: float = attrs.field(default=5.0, kw_only=True)
    _offline: bool = attrs.field(default=False, kw_only=True)
    _failures: CircuitBreaker = attrs.field(factory=lambda: CircuitBreaker(10.0), kw_only=True)
    _known: dict[str, StoredNames] = attrs.field(init=False, factory=dict)
    """Index -> its newest list, once it was loaded."""
    _fetches: SingleFlight[Key, tuple[Kind, StoredNames]] = attrs.field(init=False, factory=SingleFlight)
    _making: set[str] = attrs.field(init=False, factory=set)
    """Folders of lists that are being made."""
    _disk: DeferredLock = attrs.field(init=False, factory=DeferredLock)
    """Held to change what is on disk."""
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.mirror"))

    async def ensure(self, index: Index, *, force: bool = False) -> NameList:
        """Return the name list of ``index``, not older than its expiry, or stale while its upstream fails.

        Raise ``UpstreamFailed`` when the upstream has none, ``UpstreamUnreachable`` when it does not answer, ``UnknownIndex``
        when the index was deleted meanwhile.
        """
        for _ in range(_MOST_CHANGES):
            try:
                return await self._ensure(index, force=force)
            except Outdated:
                found = self._readers.get().index(index.name)
                if found is None or not found.is_mirror:
                    raise UnknownIndex(index.name) from None
                index = found
        raise UpstreamFailed(index.name, _SUBJECT, "its configuration changes all the time")

    def changed(self, _serial: int, changes: Sequence[Change]) -> None:
        """Drop the lists of indexes that were deleted or have another upstream now; called for every entry of the log."""
        for change in changes:
            match change:
                case IndexDeleted():
                    self._forget(change.index)
                case IndexModified() if "mirror_url" in (*change.changed, *change.removed):
                    self._forget(change.index)
                case _:
                    pass

    def stop(self) -> None:
        """Stop all work, because the server stops."""
        self._fetches.cancel_all()

    def _forget(self, index: str) -> None:
        self._known.pop(index, None)
        removing = Deferred.fromCoroutine(self._remove(index))
        removing.addErrback(lambda failure: self._log.failure("{index}: its list of projects stays", failure, index=index))

    async def _remove(self, index: str) -> None:
        async with self._alone():
            if index not in self._known:  # else a new one has taken its place
                await self._offload(remove, home_of(self._root, index), frozenset(self._making))

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Hold ``_disk``."""
        await self._disk.acquire()
        try:
            yield
        finally:
            self._disk.release()

    async def _ensure(self, index: Index, *, force: bool) -> NameList:
        """Do the work of ``ensure``; raise ``Outdated`` when the configuration of ``index`` changed."""
        place = place_of(index, _SUBJECT, self._cache_expiry)
        if index.config.get("mirror_no_project_list"):
            raise UpstreamFailed(index.name, _SUBJECT, "it has none (mirror_no_project_list)")
        stored = await self._stored(place)
        now = self._clock.seconds()
        if stored is not None and (self._offline or (not force and 0 <= now - stored.checked_at < place.expiry)):
            return self._answer("hit", place, stored, "offline" if self._offline else None)
        if self._offline:
            raise UpstreamUnreachable(index.name, _SUBJECT, "this server works offline")
        key = (place.index, place.url)
        blocked = None if force else self._failures.blocked(key, now)
        if blocked is None:
            try:
                kind, newest = await self._wait(place, stored)
                return self._answer(kind, place, newest)
            except Trouble as trouble:
                self._failures.failed(key, now, self._clock.seconds(), trouble.reason, trouble.unreachable)
                self._require_current(place)
                blocked = Blocked(self._clock.seconds(), trouble.reason, trouble.unreachable)
        if stored is not None:
            return self._answer("stale", place, stored, blocked.reason)
        failure = UpstreamUnreachable if blocked.unreachable else UpstreamFailed
        raise failure(index.name, _SUBJECT, blocked.reason)

    def _require_current(self, place: Place) -> None:
        if not is_aimed_at(self._readers.get().index(place.index), place):
            raise Outdated

    async def _stored(self, place: Place) -> StoredNames | None:
        """Return the list on disk, if it is this upstream's."""
        stored = self._known.get(place.index)
        if stored is None:
            async with self._alone():
                stored = await self._offload(load, home_of(self._root, place.index))
                if stored is not None:
                    self._known[place.index] = stored
        return stored if stored is not None and stored.source == place.source else None

    def _answer(self, kind: Kind, place: Place, stored: StoredNames, reason: str | None = None) -> NameList:
        age = max(0.0, self._clock.seconds() - stored.checked_at)
        fresh_for = max(0.0, place.expiry - age)
        return NameList(stored.folder, stored.etags, stored.count, kind, age, stored.source, reason, fresh_for)

    async def _wait(self, place: Place, stored: StoredNames | None) -> tuple[Kind, StoredNames]:
        """Wait for the fetch; with an old list to serve, not longer than ``request_timeout``."""
        waiter = self._fetches.join((place.index, place.url), lambda: self._fetch(place, stored))
        if stored is not None:
            waiter.addTimeout(self._request_timeout, self._clock)
        try:
            return await waiter
        except TimeoutError as error:
            raise Trouble("a new list is on its way") from error

    async def _fetch(self, place: Place, stored: StoredNames | None) -> tuple[Kind, StoredNames]:
        headers = {"Accept": ACCEPT_PAGE, "Accept-Encoding": "gzip"}
        if stored is not None:
            headers.update(conditions(stored.etag, stored.last_modified))
        response, age = await self._source.ask(place, headers, max(_TIMEOUT, self._request_timeout))
        checked_at = self._clock.seconds() - age
        if response.status == 304 and stored is not None:
            response.discard(self._clock)
            return "revalidated", await self._publish(place, attrs.evolve(stored, checked_at=checked_at))
        if response.status != 200:
            response.discard(self._clock)
            raise Trouble(f"it answered {response.status}")
        return "miss" if stored is None else "revalidated", await self._replace(place, stored, response, checked_at)

    async def _replace(self, place: Place, stored: StoredNames | None, response: Response, checked_at: float) -> StoredNames:
        """Make the list of ``response`` in a new folder, and publish it."""
        home = home_of(self._root, place.index)
        async with self._alone():
            folder = await self._offload(new_folder, home)
            self._making.add(folder)
        try:
            return await self._publish(place, await self._make(place, response, checked_at, folder))
        finally:
            self._making.discard(folder)
            async with self._alone():
                kept = {known.folder for known in (stored, self._known.get(place.index)) if known is not None}
                await self._offload(sweep, home, frozenset(kept | self._making))

    async def _make(self, place: Place, response: Response, checked_at: float, folder: str) -> StoredNames:
        """Stream the response to disk and make pages of it."""
        path = os.path.join(folder, "received")
        await self._receive(response, path)
        encoding = (response.header("Content-Encoding") or "").strip().lower()
        url = f"{place.source.rstrip('/')}/"
        received = Received(path, encoding, response.header("Content-Type") or "", url)
        count, etags = await self._in_steps(make_pages(received, place.index, folder))
        await self._offload(os.unlink, path)
        self._log.info("{index}: the list of {count} projects is here", index=place.index, count=count)
        etag, last_modified = response.header("ETag"), response.header("Last-Modified")
        return StoredNames(folder, count, etags, place.source, checked_at, etag, last_modified)

    async def _in_steps(self, work: Generator[None, None, _Result]) -> _Result:
        """Run ``work`` in threads, a few steps at a time."""
        done: list[_Result] = []
        while not done:
            await self._offload(_advance, work, done)
        return done[0]

    async def _receive(self, response: Response, path: str) -> None:
        with await self._offload(open, path, "wb", 0) as file:
            size = 0

            def write(pieces: list[bytes]) -> None:
                nonlocal size
                size += sum(map(len, pieces))
                if size > LARGEST:
                    raise Trouble(f"its list of projects is longer than {LARGEST:,} bytes")
                file.writelines(pieces)

            writer = BodyWriter(self._clock, self._request_timeout, self._offload, self._call_in_reactor, write)
            try:
                await writer.take(response.deliver)
            except RequestFailed as error:
                raise Trouble(error.reason, error.unreachable) from error

    async def _publish(self, place: Place, stored: StoredNames) -> StoredNames:
        """Make ``stored`` the list, unless the configuration of the index changed; raise ``Outdated`` then."""
        async with self._alone():
            self._require_current(place)
            await self._offload(save, home_of(self._root, place.index), stored)
            self._require_current(place)
            self._known[place.index] = stored
        return stored


def _advance(work: Generator[None, None, _Result], done: list[_Result]) -> None:
    """Do some steps of ``work``; put its result into ``done`` at the end."""
    try:
        for _ in range(_STEPS_AT_ONCE):
            next(work)
    except StopIteration as end:
        done.append(end.value)
