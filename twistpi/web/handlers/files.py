"""Files of an index: distributions, core metadata, test results, documentation archives, and facts about them as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.web.server import Request

from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.http.conditional import http_date
from twistpi.model.errors import FileBlocked, FileLost, UnknownFile
from twistpi.model.names import version_of_filename
from twistpi.model.records import Index, Json, KnownFile
from twistpi.model.releases import Attachment
from twistpi.simple.urls import without_credentials
from twistpi.web.access import Access, project_status
from twistpi.web.components import MirrorServices
from twistpi.web.fast.ready import made_private
from twistpi.web.file_sender import FileFacts, FileSender, is_unchanged
from twistpi.web.replies import Reply, Responder, redirect_reply, result_reply
from twistpi.web.request import header
from twistpi.web.stage_files import BINARY, METADATA, content_type, stage_file, stage_file_facts

if TYPE_CHECKING:
    from twistpi.mirror.download import Download
    from twistpi.view.read import Reader


@attrs.define(eq=False)
class FileHandler:
    """Answers ``/{user}/{index}/+f/…`` and ``/+e/…``, and the same with ``.metadata`` at the end."""

    _access: Access
    _mirrors: MirrorServices
    _sender: FileSender
    _responder: Responder

    async def digest_file(
        self, request: Request, user: str, index: str, three: str, thirteen: str, filename: str
    ) -> bytes | None:
        """``+f/{3}/{13}/{filename}``: a distribution, its metadata, a test result, or documentation."""
        name, path = f"{user}/{index}", f"+f/{three}/{thirteen}/{filename}"
        await self._access.index(request, name)
        found = self._access.reader.attachment_by_path(name, path)
        if found is None:
            return await self._file(request, name, path)
        project, version, attachment = found
        check_offered(self._access.reader, name, project, path)
        if _wants_facts(request):
            return self._responder.put(request, result_reply("releasefilemeta", _attachment_facts(project, version, attachment)))
        private = not self._access.is_open(name)
        facts = FileFacts(f'"{attachment.sha256}"', content_type(filename), stored_at(attachment), private)
        try:
            return await self._sender.stored(request, (name, project), address_of(attachment), facts)
        except FileNotFoundError as error:
            download = self._remote_blob(address_of(attachment))
            if download is None:
                raise UnknownFile(name, path) from error
        return await self._sender.arriving(request, download, facts)

    async def external_file(self, request: Request, user: str, index: str, folder: str, filename: str) -> bytes | None:
        """``+e/{folder}/{filename}``: a file of a mirror that its upstream lists without a digest."""
        return await self._file(request, f"{user}/{index}", f"+e/{folder}/{filename}")

    async def _file(self, request: Request, name: str, path: str) -> bytes | None:
        index = await self._access.index(request, name)
        if not index.is_mirror:
            return await self._own(request, index, path)
        project, known = await self._mirrors.pages.find_file(index, path.removesuffix(METADATA))
        check_offered(self._access.reader, name, project, path)
        if path.endswith(METADATA):
            return await self._metadata(request, index, project, known)
        if _wants_facts(request):
            return self._responder.put(request, result_reply("releasefilemeta", _file_facts(project, known)))
        if known.sha256 is not None:
            facts = self._facts(index, known, known.sha256, content_type(known.link.filename))
            try:
                address = blob_address(known.sha256, known.link.filename)
                return await self._sender.stored(request, (name, project), address, facts)
            except FileNotFoundError:
                pass  # it was removed from the disk; it is fetched again
        url = known.link.url
        if index.config.get("mirror_use_external_urls") and not self._mirrors.offline and url == without_credentials(url):
            reply = redirect_reply(url, 302)
            return self._responder.put(request, reply if self._access.is_open(name) else made_private(reply))
        return await self._missing(request, index, project, known)

    async def _own(self, request: Request, index: Index, path: str) -> bytes | None:
        """Answer with a file of a private index."""
        view = self._access.reader
        file = stage_file(view, index.name, path)
        if _wants_facts(request) and path == file.known.path:
            return self._responder.put(request, result_reply("releasefilemeta", stage_file_facts(view, index.name, file)))
        facts = self._facts(index, file.known, file.sha256, file.content_type)
        try:
            return await self._sender.stored(request, (index.name, file.project), file.address, facts)
        except FileNotFoundError as error:
            download = self._remote_blob(file.address)
            if download is None:
                raise FileLost(index.name, path) from error
        return await self._sender.arriving(request, download, facts)

    async def _metadata(self, request: Request, index: Index, project: str, known: KnownFile) -> bytes | None:
        address = await self._mirrors.metadata.metadata(index, project, known)
        found = self._access.reader.file_by_path(index.name, known.path)
        digest = found[1].metadata_sha256 if found is not None else None
        return await self._sender.stored(request, (index.name, project), address, self._facts(index, known, digest, BINARY))

    async def _missing(self, request: Request, index: Index, project: str, known: KnownFile) -> bytes | None:
        """Answer with a mirror's file that is not here yet."""
        link = known.link
        facts = self._facts(index, known, link.sha256, content_type(link.filename))
        if is_unchanged(request, facts):
            return self._responder.put(request, Reply(304, facts.validators))
        if request.method == b"HEAD" and link.size is not None:
            return await self._sender.send(request, None, facts, link.size, b"twistpi; fwd=miss")
        return await self._sender.arriving(request, self._mirrors.files.open(index, project, known), facts)

    def _remote_blob(self, address: BlobAddress) -> Download | None:
        """Start to fetch a blob that another server has; None if no other server is known to have it."""
        blob = self._access.reader.kept_blob(address.digits, address.filename)
        return None if self._mirrors.blobs is None or blob is None else self._mirrors.blobs.open_blob(blob)

    def _facts(self, index: Index, known: KnownFile, digest: str | None, kind: bytes) -> FileFacts:
        private = not self._access.is_open(index.name)
        return FileFacts(f'"{digest}"' if digest else None, kind, http_date(known.link.upload_time), private)


def check_offered(view: Reader, index: str, project: str, path: str) -> None:
    """Raise ``FileBlocked`` if the project is quarantined."""
    if project_status(view, index, project) == "quarantined":
        raise FileBlocked(index, project, path)


def address_of(attachment: Attachment) -> BlobAddress:
    """Return where the bytes of ``attachment`` are; test results lie beside the tested file."""
    _, three, thirteen, filename = attachment.path.split("/")
    return BlobAddress(three + thirteen, filename)


def stored_at(attachment: Attachment) -> str | None:
    """Return when ``attachment`` was stored here last, as an HTTP date."""
    return http_date(attachment.log[-1].when) if attachment.log else None


def _wants_facts(request: Request) -> bool:
    return "application/json" in (header(request, "accept") or "")


def _attachment_facts(project: str, version: str, attachment: Attachment) -> Json:
    facts: dict[str, Json] = {
        "hash_spec": f"sha256={attachment.sha256}",
        "hashes": {"sha256": attachment.sha256},
        "project": project,
        "version": version,
    }
    modified = stored_at(attachment)
    return facts if modified is None else {"last_modified": modified, **facts}


def _file_facts(project: str, known: KnownFile) -> Json:
    """Return ``releasefilemeta`` of the devpi protocol."""
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
