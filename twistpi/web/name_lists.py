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

from twistpi.http.conditional import parse_tags, tags_match
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Index
from twistpi.rules.inheritance import VisibleIndexes
from twistpi.simple.names import render_names
from twistpi.simple.negotiate import Representation
from twistpi.simple.render import etag
from twistpi.web.fast.ready import Account, page_policy
from twistpi.web.replies import Headers, Reply, put, put_head
from twistpi.web.request import Negotiated, header
from twistpi.web.services import Services
from twistpi.web.transport.bodies import FileBody, PiecesBody, open_file
from twistpi.web.transport.send import send_body

if TYPE_CHECKING:
    from twistpi.mirror.names import NameList

_GZIP_LEVEL = 4
_GZIP = 31
"""What makes zlib write the gzip format."""
_SEPARATOR = b"\n"


@attrs.frozen
class _Question:
    """A name list as it was asked for."""

    request: Request
    visibility: VisibleIndexes
    representation: Representation
    gzip: bool
    alias: bool
    """Whether the path shows something else to other tools."""

    def validators(self, tag: str, account: Account, now: float) -> Headers:
        """The headers a 200 and a 304 share."""
        policy = page_policy(alias=self.alias, private=not self.visibility.is_open)
        return ((b"ETag", tag.encode("ascii")), *policy, *account.headers(now))

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
    """Answers with the names of all projects that an asker may see."""

    _services: Services

    async def answer(
        self, request: Request, visibility: VisibleIndexes, representation: Representation, negotiated: Negotiated, *, alias: bool
    ) -> bytes | None:
        """The names of what is in ``sight``."""
        question = _Question(request, visibility, representation, negotiated.gzip, alias)
        if self._has_list(visibility.index):
            return await self._mirrored(question)
        lists: list[NameList] = []
        missing: list[str] = []
        plain = [index for index in visibility.visible if not self._has_list(index)]
        for index in visibility.visible:
            if self._has_list(index):
                try:
                    lists.append(await self._services.name_lists.ensure(index))
                except TwistpiError as error:
                    # What was ever asked of it is known all the same.
                    plain.append(index)
                    missing.append(f"{index.name}: {getattr(error, 'reason', error)}")
        known = await self._services.offload(self._known, plain)
        account = Account(missing="; ".join(missing) or None)
        if lists:
            return await self._merged(question, known, lists, account)
        body = await self._services.offload(_render, visibility.index.name, known, representation)
        return self._whole(attrs.evolve(question, gzip=False), body, account)

    def _has_list(self, index: Index) -> bool:
        """Whether the upstream of ``index`` tells all its names."""
        return index.is_mirror and not self._services.offline and not index.config.get("mirror_no_project_list")

    async def _mirrored(self, question: _Question) -> bytes | None:
        """The upstream's list, which lies rendered on disk and is never in memory."""
        names = await self._services.name_lists.ensure(question.visibility.index)
        file = f"page.{'json' if question.representation.is_json else 'html'}{'.gz' if question.gzip else ''}"
        # The same bytes under the two names of HTML must not share a tag.
        tag = names.etags[file]
        if question.representation is Representation.HTML_V1:
            tag = tag[:-1] + '-v1"'
        now = self._services.clock.seconds()
        validators = question.validators(tag, _account(names, now), now)
        if has_already(question.request, tag):
            return self._put(question.request, Reply(304, validators))
        descriptor, size = open_file(os.path.join(names.folder, file))
        await self._send(question, FileBody(descriptor, 0, size), size, validators)
        return None

    async def _merged(
        self, question: _Question, known: Sequence[str], lists: Sequence[NameList], account: Account
    ) -> bytes | None:
        """The union, sorted, made while it is sent: an upstream's list is never in memory."""
        name, representation = question.visibility.index.name, question.representation
        digest = hashlib.sha256(f"{name} {representation.value} {question.gzip}".encode())
        for part in (*(names.etags["page.json"] for names in lists), *known):
            digest.update(part.encode() + _SEPARATOR)
        tag, now = f'"{digest.hexdigest()[:32]}"', self._services.clock.seconds()
        if len(lists) == 1 and account.missing is None:
            account = _account(lists[0], now)
        validators = question.validators(tag, account, now)
        if has_already(question.request, tag):
            return self._put(question.request, Reply(304, validators))
        pieces = render_names(name, _union(known, [os.path.join(names.folder, "names.txt") for names in lists]), representation)
        body = PiecesBody(_compressed(pieces) if question.gzip else pieces, self._services.offload)
        if question.request.method != b"HEAD":
            await body.more()  # while nothing was sent, what goes wrong can still be said
        await self._send(question, body, None, validators)
        return None

    async def _send(self, question: _Question, body: FileBody | PiecesBody, size: int | None, validators: Headers) -> None:
        length = () if size is None else ((b"Content-Length", b"%d" % size),)
        head = (question.content_type, *length, *question.coding, *validators)
        try:
            put_head(question.request, 200, (*self._services.standing.at(self._services.clock.seconds()), *head))
            if question.request.method != b"HEAD":
                await send_body(question.request, body, length=size)
        finally:
            body.close()

    def _whole(self, question: _Question, body: bytes, account: Account) -> bytes:
        tag = etag(body, question.representation.content_type)
        validators = question.validators(tag, account, self._services.clock.seconds())
        if has_already(question.request, tag):
            return self._put(question.request, Reply(304, validators))
        headers = (question.content_type, (b"Content-Length", b"%d" % len(body)), *validators)
        return self._put(question.request, Reply(200, headers, body))

    def _known(self, indexes: Sequence[Index]) -> list[str]:
        """The projects of ``indexes`` that this server knows by itself, sorted."""
        reader = self._services.readers.get()
        offline = self._services.offline
        names: set[str] = set()
        for index in indexes:
            names.update(reader.cached_projects(index.name) if offline and index.is_mirror else reader.projects(index.name))
        return sorted(names)

    def _put(self, request: Request, reply: Reply) -> bytes:
        return put(request, reply, self._services.standing.at(self._services.clock.seconds()))


def has_already(request: Request, tag: str) -> bool:
    """Whether the asker holds what ``tag`` stands for."""
    asked = header(request, "if-none-match")
    return asked is not None and tags_match(parse_tags(asked), tag)


def _account(names: NameList, now: float) -> Account:
    return Account(names.kind, now - names.age, now + names.fresh_for, names.source or "local", names.reason)


def _render(index: str, names: Sequence[str], representation: Representation) -> bytes:
    return b"".join(render_names(index, names, representation))


def _union(known: Iterable[str], paths: Sequence[str]) -> Iterator[str]:
    """Sorted names and the lines of sorted files as one sorted list without repetition."""
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
