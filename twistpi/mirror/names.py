"""The name lists of upstreams: fetched when somebody asks for one, never at start and never to answer for a project.

A list may name 730,000 projects in 40 MB.  It streams to disk as it comes; a process of its own makes pages of it; what is
kept in memory is where they are.  A list belongs to an index as it was when it was asked for: with another ``mirror_url`` it is
another list, and what an index leaves behind when it is deleted is removed.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, DeferredLock, TimeoutError
from twisted.logger import Logger

from twistpi.mirror.breaker import Breaker, Pause
from twistpi.mirror.download_source import Asking, Response
from twistpi.mirror.inflight import Inflight
from twistpi.mirror.names_child import LARGEST
from twistpi.mirror.names_process import make_pages
from twistpi.mirror.names_store import StoredNames, home_of, load, new_folder, remove, save, search_names, sweep
from twistpi.mirror.place import Place, is_aimed_at, place_of
from twistpi.mirror.refresh import Kind
from twistpi.mirror.spool import Spool
from twistpi.mirror.trouble import Outdated, Trouble
from twistpi.mirror.upstream import ACCEPT_PAGE, Offload, conditions
from twistpi.model.changes import Change, IndexDeleted, IndexModified
from twistpi.model.errors import UnknownIndex, UpstreamFailed, UpstreamUnreachable
from twistpi.model.records import Index

__all__ = ["NameList", "NameLists", "search_names"]

_SUBJECT: Final = "the list of projects"
_PATIENCE: Final = 30.0
"""Seconds an upstream may take to begin such a list."""
_MOST_CHANGES: Final = 5
"""How often an index may be set up anew while one and the same request for it waits."""

Wanted = tuple[str, str]
"""Index and ``mirror_url``: whose list, and from where."""


@attrs.frozen
class NameList:
    """A name list on disk, and how it came there."""

    folder: str
    """Holds ``page.json``, ``page.json.gz``, ``page.html``, ``page.html.gz`` and ``names.txt``."""
    etags: Mapping[str, str]
    """File name -> its strong entity tag, quoted."""
    count: int
    """How many names there are."""
    kind: Kind
    age: float
    """Seconds since the upstream last confirmed it."""
    source: str
    """The upstream's address, without credentials."""
    reason: str | None = None
    """Why it is stale."""
    fresh_for: float = 0.0
    """Seconds for which asking again would say the same."""


