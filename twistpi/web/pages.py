"""From a question about a project to ready bytes: ask the upstreams, read the view, merge, render once, keep."""

from __future__ import annotations

import gzip
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, DeferredList

from twistpi.mirror.inflight import Inflight
from twistpi.model.changes import (
    Change,
    FileCached,
    IndexCreated,
    IndexModified,
    LinksChanged,
    MetadataCached,
    MetadataMissing,
    ProjectVanished,
)
from twistpi.model.errors import UnknownIndex, UnknownProject
from twistpi.model.records import Index, KnownProject, Link
from twistpi.rules.inherit import resolution_order, sources
from twistpi.simple.merge import merge
from twistpi.simple.negotiate import Representation
from twistpi.simple.render import etag, render_project
from twistpi.view.page_cache import PageKey
from twistpi.web.ready import PAGE_BASE, Account, ReadyPage
from twistpi.web.services import Services

if TYPE_CHECKING:
    from twistpi.mirror.refresh import PageState

_FEW_LINKS = 100
"""Up to so many, a page is rendered at once; beyond, in a thread."""
_MOST_SETTLED = 20_000


@attrs.frozen
class Ask:
    """Which page is wanted."""

    index: str
    """``user/name``."""
    project: str
    """The normalised name."""
    representation: Representation
    gzip: bool
    base: str = PAGE_BASE
    """How a link on the page reaches the index: ``../../`` from ``+simple/{project}/``."""
    key: PageKey = attrs.field(init=False)
    """Where the page cache keeps it."""

    @key.default
    def _key(self) -> PageKey:
        return PageKey(self.index, self.project, self.representation.value, self.gzip, self.base)


