"""Name lists: a mirror's lies rendered on disk; that of a private index is made of its own names and of what it inherits."""

from __future__ import annotations

import hashlib
import heapq
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import attrs
from twisted.web.server import Request

from twistpi.http.body import Offload
from twistpi.http.conditional import parse_tags, tags_match
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Index
from twistpi.rules.inheritance import VisibleIndexes
from twistpi.simple.names import render_names
from twistpi.simple.negotiate import Representation
from twistpi.simple.render import etag
from twistpi.web.access import Access
from twistpi.web.components import MirrorServices
from twistpi.web.fast.ready import CacheStatus, page_policy
from twistpi.web.replies import Headers, Reply, Responder
from twistpi.web.request import Negotiated, header
from twistpi.web.transport.bodies import FileBody, PiecesBody
from twistpi.web.transport.send import send_body

if TYPE_CHECKING:
    from twistpi.mirror.names import NameList

_GZIP_LEVEL = 4
_GZIP = 31
"""What makes zlib write the gzip format."""
_SEPARATOR = b"\n"


@attrs.frozen
class _Requested:
    """A request for a name list."""

    request: Request
    visibility: VisibleIndexes
    representation: Representation
    gzip: bool
    alias: bool
    """Whether the path shows something else to other tools."""

    def validators(self, tag: str, status: CacheStatus, now: float) -> Headers:
        """The headers a 200 and a 304 share."""
        policy = page_policy(alias=self.alias, private=not self.visibility.is_open)
        return ((b"ETag", tag.encode("ascii")), *policy, *status.headers(now))

    @property
    def content_type(self) -> tuple[bytes, bytes]:
        """The header."""
        return (b"Content-Type", self.representation.content_type.encode("ascii"))

    @property
    def coding(self) -> Headers:
        """The header, where the body is compressed."""
        return ((b"Content-Encoding", b"gzip"),) if self.gzip else ()


@attrs.define(eq=False)
class NameListHandler:
    """Answers with the names of all projects that the caller sees."""

    _access: Access
    _mirrors: MirrorServices
    _offload: Offload
    _responder: Responder

    async def answer(
        self, request: Request, visibility: VisibleIndexes, representation: Representation, negotiated: Negotiated, *, alias: bool
    ) -> Reply | None:
        """Answer with the names of the projects of the visible indexes."""
        asked = _Requested(request, visibility, representation, negotiated.gzip, alias)
        if self._has_list(visibility.index):
            return await self._mirrored(asked)
        lists: list[NameList] = []
        missing: list[str] = []
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
        if lists:
            return await self._merged(asked, known, lists, status)
        body = await self._offload(_render, visibility.index.name, known, representation)
        return self._whole(attrs.evolve(asked, gzip=False), body, status)

    def _has_list(self, index: Index) -> bool:
        """Return whether the upstream of ``index`` provides a list of its projects."""
        return index.is_mirror and not self._mirrors.offline and not index.config.get("mirror_no_project_list")

    async def _mirrored(self, asked: _Requested) -> Reply | None:
        """Answer with the upstream's list, which lies rendered on disk and is never in memory."""
        names = await self._mirrors.names.ensure(asked.visibility.index)
        file = f"page.{'json' if asked.representation.is_json else 'html'}{'.gz' if asked.gzip else ''}"
        # The same bytes under the two names of HTML must not share a tag.
        tag = names.etags[file]
        if asked.representation is Representation.HTML_V1:
            tag = tag[:-1] + '-v1"'
        now = self._responder.now()
        validators = asked.validators(tag, _cache_status(names, now), now)
        if has_already(asked.request, tag):
            return Reply(304, validators)
        body = FileBody.open(os.path.join(names.folder, file))
        await self._send(asked, body, body.end, validators)
        return None

    async def _merged(
        self, asked: _Requested, known: Sequence[str], lists: Sequence[NameList], status: CacheStatus
    ) -> Reply | None:
        """Answer with the sorted union, made while it is sent: an upstream's list is never in memory."""
        name, representation = asked.visibility.index.name, asked.representation
        digest = hashlib.sha256(f"{name} {representation.value} {asked.gzip}".encode())
        for part in (*(names.etags["page.json"] for names in lists), *known):
            digest.update(part.encode() + _SEPARATOR)
        tag, now = f'"{digest.hexdigest()[:32]}"', self._responder.now()
        if len(lists) == 1 and status.missing is None:
            status = _cache_status(lists[0], now)
        validators = asked.validators(tag, status, now)
        if has_already(asked.request, tag):
            return Reply(304, validators)
        pieces = render_names(name, _union(known, [os.path.join(names.folder, "names.txt") for names in lists]), representation)
        body = PiecesBody(_compressed(pieces) if asked.gzip else pieces, self._offload)
        if asked.request.method != b"HEAD":
            await body.more()  # while nothing was sent, what goes wrong can still be said
        await self._send(asked, body, None, validators)
        return None

    async def _send(self, asked: _Requested, body: FileBody | PiecesBody, size: int | None, validators: Headers) -> None:
        length = () if size is None else ((b"Content-Length", b"%d" % size),)
        head = (asked.content_type, *length, *asked.coding, *validators)
        try:
            self._responder.put_head(asked.request, 200, head)
            if asked.request.method != b"HEAD":
                await send_body(asked.request, body, length=size)
        finally:
            body.close()

    def _whole(self, asked: _Requested, body: bytes, status: CacheStatus) -> Reply:
        tag = etag(body, asked.representation.content_type)
        validators = asked.validators(tag, status, self._responder.now())
        if has_already(asked.request, tag):
            return Reply(304, validators)
        headers = (asked.content_type, (b"Content-Length", b"%d" % len(body)), *validators)
        return Reply(200, headers, body)

    def _known(self, indexes: Sequence[Index]) -> list[str]:
        """Return the projects of ``indexes`` that the view knows, sorted."""
        reader = self._access.reader
        offline = self._mirrors.offline
        names: set[str] = set()
        for index in indexes:
            names.update(reader.cached_projects(index.name) if offline and index.is_mirror else reader.projects(index.name))
        return sorted(names)


def has_already(request: Request, tag: str) -> bool:
    """Return whether the client has the content with the entity tag ``tag``."""
    asked = header(request, "if-none-match")
    return asked is not None and tags_match(parse_tags(asked), tag)


def _cache_status(names: NameList, now: float) -> CacheStatus:
    return CacheStatus(names.kind, now - names.age, now + names.fresh_for, names.source or "local", names.reason)


def _render(index: str, names: Sequence[str], representation: Representation) -> bytes:
    return b"".join(render_names(index, names, representation))


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
