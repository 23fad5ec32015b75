"""The bucket of a cluster as the source of files and core metadata that the view names.

What the view names is in the bucket, whichever node put it there, and comes from there as a replica's comes from its primary.
What it does not name comes from the upstream, and is put into the bucket when it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import attrs

from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.blobs.cached_bucket import CachedBucket
from twistpi.http.client import HTTPClient, Response
from twistpi.http.errors import RequestFailed
from twistpi.mirror.core_metadata import MetadataSource
from twistpi.mirror.download import Download, KeptFile
from twistpi.mirror.file_transfer import BytesDiffer, FileGone, FileTransfer, Sink
from twistpi.mirror.files import FileService, FileSource
from twistpi.mirror.primary_files import recorded_blob
from twistpi.model.errors import FileLost, FileNotHereYet, WrongBytes
from twistpi.model.records import Index, KnownFile, Link
from twistpi.model.server_errors import StorageFull
from twistpi.s3.errors import BucketUnavailable, NoSuchObject
from twistpi.view.read import KeptBlob


@attrs.define(eq=False)
class FilesInBucket:
    """Finds what ``source`` would fetch in the bucket: another node, or another index, may have put it there."""

    _source: FileSource
    _blobs: CachedBucket
    _client: HTTPClient
    """That of the bucket."""

    def plan(self, index: Index, project: str, known_file: KnownFile) -> Download:
        """See ``FileSource``."""
        return self._source.plan(index, project, known_file)

    def plan_blob(self, blob: KeptBlob) -> Download:
        """See ``FileSource``."""
        return self._source.plan_blob(blob)

    async def find(self, download: Download) -> KeptFile | None:
        """See ``FileSource``."""
        found, digest = await self._source.find(download), download.known_file.link.sha256
        if found is not None or digest is None:
            return found
        address = blob_address(digest, download.known_file.link.filename)
        try:
            there = await self._blobs.remote.find(address)
        except BucketUnavailable:
            return None  # the upstream may have it, and the bucket again when it came
        if there is None or there.sha256 not in (None, digest):
            return None
        try:
            (await self._client.offload(self._blobs.open, address)).close()
        except (FileNotFoundError, WrongBytes):
            return None
        except StorageFull:
            return None  # what has no room here is passed on, from the upstream
        return await self._source.find(download)

    async def fetch(self, download: Download, sink: Sink) -> str:
        """See ``FileSource``."""
        return await self._source.fetch(download, sink)

    async def record(self, download: Download, kept: KeptFile) -> None:
        """See ``FileSource``."""
        await self._source.record(download, kept)


@attrs.define(eq=False)
class BucketFiles:
    """Files from the bucket where the view names them, else from ``upstream``; a ``FileSource``."""

    _upstream: FileSource
    _blobs: CachedBucket
    _client: HTTPClient
    """That of the bucket."""

    def plan(self, index: Index, project: str, known_file: KnownFile) -> Download:
        """See ``FileSource``."""
        digest, link = known_file.sha256, known_file.link
        if digest is None:
            return self._upstream.plan(index, project, known_file)
        promised = attrs.evolve(link, hashes={**link.hashes, "sha256": digest}, size=known_file.size)
        address = blob_address(digest, link.filename)
        return Download(address, index, project, attrs.evolve(known_file, link=promised), address)

    def plan_blob(self, blob: KeptBlob) -> Download:
        """See ``FileSource``."""
        address = BlobAddress(blob.digits, blob.filename)
        link = Link(blob.filename, f"+f/{address.relative}", {"sha256": blob.sha256}, blob.size)
        return Download(address, None, "", KnownFile(link, f"+f/{address.relative}", blob.sha256, blob.size), address)

    async def find(self, download: Download) -> KeptFile | None:
        """See ``FileSource``."""
        address, digest = download.address, download.known_file.sha256
        if address is None or digest is None:
            return await self._upstream.find(download)
        # The view names it, so that it is no garbage: a claim on this node is enough.
        file = await self._client.offload(self._blobs.local.claim, address)
        return None if file is None else download.adopt(file, address, digest)

    async def fetch(self, download: Download, sink: Sink) -> str:
        """See ``FileSource``."""
        address, link, index = download.address, download.known_file.link, download.index
        if address is None:
            return await self._upstream.fetch(download, sink)
        get = partial(self._get, address)
        try:
            sha256 = await FileTransfer(self._client, get, link, sink, download.begin, download.advance).run()
            download.keeper = self._blobs.local
            return sha256
        except BytesDiffer as error:
            raise WrongBytes(link.filename, "the bucket", str(error)) from error
        except RequestFailed as failed:
            raise FileNotHereYet(f"The file {link.filename} cannot be had from the bucket now: {failed.reason}.") from failed
        except FileGone as gone:
            if index is None or not index.is_mirror:
                raise FileLost("the bucket", download.known_file.path) from gone
        except BucketUnavailable:
            if index is None or not index.is_mirror or sink.size:
                raise
        return await self._upstream.fetch(download, sink)  # it is put into the bucket again

    async def record(self, download: Download, kept: KeptFile) -> None:
        """See ``FileSource``; what the view names is recorded."""
        if download.address is None:
            await self._upstream.record(download, kept)

    async def _get(self, address: BlobAddress, headers: Mapping[str, str]) -> Response:
        try:
            return await self._blobs.remote.get(address, headers)
        except NoSuchObject as error:
            raise FileGone from error


@attrs.define(eq=False)
class BucketMetadata:
    """Core metadata from the bucket where the view names it, else from ``upstream``; a ``MetadataSource``."""

    _upstream: MetadataSource
    _files: FileService

    async def bring(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        """See ``MetadataSource``."""
        blob = recorded_blob(known_file)
        if blob is None:
            return await self._upstream.bring(index, project, known_file)
        try:
            await self._files.bring(blob)
        except FileLost:
            return await self._upstream.bring(index, project, known_file)
        return BlobAddress(blob.digits, blob.filename)
