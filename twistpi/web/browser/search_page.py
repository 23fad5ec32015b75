"""The results of a search, and how to search."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import attrs
from twisted.web.server import Request
from werkzeug.exceptions import NotFound as NoRoute

from twistpi.search.finding import Offers
from twistpi.search.results import Excerpt, Hit
from twistpi.search.service import SearchService
from twistpi.web.access import Access, readable_indexes
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.browser.rendering import Renderer
from twistpi.web.handlers.search import SearchQueue, Withholds, number, parameter, without_withheld
from twistpi.web.replies import Reply

_MOST_PAGES: Final = 100
"""Pages of results that are linked."""
_LONGEST_QUERY: Final = 500
"""Characters of a query that a page repeats."""


@attrs.define(eq=False)
class SearchResultsPage:
    """Makes ``/+search`` and ``/+searchhelp``, which are for people alone."""

    _access: Access
    _frames: Frames
    _renderer: Renderer
    _search: SearchService
    _offload: SearchQueue

    async def show(self, request: Request) -> Reply:
        """What ``query`` finds among what the reader may read; ``page`` counts from 1.

        ``within`` is an index: only what it has and inherits is searched.
        """
        frame = await self._frames.of(request)
        query, page = parameter(request, "query")[:_LONGEST_QUERY].strip(), number(parameter(request, "page"), 1)
        within = parameter(request, "within")
        searched = None if not within else {index.name for index in (await self._access.visibility(request, within)).visible}
        offers, withholds = self._access.offers(), self._access.withholds()
        return await self._offload(self._build, frame, query, page, within, searched, offers, withholds)

    async def help(self, request: Request) -> Reply:
        """How to search."""
        return self._renderer.page(await self._frames.of(request), "searchhelp.html")

    async def nothing(self, _request: Request) -> Reply:
        """What programs get."""
        raise NoRoute

    def _build(
        self,
        frame: Frame,
        query: str,
        page: int,
        within: str,
        searched: Collection[str] | None,
        offers: Offers,
        withholds: Withholds,
    ) -> Reply:
        """Blocking."""
        readable: Collection[str] = readable_indexes(self._access.reader, frame.caller)
        if searched is not None:
            readable = searched
        found = without_withheld(self._search.search(query, readable.__contains__, page, offers=offers), withholds)
        links = {one: docs_path(hit, one) for hit in found.hits for one in hit.excerpts if one.path}
        last = min(found.pages, _MOST_PAGES)
        return self._renderer.page(frame, "search.html", found=found, last=last, links=links, within=within)


def docs_path(hit: Hit, excerpt: Excerpt) -> str:
    """Return the path of the page of documentation that ``excerpt`` of ``hit`` is from, not percent-encoded."""
    return f"/{hit.index}/{hit.project}/{excerpt.version}/+d/{excerpt.path}"
