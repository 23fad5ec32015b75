"""Name lists, ``/{user}/{index}/+simple/``: the projects of an index and of what it inherits, as far as allow lists name them.

A mirror's list lies rendered on disk; that of a private index is made of its own names and of what it inherits.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress

import attrs
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.mirror.allowed_names import allowed_names
from twistpi.mirror.names import NameList
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Index
from twistpi.rules.inheritance import Inheritance, VisibleIndexes
from twistpi.rules.requirements import RequirementList
from twistpi.simple.names import render_names
from twistpi.simple.negotiate import Representation
from twistpi.simple.render import etag
from twistpi.web.access import Access
from twistpi.web.components import MirrorServices
from twistpi.web.fast.ready import CacheStatus, page_policy
from twistpi.web.replies import Reply, Responder, length_of
from twistpi.web.request import Negotiated, has_already
from twistpi.web.transport.bodies import FileBody, PiecesBody
from twistpi.web.transport.send import send_body

_GZIP_LEVEL = 4
_GZIP = 31
"""What makes zlib write the gzip format."""
_SEPARATOR = b"\n"
_List = tuple[NameList, tuple[RequirementList, ...]]
"""An upstream's list, and the allow lists that limit it."""


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
        allow = visibility.inheritance.allow_lists(visibility.index.name)
        if self._has_list(visibility.index) and not base and not allow:
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
        lists: list[_List] = []
        inheritance = self._access.inheritance(index.name)
        if self._has_list(index):
            # What was ever asked of it is known all the same.
            with suppress(TwistpiError):
                lists.append((await self._mirrors.names.ensure(index), inheritance.allow_lists(index.name)))
        return _union(await self._offload(self._known, [index], inheritance), lists)

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
        name, inheritance, missing = visibility.index.name, visibility.inheritance, list[str]()
        lists: list[_List] = []
        plain = [index for index in visibility.visible if not self._has_list(index)]
        for index in visibility.visible:
            if self._has_list(index):
                try:
                    lists.append((await self._mirrors.names.ensure(index), inheritance.allow_lists(index.name)))
                except TwistpiError as error:
                    # What was ever asked of it is known all the same.
                    plain.append(index)
                    missing.append(f"{index.name}: {getattr(error, 'reason', error)}")
        known = await self._offload(self._known, plain, inheritance)
        status = CacheStatus(missing="; ".join(missing) or None)
        if not lists:
            content = await self._offload(_render, name, known, representation, base)
            return _Found(etag(content, representation.content_type), status, lambda: content)
        digest = hashlib.sha256(f"{name} {representation.value} {gzip} {base}".encode())
        for part in (*(part for one in lists for part in _parts_of(one)), *known):
            digest.update(part.encode() + _SEPARATOR)
        if len(lists) == 1 and status.missing is None:
            status = _cache_status(lists[0][0], self._responder.now())

        def body() -> PiecesBody:
            union = _union(known, lists)
            pieces = render_names(name, union, representation, base=base)
            return PiecesBody(_compressed(pieces) if gzip else pieces, self._offload)

        return _Found(f'"{digest.hexdigest()[:32]}"', status, body, gzip)

    def _known(self, indexes: Sequence[Index], inheritance: Inheritance) -> list[str]:
        """Return the projects of ``indexes`` that the view knows and allow lists name, sorted."""
        reader = self._access.reader
        offline = self._mirrors.offline
        names: set[str] = set()
        for index in indexes:
            found = reader.cached_projects(index.name) if offline and index.is_mirror else reader.projects(index.name)
            barred = index.is_mirror and inheritance.allow_lists(index.name)
            names.update(name for name in found if inheritance.lets_in(index, name)) if barred else names.update(found)
        return sorted(names)


def _cache_status(names: NameList, now: float) -> CacheStatus:
    return CacheStatus(names.kind, now - names.age, now + names.fresh_for, names.source or "local", names.reason)


def _render(index: str, names: Sequence[str], representation: Representation, base: str) -> bytes:
    return b"".join(render_names(index, names, representation, base=base))


def _parts_of(one: _List) -> Iterator[str]:
    """Yield what tells the names of a list that are allowed from those of any other."""
    names, allow = one
    yield names.etags["page.json"]
    for each in allow:
        yield from each.by_name
        yield from (str(prefix) for prefix in each.prefixes)


def _union(known: Iterable[str], lists: Sequence[_List]) -> Iterator[str]:
    """Yield sorted names and those of lists in order, without repetition."""
    with ExitStack() as files:
        lines: list[Iterator[str]] = []
        for names, allow in lists:
            path = os.path.join(names.folder, "names.txt")
            if allow:
                lines.append(files.enter_context(closing(allowed_names(path, allow))))
            else:
                lines.append(map(str.rstrip, files.enter_context(open(path, encoding="ascii"))))
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
