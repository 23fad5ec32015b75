"""Files of an index: bytes whole or in part, core metadata, and facts about a file as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.web.server import Request

from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.http.conditional import http_date, if_range_holds, not_modified_since, parse_tags, tags_match
from twistpi.http.ranges import Span, Unsatisfiable, parse_range
from twistpi.model.errors import FileBlocked, FileLost
from twistpi.model.names import version_of_filename
from twistpi.model.records import Index, Json, KnownFile
from twistpi.simple.urls import without_credentials
from twistpi.web.errors import error_reply
from twistpi.web.fast.ready import ReadyFile, file_headers, file_validators, made_private
from twistpi.web.project_sources import Reading
from twistpi.web.replies import NO_STORE, VARY, Headers, Reply, put, put_head, redirect_reply, result_reply
from twistpi.web.request import header
from twistpi.web.services import Services
from twistpi.web.stage_files import BINARY, METADATA, content_type, stage_file, stage_file_facts
from twistpi.web.transport.bodies import SMALL, UNKNOWN_END, FileBody, GrowingBody, open_file
from twistpi.web.transport.send import send_body

if TYPE_CHECKING:
    from twistpi.mirror.download import Download


@attrs.frozen
class Facts:
    """What the head of a file's answer says."""

    etag: str | None
    """None until a file without a digest was seen to its end."""
    content_type: bytes
    last_modified: str | None
    private: bool
    """Whether not everybody may read it."""

    @property
    def validators(self) -> Headers:
        """The headers a 200, a 206 and a 304 share."""
        return file_validators(self.etag, self.last_modified, private=self.private)


