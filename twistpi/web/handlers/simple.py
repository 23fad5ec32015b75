"""The simple repository API: project pages, name lists, their aliases and redirects, and the order to refresh.

A mirror's name list lies rendered on disk; that of a private index is made of its own names and of what it inherits.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress

import attrs
from twisted.web.server import Request

from twistpi.http.body import Offload
from twistpi.http.conditional import parse_tags, tags_match
from twistpi.mirror.names import NameList
from twistpi.model.errors import TwistpiError
from twistpi.model.names import normalize_project
from twistpi.model.records import Index
from twistpi.rules.inheritance import VisibleIndexes
from twistpi.simple.names import render_names
from twistpi.simple.negotiate import Representation
from twistpi.simple.render import etag
from twistpi.simple.urls import quote_path
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, outside_url, wants_absolute_urls
from twistpi.web.components import MirrorServices
from twistpi.web.fast.ready import PAGE_BASE, CacheStatus, page_policy
from twistpi.web.pages import PageRequest, Pages
from twistpi.web.replies import Reply, Responder, length_of, redirect_reply
from twistpi.web.request import Negotiated, ends_with_slash, header, negotiated_of, query_of
from twistpi.web.transport.bodies import FileBody, PiecesBody
from twistpi.web.transport.send import send_body

_GZIP_LEVEL = 4
_GZIP = 31
"""What makes zlib write the gzip format."""
_SEPARATOR = b"\n"


@attrs.frozen
class _Found:
    """A name list that can be sent."""

    tag: str
    status: CacheStatus
    open: Callable[[], FileBody | PiecesBody | bytes]
    gzip: bool = False


@attrs.define(eq=False)
class NameListHandler:
    """Answers with the names of all projects that the caller sees."""

    _access: Access
    _mirrors: MirrorServices
    _offload: Offload
    _responder: Responder

    async def answer(
        self,
        request: Request,
        visibility: VisibleIndexes,
        representation: Representation,
        negotiated: Negotiated,
        *,
        alias: bool,
        base: str = "",
    ) -> Reply | None:
        """Answer with the names of the projects of the visible indexes; ``alias`` says whether others get something else here.

        ``base`` is the way from here to the pages, in HTML, where the list that lies on disk does not have it.
        """
        if self._has_list(visibility.index) and not base:
            found = await self._mirrored(visibility.index, representation, negotiated.gzip)
        else:
            found = await self._combined(visibility, representation, negotiated.gzip, base)
        policy = page_policy(alias=alias, private=not visibility.is_open)
        validators = ((b"ETag", found.tag.encode("ascii")), *policy, *found.status.headers(self._responder.now()))
        if has_already(request, found.tag):
            return Reply(304, validators)
        kind, body = (b"Content-Type", representation.content_type.encode("ascii")), found.open()
        if isinstance(body, bytes):
            return Reply(200, (kind, length_of(body), *validators), body)
        try:
            size = body.end if isinstance(body, FileBody) else None
            if size is None and request.method != b"HEAD":
                await body.more()  # while nothing was sent, what goes wrong can still be said
            length = () if size is None else ((b"Content-Length", b"%d" % size),)
            coding = ((b"Content-Encoding", b"gzip"),) if found.gzip else ()
            self._responder.put_head(request, 200, (kind, *length, *coding, *validators))
            if request.method != b"HEAD":
                await send_body(request, body, length=size)
        finally:
            body.close()
        return None

    async def names_of(self, index: Index) -> Iterator[str]:
        """Return the projects of ``index`` alone, sorted: with those of the upstream's list, unless that cannot be had now.

        The iterator reads a file, and blocks.
        """
        lists: list[str] = []
        if self._has_list(index):
            # What was ever asked of it is known all the same.
            with suppress(TwistpiError):
                lists.append(os.path.join((await self._mirrors.names.ensure(index)).folder, "names.txt"))
        return _union(await self._offload(self._known, [index]), lists)

    def _has_list(self, index: Index) -> bool:
        """Return whether the upstream of ``index`` provides a list of its projects."""
        return index.is_mirror and not self._mirrors.offline and not index.config.get("mirror_no_project_list")

    async def _mirrored(self, index: Index, representation: Representation, gzip: bool) -> _Found:
        """Return the upstream's list, which lies rendered on disk and is never in memory."""
        names = await self._mirrors.names.ensure(index)
        file = f"page.{'json' if representation.is_json else 'html'}{'.gz' if gzip else ''}"
        # The same bytes under the two names of HTML must not share a tag.
        tag = names.etags[file]
        if representation is Representation.HTML_V1:
            tag = tag[:-1] + '-v1"'
        status = _cache_status(names, self._responder.now())
        return _Found(tag, status, lambda: FileBody.open(os.path.join(names.folder, file)), gzip)

    async def _combined(self, visibility: VisibleIndexes, representation: Representation, gzip: bool, base: str) -> _Found:
        """Return the sorted union, made while it is sent if it contains an upstream's list, which is never in memory."""
        name, lists, missing = visibility.index.name, [], []
        plain = [index for index in visibility.visible if not self._has_list(index)]
        for index in visibility.visible:
            if self._has_list(index):
                try:
                    lists.append(await self._mirrors.names.ensure(index))
                except TwistpiError as error:
                    # What was ever asked of it is known all the same.
                    plain.append(index)
                    missing.append(f"{index.name}: {getattr(error, 'reason', error)}")
        known = await self._offload(self._known, plain)
        status = CacheStatus(missing="; ".join(missing) or None)
        if not lists:
            content = await self._offload(_render, name, known, representation, base)
            return _Found(etag(content, representation.content_type), status, lambda: content)
        digest = hashlib.sha256(f"{name} {representation.value} {gzip} {base}".encode())
        for part in (*(names.etags["page.json"] for names in lists), *known):
            digest.update(part.encode() + _SEPARATOR)
        if len(lists) == 1 and status.missing is None:
            status = _cache_status(lists[0], self._responder.now())

        def body() -> PiecesBody:
            union = _union(known, [os.path.join(names.folder, "names.txt") for names in lists])
            pieces = render_names(name, union, representation, base=base)
            return PiecesBody(_compressed(pieces) if gzip else pieces, self._offload)

        return _Found(f'"{digest.hexdigest()[:32]}"', status, body, gzip)

    def _known(self, indexes: Sequence[Index]) -> list[str]:
        """Return the projects of ``indexes`` that the view knows, sorted."""
        reader = self._access.reader
        offline = self._mirrors.offline
        names: set[str] = set()
        for index in indexes:
            names.update(reader.cached_projects(index.name) if offline and index.is_mirror else reader.projects(index.name))
        return sorted(names)


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


def has_already(request: Request, tag: str) -> bool:
    """Return whether the client has the content with the entity tag ``tag``."""
    asked = header(request, "if-none-match")
    return asked is not None and tags_match(parse_tags(asked), tag)


def _cache_status(names: NameList, now: float) -> CacheStatus:
    return CacheStatus(names.kind, now - names.age, now + names.fresh_for, names.source or "local", names.reason)


def _render(index: str, names: Sequence[str], representation: Representation, base: str) -> bytes:
    return b"".join(render_names(index, names, representation, base=base))


def _union(known: Iterable[str], paths: Sequence[str]) -> Iterator[str]:
    """Yield sorted names and the lines of sorted files in order, without repetition."""
    with ExitStack() as files:
        lines = [map(str.rstrip, files.enter_context(open(path, encoding="ascii"))) for path in paths]
        last = ""
        for name in heapq.merge(known, *lines):
            if name != last:
                last = name
                yield name


def _compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """``pieces`` as one gzip file."""
    compressor = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP)
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()
