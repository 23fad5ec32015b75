"""From a question about a project to ready bytes: ask the upstreams, read the view, merge, render once, keep."""

from __future__ import annotations

import gzip
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import attrs

from twistpi.http.single_flight import SingleFlight
from twistpi.model.errors import UnknownProject
from twistpi.model.records import Index, KnownFile, KnownProject, Link
from twistpi.rules.inheritance import VisibleIndexes
from twistpi.simple.merge import merge
from twistpi.simple.negotiate import Representation
from twistpi.simple.render import etag, render_project
from twistpi.simple.urls import quote_path
from twistpi.view.page_cache import PageKey
from twistpi.web.fast.invalidation import Invalidation, InvalidationKind
from twistpi.web.fast.ready import PAGE_BASE, Account, ReadyPage
from twistpi.web.project_sources import Found, Reading, Sources
from twistpi.web.services import Services
from twistpi.web.stage_files import PROVENANCE
from twistpi.web.transport.bodies import keep

FEW_LINKS = 100
"""Up to so many, a page is made at once; beyond, in a thread."""
_MOST_SETTLED = 20_000


@attrs.frozen
class Ask:
    """Which page is wanted."""

    visibility: VisibleIndexes
    """The index, and what the asker may see of it."""
    project: str
    """The normalised name."""
    representation: Representation
    gzip: bool
    base: str = PAGE_BASE
    """How a link on the page reaches the index: ``../../`` from ``+simple/{project}/``."""
    outside: str = ""
    """The ``https`` address of this server as the asker knows it; empty when it is not safe.  Provenance has absolute URLs."""
    key: PageKey = attrs.field(init=False)
    """Where the page cache keeps it."""

    @key.default
    def _key(self) -> PageKey:
        audience = self.visibility.audience
        return PageKey(self.index, self.project, self.representation.value, self.gzip, self.base, audience)

    @property
    def index(self) -> str:
        """``user/name``."""
        return self.visibility.index.name


