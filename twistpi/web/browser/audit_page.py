"""``/+audit``: which versions here an advisory affects, of what the caller may read; a page in browsers, else JSON or CSV."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

import attrs
from twisted.internet.defer import DeferredLock
from twisted.web.server import Request

from twistpi.advisories.store import AdvisoryStore
from twistpi.http.offload import Offload
from twistpi.inventory.audit import ANY, MALWARE, AffectedVersion, audit_csv, audit_fields, find_affected
from twistpi.model.errors import BadRequest
from twistpi.model.records import Principal
from twistpi.rules.advisories import SEVERITIES
from twistpi.statistics.downloads import Downloads
from twistpi.web.access import Access, readable_indexes
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.browser.rendering import Renderer
from twistpi.web.replies import CSV, PRIVATE, VARY_CALLER, Reply, length_of, result_reply
from twistpi.web.request import parameter, wants_csv

_SHOWN: Final = 200
"""Versions that a page lists."""
_REMEMBERED: Final = 30.0
"""Seconds for which an audit is shown again: of a million files it takes some to make."""
_LEVELS: Final = (ANY, *SEVERITIES, MALWARE)


@attrs.frozen
class Asked:
    """Which affected versions are wanted."""

    index: str = ""
    """Only this index and what it inherits from; empty for all."""
    least: str = ANY
    """The least severity."""

    @classmethod
    def of(cls, request: Request) -> Asked:
        """Read the query; raise ``BadRequest``."""
        least = parameter(request, b"severity") or ANY
        if least not in _LEVELS:
            raise BadRequest(f"Bad request: severity must be one of {', '.join(_LEVELS)}, got {least[:20]}")
        return cls(parameter(request, b"index"), least)


@attrs.frozen
class _Audit:
    affected: Sequence[AffectedVersion]
    digest: str
    """Of the advisories."""
    at: float
    """Unix seconds."""


@attrs.define(eq=False)
class AuditPage:
    """Answers what is affected."""

    _access: Access
    _frames: Frames
    _renderer: Renderer
    _store: AdvisoryStore
    _downloads: Downloads
    _offload: Offload
    _seconds: Callable[[], float]
    """Unix time."""
    _turn: DeferredLock = attrs.field(factory=DeferredLock, init=False)
    """Held while an audit is made, so that it takes one thread at a time."""
    _last: _Audit = attrs.field(default=_Audit((), "", 0.0), init=False)

    async def show(self, request: Request) -> Reply:
        """The result for people."""
        frame, asked = await self._frames.of(request), Asked.of(request)
        affected = await self._wanted(request, frame.caller, asked)
        return await self._offload(self._page, frame, asked, affected)

    async def facts(self, request: Request) -> Reply:
        """The same for programs, as JSON or CSV."""
        caller, asked = await self._access.principal(request), Asked.of(request)
        make = _csv_reply if wants_csv(request) else self._json_reply
        return await self._offload(make, await self._wanted(request, caller, asked))

    async def _wanted(self, request: Request, caller: Principal, asked: Asked) -> Sequence[AffectedVersion]:
        """Return what ``asked`` is about and ``caller`` may read; raise what keeps the caller from reading the index."""
        readable: Collection[str] = readable_indexes(self._access.reader, caller)
        if asked.index:
            readable = {index.name for index in (await self._access.visibility(request, asked.index)).visible}
        found = (await self._made()).affected
        return [one for one in found if one.index in readable and one.is_as_bad_as(asked.least)]

    async def _made(self) -> _Audit:
        """Return an audit of all indexes that is not older than half a minute."""
        await self._turn.acquire()
        try:
            last, now, digest = self._last, self._seconds(), self._store.digest
            if last.digest != digest or not 0 <= now - last.at < _REMEMBERED:
                affected = await self._offload(self._find)
                self._last = _Audit(affected, digest, now)
            return self._last
        finally:
            self._turn.release()

    def _find(self) -> Sequence[AffectedVersion]:
        """Blocking."""
        return find_affected(self._access.reader, self._store, self._downloads)

    def _json_reply(self, affected: Sequence[AffectedVersion]) -> Reply:
        return result_reply("audit", {"advisories": self._store.count, "affected": audit_fields(affected)})

    def _page(self, frame: Frame, asked: Asked, affected: Sequence[AffectedVersion]) -> Reply:
        return self._renderer.page(
            frame, "audit.html", asked=asked, affected=affected, most=_SHOWN, known=self._store.count, levels=_LEVELS
        )


def _csv_reply(affected: Sequence[AffectedVersion]) -> Reply:
    body = audit_csv(affected).encode()
    return Reply(200, ((b"Content-Type", CSV), length_of(body), PRIVATE, VARY_CALLER), body)
