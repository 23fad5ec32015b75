"""The simple repository API: project pages, name lists, their aliases and redirects, and the order to refresh."""

from __future__ import annotations

import os

import attrs
from twisted.web.server import Request

from twistpi.model.errors import NotAcceptable, UnknownIndex
from twistpi.model.names import normalize_project
from twistpi.model.records import Index
from twistpi.simple.negotiate import Representation
from twistpi.simple.render import etag
from twistpi.simple.render_names import render_names
from twistpi.web.bodies import FileBody
from twistpi.web.conditional import parse_tags, tags_match
from twistpi.web.pages import Ask, Pages
from twistpi.web.ready import PAGE_BASE, Account
from twistpi.web.replies import NO_CACHE, VARY, VARY_ALIAS, Headers, Reply, put, put_head, redirect_reply
from twistpi.web.request import Wish, ends_with_slash, header, query_of, wish_of
from twistpi.web.send import open_file, send_body
from twistpi.web.services import Services


@attrs.define(eq=False)
class SimpleDoor:
    """Answers below ``/{user}/{index}/+simple/`` and, to installers, below ``/{user}/{index}/`` itself."""

    _services: Services
    _pages: Pages

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
        await self._pages.refresh(f"{user}/{index}", normal)
        up = "../../" if ends_with_slash(request) else "../"
        return self._put(request, redirect_reply(f"{up}{normal}/", 302))

    async def names(self, request: Request, user: str, index: str) -> bytes | None:
        """``/{user}/{index}/+simple/``: every project; without the slash a redirect, but for installers."""
        wish = self._wish(request)
        if not ends_with_slash(request) and not wish.installer:
            return self._put(request, redirect_reply(f"+simple/{query_of(request)}"))
        return await self.name_list(request, f"{user}/{index}", wish, alias=not ends_with_slash(request))

    async def name_list(self, request: Request, name: str, wish: Wish, *, alias: bool) -> bytes | None:
        """The name list of the index ``name`` in the representation of ``wish``."""
        index = self._services.readers.get().index(name)
        if index is None:
            raise UnknownIndex(name)
        representation = self._representation(request, wish)
        if index.is_mirror and not self._services.offline and not index.config.get("mirror_no_project_list"):
            return await self._mirrored_names(request, index, representation, wish, alias=alias)
        return await self._known_names(request, index, representation, alias=alias)

    async def _project_page(self, request: Request, name: str, project: str, wish: Wish, base: str) -> bytes | None:
        representation = self._representation(request, wish)
        ask = Ask(name, project, representation, wish.gzip, base)
        page, account = await self._pages.page(ask)
        unchanged = _has_already(request, page.etag)
        reply = page.reply(account, self._services.clock.seconds(), unchanged=unchanged)
        if request.method == b"GET" and b"?" not in request.uri:
            self._services.tables.learn_page(request.uri, wish.variant, ask.key)
        return self._put(request, reply)

    async def _mirrored_names(
        self, request: Request, index: Index, representation: Representation, wish: Wish, *, alias: bool
    ) -> bytes | None:
        """The upstream's list, which lies rendered on disk and is never in memory."""
        names = await self._services.name_lists.ensure(index)
        file = f"page.{'json' if representation.is_json else 'html'}{'.gz' if wish.gzip else ''}"
        now = self._services.clock.seconds()
        account = Account(names.kind, now - names.age, now + names.fresh_for, names.source or "local", names.reason)
        # The same bytes under the two names of HTML must not share a tag.
        tag = names.etags[file]
        if representation is Representation.HTML_V1:
            tag = tag[:-1] + '-v1"'
        validators = _list_validators(tag, account, now, alias=alias)
        if _has_already(request, tag):
            return self._put(request, Reply(304, validators))
        descriptor, size = open_file(os.path.join(names.folder, file))
        body = FileBody(descriptor, 0, size)
        coding: Headers = ((b"Content-Encoding", b"gzip"),) if wish.gzip else ()
        try:
            headers = (_type(representation), (b"Content-Length", b"%d" % size), *coding, *validators)
            put_head(request, 200, (*self._services.standing.at(now), *headers))
            if request.method != b"HEAD":
                await send_body(request, body, length=size)
        finally:
            body.close()
        return None

    async def _known_names(self, request: Request, index: Index, representation: Representation, *, alias: bool) -> bytes:
        """The projects this server knows by itself."""
        body = await self._services.offload(self._render_known, index, representation)
        tag = etag(body, representation.content_type)
        now = self._services.clock.seconds()
        validators = _list_validators(tag, Account(), now, alias=alias)
        if _has_already(request, tag):
            return self._put(request, Reply(304, validators))
        headers = (_type(representation), (b"Content-Length", b"%d" % len(body)), *validators)
        return self._put(request, Reply(200, headers, body))

    def _render_known(self, index: Index, representation: Representation) -> bytes:
        reader = self._services.readers.get()
        offline = self._services.offline and index.is_mirror
        names = reader.cached_projects(index.name) if offline else reader.projects(index.name)
        return b"".join(render_names(index.name, sorted(names), representation))

    def _wish(self, request: Request) -> Wish:
        return wish_of(request, lenient=self._services.lenient_accept)

    def _representation(self, request: Request, wish: Wish) -> Representation:
        if wish.representation is None:
            asked = b",".join(request.args.get(b"format", ())).decode("latin-1")
            raise NotAcceptable(asked or header(request, "accept") or "")
        return wish.representation

    def _put(self, request: Request, reply: Reply) -> bytes:
        return put(request, reply, self._services.standing.at(self._services.clock.seconds()))


def _has_already(request: Request, tag: str) -> bool:
    asked = header(request, "if-none-match")
    return asked is not None and tags_match(parse_tags(asked), tag)


def _type(representation: Representation) -> tuple[bytes, bytes]:
    return (b"Content-Type", representation.content_type.encode("ascii"))


def _list_validators(tag: str, account: Account, now: float, *, alias: bool) -> Headers:
    return ((b"ETag", tag.encode("ascii")), NO_CACHE, VARY_ALIAS if alias else VARY, *account.headers(now))
