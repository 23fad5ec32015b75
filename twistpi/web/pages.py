"""From a question about a project to ready bytes: ask the upstreams, read the view, merge, render once, keep until a change."""

from __future__ import annotations

import enum
import gzip
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

import attrs
from twisted.internet.interfaces import IReactorTime

from twistpi.blobs.address import PROVENANCE
from twistpi.http.offload import Offload
from twistpi.http.single_flight import SingleFlight
from twistpi.model.changes import (
    Change,
    FileCached,
    IndexCreated,
    IndexDeleted,
    IndexModified,
    LinksChanged,
    MetadataCached,
    MetadataMissing,
    ProjectVanished,
)
from twistpi.model.errors import UnknownProject
from twistpi.model.records import Index, KnownFile, KnownProject, Link
from twistpi.model.releases import (
    AttachmentAdded,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    FileYanked,
    ProjectMarked,
    ProjectRemoved,
    ReleaseDescribed,
    ReleaseRemoved,
)
from twistpi.rules.inheritance import VisibleIndexes, silence_note
from twistpi.rules.permissions import is_open
from twistpi.simple.negotiate import Representation
from twistpi.simple.render import etag, merge, render_project
from twistpi.simple.urls import quote_path
from twistpi.view.page_cache import PageKey
from twistpi.web.access import Access
from twistpi.web.fast.ready import PAGE_BASE, CacheStatus, Content, ReadyAnswers, ReadyPage
from twistpi.web.policies import Policies
from twistpi.web.project_sources import ContributingIndexes, ProjectSources
from twistpi.web.traffic import Traffic

FEW_LINKS = 100
"""Up to so many, a page is made at once; beyond, in a thread."""
_MOST_SETTLED = 20_000
_Built = tuple[ReadyPage, Mapping[tuple[str, str], bool]]
"""A page, and whether what each index and project contributed is settled."""


@attrs.frozen
class PageRequest:
    """Which page is requested."""

    visibility: VisibleIndexes
    """The index, and what the caller sees of it."""
    project: str
    """The normalised name."""
    representation: Representation
    gzip: bool
    base: str = PAGE_BASE
    """How a link on the page reaches the index: ``../../`` from ``+simple/{project}/``."""
    outside: str = ""
    """The ``https`` address of this server as the caller knows it, else empty.  URLs of provenance are absolute."""
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


Make = Callable[[ContributingIndexes, int], Awaitable[tuple[ReadyPage, CacheStatus]]]
"""Makes a page of what some indexes have, with a mark of the page cache from before."""


class InvalidationKind(enum.IntEnum):
    """What an invalidation is about."""

    PROJECT = 0
    """The files of a project in an index changed."""
    PAGES = 1
    """Its pages changed, but none of its files."""
    BYTES = 2
    """The bytes of a file, or of its metadata, are here now; a page that says the same without them stays valid."""
    INDEX = 3
    """An index was created, deleted or reconfigured."""
    ADVISORIES = 4
    """Other advisories are known about a project, wherever it is; about perhaps all, where none is named."""


@attrs.frozen
class Invalidation:
    """One project or index that changed."""

    kind: InvalidationKind
    index: str
    project: str = ""
    """Empty where the whole index is meant."""


def invalidations_of(changes: Iterable[Change]) -> Iterator[Invalidation]:
    """Return what ``changes`` invalidate."""
    for change in changes:
        match change:  # what comes by the million first
            case FileCached() | MetadataCached():
                # A path is given where the link alone does not tell all about the file.
                kind = InvalidationKind.BYTES if change.path is None else InvalidationKind.PAGES
                yield Invalidation(kind, change.index, change.project)
            case (
                LinksChanged()
                | ProjectVanished()
                | MetadataMissing()
                | FileUploaded()
                | FileRemoved()
                | FileYanked()
                | ReleaseDescribed()
                | ReleaseRemoved()
                | ProjectMarked()
                | ProjectRemoved()
                | AttachmentAdded()
                | AttachmentRemoved()
            ):
                yield Invalidation(InvalidationKind.PROJECT, change.index, change.project)
            case IndexCreated() | IndexModified() | IndexDeleted():
                yield Invalidation(InvalidationKind.INDEX, change.index)
            case _:
                pass


