"""Sends files: whole or in part, from the disk or while they arrive; what is complete is remembered for the fast path."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import attrs
from twisted.web.server import Request

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.interfaces import IBlobs
from twistpi.gc.access_times import AccessTimes
from twistpi.http.conditional import Span, Unsatisfiable, if_range_holds, not_modified_since, parse_range, parse_tags, tags_match
from twistpi.statistics.tally import CountedFile
from twistpi.web.delivery import Delivery
from twistpi.web.errors import error_reply
from twistpi.web.fast.ready import ReadyAnswers
from twistpi.web.fast.ready_files import ReadyFile, file_headers, file_validators
from twistpi.web.replies import NO_STORE, SMALL, VARY, Headers, Reply, Responder
from twistpi.web.request import header, is_shared, speaks_json
from twistpi.web.token_uses import TokenUses
from twistpi.web.transport.bodies import UNKNOWN_END, FileBody, GrowingBody, MemoryBody
from twistpi.web.transport.send import send_body

if TYPE_CHECKING:
    from twistpi.mirror.download import Download


@attrs.frozen
class FileFacts:
    """What the head of a file's response says."""

    etag: str | None
    """None until a file without a digest was received to its end."""
    content_type: bytes
    last_modified: str | None
    private: bool
    """Whether the index is not open to everybody."""
    counted: CountedFile | None = attrs.field(default=None, kw_only=True)
    """The distribution that this is; None for what is not counted as a download."""
    is_watched: bool = attrs.field(default=False, kw_only=True)
    """Whether a policy counts each request, so that the fast path must not answer any."""

    @property
    def validators(self) -> Headers:
        """The headers that a 200, a 206 and a 304 share."""
        return file_validators(self.etag, self.last_modified, private=self.private)


