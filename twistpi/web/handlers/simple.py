"""The simple repository API: project pages, name lists, their aliases and redirects, and the order to refresh."""

from __future__ import annotations

import attrs
from twisted.web.server import Request

from twistpi.model.errors import TwistpiError
from twistpi.model.names import normalize_project
from twistpi.simple.negotiate import Representation
from twistpi.simple.urls import quote_path
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, outside_url, wants_absolute_urls
from twistpi.web.fast.ready import PAGE_BASE
from twistpi.web.handlers.name_lists import NameListHandler
from twistpi.web.pages import PageRequest, Pages
from twistpi.web.replies import Reply, Responder, redirect_reply
from twistpi.web.request import Negotiated, ends_with_slash, has_already, header, negotiated_of, query_of


@attrs.define(eq=False)
class SimpleHandler:
    """Answers below ``/{user}/{index}/+simple/`` and, to installers, below ``/{user}/{index}/`` itself."""

    _access: Access
    _pages: Pages
    _name_lists: NameListHandler
    _responder: Responder
    _addresses: Addresses
    _lenient: bool
    """Whether HTML is served to clients that accept no available representation."""

    async def project(self, request: Request, name: str, project: str) -> Reply | None:
        """``/{user}/{index}/+simple/{project}/``; without the slash a redirect, but for installers."""
        self._access.share(request, name)
        negotiated = self.negotiated(request)
        normal = normalize_project(project)
        slash = ends_with_slash(request)
        if normal != project or not (slash or negotiated.installer):
            location = f"{'../' if slash else ''}{normal}/{query_of(request)}"
            return redirect_reply(location)
        return await self._project_page(request, name, normal, negotiated, PAGE_BASE if slash else "../")

    async def alias(self, request: Request, name: str, project: str) -> Reply | None:
        """``/{user}/{index}/{project}``: the page itself for installers, a redirect for other clients."""
        negotiated = self.negotiated(request)
        normal = normalize_project(project)
        slash = ends_with_slash(request)
        up = "../" if slash else ""
        if not negotiated.installer:
            return redirect_reply(f"{up}+simple/{normal}/{query_of(request)}", 302)
        if normal != project:
            return redirect_reply(f"{up}{normal}{'/' if slash else ''}{query_of(request)}")
        return await self._project_page(request, name, normal, negotiated, up)

    async def refresh(self, request: Request, name: str, project: str) -> Reply:
        """``POST …/+simple/{project}/refresh``: ask the upstream now, then show the page."""
        normal = normalize_project(project)
        visibility = await self._access.visibility(request, name)
        await self._pages.sources.refresh(visibility, normal)
        up = "../../" if ends_with_slash(request) else "../"
        return redirect_reply(f"{up}{normal}/", 302)

    async def names(self, request: Request, name: str) -> Reply | None:
        """``/{user}/{index}/+simple/``: every project; without the slash a redirect, but for installers."""
        self._access.share(request, name)
        negotiated = self.negotiated(request)
        if not ends_with_slash(request) and not negotiated.installer:
            return redirect_reply(f"+simple/{query_of(request)}")
        return await self.name_list(request, name, negotiated, alias=not ends_with_slash(request))

    async def name_list(
        self, request: Request, name: str, negotiated: Negotiated, *, alias: bool, base: str = ""
    ) -> Reply | None:
        """Answer with the name list of the index ``name``, as far as the caller sees it; ``base`` leads to the pages."""
        visibility = await self._access.visibility(request, name)
        return await self._name_lists.answer(
            request, visibility, self._representation(request, negotiated), negotiated, alias=alias, base=base
        )

    async def _project_page(self, request: Request, name: str, project: str, negotiated: Negotiated, base: str) -> Reply | None:
        representation = self._representation(request, negotiated)
        outside = outside_url(request, self._addresses)
        is_absolute = wants_absolute_urls(request, self._addresses)
        if is_absolute:
            base = f"{outside}/{quote_path(name)}/"
        found = None
        while found is None:  # until no index is reconfigured while the upstream is asked
            self._access.share(request, name)
            visibility = await self._access.visibility(request, name)
            asked = PageRequest(
                visibility, project, representation, negotiated.gzip, base, outside if outside.startswith("https://") else ""
            )
            found = await self._pages.page(asked)
        page, status = found
        unchanged = has_already(request, page.etag)
        reply = page.reply(status, self._responder.now(), unchanged=unchanged)
        # The fast path knows neither that header nor whom the request was forwarded for.
        is_same_for_all = not is_absolute or (self._addresses.absolute_urls and outside == self._addresses.outside_url)
        if request.method == b"GET" and b"?" not in request.uri and is_same_for_all:
            self._pages.learn(request.uri, negotiated.variant, asked)
        return reply

    def negotiated(self, request: Request) -> Negotiated:
        """Return which representation and coding ``request`` asks for."""
        return negotiated_of(request, lenient=self._lenient)

    def _representation(self, request: Request, negotiated: Negotiated) -> Representation:
        if negotiated.representation is None:
            asked = b",".join(request.args.get(b"format", ())).decode("latin-1")
            raise TwistpiError(
                f"None of the types in {asked or header(request, 'accept') or ''!r} can be served here; ask for text/html or "
                "application/vnd.pypi.simple.v1+json.",
                406,
            )
        return negotiated.representation