@attrs.define(eq=False)
class Pages:
    """Makes and keeps the simple pages."""

    _services: Services
    _rendering: Inflight[tuple[PageKey, int], ReadyPage] = attrs.field(factory=Inflight)
    _settled: OrderedDict[tuple[str, str], None] = attrs.field(factory=OrderedDict)
    """Index and project of pages that say the same whether or not their files and metadata are here."""

    async def page(self, ask: Ask) -> tuple[ReadyPage, Account]:
        """The page and how it came about.

        Raises ``UnknownIndex``, ``UnknownProject``, ``UpstreamFailed``, ``UpstreamUnreachable``.
        """
        cache, now = self._services.page_cache, self._services.clock.seconds()
        page = cache.get(ask.key)
        if page is not None and page.fresh_until > now:
            return page, page.account
        order = self._sources(ask.index, ask.project)
        account, fresh_until = await self._ask_upstreams(order, ask)
        page = cache.get(ask.key)
        if page is None:
            # Who asks after a change must not join a rendering of what was before it; the mark moves with every change.
            mark = cache.mark()
            page = await self._rendering.join((ask.key, mark), lambda: self._make(ask, order, mark))
        page.renew(account.as_kept(), fresh_until)
        return page, account

    async def refresh(self, index: str, project: str) -> None:
        """Ask the upstreams of a project now; raises what ``page`` raises."""
        mirrors = [source for source in self._sources(index, project) if source.is_mirror]
        for mirror in mirrors:
            await self._services.mirror.ensure(mirror, project, force=True)

    def changed(self, changes: Sequence[Change]) -> None:
        """Forget what is not true any more; the writer announces every entry here before its author hears of it."""
        cache, tables = self._services.page_cache, self._services.tables
        for change in changes:
            match change:
                case LinksChanged() | ProjectVanished() | MetadataMissing():
                    self._settled.pop((change.index, change.project), None)
                    cache.forget_project(change.index, change.project)
                    tables.forget_files(change.index, change.project)
                case FileCached() | MetadataCached():
                    # A path is given where the link alone does not tell all about the file.
                    if change.path is not None or (change.index, change.project) not in self._settled:
                        cache.forget_project(change.index, change.project)
                case IndexCreated() | IndexModified():
                    cache.forget_index(change.index)
                    tables.forget_files(change.index)
                case _:
                    pass

    def _sources(self, name: str, project: str) -> list[Index]:
        """The indexes to look into, nearest first."""
        reader = self._services.readers.get()
        index = reader.index(name)
        if index is None:
            raise UnknownIndex(name)
        order = resolution_order(index, reader.index)
        return sources(project, order, lambda other: reader.has_project(other, project))

    async def _ask_upstreams(self, order: Sequence[Index], ask: Ask) -> tuple[Account, float]:
        mirrors = [index for index in order if index.is_mirror]
        if len(mirrors) == 1 and len(order) == 1:
            states = [await self._services.mirror.ensure(mirrors[0], ask.project)]
        else:
            states = await self._ask_each(mirrors, order, ask)
        return self._account(mirrors, states)

    async def _ask_each(self, mirrors: Sequence[Index], order: Sequence[Index], ask: Ask) -> list[PageState]:
        """Ask several; one that fails takes nothing away from what the others know."""
        outcomes: Sequence[tuple[bool, Any]] = await DeferredList(
            [Deferred.fromCoroutine(self._services.mirror.ensure(mirror, ask.project)) for mirror in mirrors], consumeErrors=True
        )
        failures = [failure for succeeded, failure in outcomes if not succeeded]
        reader = self._services.readers.get()
        if not any(reader.has_project(index.name, ask.project) for index in order):
            for failure in failures:
                if not failure.check(UnknownProject):
                    failure.raiseException()
            raise UnknownProject(ask.index, ask.project)
        return [state for succeeded, state in outcomes if succeeded]

    def _account(self, mirrors: Sequence[Index], states: Sequence[PageState]) -> tuple[Account, float]:
        """The least fresh of what the upstreams said counts for all."""
        if not states:
            return Account(), float("inf")
        now = self._services.clock.seconds()
        expiry = min(float(mirror.config.get("mirror_cache_expiry", self._services.cache_expiry)) for mirror in mirrors)
        worst = max(states, key=lambda state: (state.kind == "stale", state.kind == "miss", state.age))
        checked_at = now - worst.age
        account = Account(worst.kind, checked_at, checked_at + expiry, worst.source or "local", worst.reason)
        return account, now + min(state.fresh_for for state in states)

    async def _make(self, ask: Ask, order: Sequence[Index], mark: int) -> ReadyPage:
        services = self._services
        reader = services.readers.get()
        names = [index.name for index in order]
        page: ReadyPage
        if sum(reader.link_count(name, ask.project) for name in names) > _FEW_LINKS:
            page, settled = await services.offload(self._build, ask, names)
        else:
            page, settled = self._build(ask, names)
        if services.page_cache.put(ask.key, page, since=mark):
            for owner, is_settled in settled.items():
                self._note_settled(owner, is_settled=is_settled and not services.offline)
        return page

    def _note_settled(self, owner: tuple[str, str], *, is_settled: bool) -> None:
        self._settled.pop(owner, None)
        if is_settled:
            self._settled[owner] = None
            if len(self._settled) > _MOST_SETTLED:
                self._settled.popitem(last=False)

    def _build(self, ask: Ask, names: Sequence[str]) -> tuple[ReadyPage, Mapping[tuple[str, str], bool]]:
        """Read, merge and render; runs in whatever thread."""
        reader = self._services.readers.get()
        known = [project for name in names if (project := reader.project(name, ask.project)) is not None]
        if not known:
            raise UnknownProject(ask.index, ask.project)
        merged = merge(ask.index, ask.project, known)
        body = render_project(merged, ask.representation, base=ask.base, offline=self._services.offline)
        tag = etag(body, ask.representation.content_type)
        if ask.gzip:
            body, tag = gzip.compress(body, 6, mtime=0), tag[:-1] + '-gzip"'
        page = ReadyPage(
            body=body,
            etag=tag,
            content_type=ask.representation.content_type.encode("ascii"),
            gzip=ask.gzip,
            alias=ask.base != PAGE_BASE,
            sources=frozenset(names),
            last_serial=merged.header.last_serial,
        )
        return page, {(project.index, project.project): _is_settled(project) for project in known}


def _is_settled(project: KnownProject) -> bool:
    """Whether nothing on the project's page depends on which bytes are here."""
    return not project.vanished and all(not file.vanished and _tells_all(file.link) for file in project.files)


def _tells_all(link: Link) -> bool:
    """Whether a page will say no more of a file, or of its metadata, once they are here."""
    if link.size is None or "sha256" not in link.hashes:
        return False
    claim = link.core_metadata
    return (isinstance(claim, dict) and "sha256" in claim) or not link.is_wheel
