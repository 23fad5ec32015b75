"""Where project pages come from; the upstream as such a source.

While an upstream is asked, its index may be deleted, made anew or given another upstream.  The decision to commit, which is made
in the writer's thread where nothing comes in between, refuses the answer of a former upstream with ``StaleConfig``.

What cannot be written, because the disk is full, is remembered in memory (``view.unrecorded``), and the page is answered all the
same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal, Protocol

import attrs
from twisted.internet.defer import DeferredSemaphore

from twistpi.changelog.writer import Writer
from twistpi.http.client import HTTPClient, Response
from twistpi.http.conditional import conditions
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.single_flight import SingleFlight
from twistpi.http.urls import Origin
from twistpi.mirror.remembered_pages import remember_page, remembering
from twistpi.mirror.upload_times import UploadTimes
from twistpi.mirror.upstream import (
    ACCEPT_PAGE,
    StaleConfig,
    UpstreamConfig,
    has_known_end,
    retry_after,
    unusable_status,
    validators,
)
from twistpi.model.changes import Change
from twistpi.model.errors import BadUpstreamPage, UnknownProject
from twistpi.model.records import Freshness, KnownProject, ProjectPage
from twistpi.model.server_errors import LogUnreachable, StorageFull
from twistpi.rules.mirrors import decide_links, decide_vanished
from twistpi.simple.index_pages import NoIndexPage
from twistpi.simple.parse import parse_project_page
from twistpi.view.database import ViewDatabase
from twistpi.view.read import Reader, Readers

Kind = Literal["hit", "miss", "revalidated", "stale"]
"""``hit``: fresh; ``miss``: learned just now; ``revalidated``: confirmed or renewed just now; ``stale``: the upstream failed."""

_LARGE: Final = 64 * 1024
"""Bytes from which on a page is parsed in another thread."""
LARGEST_PAGE: Final = 64 * 1024 * 1024
"""Bytes of the largest project page, decompressed."""
_SERIAL: Final = re.compile(r"\d{1,18}\Z", re.ASCII)
_REFUSED: Final = frozenset({401, 403})
_PROVEN: Final = 60.0
"""Seconds for which a page proves that an upstream answers this server."""
_FLAT_HOLDS: Final = 10.0
"""Seconds for which a flat page is used for other projects, too."""
_LARGEST_FLAT: Final = 4 * 1024 * 1024
"""Bytes of a flat page that is held for this time."""
_MOST_FLAT: Final = 8
"""Flat pages that are held."""
_AT_ONCE: Final = 64
"""Pages that are requested from one origin at a time."""


@attrs.frozen
class Known:
    """What the view has of a project before its page is requested."""

    is_known: bool
    """Whether there is anything."""
    freshness: Freshness | None
    """None also for a project that is not known."""


class PageSource(Protocol):
    """Where project pages come from."""

    minds_force: bool
    """Whether a forced refresh differs from another, so that the two must not share one request."""

    async def refresh(
        self, config: UpstreamConfig, project: str, known: Known, *, force: bool, responding: Callable[[], None]
    ) -> tuple[Kind, Freshness]:
        """Request the page once and have the view learn it; ``responding`` is called when the response begins, and is not
        that the upstream has no time now.

        Raise ``UnknownProject``, ``RequestFailed``, ``StaleConfig``, and what keeps the view from learning.
        """


@attrs.frozen
class _Answered:
    """A project whose page an upstream sent or confirmed."""

    project: str
    at: float
    """Unix seconds."""


@attrs.define
class UpstreamPages:
    """Project pages from the upstreams themselves."""

    _client: HTTPClient
    _readers: Readers
    _writer: Writer
    _timeout: float
    """Seconds until a response has to begin."""
    _learn: Callable[[UpstreamConfig, ProjectPage], object] = lambda config, page: None
    """Called with each page that came."""
    _times: UploadTimes | None = None
    """Finds the upload times that policies need; None where nobody needs any."""
    minds_force: bool = attrs.field(default=False, init=False)
    _turns: dict[Origin, DeferredSemaphore] = attrs.field(
        init=False, factory=lambda: defaultdict(lambda: DeferredSemaphore(_AT_ONCE))
    )
    _answered: dict[tuple[str, str], _Answered] = attrs.field(init=False, factory=dict)
    """Index and ``mirror_url`` -> the last page from there."""
    _flat: dict[tuple[str, str], tuple[Response, float]] = attrs.field(init=False, factory=dict)
    """Index and ``mirror_url`` -> a flat page, and when it came in Unix seconds."""
    _probes: SingleFlight[tuple[str, str], bool] = attrs.field(init=False, factory=SingleFlight)

    async def refresh(
        self, config: UpstreamConfig, project: str, known: Known, *, force: bool, responding: Callable[[], None]
    ) -> tuple[Kind, Freshness]:
        """See ``PageSource``; the request is conditional, which is as new as can be."""
        turn = self._turns[config.origin]
        await turn.acquire()
        try:
            response = self._flat_page(config) or await self._get(config, project, known)
            if retry_after(response, self._client.clock.seconds()) is None:
                responding()
            if response.status == 200:
                body = await response.read(LARGEST_PAGE)
            else:
                response.discard()
        finally:
            turn.release()
        if response.status == 200:
            self._keep_flat(config, response, len(body))
            try:
                page = await _parse(self._client, config, project, response, body)
            except RequestFailed as failed:
                page = self._still_empty(config, project, failed)
            if config.is_flat and not page.links:
                return await self._learn_absence(config, project, known)
            learned = self._freshness(config, response.header("ETag"), response.header("Last-Modified"))
            if self._times is not None:
                page = await self._times.complete(config, page)
            decide = _decide_page(config, page, known.freshness)
            try:
                await self._commit(decide, config, project, learned)
            except (StorageFull, LogUnreachable) as full:
                decide(self._readers.get())
                learned = remember_page(self._readers, config, page, learned, full)
            self._note_answer(config, project)
            self._learn(config, page)
            return ("revalidated" if known.is_known else "miss"), learned
        if response.status == 304 and known.freshness is not None:
            self._note_answer(config, project)
            return "revalidated", await self._confirm(config, project, known.freshness, response)
        if not await self._means_unknown(response.status, config, project):
            raise unusable_status(response, self._client.clock.seconds())
        return await self._learn_absence(config, project, known)

    async def _learn_absence(self, config: UpstreamConfig, project: str, known: Known) -> tuple[Kind, Freshness]:
        if not known.is_known:
            config.require_current(self._readers.get().index(config.index))
            raise UnknownProject(config.index, project)
        learned = Freshness(self._client.clock.seconds(), missing=True, source=config.source)
        await self._commit(_decide_absence(config, project), config, project, learned)
        return "revalidated", learned

    def _get(self, config: UpstreamConfig, project: str, known: Known) -> Awaitable[Response]:
        return self._client.request(
            "GET",
            config.page_url(project),
            headers={"Accept": ACCEPT_PAGE, **conditions(*validators(known.freshness, known.is_known, config.source))},
            credentials=config.credentials,
            timeout=self._timeout,
            compressed=True,
        )

    def _flat_page(self, config: UpstreamConfig) -> Response | None:
        """Return a flat page that came seconds ago: who installs asks for one project after the other."""
        response, at = self._flat.get((config.index, config.mirror_url), (None, 0.0))
        return response if config.is_flat and 0 <= self._client.clock.seconds() - at < _FLAT_HOLDS else None

    def _keep_flat(self, config: UpstreamConfig, response: Response, size: int) -> None:
        upstream, now = (config.index, config.mirror_url), self._client.clock.seconds()
        if config.is_flat and size <= _LARGEST_FLAT and self._flat_page(config) is not response:
            self._flat.pop(upstream, None)
            self._flat[upstream] = (response, now)
            if len(self._flat) > _MOST_FLAT:
                del self._flat[next(iter(self._flat))]

    def _known(self, config: UpstreamConfig, project: str) -> KnownProject | None:
        return self._readers.get().project(config.index, project)

    def _still_empty(self, config: UpstreamConfig, project: str, failed: RequestFailed) -> ProjectPage:
        """Return the page of a project without files, whose upstream sent a page that is none to look at: it looked so before.

        Raise ``failed`` in all other cases.
        """
        known = self._known(config, project)
        if known is None or known.offered or known.vanished or not isinstance(failed.__cause__, NoIndexPage):
            raise failed
        return ProjectPage(project, (), known.versions, known.header)

    async def _means_unknown(self, status: int, config: UpstreamConfig, project: str) -> bool:
        """Return whether ``status`` says that there is no such project.

        Object storage whose files may be read but not listed answers 403 for what it does not have.  So does an upstream that
        refuses this server altogether; the one that does not answers for another project at that time.
        """
        if config.is_flat:
            return False
        if status in (404, 410):
            return True
        if status not in _REFUSED or ((known := self._known(config, project)) and known.offered):
            return False
        if config.unknown_status is not None:
            return status == config.unknown_status
        upstream = (config.index, config.mirror_url)
        answered = self._answered.get(upstream)
        if answered is not None and 0 <= self._client.clock.seconds() - answered.at < _PROVEN:
            return True
        return await self._probes.join(upstream, lambda: self._answers_for_another(config))

    async def _answers_for_another(self, config: UpstreamConfig) -> bool:
        """Ask for the last page that the upstream sent; return whether it still does."""
        upstream = (config.index, config.mirror_url)
        answered = self._answered.get(upstream)
        project = answered.project if answered else self._readers.get().newest_page(config.index, config.source)
        if project is None:
            return False
        self._answered[upstream] = _Answered(project, float("-inf"))
        response = await self._get(config, project, Known(True, self._readers.get().freshness(config.index, project)))
        response.discard()
        if response.status not in (200, 304):
            return False
        self._note_answer(config, project)
        return True

    def _note_answer(self, config: UpstreamConfig, project: str) -> None:
        self._answered[config.index, config.mirror_url] = _Answered(project, self._client.clock.seconds())

    def _freshness(self, config: UpstreamConfig, etag: str | None, last_modified: str | None) -> Freshness:
        return Freshness(self._client.clock.seconds(), etag, last_modified, missing=False, source=config.source)

    async def _confirm(self, config: UpstreamConfig, project: str, freshness: Freshness, response: Response) -> Freshness:
        reader = self._readers.get()
        config.require_current(reader.index(config.index))
        if not reader.has_project(config.index, project):
            raise StaleConfig  # a new index of the same name and upstream, which has nothing yet that could be confirmed
        etag, last_modified = (
            response.header("ETag") or freshness.etag,
            response.header("Last-Modified") or freshness.last_modified,
        )
        confirmed = attrs.evolve(freshness, checked_at=self._client.clock.seconds(), etag=etag, last_modified=last_modified)
        try:
            await self._writer.keep(remembering(config, project, confirmed))
            self._readers.unrecorded.forget(config.index, project)
        except (StorageFull, LogUnreachable) as full:
            self._readers.unrecorded.learn(config.index, project, confirmed, full.reason)
        return confirmed

    async def _commit(
        self, decide: Callable[[Reader], Sequence[Change]], config: UpstreamConfig, project: str, learned: Freshness
    ) -> None:
        def remember(view: ViewDatabase) -> None:
            view.remember_freshness(config.index, project, learned)  # the decision found the configuration current

        await self._writer.commit(decide, by="+mirror", local=remember)
        self._readers.unrecorded.forget(config.index, project)


async def read_page(client: HTTPClient, config: UpstreamConfig, project: str, timeout: float) -> ProjectPage:
    """Return the page of ``project`` as the upstream has it now; raise ``RequestFailed``.  ``timeout`` is in seconds."""
    headers, credentials = {"Accept": ACCEPT_PAGE}, config.credentials
    url = config.page_url(project)
    response = await client.request("GET", url, headers=headers, credentials=credentials, timeout=timeout, compressed=True)
    if response.status != 200:
        response.discard()
        raise unusable_status(response, client.clock.seconds())
    return await _parse(client, config, project, response, await response.read(LARGEST_PAGE))


async def _parse(client: HTTPClient, config: UpstreamConfig, project: str, response: Response, body: bytes) -> ProjectPage:
    media_type, is_whole = response.header("Content-Type") or "", has_known_end(response)
    given = (body, media_type, response.url, project, is_whole, config.is_flat)
    try:
        page = await client.offload(parse_project_page, *given) if len(body) > _LARGE else parse_project_page(*given)
    except BadUpstreamPage as error:
        raise RequestFailed(f"its page cannot be used: {error.reason}", Cause.UNUSABLE) from error
    serial = None if config.is_flat else response.header("X-PyPI-Last-Serial")
    if page.header.last_serial is None and serial is not None and _SERIAL.match(serial):
        page = attrs.evolve(page, header=attrs.evolve(page.header, last_serial=int(serial)))
    return page


def _decide_page(config: UpstreamConfig, page: ProjectPage, freshness: Freshness | None) -> Callable[[Reader], Sequence[Change]]:
    same_upstream = freshness is not None and freshness.source == config.source

    def decide(reader: Reader) -> Sequence[Change]:
        config.require_current(reader.index(config.index))
        known = reader.project(config.index, page.project)
        if known is not None and same_upstream and not config.ignores_serial:
            _refuse_older(known.header.last_serial, page.header.last_serial)
        return decide_links(config.index, known, page)

    return decide


def _decide_absence(config: UpstreamConfig, project: str) -> Callable[[Reader], Sequence[Change]]:
    def decide(reader: Reader) -> Sequence[Change]:
        config.require_current(reader.index(config.index))
        return decide_vanished(reader.project(config.index, project))

    return decide


def _refuse_older(known: int | None, offered: int | None) -> None:
    if known is not None and offered is not None and offered < known:
        reason = f"its page has the serial {offered}, older than {known}, which it had before"
        raise RequestFailed(reason, Cause.UNUSABLE)
