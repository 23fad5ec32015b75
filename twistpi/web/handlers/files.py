"""Files of an index: distributions, core metadata, provenance, test results and documentation archives, and facts about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
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
from twistpi.http.conditional import http_date
from twistpi.mirror.core_metadata import MetadataNotKept
from twistpi.model.errors import FileLost, NoMetadata, TwistpiError, UnknownFile, file_gone
from twistpi.model.names import version_of_filename
from twistpi.model.records import Index, Json, KnownFile
from twistpi.model.releases import Attachment
from twistpi.model.urls import is_folder_address, public_address, without_credentials
from twistpi.rules.devpi7 import file_of_devpi7
from twistpi.rules.file_policy import Refusal
from twistpi.rules.inheritance import not_all_visible
from twistpi.rules.uploads import file_of
from twistpi.statistics.tally import CountedFile
from twistpi.view.read import Reader
from twistpi.web.access import Access, project_status
from twistpi.web.components import MirrorServices
from twistpi.web.fast.ready import made_private
from twistpi.web.file_sender import FileFacts, FileSender, is_unchanged
from twistpi.web.policies import Attached, Policies
from twistpi.web.replies import BINARY, Reply, redirect_reply, result_reply
from twistpi.web.request import header, result_version

_INTEGRITY: Final = b"application/vnd.pypi.integrity.v1+json"
_TAR: Final = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")

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
    _policies: Policies

    async def file(self, request: Request, name: str, path: str) -> Reply | None:
        """Send what is at ``path``, or say facts about it to a client that accepts JSON.

        Pages of an index have links to the files of its closed bases below the index itself.
        """
        self._access.share(request, name)
        index = await self._access.index(request, name)
        try:
            return await self._file(request, index, path, name)
        except UnknownFile:
            base = None if index.is_mirror else await self._base(request, name, path)
            if base is None:
                raise
            return await self._file(request, base, path, name)

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

    async def _file(self, request: Request, index: Index, path: str, through: str) -> Reply | None:
        """Send a file of ``index``, which was requested from the index ``through``: that, or one that inherits from it."""
        name = index.name
        view = self._access.reader
        attached = view.attachment_by_path(name, path)
        if attached is not None:
            project, version, attachment = attached
            check_offered(view, name, project, path)
            policies = self._access.inheritance(through).policies.get(name, ())
            asked = Attached(through, project, version, attachment.filename)
            is_watched = self._policies.check_attachment(request, asked, policies)
            modified = stored_at(attachment)
            if _wants_facts(request):
                return _facts_reply(request, {"sha256": attachment.sha256}, project, version, modified, attachment.size)
            kind = content_type(attachment.filename)
            facts = self._facts(index, attachment.sha256, kind, modified, is_watched=is_watched)
            address, missing = path_address(attachment.path), UnknownFile(name, path)
            return await self._send(request, (name, project), address, facts, missing)
        if index.is_mirror:
            return await self._mirrored(request, index, path, through)
        file = stage_file(view, name, path)
        policies = self._access.inheritance(through).policies.get(name, ())
        reported = self._policies.check(request, through, file.project, file.known, policies)
        if reported is not None:
            self._policies.note(request, through, file.project, file.known.link.filename, reported)
        modified = http_date(file.known.link.upload_time)
        if _wants_facts(request) and path == file.known.path:
            release = view.release_of_file(name, file.project, file.known.link.filename)
            version = "" if release is None else release.version
            size = file.known.size
            return _facts_reply(request, {"sha256": file.sha256}, file.project, version, modified, size)
        counted = CountedFile(name, file.project, file.known.link.filename) if path == file.known.path else None
        facts = self._facts(index, file.sha256, file.content_type, modified, counted, is_watched=reported is not None)
        redirect = await self._sender.redirect(request, file.address, file.known.size, facts)
        if redirect is not None:
            return redirect
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

    async def _mirrored(self, request: Request, index: Index, path: str, through: str) -> Reply | None:
        project, known = await self._mirrors.pages.find_file(index, path.removesuffix(METADATA))
        check_offered(self._access.reader, index.name, project, path)
        judge = partial(self._judge, request, index, project, known, through)
        reported = judge()
        reply = await self._mirrored_file(request, index, path, project, known, judge, is_watched=reported is not None)
        if reported is not None:
            self._policies.note(request, through, project, known.link.filename, reported)
        return reply

    def _judge(self, request: Request, index: Index, project: str, known: KnownFile, through: str) -> Refusal | None:
        policies = self._access.inheritance(through).policies.get(index.name, ())
        return self._policies.check(request, through, project, known, policies)

    async def _mirrored_file(
        self,
        request: Request,
        index: Index,
        path: str,
        project: str,
        known: KnownFile,
        judge: Callable[[], object],
        *,
        is_watched: bool,
    ) -> Reply | None:
        link, owner = known.link, (index.name, project)
        modified, kind = http_date(link.upload_time), content_type(link.filename)
        if path.endswith(METADATA):
            try:
                address = await self._mirrors.metadata.metadata(index, project, known)
                judge()  # again: a rule, or what is known against the file, may have changed while it was fetched
            except MetadataNotKept as unkept:
                return await self._sender.in_memory(request, unkept.content, self._facts(index, None, BINARY, modified))
            found = self._access.reader.file_by_path(index.name, known.path)
            digest = found[1].metadata_sha256 if found is not None else None
            facts = self._facts(index, digest, BINARY, modified, is_watched=is_watched)
            return await self._sender.stored(request, owner, address, facts)
        if _wants_facts(request):
            hashes = link.hashes if known.sha256 is None else {**link.hashes, "sha256": known.sha256}
            version = version_of_filename(link.filename, project) or ""
            stored, size = (modified, known.size) if known.cached else (None, link.size)
            return _facts_reply(request, hashes, project, version, stored, size, public_address(link.url))
        counted = CountedFile(index.name, project, link.filename)
        if known.sha256 is not None:
            facts = self._facts(index, known.sha256, kind, modified, counted, is_watched=is_watched)
            address = blob_address(known.sha256, link.filename)
            redirect = await self._sender.redirect(request, address, known.size, facts)
            if redirect is not None:
                return redirect
            try:
                return await self._sender.stored(request, owner, address, facts)
            except FileNotFoundError:
                pass  # it was removed from the disk; it is fetched again
        url = link.url
        shows_no_secret = url == without_credentials(url) and "?" not in url and not is_folder_address(url)
        is_elsewhere = known.cached and self._mirrors.blobs is not None  # at the primary, or in the bucket
        if index.config.get("mirror_use_external_urls") and not self._mirrors.offline and shows_no_secret and not is_elsewhere:
            reply = redirect_reply(url, 302)
            return reply if self._access.is_open(index.name) else made_private(reply)
        facts = self._facts(index, link.sha256, kind, modified, counted)
        if is_unchanged(request, facts):
            return Reply(304, facts.validators)
        if request.method == b"HEAD" and link.size is not None:
            return await self._sender.send(request, None, facts, link.size, b"twistpi; fwd=miss")
        return await self._sender.arriving(request, self._mirrors.files.open(index, project, known), facts)

    def _facts(
        self,
        index: Index,
        digest: str | None,
        kind: bytes,
        modified: str | None,
        counted: CountedFile | None = None,
        *,
        is_watched: bool = False,
    ) -> FileFacts:
        private = not self._access.is_open(index.name)
        return FileFacts(f'"{digest}"' if digest else None, kind, modified, private, counted=counted, is_watched=is_watched)


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


def _facts_reply(
    request: Request,
    hashes: Mapping[str, str],
    project: str,
    version: str,
    modified: str | None,
    size: int | None,
    url: str | None = None,
) -> Reply:
    """Return ``releasefilemeta`` of the devpi protocol; with ``?v=2`` in the form of devpi-server 7."""
    facts: dict[str, Json] = {"hash_spec": hash_spec(hashes), "project": project, "version": version}
    if hashes:
        facts["hashes"] = dict(hashes)
    if url is not None:
        facts["url"] = url
    if modified is not None:
        facts["last_modified"] = modified
    return result_reply("releasefilemeta", file_of_devpi7(facts, size) if result_version(request) == 2 else facts)
