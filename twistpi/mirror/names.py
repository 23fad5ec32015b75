"""The name lists of mirrors, ``/simple/``: fetched when a client asks for one, never at start and never to answer for a project.

A list may have 730,000 names in 40 MB.  It is streamed to disk, and a thread makes pages of it in small steps; only where they
are is kept in memory.  A list belongs to an index and its ``mirror_url``: with another one it is another list, and the lists of a
deleted index are removed.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twistpi.blobs.incoming import storage_full
from twistpi.http.backoff import Blocked, CircuitBreaker
from twistpi.http.body_writer import BodyWriter
from twistpi.http.conditional import conditions
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.offload import Offload
from twistpi.http.single_flight import SingleFlight
from twistpi.mirror.file_transfer import FileResponse
from twistpi.mirror.name_source import NameSource
from twistpi.mirror.name_store import (
    LARGEST,
    LARGEST_FOLDER,
    Received,
    StoredNames,
    home_of,
    load,
    make_pages,
    new_folder,
    remove,
    remove_others,
    require_size,
    save,
)
from twistpi.mirror.page_source import Kind
from twistpi.mirror.upstream import (
    ACCEPT_PAGE,
    OFFLINE,
    STOPPING,
    StaleConfig,
    UpstreamConfig,
    has_known_end,
    unusable_status,
    upstream_config,
)
from twistpi.model.changes import Change, IndexDeleted, IndexModified
from twistpi.model.errors import UnknownIndex, UpstreamFailed, UpstreamUnreachable
from twistpi.model.records import Index
from twistpi.model.server_errors import StorageFull
from twistpi.model.text import counted
from twistpi.view.read import Readers

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
    """The upstream's scheme, host and port."""
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
    _largest_folder: int = attrs.field(default=LARGEST_FOLDER, kw_only=True)
    """Bytes of one list on disk."""
    announce: Callable[[str, str | None], object] = attrs.field(default=lambda index, folder: None, kw_only=True)
    """Called with an index and the folder of its new list; None when it has none any more."""
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

        Raise ``UpstreamFailed`` when the upstream has none, ``UpstreamUnreachable`` when it does not answer, ``StorageFull`` when
        there is no room for it, ``UnknownIndex`` when the index was deleted meanwhile.
        """
        for _ in range(_MOST_CHANGES):
            try:
                return await self._ensure(index, force=force)
            except StaleConfig:
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
                case IndexModified() if {"mirror_url", "mirror_url_kind"} & {*change.changed, *change.removed}:
                    self._forget(change.index)
                case _:
                    pass

    def stop(self) -> None:
        """Stop all work, because the server stops."""
        self._fetches.cancel_all()

    def _forget(self, index: str) -> None:
        self._known.pop(index, None)
        self.announce(index, None)
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
        """Do the work of ``ensure``; raise ``StaleConfig`` when the configuration of ``index`` changed."""
        config = upstream_config(index, _SUBJECT, self._cache_expiry)
        if index.config.get("mirror_no_project_list"):
            raise UpstreamFailed(index.name, _SUBJECT, "it has none (mirror_no_project_list)")
        stored = await self._stored(config)
        now = self._clock.seconds()
        if stored is not None and (self._offline or (not force and 0 <= now - stored.checked_at < config.expiry)):
            return self._answer("hit", config, stored, "offline" if self._offline else None)
        if self._offline:
            raise UpstreamUnreachable(index.name, _SUBJECT, OFFLINE)
        key = (config.index, config.mirror_url)
        blocked = None if force else self._failures.blocked(key, now)
        if blocked is None:
            try:
                kind, newest = await self._wait(config, stored)
                return self._answer(kind, config, newest)
            except RequestFailed as failed:
                self._failures.failed(key, now, self._clock.seconds(), failed)
                self._require_current(config)
                blocked = self._failures.blocked(key, self._clock.seconds()) or Blocked(now, failed.reason, failed.unreachable)
            except StorageFull as full:
                if stored is None:
                    raise
                blocked = Blocked(now, full.reason, unreachable=False)
        if stored is not None:
            return self._answer("stale", config, stored, blocked.reason)
        failure = UpstreamUnreachable if blocked.unreachable else UpstreamFailed
        wait = blocked.until - self._clock.seconds() if blocked.is_asked_for else None
        raise failure(index.name, _SUBJECT, blocked.reason).later(wait)

    def _require_current(self, config: UpstreamConfig) -> None:
        config.require_current(self._readers.get().index(config.index))

    async def _stored(self, config: UpstreamConfig) -> StoredNames | None:
        """Return the list on disk, if it is this upstream's."""
        stored = self._known.get(config.index)
        if stored is None:
            async with self._alone():
                stored = await self._offload(load, home_of(self._root, config.index))
                if stored is not None:
                    self._known[config.index] = stored
        return stored if stored is not None and stored.source == config.source else None

    def _answer(self, kind: Kind, config: UpstreamConfig, stored: StoredNames, reason: str | None = None) -> NameList:
        age = max(0.0, self._clock.seconds() - stored.checked_at)
        fresh_for = max(0.0, config.expiry - age)
        return NameList(stored.folder, stored.etags, stored.count, kind, age, config.shown, reason, fresh_for)

    async def _wait(self, config: UpstreamConfig, stored: StoredNames | None) -> tuple[Kind, StoredNames]:
        """Wait for the fetch; with an old list to serve, not longer than ``request_timeout``."""
        waiter = self._fetches.join((config.index, config.mirror_url), lambda: self._fetch_or_stop(config, stored))
        if stored is not None:
            waiter.addTimeout(self._request_timeout, self._clock)
        try:
            return await waiter
        except TimeoutError as error:
            raise RequestFailed("a new list is on its way", Cause.UNUSABLE) from error

    async def _fetch_or_stop(self, config: UpstreamConfig, stored: StoredNames | None) -> tuple[Kind, StoredNames]:
        try:
            with storage_full("the list of projects"):
                return await self._fetch(config, stored)
        except CancelledError as stopped:
            raise RequestFailed(STOPPING, Cause.CONNECT) from stopped

    async def _fetch(self, config: UpstreamConfig, stored: StoredNames | None) -> tuple[Kind, StoredNames]:
        headers = {"Accept": ACCEPT_PAGE}
        if stored is not None:
            headers.update(conditions(stored.etag, stored.last_modified))
        response, age = await self._source.ask(config, headers, max(_TIMEOUT, self._request_timeout))
        checked_at = self._clock.seconds() - age
        if response.status == 304 and stored is not None:
            response.discard()
            return "revalidated", await self._publish(config, attrs.evolve(stored, checked_at=checked_at))
        if response.status != 200:
            response.discard()
            raise unusable_status(response, self._clock.seconds())
        return "miss" if stored is None else "revalidated", await self._replace(config, stored, response, checked_at)

    async def _replace(
        self, config: UpstreamConfig, stored: StoredNames | None, response: FileResponse, checked_at: float
    ) -> StoredNames:
        """Make the list of ``response`` in a new folder, and publish it."""
        home = home_of(self._root, config.index)
        async with self._alone():
            folder = await self._offload(new_folder, home)
            self._making.add(folder)
        try:
            return await self._publish(config, await self._make(config, response, checked_at, folder))
        finally:
            self._making.discard(folder)
            async with self._alone():
                kept = {known.folder for known in (stored, self._known.get(config.index)) if known is not None}
                await self._offload(remove_others, home, frozenset(kept | self._making))

    async def _make(self, config: UpstreamConfig, response: FileResponse, checked_at: float, folder: str) -> StoredNames:
        """Stream the response to disk and make pages of it."""
        path = os.path.join(folder, "received")
        await self._receive(response, path)
        encoding = (response.header("Content-Encoding") or "").strip().lower()
        media_type, is_whole = response.header("Content-Type") or "", has_known_end(response)
        received = Received(path, encoding, media_type, config.names_url, is_whole, config.is_flat)
        count, etags = await self._in_steps(make_pages(received, config.index, folder), folder)
        await self._offload(os.unlink, path)
        self._log.info("{index}: the list of {projects} is here", index=config.index, projects=counted(count, "project"))
        etag, last_modified = response.header("ETag"), response.header("Last-Modified")
        return StoredNames(folder, count, etags, config.source, checked_at, etag, last_modified)

    async def _in_steps(self, work: Generator[None, None, _Result], folder: str) -> _Result:
        """Run ``work``, which writes into ``folder``, in threads, a few steps at a time."""
        done: list[_Result] = []
        while not done:
            await self._offload(self._advance, work, done, folder)
        return done[0]

    def _advance(self, work: Generator[None, None, _Result], done: list[_Result], folder: str) -> None:
        """Do some steps of ``work``; put its result into ``done`` at the end.  Blocking."""
        try:
            for _ in range(_STEPS_AT_ONCE):
                next(work)
            require_size(folder, self._largest_folder)
        except StopIteration as end:
            done.append(end.value)

    async def _receive(self, response: FileResponse, path: str) -> None:
        with await self._offload(open, path, "wb", 0) as file:
            size = 0

            def write(pieces: list[bytes]) -> None:
                nonlocal size
                size += sum(map(len, pieces))
                if size > LARGEST:
                    raise RequestFailed(f"its list of projects is longer than {LARGEST:,} bytes", Cause.TOO_LARGE)
                file.writelines(pieces)

            writer = BodyWriter(self._clock, self._request_timeout, self._offload, self._call_in_reactor, write)
            await writer.take(response.deliver)

    async def _publish(self, config: UpstreamConfig, stored: StoredNames) -> StoredNames:
        """Make ``stored`` the list, unless the configuration of the index changed; raise ``StaleConfig`` then."""
        async with self._alone():
            self._require_current(config)
            await self._offload(save, home_of(self._root, config.index), stored)
            self._require_current(config)
            former = self._known.get(config.index)
            self._known[config.index] = stored
        if former is None or former.folder != stored.folder:
            self.announce(config.index, stored.folder)
        return stored
