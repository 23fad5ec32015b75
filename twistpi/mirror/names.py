"""The name lists of upstreams: fetched when somebody asks for one, never at start and never to answer for a project.

A list may name 730,000 projects in 40 MB.  It streams to disk as it comes; a process of its own makes pages of it; what is
kept in memory is where they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import TimeoutError
from twisted.logger import Logger

from twistpi.mirror.breaker import Breaker, Pause
from twistpi.mirror.inflight import Inflight
from twistpi.mirror.names_child import LARGEST
from twistpi.mirror.names_process import make_pages
from twistpi.mirror.names_store import StoredNames, home_of, load, new_folder, save, search_names, sweep
from twistpi.mirror.place import Place, place_of
from twistpi.mirror.refresh import Kind
from twistpi.mirror.spool import Spool
from twistpi.mirror.trouble import Trouble
from twistpi.mirror.upstream import ACCEPT_PAGE, Offload, Upstream, UpstreamResponse, conditions
from twistpi.model.errors import UpstreamFailed, UpstreamUnreachable
from twistpi.model.records import Index

__all__ = ["NameList", "NameLists", "search_names"]

_SUBJECT: Final = "the list of projects"
_PATIENCE: Final = 30.0
"""Seconds an upstream may take to begin such a list."""


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

    _upstream: Upstream
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
    _fetches: Inflight[str, Kind] = attrs.field(init=False, factory=Inflight)
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.mirror"))

    async def ensure(self, index: Index, *, force: bool = False) -> NameList:
        """The name list of ``index``, as new as its expiry asks for, or stale while its upstream fails.

        Raises ``UpstreamFailed`` when there is none to be had, ``UpstreamUnreachable`` when nobody can tell now.
        """
        place = place_of(index, _SUBJECT, self._cache_expiry)
        if index.config.get("mirror_no_project_list"):
            raise UpstreamFailed(index.name, _SUBJECT, "it has none (mirror_no_project_list)")
        stored = await self._stored(place)
        now = self._clock.seconds()
        if stored is not None and (self._offline or (not force and 0 <= now - stored.checked_at < place.expiry)):
            return self._answer("hit", place, stored, "offline" if self._offline else None)
        if self._offline:
            raise UpstreamUnreachable(index.name, _SUBJECT, "this server works offline")
        pause = None if force else self._failures.blocked(place.source, now)
        if pause is None:
            try:
                kind = await self._patiently(place, stored)
                return self._answer(kind, place, self._known[place.index])
            except Trouble as trouble:
                self._failures.failed(place.source, now, self._clock.seconds(), trouble.reason, trouble.unreachable)
                pause = Pause(self._clock.seconds(), trouble.reason, trouble.unreachable)
        if stored is not None:
            return self._answer("stale", place, stored, pause.reason)
        failure = UpstreamUnreachable if pause.unreachable else UpstreamFailed
        raise failure(index.name, _SUBJECT, pause.reason)

    def stop(self) -> None:
        """Give up what is on its way, because the server stops."""
        self._fetches.cancel_all()

    async def _stored(self, place: Place) -> StoredNames | None:
        """The list that is here, if it is this upstream's."""
        stored = self._known.get(place.index)
        if stored is None:
            stored = await self._offload(load, home_of(self._root, place.index))
            if stored is not None:
                self._known[place.index] = stored
        return stored if stored is not None and stored.source == place.source else None

    def _answer(self, kind: Kind, place: Place, stored: StoredNames, reason: str | None = None) -> NameList:
        age = max(0.0, self._clock.seconds() - stored.checked_at)
        fresh_for = max(0.0, place.expiry - age)
        return NameList(stored.folder, stored.etags, stored.count, kind, age, stored.source, reason, fresh_for)

    async def _patiently(self, place: Place, stored: StoredNames | None) -> Kind:
        """Wait for the fetch; who has an old list to serve does not wait longer than a request may."""
        waiter = self._fetches.join(place.index, lambda: self._fetch(place, stored))
        if stored is not None:
            waiter.addTimeout(self._request_timeout, self._clock)
        try:
            return await waiter
        except TimeoutError as error:
            raise Trouble("a new list is on its way") from error

    async def _fetch(self, place: Place, stored: StoredNames | None) -> Kind:
        headers = {"Accept": ACCEPT_PAGE, "Accept-Encoding": "gzip"}
        if stored is not None:
            headers.update(conditions(stored.etag, stored.last_modified))
        patience = max(_PATIENCE, self._request_timeout)
        response = await self._upstream.ask(f"{place.source.rstrip('/')}/", headers, place.credentials, patience=patience)
        home = home_of(self._root, place.index)
        if response.status == 304 and stored is not None:
            response.discard(self._clock)
            await self._publish(place, attrs.evolve(stored, checked_at=self._clock.seconds()))
            return "revalidated"
        if response.status != 200:
            response.discard(self._clock)
            raise Trouble(f"it answered {response.status}")
        folder = await self._offload(new_folder, home)
        try:
            await self._publish(place, await self._make(place, response, folder))
        finally:
            kept = {known.folder for known in (stored, self._known.get(place.index)) if known is not None}
            await self._offload(sweep, home, frozenset(kept))
        return "miss" if stored is None else "revalidated"

    async def _make(self, place: Place, response: UpstreamResponse, folder: str) -> StoredNames:
        """Stream the answer to disk and have it made into pages."""
        checked_at = self._clock.seconds()
        received = os.path.join(folder, "received")
        await self._receive(response, received)
        encoding = (response.header("Content-Encoding") or "").strip().lower()
        content_type = response.header("Content-Type") or ""
        summary = await make_pages(self._spawner, [received, encoding, content_type, response.url, place.index, folder])
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

    async def _receive(self, response: UpstreamResponse, path: str) -> None:
        with await self._offload(open, path, "wb", 0) as file:
            size = 0

            def write(pieces: list[bytes]) -> None:
                nonlocal size
                size += sum(map(len, pieces))
                if size > LARGEST:
                    raise Trouble(f"its list of projects is longer than {LARGEST:,} bytes")
                file.write(b"".join(pieces))

            spool = Spool(self._clock, self._upstream.request_timeout, self._offload, write, lambda: None)
            complete = spool.complete
            response.deliver(spool)
            await complete

    async def _publish(self, place: Place, stored: StoredNames) -> None:
        await self._offload(save, home_of(self._root, place.index), stored)
        self._known[place.index] = stored