@attrs.define(eq=False)
class Pages:
    """Makes and keeps the simple pages."""

    _services: Services
    reading: Reading = attrs.field(init=False)
    """What may be read; shared with the other doors."""
    sources: Sources = attrs.field(init=False)
    """Who answers for a project; shared, too."""
    _rendering: SingleFlight[tuple[PageKey, str, int], ReadyPage] = attrs.field(factory=SingleFlight)
    _settled: OrderedDict[tuple[str, str], None] = attrs.field(factory=OrderedDict)
    """Index and project of pages that say the same whether or not their files and metadata are here."""

    def __attrs_post_init__(self) -> None:
        self.reading = Reading(self._services)
        self.sources = Sources(self._services)

    async def page(self, ask: Ask) -> tuple[ReadyPage, Account] | None:
        """The page and how it came about; None when indexes were set up otherwise meanwhile: look anew, and ask again.

        Raises ``UnknownIndex``, ``UnknownProject``, ``UpstreamFailed``, ``UpstreamUnreachable``, ``LoginNeeded``, ``Forbidden``.
        """
        cache, now = self._services.page_cache, self._services.clock.seconds()
        page = cache.get(ask.key)
        if page is not None and page.fresh_until > now and page.suits(ask.outside):
            self._services.traffic.pages["memory"] += 1
            return page, page.account
        found = await self.sources.ask(ask.visibility, ask.project)
        if not self.reading.is_current(ask.visibility):
            return None
        page = cache.get(ask.key)
        if page is None or not page.suits(ask.outside):
            # Who asks after a change must not join a rendering of what was before it; the mark moves with every change.
            mark = cache.mark()
            page = await self._rendering.join((ask.key, ask.outside, mark), lambda: self._make(ask, found, mark))
        page.renew(found.account.as_kept(), found.fresh_until)
        self._services.traffic.pages[found.account.kind] += 1
        return page, found.account

    def invalidated(self, invalidations: Iterable[Invalidation]) -> None:
        """Forget what is not true any more."""
        cache, tables = self._services.page_cache, self._services.tables
        for touch in invalidations:
            match touch.kind:
                case InvalidationKind.PROJECT:
                    self._forget_project(touch.index, touch.project)
                case InvalidationKind.PAGES:
                    cache.forget_project(touch.index, touch.project)
                case InvalidationKind.BYTES:
                    if (touch.index, touch.project) not in self._settled:
                        cache.forget_project(touch.index, touch.project)
                case InvalidationKind.INDEX:
                    self.reading.forget()
                    cache.forget_index(touch.index)
                    tables.forget_files(touch.index)

    def forget_everything(self) -> None:
        """Forget all that is in memory, true or not."""
        self.reading.forget()
        self._settled.clear()
        self._services.page_cache.clear()
        self._services.tables.clear()

    def _forget_project(self, index: str, project: str) -> None:
        self._settled.pop((index, project), None)
        self._services.page_cache.forget_project(index, project)
        self._services.tables.forget_files(index, project)

    async def _make(self, ask: Ask, found: Found, mark: int) -> ReadyPage:
        services = self._services
        reader = services.readers.get()
        page: ReadyPage
        if sum(reader.link_count(index.name, ask.project) for index in found.indexes) > FEW_LINKS:
            page, settled = await services.offload(self._build, ask, found.indexes)
        else:
            page, settled = self._build(ask, found.indexes)
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

    def _build(self, ask: Ask, indexes: Sequence[Index]) -> tuple[ReadyPage, Mapping[tuple[str, str], bool]]:
        """Read, merge and render; runs in whatever thread."""
        reader = self._services.readers.get()
        attested = {
            (index.name, filename): f"{ask.outside}/{quote_path(index.name)}/"
            for index in indexes
            if not index.is_mirror
            for filename in reader.attested_files(index.name, ask.project)
        }
        found = [project for index in indexes if (project := reader.project(index.name, ask.project)) is not None]
        known = [_with_provenance(project, attested) for project in found] if attested and ask.outside else found
        if not known:
            raise UnknownProject(ask.index, ask.project)
        # Where an upstream has nothing left, what it once said must not colour what others say.
        merged = merge(ask.index, ask.project, [one for one in known if one.files or not one.vanished] or known)
        body = render_project(merged, ask.representation, base=ask.base, offline=self._services.offline)
        tag = etag(body, ask.representation.content_type)
        if ask.gzip:
            body, tag = gzip.compress(body, 6, mtime=0), tag[:-1] + '-gzip"'
        page = ReadyPage(
            content=keep(body),
            etag=tag,
            content_type=ask.representation.content_type.encode("ascii"),
            gzip=ask.gzip,
            alias=ask.base != PAGE_BASE,
            sources=ask.visibility.inheritance.names,
            private=not ask.visibility.is_open,
            last_serial=merged.header.last_serial,
            outside=ask.outside if attested else None,
        )
        return page, {(project.index, project.project): _is_settled(project) for project in known}


def _with_provenance(known: KnownProject, attested: Mapping[tuple[str, str], str]) -> KnownProject:
    """``known``, whose files say where their provenance is: ``attested`` tells by index and file name what is before the path."""

    def linked(file: KnownFile) -> KnownFile:
        base = attested.get((known.index, file.link.filename))
        if base is None:
            return file
        url = f"{base}{quote_path(file.path)}{PROVENANCE}"
        return attrs.evolve(file, link=attrs.evolve(file.link, provenance=url))

    return attrs.evolve(known, files=tuple(map(linked, known.files)))


def _is_settled(project: KnownProject) -> bool:
    """Whether nothing on the project's page depends on which bytes are here."""
    return not project.vanished and all(not file.vanished and _tells_all(file.link) for file in project.files)


def _tells_all(link: Link) -> bool:
    """Whether a page will say no more of a file, or of its metadata, once they are here."""
    if link.size is None or "sha256" not in link.hashes:
        return False
    claim = link.core_metadata
    return (isinstance(claim, dict) and "sha256" in claim) or not link.is_wheel