@attrs.define(eq=False)
class NameLists:
    """The name lists of all mirrors."""

    _upstream: Asking
    _readers: Any
    """``view.read.Readers``."""
    _clock: Any
    _root: str = attrs.field(kw_only=True)
    """The folder they are kept in."""
    _spawner: Any = attrs.field(kw_only=True)
    """The reactor, as ``IReactorProcess``."""
    _offload: Offload = attrs.field(kw_only=True)
    _cache_expiry: float = attrs.field(default=1800.0, kw_only=True)
    _request_timeout: float = attrs.field(default=5.0, kw_only=True)
    _offline: bool = attrs.field(default=False, kw_only=True)
    _failures: Breaker = attrs.field(factory=lambda: Breaker(10.0), kw_only=True)
    _known: dict[str, StoredNames] = attrs.field(init=False, factory=dict)
    """Index -> its newest list, once it was looked for."""
    _fetches: Inflight[Wanted, tuple[Kind, StoredNames]] = attrs.field(init=False, factory=Inflight)
    _making: set[str] = attrs.field(init=False, factory=set)
    """Folders of lists that are being made."""
    _disk: DeferredLock = attrs.field(init=False, factory=DeferredLock)
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.mirror"))

    async def ensure(self, index: Index, *, force: bool = False) -> NameList:
        """The name list of ``index``, as new as its expiry asks for, or stale while its upstream fails.

        Raises ``UpstreamFailed`` when there is none to be had, ``UpstreamUnreachable`` when nobody can tell now, ``UnknownIndex``
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
        raise UpstreamFailed(index.name, _SUBJECT, "the index is set up anew all the time")

    def changed(self, _serial: int, changes: Sequence[Change]) -> None:
        """Give up the lists of indexes that are gone or have another upstream; told of all entries."""
        for change in changes:
            match change:
                case IndexDeleted():
                    self._forget(change.index)
                case IndexModified() if "mirror_url" in (*change.changed, *change.removed):
                    self._forget(change.index)
                case _:
                    pass

    def stop(self) -> None:
        """Give up what is on its way, because the server stops."""
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
        """Nobody else changes what is on disk while this lasts; who came first is first."""
        await self._disk.acquire()
        try:
            yield
        finally:
            self._disk.release()

    async def _ensure(self, index: Index, *, force: bool) -> NameList:
        """As ``ensure``; raises ``Outdated`` when ``index`` is not what it was."""
        place = place_of(index, _SUBJECT, self._cache_expiry)
        if index.config.get("mirror_no_project_list"):
            raise UpstreamFailed(index.name, _SUBJECT, "it has none (mirror_no_project_list)")
        stored = await self._stored(place)
        now = self._clock.seconds()
        if stored is not None and (self._offline or (not force and 0 <= now - stored.checked_at < place.expiry)):
            return self._answer("hit", place, stored, "offline" if self._offline else None)
        if self._offline:
            raise UpstreamUnreachable(index.name, _SUBJECT, "this server works offline")
        wanted = (place.index, place.url)
        pause = None if force else self._failures.blocked(wanted, now)
        if pause is None:
            try:
                kind, newest = await self._patiently(place, stored)
                return self._answer(kind, place, newest)
            except Trouble as trouble:
                self._failures.failed(wanted, now, self._clock.seconds(), trouble.reason, trouble.unreachable)
                self._require_aim(place)
                pause = Pause(self._clock.seconds(), trouble.reason, trouble.unreachable)
        if stored is not None:
            return self._answer("stale", place, stored, pause.reason)
        failure = UpstreamUnreachable if pause.unreachable else UpstreamFailed
        raise failure(index.name, _SUBJECT, pause.reason)

    def _require_aim(self, place: Place) -> None:
        if not is_aimed_at(self._readers.get().index(place.index), place):
            raise Outdated

    async def _stored(self, place: Place) -> StoredNames | None:
        """The list that is here, if it is this upstream's."""
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

    async def _patiently(self, place: Place, stored: StoredNames | None) -> tuple[Kind, StoredNames]:
        """Wait for the fetch; who has an old list to serve does not wait longer than a request may."""
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
        response = await self._ask(place, headers, max(_PATIENCE, self._request_timeout))
        if response.status == 304 and stored is not None:
            checked_at = self._confirmed_at(response)
            response.discard(self._clock)
            return "revalidated", await self._publish(place, attrs.evolve(stored, checked_at=checked_at))
        if response.status != 200:
            response.discard(self._clock)
            raise Trouble(f"it answered {response.status}")
        return "miss" if stored is None else "revalidated", await self._replace(place, stored, response)

    async def _ask(self, place: Place, headers: Mapping[str, str], patience: float) -> Response:
        """Ask for the list; ``patience`` is in seconds.  Raises ``Trouble``."""
        return await self._upstream.ask(f"{place.source.rstrip('/')}/", headers, place.credentials, patience=patience)

    def _confirmed_at(self, response: Response) -> float:
        """When the upstream said what ``response`` says, in Unix seconds."""
        return float(self._clock.seconds())

    async def _replace(self, place: Place, stored: StoredNames | None, response: Response) -> StoredNames:
        """Make the list of ``response`` in a folder of its own, and have it be the list."""
        home = home_of(self._root, place.index)
        async with self._alone():
            folder = await self._offload(new_folder, home)
            self._making.add(folder)
        try:
            return await self._publish(place, await self._make(place, response, folder))
        finally:
            self._making.discard(folder)
            async with self._alone():
                kept = {known.folder for known in (stored, self._known.get(place.index)) if known is not None}
                await self._offload(sweep, home, frozenset(kept | self._making))

    async def _make(self, place: Place, response: Response, folder: str) -> StoredNames:
        """Stream the answer to disk and have it made into pages."""
        checked_at = self._confirmed_at(response)
        received = os.path.join(folder, "received")
        await self._receive(response, received)
        encoding = (response.header("Content-Encoding") or "").strip().lower()
        content_type = response.header("Content-Type") or ""
        summary = await make_pages(
            self._spawner, [received, encoding, content_type, f"{place.source.rstrip('/')}/", place.index, folder]
        )
        await self._offload(os.unlink, received)
        self._log.info("{index}: the list of {count} projects is here", index=place.index, count=summary["count"])
        return StoredNames(
            folder,
            summary["count"],
            summary["etags"],
            place.source,
            checked_at,
            response.header("ETag"),
            response.header("Last-Modified"),
        )

    async def _receive(self, response: Response, path: str) -> None:
        with await self._offload(open, path, "wb", 0) as file:
            size = 0

            def write(pieces: list[bytes]) -> None:
                nonlocal size
                size += sum(map(len, pieces))
                if size > LARGEST:
                    raise Trouble(f"its list of projects is longer than {LARGEST:,} bytes")
                file.write(b"".join(pieces))

            spool = Spool(self._clock, self._request_timeout, self._offload, write, lambda: None)
            await spool.read(response.deliver)

    async def _publish(self, place: Place, stored: StoredNames) -> StoredNames:
        """From now on ``stored`` is the list, unless the index is another by now."""
        async with self._alone():
            self._require_aim(place)
            await self._offload(save, home_of(self._root, place.index), stored)
            self._require_aim(place)
            self._known[place.index] = stored
        return stored
