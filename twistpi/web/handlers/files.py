"""Files of an index: distributions, core metadata, provenance, test results and documentation archives, and facts about them.

The auth subrequest of a web server in front that sends files from the disk by itself (nginx ``auth_request``) is answered here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import attrs
from twisted.logger import Logger
from twisted.web.server import Request

from twistpi.blobs.address import (
    METADATA,
    PROVENANCE,
    BlobAddress,
    blob_address,
    metadata_address,
    path_address,
    provenance_address,
)
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.conditional import http_date
from twistpi.model.errors import FileLost, NoMetadata, TwistpiError, UnknownFile, file_gone
from twistpi.model.names import version_of_filename
from twistpi.model.records import Index, Json, KnownFile
from twistpi.model.releases import Attachment
from twistpi.model.text import public_address
from twistpi.rules.inheritance import not_all_visible
from twistpi.rules.uploads import file_of
from twistpi.simple.urls import without_credentials
from twistpi.view.read import Reader
from twistpi.web.access import Access, project_status
from twistpi.web.addresses import Addresses, path_parts
from twistpi.web.components import MirrorServices
from twistpi.web.fast.ready import made_private
from twistpi.web.file_sender import FileFacts, FileSender, is_unchanged
from twistpi.web.replies import BINARY, NO_STORE, Headers, Reply, redirect_reply, result_reply
from twistpi.web.request import header

_INTEGRITY: Final = b"application/vnd.pypi.integrity.v1+json"
_TAR: Final = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
_FOR_ALL: Final = (b"Cache-Control", b"max-age=10")
"""How long the web server remembers a subrequest that needs no credentials."""
_NO: Final = Reply(403, ((b"Content-Length", b"0"), NO_STORE))

_log = Logger()


@attrs.frozen
class StageFile:
    """A blob at a path below a private index: a distribution, or what lies beside one."""

    project: str
    """The normalised name."""
    known: KnownFile
    """The distribution that it is, or lies beside."""
    address: BlobAddress
    sha256: str
    content_type: bytes


def stage_file(view: Reader, index: str, path: str) -> StageFile:
    """Return the file at ``path`` below the private index ``index``.

    Raises ``UnknownFile``, ``TwistpiError``, also in quarantine, and ``NoMetadata``.
    """
    plain = path.removesuffix(METADATA).removesuffix(PROVENANCE)
    found = view.file_by_path(index, plain)
    if found is None:
        raise file_gone(index, path) if view.was_removed(index, plain) else UnknownFile(index, path)
    project, known = found
    check_offered(view, index, project, path)
    filename = known.link.filename
    if path == plain and known.sha256 is not None:
        return StageFile(project, known, blob_address(known.sha256, filename), known.sha256, content_type(filename))
    if path == plain + METADATA and known.sha256 is not None:
        if known.metadata_sha256 is None:
            raise NoMetadata(index, plain, "it was uploaded without")
        address = metadata_address(blob_address(known.sha256, filename))
        return StageFile(project, known, address, known.metadata_sha256, BINARY)
    file = file_of(view.release_of_file(index, project, filename), filename)
    if path == plain + PROVENANCE and file is not None and file.provenance_sha256 is not None:
        address = provenance_address(file.provenance_sha256, filename)
        return StageFile(project, known, address, file.provenance_sha256, _INTEGRITY)
    raise UnknownFile(index, path)


@attrs.define(eq=False)
class FileHandler:
    """Answers ``/{user}/{index}/+f/…`` and ``/+e/…``, and the same with ``.metadata`` or ``.provenance`` at the end."""

    _access: Access
    _mirrors: MirrorServices
    _sender: FileSender

    async def file(self, request: Request, name: str, path: str) -> Reply | None:
        """Send what is at ``path``, or say facts about it to a client that accepts JSON.

        Pages of an index have links to the files of its closed bases below the index itself.
        """
        index = await self._access.index(request, name)
        try:
            return await self._file(request, index, path)
        except UnknownFile:
            base = None if index.is_mirror else await self._base(request, name, path)
            if base is None:
                raise
            return await self._file(request, base, path)

    async def _base(self, request: Request, name: str, path: str) -> Index | None:
        """Return the nearest base of the index ``name`` with the file at ``path``; raise ``TwistpiError`` if it may be hidden."""
        plain = path.removesuffix(METADATA).removesuffix(PROVENANCE)
        visibility = await self._access.visibility(request, name)
        bases = [index for index in visibility.visible if index.name != name]
        for index in bases:
            if self._access.reader.file_by_path(index.name, plain) is not None:
                return index
        if visibility.hidden:
            raise not_all_visible(visibility)
        for index in bases:
            if index.is_mirror and not self._access.is_open(index.name):
                with suppress(UnknownFile):  # a file of a project that nobody asked for since the server was set up
                    await self._mirrors.pages.find_file(index, plain)
                    return index
        return None

    async def _file(self, request: Request, index: Index, path: str) -> Reply | None:
        name = index.name
        view = self._access.reader
        attached = view.attachment_by_path(name, path)
        if attached is not None:
            project, version, attachment = attached
            check_offered(view, name, project, path)
            modified = stored_at(attachment)
            if _wants_facts(request):
                return _facts_reply({"sha256": attachment.sha256}, project, version, modified)
            facts = self._facts(index, attachment.sha256, content_type(attachment.filename), modified)
            address, missing = path_address(attachment.path), UnknownFile(name, path)
            return await self._send(request, (name, project), address, facts, missing)
        if index.is_mirror:
            return await self._mirrored(request, index, path)
        file = stage_file(view, name, path)
        modified = http_date(file.known.link.upload_time)
        if _wants_facts(request) and path == file.known.path:
            release = view.release_of_file(name, file.project, file.known.link.filename)
            version = "" if release is None else release.version
            return _facts_reply({"sha256": file.sha256}, file.project, version, modified)
        facts = self._facts(index, file.sha256, file.content_type, modified)
        return await self._send(request, (name, file.project), file.address, facts, FileLost(name, path))

    async def _send(
        self, request: Request, owner: tuple[str, str], address: BlobAddress, facts: FileFacts, missing: TwistpiError
    ) -> Reply | None:
        """Send a blob from the disk, or while it is fetched from another server that has it; raise ``missing`` if none has."""
        try:
            return await self._sender.stored(request, owner, address, facts)
        except FileNotFoundError as error:
            blob = self._access.reader.kept_blob(address.digits, address.filename)
            if self._mirrors.blobs is None or blob is None:
                raise missing from error
        return await self._sender.arriving(request, self._mirrors.blobs.open_blob(blob), facts)

    async def _mirrored(self, request: Request, index: Index, path: str) -> Reply | None:
        project, known = await self._mirrors.pages.find_file(index, path.removesuffix(METADATA))
        check_offered(self._access.reader, index.name, project, path)
        link, owner = known.link, (index.name, project)
        modified, kind = http_date(link.upload_time), content_type(link.filename)
        if path.endswith(METADATA):
            address = await self._mirrors.metadata.metadata(index, project, known)
            found = self._access.reader.file_by_path(index.name, known.path)
            digest = found[1].metadata_sha256 if found is not None else None
            return await self._sender.stored(request, owner, address, self._facts(index, digest, BINARY, modified))
        if _wants_facts(request):
            hashes = link.hashes if known.sha256 is None else {**link.hashes, "sha256": known.sha256}
            version = version_of_filename(link.filename, project) or ""
            return _facts_reply(hashes, project, version, modified if known.cached else None, public_address(link.url))
        if known.sha256 is not None:
            try:
                facts = self._facts(index, known.sha256, kind, modified)
                return await self._sender.stored(request, owner, blob_address(known.sha256, link.filename), facts)
            except FileNotFoundError:
                pass  # it was removed from the disk; it is fetched again
        url = link.url
        shows_no_secret = url == without_credentials(url) and "?" not in url
        if index.config.get("mirror_use_external_urls") and not self._mirrors.offline and shows_no_secret:
            reply = redirect_reply(url, 302)
            return reply if self._access.is_open(index.name) else made_private(reply)
        facts = self._facts(index, link.sha256, kind, modified)
        if is_unchanged(request, facts):
            return Reply(304, facts.validators)
        if request.method == b"HEAD" and link.size is not None:
            return await self._sender.send(request, None, facts, link.size, b"twistpi; fwd=miss")
        return await self._sender.arriving(request, self._mirrors.files.open(index, project, known), facts)

    def _facts(self, index: Index, digest: str | None, kind: bytes, modified: str | None) -> FileFacts:
        private = not self._access.is_open(index.name)
        return FileFacts(f'"{digest}"' if digest else None, kind, modified, private)


@attrs.define(eq=False)
class AuthSubrequestHandler:
    """Answers ``/+straight``."""

    _access: Access
    _blobs: IBlobs
    _addresses: Addresses

    async def where(self, request: Request) -> Reply:
        """Return the blob that the web server is to send, as headers; 403 in every other case."""
        try:
            user, index, *rest = path_parts(request, header(request, "x-original-uri") or "", self._addresses)
            if len(rest) not in (3, 4) or rest[0] not in ("+f", "+e"):
                return _NO
            found = await self._access.index(request, f"{user}/{index}")
            blob = _blob_at(self._access.reader, found, "/".join(rest))
        except (TwistpiError, ValueError):
            return _NO
        if blob is None or self._blobs.find(blob[0]) is None:
            return _NO
        address, sha256, modified = blob
        is_open = self._access.is_open(found.name)
        validators = FileFacts(f'"{sha256}"', BINARY, modified, private=not is_open).validators
        told: Headers = tuple((b"X-Twistpi-" + field, value) for field, value in validators)
        return Reply(204, ((b"X-Twistpi-Blob", address.relative.encode()), *told, _FOR_ALL if is_open else NO_STORE))


def _blob_at(view: Reader, index: Index, path: str) -> tuple[BlobAddress, str, str | None] | None:
    """Return address, SHA-256 and date of the blob at ``path``; None if it is not offered.  Raise what ``stage_file`` raises."""
    if not index.is_mirror:
        file = stage_file(view, index.name, path)
        return file.address, file.sha256, http_date(file.known.link.upload_time)
    found = view.file_by_path(index.name, path.removesuffix(METADATA))
    if found is None:
        return None
    project, known = found
    check_offered(view, index.name, project, path)
    modified, filename = http_date(known.link.upload_time), known.link.filename
    if not path.endswith(METADATA):
        return None if known.sha256 is None else (blob_address(known.sha256, filename), known.sha256, modified)
    if known.metadata_blob_sha256 is None or known.metadata_sha256 is None:
        return None
    return metadata_address(blob_address(known.metadata_blob_sha256, filename)), known.metadata_sha256, modified


def check_offered(view: Reader, index: str, project: str, path: str) -> None:
    """Log and raise ``TwistpiError`` if the project is quarantined."""
    if project_status(view, index, project) == "quarantined":
        reason = f"The file {path} of {index} is not offered: its project {project} is quarantined."
        _log.info("{reason}", reason=reason)
        raise TwistpiError(reason, 404)


def content_type(filename: str) -> bytes:
    """Return the media type of a distribution, by its name alone: it must not depend on the machine."""
    lower = filename.lower()
    return b"application/x-tar" if lower.endswith(_TAR) else b"application/zip" if lower.endswith(".zip") else BINARY


def stored_at(attachment: Attachment) -> str | None:
    """Return when ``attachment`` was stored here last, as an HTTP date."""
    return http_date(attachment.log[-1].when) if attachment.log else None


def hash_spec(hashes: Mapping[str, str]) -> str:
    """Return one of ``hashes`` as the devpi protocol has it, SHA-256 if possible; empty without any."""
    algorithm = "sha256" if "sha256" in hashes else next(iter(hashes), None)
    return f"{algorithm}={hashes[algorithm]}" if algorithm else ""


def _wants_facts(request: Request) -> bool:
    return "application/json" in (header(request, "accept") or "")


def _facts_reply(hashes: Mapping[str, str], project: str, version: str, modified: str | None, url: str | None = None) -> Reply:
    """Return ``releasefilemeta`` of the devpi protocol."""
    facts: dict[str, Json] = {"hash_spec": hash_spec(hashes), "project": project, "version": version}
    if hashes:
        facts["hashes"] = dict(hashes)
    if url is not None:
        facts["url"] = url
    if modified is not None:
        facts["last_modified"] = modified
    return result_reply("releasefilemeta", facts)