@attrs.define(eq=False)
class FileSender:
    """Answers requests with files."""

    _blobs: IBlobs
    _ready: ReadyAnswers
    _responder: Responder
    _access_times: AccessTimes
    _uses: TokenUses
    _delivery: Delivery | None = None
    """Sends clients to the bucket that has the files; None where there is none."""

    async def redirect(self, request: Request, address: BlobAddress, size: int | None, facts: FileFacts) -> Reply | None:
        """Return an answer that sends the client to the bucket, where it is to get a distribution; None when it is not to."""
        if self._delivery is None or size is None or facts.counted is None:
            return None
        if request.method != b"GET" or is_unchanged(request, facts):
            return None
        agent = header(request, "user-agent")
        reply = await self._delivery.redirect(agent, address, size, facts.content_type, is_private=facts.private)
        if reply is not None and header(request, "range") is None:
            self._uses.downloaded(request, facts.counted)
        return reply

    async def stored(self, request: Request, owner: tuple[str, str], address: BlobAddress, facts: FileFacts) -> Reply | None:
        """Send a blob that is here; raise ``FileNotFoundError`` if it is not.  ``owner`` is its index and project."""
        path = self._blobs.path(address)
        body = FileBody.open(path)
        size = body.end
        self._access_times.note(path)
        try:
            if is_unchanged(request, facts):
                return Reply(304, facts.validators)
            is_plain = request.method == b"GET" and b"?" not in request.uri and not facts.is_watched
            if is_plain and facts.etag is not None and not facts.private:
                content = os.pread(body.descriptor, size, 0) if size <= SMALL else None
                kind, modified, shared = facts.content_type, facts.last_modified, is_shared(request)
                file = ReadyFile(path, size, facts.etag, kind, modified, owner, content, facts.counted, shared)
                self._ready.learn_file(request.uri, file)
            return await self.send(request, body, facts, size, b"twistpi; hit")
        finally:
            body.close()

    async def arriving(self, request: Request, download: Download, facts: FileFacts) -> Reply | None:
        """Send a file while it is fetched, at the client's pace; raise what keeps it from arriving, while nothing was sent."""
        if is_unchanged(request, facts):
            return Reply(304, facts.validators)
        download.retain()
        body: GrowingBody | None = None
        try:
            size = await download.headers()
            body = GrowingBody(-1, 0, UNKNOWN_END if size is None else size, download, download.available)
            download.follow(body)
            is_kept = download.window is None
            return await self.send(request, body, facts, size, b"twistpi; fwd=miss; stored" if is_kept else b"twistpi; fwd=miss")
        finally:
            (download if body is None else body.download).release(body)

    async def in_memory(self, request: Request, content: bytes, facts: FileFacts) -> Reply | None:
        """Send what is not kept."""
        facts = attrs.evolve(facts, etag=f'"{hashlib.sha256(content).hexdigest()}"')
        if is_unchanged(request, facts):
            return Reply(304, facts.validators)
        span = _span(request, facts, len(content))
        if isinstance(span, Unsatisfiable):
            return _unsatisfiable(len(content), wants_json=speaks_json(request))
        headers, status, part = facts.validators, 200, memoryview(content)
        if span is not None:
            status, part = 206, part[span.start : span.end]
            headers = (*headers, content_range(span, len(content)))
        self._responder.put_head(request, status, file_headers(facts.content_type, len(part), headers, b"twistpi; fwd=miss"))
        if request.method != b"HEAD" and part:
            await send_body(request, MemoryBody(part), length=len(part))
        return None

    async def send(
        self, request: Request, body: FileBody | None, facts: FileFacts, size: int | None, cache_status: bytes
    ) -> Reply | None:
        """Send the whole file or the requested range; ``body`` may be None for a HEAD request."""
        span = _span(request, facts, size)
        if isinstance(span, Unsatisfiable):
            return _unsatisfiable(size or 0, wants_json=speaks_json(request))
        status, length, headers = 200, size, facts.validators
        if span is not None:
            status, length = 206, span.end - span.start
            headers = (*headers, content_range(span, size or 0))
        if body is not None and request.method != b"HEAD":
            if span is not None:
                body.offset, body.end = span.start, span.end
            if not body.over and not body.ready:
                await body.more()  # while nothing was sent, an error can still be reported
        self._responder.put_head(request, status, file_headers(facts.content_type, length, headers, cache_status))
        if facts.counted is not None and request.method == b"GET" and (span is None or span.start == 0):
            self._uses.downloaded(request, facts.counted)
        if body is not None and request.method != b"HEAD" and length != 0:
            await send_body(request, body, length=length)
        return None


def content_range(span: Span, size: int) -> tuple[bytes, bytes]:
    """Return the header of a part of ``size`` bytes."""
    return b"Content-Range", b"bytes %d-%d/%d" % (span.start, span.end - 1, size)


def is_unchanged(request: Request, facts: FileFacts) -> bool:
    """Return whether the client has these very bytes; an entity tag, if one is given, decides alone (RFC 9110, 13.2.2)."""
    tags = header(request, "if-none-match")
    if tags is not None:
        return facts.etag is not None and tags_match(parse_tags(tags), facts.etag)
    since = header(request, "if-modified-since")
    return since is not None and not_modified_since(since, facts.last_modified)


def _span(request: Request, facts: FileFacts, size: int | None) -> Span | Unsatisfiable | None:
    asked = header(request, "range")
    if asked is None or size is None or request.method != b"GET":
        return None
    condition = header(request, "if-range")
    if condition is not None and not if_range_holds(condition, facts.etag, facts.last_modified):
        return None
    return parse_range(asked, size)


def _unsatisfiable(size: int, *, wants_json: bool) -> Reply:
    reply = error_reply(416, f"The file has {size} bytes.", wants_json=wants_json)
    kept = tuple(line for line in reply.headers if line not in (NO_STORE, VARY))
    return attrs.evolve(reply, headers=(*kept, NO_STORE, (b"Content-Range", b"bytes */%d" % size)))
