"""The simple repository API: project pages, name lists, their aliases and redirects, and the order to refresh."""

from __future__ import annotations

import attrs
from twisted.web.server import Request

from twistpi.model.errors import NotAcceptable
from twistpi.model.names import normalize_project
from twistpi.simple.negotiate import Representation
from twistpi.web.addresses import outside_url
from twistpi.web.names import NameListDoor, has_already
from twistpi.web.pages import Ask, Pages
from twistpi.web.ready import PAGE_BASE
from twistpi.web.replies import Reply, put, redirect_reply
from twistpi.web.request import Wish, ends_with_slash, header, query_of, wish_of
from twistpi.web.services import Services


@attrs.define(eq=False)
class SimpleDoor:
    """Answers below ``/{user}/{index}/+simple/`` and, to installers, below ``/{user}/{index}/`` itself."""

    _services: Services
    _pages: Pages
    _name_lists: NameListDoor = attrs.field(init=False)

    @_name_lists.default
    def _make_name_lists(self) -> NameListDoor:
        return NameListDoor(self._services)

    async def project(self, request: Request, user: str, index: str, project: str) -> bytes | None:
        """``/{user}/{index}/+simple/{project}/``; without the slash a redirect, but for installers."""
        wish = self._wish(request)
        normal = normalize_project(project)
        slash = ends_with_slash(request)
        if normal != project or not (slash or wish.installer):
            location = f"{'../' if slash else ''}{normal}/{query_of(request)}"
            return self._put(request, redirect_reply(location))
        return await self._project_page(request, f"{user}/{index}", normal, wish, PAGE_BASE if slash else "../")

    async def alias(self, request: Request, user: str, index: str, project: str) -> bytes | None:
        """``/{user}/{index}/{project}``: the page itself for installers, the way to it for everybody else."""
        wish = self._wish(request)
        normal = normalize_project(project)
        slash = ends_with_slash(request)
        up = "../" if slash else ""
        if not wish.installer:
            return self._put(request, redirect_reply(f"{up}+simple/{normal}/{query_of(request)}", 302))
        if normal != project:
            return self._put(request, redirect_reply(f"{up}{normal}{'/' if slash else ''}{query_of(request)}"))
        return await self._project_page(request, f"{user}/{index}", normal, wish, up)

    async def refresh(self, request: Request, user: str, index: str, project: str) -> bytes:
        """``POST …/+simple/{project}/refresh``: ask the upstream now, then show the page."""
        normal = normalize_project(project)
        sight = await self._pages.reading.sight(request, f"{user}/{index}")
        await self._pages.sources.refresh(sight, normal)
        up = "../../" if ends_with_slash(request) else "../"
        return self._put(request, redirect_reply(f"{up}{normal}/", 302))

    async def names(self, request: Request, user: str, index: str) -> bytes | None:
        """``/{user}/{index}/+simple/``: every project; without the slash a redirect, but for installers."""
        wish = self._wish(request)
        if not ends_with_slash(request) and not wish.installer:
            return self._put(request, redirect_reply(f"+simple/{query_of(request)}"))
        return await self.name_list(request, f"{user}/{index}", wish, alias=not ends_with_slash(request))

    async def name_list(self, request: Request, name: str, wish: Wish, *, alias: bool) -> bytes | None:
        """The name list of the index ``name`` in the representation of ``wish``, as far as the asker may see it."""
        sight = await self._pages.reading.sight(request, name)
        return await self._name_lists.answer(request, sight, self._representation(request, wish), wish, alias=alias)

    async def _project_page(self, request: Request, name: str, project: str, wish: Wish, base: str) -> bytes | None:
        representation = self._representation(request, wish)
        reading, outside = self._pages.reading, outside_url(request, self._services)
        found = None
        while found is None:  # until no index is set up otherwise while the upstream is asked
            sight = await reading.sight(request, name)
            ask = Ask(sight, project, representation, wish.gzip, base, outside if outside.startswith("https://") else "")
            found = await self._pages.page(ask)
        page, account = found
        unchanged = has_already(request, page.etag)
        reply = page.reply(account, self._services.clock.seconds(), unchanged=unchanged)
        if request.method == b"GET" and b"?" not in request.uri and sight.is_open and reading.is_current(sight):
            self._services.tables.learn_page(request.uri, wish.variant, ask.key)
        return self._put(request, reply)

    def _wish(self, request: Request) -> Wish:
        return wish_of(request, lenient=self._services.lenient_accept)

    def _representation(self, request: Request, wish: Wish) -> Representation:
        if wish.representation is None:
            asked = b",".join(request.args.get(b"format", ())).decode("latin-1")
            raise NotAcceptable(asked or header(request, "accept") or "")
        return wish.representation

    def _put(self, request: Request, reply: Reply) -> bytes:
        return put(request, reply, self._services.standing.at(self._services.clock.seconds()))
