"""A primary as the source of a replica's files and core metadata.

A file that the view names is fetched as a blob.  One that a mirror only lists is fetched through the primary, which has it from
its upstream with one transfer for all, keeps it and records it; the copy that passes is kept here, too.  When the primary cannot
be reached, the upstream is asked for what it lists.  That cannot be recorded in the log, so it is found again by its digest.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import attrs

from twistpi.blobs.address import BlobAddress, blob_address, metadata_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.client import HTTPClient
from twistpi.http.errors import RequestFailed
from twistpi.mirror.core_metadata import LARGEST, MetadataNotKept, UpstreamMetadata
from twistpi.mirror.download import Download, KeptFile
from twistpi.mirror.file_transfer import PAUSES, BytesDiffer, FileGone, FileTransfer, Sink
from twistpi.mirror.files import FileService
from twistpi.mirror.links import FileLinks
from twistpi.mirror.primary import METADATA, PrimaryClient, WaitFor, blob_path, file_path
from twistpi.mirror.upstream import upstream_config
from twistpi.mirror.upstream_files import fetch_from_upstream, upstream_error
from twistpi.model.errors import FileNotHereYet, TwistpiError, UnknownFile, UpstreamFailed, WrongBytes
from twistpi.model.records import Index, KnownFile, Link
from twistpi.model.server_errors import StorageFull
from twistpi.view.read import KeptBlob

_PATIENT: Final = (*PAUSES, 3.0, 5.0, 5.0, 5.0)
"""Seconds before each attempt to go on, where nobody else has the file: long enough for a primary to restart."""
_BRIEF: Final = PAUSES[:2]
"""The same where the upstream can be asked instead."""
_GONE_FOR: Final = 2.0
"""Seconds for which a primary that could not be reached is not asked for what the upstream has."""
_MOST_REMEMBERED: Final = 10_000
_TIMEOUTS: Final = 6
"""How many times ``PrimaryClient.silence`` the primary may search for metadata."""
Adopt = Callable[[BlobAddress, str, int], bool]
"""Makes a file that lies about the blob at an address, with a SHA-256 and a size; returns whether there was one.  Blocking."""


@attrs.define(eq=False)
class PrimaryFiles:
    """Files from the primary, or from the upstreams when it is gone; a ``FileSource``."""

    _primary: PrimaryClient
    _upstream: HTTPClient | None
    """None in offline mode."""
    _links: FileLinks
    _blobs: IBlobs
    _adopt_stray: Adopt | None = None
    _gone_at: float = attrs.field(default=float("-inf"), init=False)
    """When the primary could not be reached last."""
    _unrecorded: OrderedDict[tuple[str, str], KeptFile] = attrs.field(factory=OrderedDict, init=False)
    """By index and path: files without a digest that are here though the log does not say so."""

    def plan(self, index: Index, project: str, known_file: KnownFile) -> Download:
        """See ``FileSource``."""
        digest, link = known_file.blob_sha256, known_file.link
        if digest is None:
            return Download((index.name, known_file.path, link.url), index, project, known_file)
        size = link.size if known_file.size is None else known_file.size
        promised = attrs.evolve(known_file, link=attrs.evolve(link, hashes={**link.hashes, "sha256": digest}, size=size))
        return Download(blob_address(digest, link.filename), index, project, promised)

    def plan_blob(self, blob: KeptBlob) -> Download:
        """See ``FileSource``."""
        address = BlobAddress(blob.digits, blob.filename)
        link = Link(blob.filename, blob_path(address.relative), {"sha256": blob.sha256}, blob.size)
        known = KnownFile(link, f"+f/{address.relative}", blob.sha256, blob.size)
        return Download(address, None, "", known, address)

    async def find(self, download: Download) -> KeptFile | None:
        """See ``FileSource``."""
        known = download.known_file
        digest, size = known.blob_sha256, known.link.size
        if digest is None:
            unrecorded = self._unrecorded.get((_name(download.index), known.path))
            return None if unrecorded is None else await self._claim(download, unrecorded.address, unrecorded.sha256)
        address = download.address or blob_address(digest, known.link.filename)
        offload = self._primary.offload
        await offload(self._remove_other, address, digest, size)
        found = await self._claim(download, address, digest)
        stray = self._adopt_stray
        if found is None and stray is not None and size is not None and await offload(stray, address, digest, size):
            found = await self._claim(download, address, digest)
        return found

    async def _claim(self, download: Download, address: BlobAddress, digest: str) -> KeptFile | None:
        file = await self._primary.offload(self._blobs.claim, address)
        return None if file is None else download.adopt(file, address, digest)

    def _remove_other(self, address: BlobAddress, digest: str, size: int | None) -> None:
        """Remove a blob with another digest from ``address``.  Blocking.

        Core metadata lies under its distribution's digits: what was read here may not be what the primary read.
        """
        found = self._blobs.find(address)
        if found is None or (digest.startswith(address.digits) and size in (None, found)):
            return
        if self._blobs.digest(address) != digest:
            self._blobs.remove(address)

    async def fetch(self, download: Download, sink: Sink) -> str:
        """See ``FileSource``."""
        index, link = download.index, download.known_file.link
        upstream = self._upstream if index is not None and _has_upstream(index) else None
        now = self._primary.clock.seconds
        failed: RequestFailed | None = None
        # Not for ever when the clock was set back.
        if upstream is None or not 0 <= now() - self._gone_at < _GONE_FOR:
            try:
                return await self._from_primary(download, sink, is_alone=index is None or not index.is_mirror)
            except RequestFailed as error:
                failed = error
                if error.unreachable:
                    self._gone_at = now()
        if upstream is None or index is None:
            assert failed is not None
            raise not_here(link.filename, failed.reason) from failed
        try:
            return await fetch_from_upstream(upstream, self._links, index, download, sink)
        except RequestFailed as error:
            raise upstream_error(index, link, error) from error

    async def _from_primary(self, download: Download, sink: Sink, *, is_alone: bool) -> str:
        link = download.known_file.link
        if not is_alone:
            link = attrs.evolve(link, url=file_path(_name(download.index), download.known_file.path))
        pauses = _PATIENT if is_alone else _BRIEF
        get = partial(self._primary.get, link.url)
        transfer = FileTransfer(self._primary, get, link, sink, download.begin, download.advance, pauses)
        download.arrives_by(transfer)
        try:
            sha256 = await transfer.run()
        except BytesDiffer as error:
            raise WrongBytes(link.filename, link.url, str(error)) from error
        except FileGone as error:
            raise UnknownFile(_name(download.index), download.known_file.path) from error
        self._gone_at = float("-inf")
        return sha256

    async def record(self, download: Download, kept: KeptFile) -> None:
        """Nothing is committed here: what the primary keeps, it records itself."""
        if download.known_file.blob_sha256 is None:
            self._unrecorded[_name(download.index), download.known_file.path] = kept
            if len(self._unrecorded) > _MOST_REMEMBERED:
                self._unrecorded.popitem(last=False)


@attrs.define(eq=False)
class PrimaryMetadata:
    """Core metadata found by the primary, and fetched as a blob; searched for here when the primary is gone.

    What is found here is not recorded.  Where the upstream gives its wheel a digest, the metadata lies beside that wheel and is
    found again; where it does not, it is searched for anew.
    """

    _client: PrimaryClient
    _files: FileService
    _here: UpstreamMetadata
    """Searches without the primary, and records nothing."""
    _blobs: IBlobs
    _wait_for: WaitFor

    async def bring(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        """See ``MetadataSource``."""
        blob = recorded_blob(known_file)
        if blob is None and known_file.link.sha256 is not None:
            address = metadata_address(blob_address(known_file.link.sha256, known_file.link.filename))
            if await self._client.offload(self._blobs.find, address) is not None:
                return address
        try:
            if blob is None:
                blob = await self._ask(index, project, known_file)
            await self._files.bring(blob)
        except FileNotHereYet:
            return await self._here.bring(index, project, known_file)
        except MetadataNotKept:
            raise
        except StorageFull as full:
            if blob is None:  # the disk of the primary is full
                return await self._here.bring(index, project, known_file)
            raise MetadataNotKept(full.path, full.reason, await self._read(blob)) from full
        return BlobAddress(blob.digits, blob.filename)

    async def _read(self, blob: KeptBlob) -> bytes:
        """Return what the primary has; raise ``WrongBytes`` and what it answers."""
        path = blob_path(BlobAddress(blob.digits, blob.filename).relative)
        try:
            content = await (await self._client.get(path, {})).read(LARGEST)
        except RequestFailed as failed:
            raise not_here(blob.filename, failed.reason) from failed
        if hashlib.sha256(content).hexdigest() != blob.sha256:
            raise WrongBytes(blob.filename, path, f"their sha256 is not {blob.sha256}")
        return content

    async def _ask(self, index: Index, project: str, known_file: KnownFile) -> KeptBlob:
        """Let the primary find it; raise ``FileNotHereYet`` when it cannot tell, and the error that it met.

        Raise ``MetadataNotKept`` when the primary has no room for it, but told it.
        """
        question = {"index": index.name, "project": project, "path": known_file.path, "unkept": True}
        try:
            answer = await self._client.post(METADATA, question, timeout=_TIMEOUTS * self._client.silence, limit=2 * LARGEST)
        except RequestFailed as failed:
            raise not_here(f"{known_file.link.filename}.metadata", failed.reason) from failed
        if answer.get("content") is not None:
            raise MetadataNotKept("the primary", "its disk is full", b64decode(answer["content"]))
        with suppress(TwistpiError):  # the metadata can be had before the log speaks of it
            await self._wait_for(int(answer["serial"]))
        return KeptBlob(answer["digits"], answer["filename"], answer["sha256"], answer["size"])


def recorded_blob(known_file: KnownFile) -> KeptBlob | None:
    """Return the core metadata that the log speaks of; None when it speaks of none."""
    digest, size = known_file.metadata_blob_sha256, known_file.metadata_size
    if known_file.metadata_sha256 is None or digest is None or size is None:
        return None
    return KeptBlob(digest[:16], f"{known_file.link.filename}.metadata", known_file.metadata_sha256, size)


def _has_upstream(index: Index) -> bool:
    if not index.is_mirror:
        return False
    try:
        return not upstream_config(index, "").is_folder
    except UpstreamFailed:
        return False


def _name(index: Index | None) -> str:
    return "" if index is None else index.name


def not_here(filename: str, reason: str) -> FileNotHereYet:
    """Return the error for a file that only the primary could find."""
    return FileNotHereYet(
        f"The file {filename} is not on this server yet, and no other server can be asked for it now: {reason}."
    )