def invalidations_by_advisories(projects: Collection[str] | None) -> list[Invalidation]:
    """Return what is invalid when other advisories are known about ``projects``; None for perhaps all."""
    names = [""] if projects is None else sorted(projects)
    return [Invalidation(InvalidationKind.ADVISORIES, "", project) for project in names]


@attrs.define(eq=False)
class Pages:
    """Makes and keeps the simple pages."""

    _access: Access
    sources: ProjectSources
    _ready: ReadyAnswers
    _offload: Offload
    _traffic: Traffic
    _clock: IReactorTime
    _policies: Policies
    _offline: bool
    """Whether pages list only files that are here."""
    _rendering: SingleFlight[tuple[PageKey, str, int], ReadyPage] = attrs.field(factory=SingleFlight, init=False)
    _settled: OrderedDict[tuple[str, str], None] = attrs.field(factory=OrderedDict, init=False)
    """Index and project of pages that say the same whether or not their files and metadata are here."""

    async def page(self, asked: PageRequest) -> tuple[ReadyPage, CacheStatus] | None:
        """Return the page and how fresh it is; None if indexes were reconfigured meanwhile, and the caller has to begin again.

        Raise ``UnknownIndex``, ``UnknownProject``, ``UpstreamFailed``, ``UpstreamUnreachable``, ``LoginNeeded`` or
        ``PermissionDenied``.
        """
        return await self.kept_or_made(asked.key, asked.visibility, asked.outside, partial(self._make, asked))

    async def kept_or_made(
        self, key: PageKey, visibility: VisibleIndexes, outside: str, make: Make
    ) -> tuple[ReadyPage, CacheStatus] | None:
        """Return the page under ``key``, or what ``make`` makes once the upstreams were asked; else as ``page``."""
        cache, now = self._ready.page_cache, self._clock.seconds()
        page = cache.get(key)
        if page is not None and page.is_fresh(now) and page.suits(outside):
            self._traffic.pages["memory"] += 1
            return page, page.status
        found = await self.sources.ask(visibility, key.project)
        if not self._access.is_current(visibility):
            return None
        page, status, now = cache.get(key), found.status, self._clock.seconds()
        if page is None or not page.is_valid(now) or not page.suits(outside):
            page, status = await make(found, cache.mark())
        page.renew(status.as_kept(), found.fresh_until, now)
        self._traffic.pages[status.kind] += 1
        return page, status

    def keep(self, key: PageKey, page: ReadyPage, mark: int) -> bool:
        """Keep ``page``, unless what it was made of changed since ``mark``; return whether it is kept."""
        return self._ready.page_cache.put(key, page, since=mark)

    def learn(self, path: bytes, variant: str, asked: PageRequest) -> None:
        """Let the fast path answer requests for ``path`` in ``variant`` with this page, if everybody may see it."""
        if asked.visibility.is_open and self._access.is_current(asked.visibility):
            self._ready.learn_page(path, variant, asked.key)

    def invalidated(self, invalidations: Iterable[Invalidation]) -> None:
        """Forget what is not valid any more."""
        ready, cache = self._ready, self._ready.page_cache
        for touch in invalidations:
            match touch.kind:
                case InvalidationKind.PROJECT:
                    self._forget_project(touch.index, touch.project)
                case InvalidationKind.PAGES:
                    cache.forget(touch.index, touch.project)
                case InvalidationKind.BYTES:
                    if (touch.index, touch.project) not in self._settled:
                        cache.forget(touch.index, touch.project)
                case InvalidationKind.INDEX:
                    self._access.forget()
                    cache.forget(touch.index)
                    ready.forget_all_files()
                case InvalidationKind.ADVISORIES:
                    ready.forget_all_files()
                    if touch.project:
                        cache.forget_everywhere(touch.project)
                    else:
                        cache.clear()

    def forget_everything(self) -> None:
        """Forget all that is in memory."""
        self._access.forget()
        self._settled.clear()
        self._ready.page_cache.clear()
        self._ready.clear()

    def _forget_project(self, index: str, project: str) -> None:
        self._settled.pop((index, project), None)
        self._ready.page_cache.forget(index, project)
        self._ready.forget_files(index, project)

    async def _make(self, asked: PageRequest, found: ContributingIndexes, mark: int) -> tuple[ReadyPage, CacheStatus]:
        if sum(self._access.reader.link_count(index.name, asked.project) for index in found.indexes) <= FEW_LINKS:
            return self._keep(asked, self._build(asked, found.indexes), mark), found.status
        # A request after a change must not join a rendering that began before it; the mark moves with every change.
        key = (asked.key, asked.outside, mark)
        return await self._rendering.join(key, lambda: self._make_large(asked, found, mark)), found.status

    async def _make_large(self, asked: PageRequest, found: ContributingIndexes, mark: int) -> ReadyPage:
        return self._keep(asked, await self._offload(self._build, asked, found.indexes), mark)

    def _keep(self, asked: PageRequest, built: _Built, mark: int) -> ReadyPage:
        page, settled = built
        if self.keep(asked.key, page, mark):
            for owner, is_settled in settled.items():
                self._note_settled(owner, is_settled=is_settled and not self._offline)
        return page

    def _note_settled(self, owner: tuple[str, str], *, is_settled: bool) -> None:
        self._settled.pop(owner, None)
        if is_settled:
            self._settled[owner] = None
            if len(self._settled) > _MOST_SETTLED:
                self._settled.popitem(last=False)

    def _build(self, asked: PageRequest, indexes: Sequence[Index]) -> _Built:
        """Read, merge and render; called in any thread."""
        reader, now = self._access.reader, self._clock.seconds()
        inheritance = asked.visibility.inheritance
        # The policies of the requested index count for files only below itself.
        closed = {index.name for index in indexes if not is_open(index) or inheritance.own_policies(index.name)}
        attested = {
            (index.name, filename): f"{asked.outside}/{quote_path(asked.index if index.name in closed else index.name)}/"
            for index in indexes
            if not index.is_mirror
            for filename in reader.attested_files(index.name, asked.project)
        }
        found = [project for index in indexes if (project := reader.project(index.name, asked.project)) is not None]
        known = [_with_provenance(project, attested) for project in found] if attested and asked.outside else found
        if not known:
            raise UnknownProject(asked.index, asked.project)
        judged = [self._policies.apply(one, inheritance) for one in known]
        known = [one.known for one in judged]
        # Where an upstream has nothing left, what it once said must not colour what others say.
        merged = merge(asked.index, asked.project, [one for one in known if one.files or not one.vanished] or known)
        merged = attrs.evolve(merged, note=silence_note(asked.project, asked.visibility.visible, indexes))
        body = render_project(merged, asked.representation, base=asked.base, offline=self._offline, closed=closed)
        tag = etag(body, asked.representation.content_type)
        if asked.gzip:
            body, tag = gzip.compress(body, 6, mtime=0), tag[:-1] + '-gzip"'
        page = ReadyPage(
            content=Content(body),
            etag=tag,
            content_type=asked.representation.content_type.encode("ascii"),
            gzip=asked.gzip,
            alias=asked.base != PAGE_BASE,
            sources=asked.visibility.inheritance.names,
            private=not asked.visibility.is_open,
            last_serial=merged.header.last_serial,
            outside=asked.outside if attested else None,
            valid_until=min(one.until for one in judged),
            valid_from=now,
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
    """Return whether nothing on the project's page depends on which files are here."""
    return not project.vanished and all(not file.vanished and _is_complete(file.link) for file in project.files)


def _is_complete(link: Link) -> bool:
    """Return whether a page will say no more of a file, or of its metadata, once they are here."""
    if link.size is None or "sha256" not in link.hashes:
        return False
    claim = link.core_metadata
    return (isinstance(claim, dict) and "sha256" in claim) or not link.is_wheel