@attrs.define(eq=False)
class FileHandler:
    """Answers ``/{user}/{index}/+f/…`` and ``/+e/…``."""

    _services: Services
    _reading: Reading

    async def digest_file(
        self, request: Request, user: str, index: str, three: str, thirteen: str, filename: str
    ) -> bytes | None:
        """``+f/{3}/{13}/{filename}``, and the same with ``.metadata`` at the end."""
        return await self._file(request, f"{user}/{index}", f"+f/{three}/{thirteen}/{filename}")

    async def external_file(self, request: Request, user: str, index: str, folder: str, filename: str) -> bytes | None:
        """``+e/{folder}/{filename}``, and the same with ``.metadata`` at the end."""
        return await self._file(request, f"{user}/{index}", f"+e/{folder}/{filename}")

    async def _file(self, request: Request, name: str, path: str) -> bytes | None:
        index = await self._reading.index(request, name)
        if not index.is_mirror:
            return await self._own(request, index, path)
        wants_metadata = path.endswith(METADATA)
        project, known = await self._services.mirror.find_file(index, path.removesuffix(METADATA))
        seen = self._services.readers.get().header(name, project)
        if seen is not None and seen[0] == "quarantined":
            raise FileBlocked(name, project, path)
        if wants_metadata:
            return await self._metadata(request, index, project, known)
        if "application/json" in (header(request, "accept") or ""):
            return self._put(request, result_reply("releasefilemeta", _file_facts(project, known)))
        if known.sha256 is not None:
            try:
                return await self._complete(request, (name, project), *self._blob(index, known))
            except FileNotFoundError:
                pass  # somebody removed it from the disk; it is fetched again
        if index.config.get("mirror_use_external_urls") and not self._services.offline and not _has_credentials(known.link.url):
            reply = redirect_reply(known.link.url, 302)
            return self._put(request, reply if self._reading.is_open(name) else made_private(reply))
        return await self._incomplete(request, index, project, known)

    async def _own(self, request: Request, index: Index, path: str) -> bytes | None:
        """What lies in a private index."""
        view = self._services.readers.get()
        file = stage_file(view, index.name, path)
        wants_facts = "application/json" in (header(request, "accept") or "")
        if wants_facts and path == file.known.path:
            return self._put(request, result_reply("releasefilemeta", stage_file_facts(view, index.name, file)))
        facts = self._facts(index, file.known, file.sha256, file.content_type)
        try:
            return await self._complete(request, (index.name, file.project), file.address, facts)
        except FileNotFoundError as error:
            coming = self._coming(file.address)
            if coming is None:
                raise FileLost(index.name, path) from error
        return await self._growing(request, coming, facts)

    def _coming(self, address: BlobAddress) -> Download | None:
        """The way here of a blob that another server has; None when this one alone has it."""
        services = self._services
        blob = services.readers.get().kept_blob(address.digits, address.filename)
        return None if services.elsewhere is None or blob is None else services.elsewhere.open_blob(blob)

    def _facts(self, index: Index, known: KnownFile, digest: str | None, kind: bytes) -> Facts:
        is_private = not self._reading.is_open(index.name)
        return Facts(f'"{digest}"' if digest else None, kind, http_date(known.link.upload_time), is_private)

    def _blob(self, index: Index, known: KnownFile) -> tuple[BlobAddress, Facts]:
        assert known.sha256 is not None, "only asked of cached files"
        facts = self._facts(index, known, known.sha256, content_type(known.link.filename))
        return blob_address(known.sha256, known.link.filename), facts

    async def _metadata(self, request: Request, index: Index, project: str, known: KnownFile) -> bytes | None:
        address = await self._services.sidecars.metadata(index, project, known)
        found = self._services.readers.get().file_by_path(index.name, known.path)
        digest = found[1].metadata_sha256 if found is not None else None
        facts = self._facts(index, known, digest, BINARY)
        return await self._complete(request, (index.name, project), address, facts)

    async def _complete(self, request: Request, owner: tuple[str, str], address: BlobAddress, facts: Facts) -> bytes | None:
        """A file that is here; raises ``FileNotFoundError`` when it is not."""
        path = self._services.blobs.path(address)
        descriptor, size = open_file(path)
        body = FileBody(descriptor, 0, size)
        try:
            if self._is_unchanged(request, facts):
                return self._put(request, Reply(304, facts.validators))
            is_plain = request.method == b"GET" and b"?" not in request.uri
            if is_plain and facts.etag is not None and not facts.private:
                self._learn(request, ReadyFile(path, size, facts.etag, facts.content_type, facts.last_modified, owner), body)
            return await self._send(request, body, facts, size, b"twistpi; hit")
        finally:
            body.close()

    def _learn(self, request: Request, file: ReadyFile, body: FileBody) -> None:
        if file.size <= SMALL:
            file.content = FileBody(body.descriptor, 0, file.size).read(file.size) if file.size else b""
        self._services.tables.learn_file(request.uri, file)

    async def _incomplete(self, request: Request, index: Index, project: str, known: KnownFile) -> bytes | None:
        """A file that is not here yet: it is sent while it is fetched, at the pace of each client."""
        link = known.link
        facts = self._facts(index, known, link.sha256, content_type(link.filename))
        if self._is_unchanged(request, facts):
            return self._put(request, Reply(304, facts.validators))
        if request.method == b"HEAD" and link.size is not None:
            return await self._send(request, None, facts, link.size, b"twistpi; fwd=miss")
        return await self._growing(request, self._services.downloads.open(index, project, known), facts)

    async def _growing(self, request: Request, download: Download, facts: Facts) -> bytes | None:
        """A file that is on its way, sent as it comes."""
        if self._is_unchanged(request, facts):
            return self._put(request, Reply(304, facts.validators))
        download.retain()
        try:
            size = await download.headers()
            body = GrowingBody(download.fileno(), 0, UNKNOWN_END if size is None else size, download, download.available)
            return await self._send(request, body, facts, size, b"twistpi; fwd=miss; stored")
        finally:
            download.release()

    async def _send(
        self, request: Request, body: FileBody | None, facts: Facts, size: int | None, cache_status: bytes
    ) -> bytes | None:
        """The whole file or the part that is asked for; ``body`` is None when the method is HEAD."""
        span = self._span(request, facts, size)
        if isinstance(span, Unsatisfiable):
            return self._put(request, self._unsatisfiable(size or 0))
        status, length, headers = 200, size, facts.validators
        if span is not None:
            status, length = 206, span.end - span.start
            headers = (*headers, (b"Content-Range", b"bytes %d-%d/%d" % (span.start, span.end - 1, size or 0)))
        if body is not None and request.method != b"HEAD":
            if span is not None:
                body.offset, body.end = span.start, span.end
            if not body.over and not body.ready:
                await body.more()  # while nothing was sent, what goes wrong can still be said
        now = self._services.clock.seconds()
        head = file_headers(facts.content_type, length, headers, cache_status)
        put_head(request, status, (*self._services.standing.at(now), *head))
        if body is not None and request.method != b"HEAD" and length != 0:
            await send_body(request, body, length=length)
        return None

    def _span(self, request: Request, facts: Facts, size: int | None) -> Span | Unsatisfiable | None:
        asked = header(request, "range")
        if asked is None or size is None or request.method != b"GET":
            return None
        condition = header(request, "if-range")
        if condition is not None and not if_range_holds(condition, facts.etag, facts.last_modified):
            return None
        return parse_range(asked, size)

    def _unsatisfiable(self, size: int) -> Reply:
        reply = error_reply(416, f"The file has {size} bytes.", wants_json=False)
        kept = tuple(line for line in reply.headers if line not in (NO_STORE, VARY))
        return attrs.evolve(reply, headers=(*kept, NO_STORE, (b"Content-Range", b"bytes */%d" % size)))

    def _is_unchanged(self, request: Request, facts: Facts) -> bool:
        """Whether the asker has these very bytes; a tag, where one is given, decides alone (RFC 9110, 13.2.2)."""
        tags = header(request, "if-none-match")
        if tags is not None:
            return facts.etag is not None and tags_match(parse_tags(tags), facts.etag)
        since = header(request, "if-modified-since")
        return since is not None and not_modified_since(since, facts.last_modified)

    def _put(self, request: Request, reply: Reply) -> bytes:
        return put(request, reply, self._services.standing.at(self._services.clock.seconds()))


def _has_credentials(url: str) -> bool:
    """Whether ``url`` holds a user and password, which are for this server alone."""
    return url != without_credentials(url)


def _file_facts(project: str, known: KnownFile) -> Json:
    """``releasefilemeta`` of the devpi protocol."""
    link = known.link
    hashes = dict(link.hashes)
    if known.sha256 is not None:
        hashes["sha256"] = known.sha256
    algorithm = "sha256" if "sha256" in hashes else next(iter(hashes), None)
    facts: dict[str, Json] = {
        "hash_spec": f"{algorithm}={hashes[algorithm]}" if algorithm else "",
        "project": project,
        "version": version_of_filename(link.filename, project) or "",
        "url": without_credentials(link.url),
    }
    if hashes:
        facts["hashes"] = hashes
    modified = http_date(link.upload_time)
    if modified is not None and known.cached:
        facts["last_modified"] = modified
    return facts
