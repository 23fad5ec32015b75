"""The upstreams themselves as the source of a mirror's files, which are recorded in the changelog."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from functools import partial
from typing import BinaryIO, Final

import attrs

from twistpi.archives.inspect import check_is_archive
from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.changelog.writer import Writer
from twistpi.http.backoff import CircuitBreaker
from twistpi.http.client import HTTPClient
from twistpi.http.errors import RequestFailed
from twistpi.mirror.download import Download, KeptFile
from twistpi.mirror.file_transfer import BytesDiffer, FileGone, FileTransfer, Sink, promised_digest
from twistpi.mirror.links import FileLinks
from twistpi.mirror.upstream import OFFLINE, upstream_config
from twistpi.model.changes import Change
from twistpi.model.errors import (
    FileLost,
    InvalidDistribution,
    UnknownFile,
    UpstreamFailed,
    UpstreamUnreachable,
    WrongBytes,
)
from twistpi.model.records import Index, KnownFile, Link
from twistpi.model.urls import public_address
from twistpi.rules.mirrors import decide_file_cached
from twistpi.view.read import KeptBlob, Reader

_FAILURE_PAUSE: Final = 5.0
"""Seconds for which a host that failed is not asked for further files."""


@attrs.define(eq=False)
class UpstreamFiles:
    """Files from the upstreams; a ``FileSource``."""

    _client: HTTPClient
    _links: FileLinks
    _blobs: IBlobs
    _writer: Writer
    _offline: bool = attrs.field(default=False, kw_only=True)
    _failures: CircuitBreaker = attrs.field(factory=lambda: CircuitBreaker(_FAILURE_PAUSE), init=False)

    def plan(self, index: Index, project: str, known_file: KnownFile) -> Download:
        """See ``FileSource``."""
        # With another upstream, nobody joins a download from the former one.
        key = (index.name, known_file.path, known_file.link.url, index.config.get("mirror_url"))
        return Download(key, index, project, known_file)

    def plan_blob(self, blob: KeptBlob) -> Download:
        """Raise ``FileLost``: what is not on this disk is nowhere."""
        raise FileLost("this server", f"+f/{BlobAddress(blob.digits, blob.filename).relative}")

    async def find(self, download: Download) -> KeptFile | None:
        """Return the bytes that are here already, because another index has the same file; not when they are damaged."""
        link = download.known_file.link
        if link.sha256 is None:
            return None
        address = blob_address(link.sha256, link.filename)
        file = await self._client.offload(self._claim_whole, address, link.sha256)
        return None if file is None else download.adopt(file, address, link.sha256)

    def _claim_whole(self, address: BlobAddress, sha256: str) -> BinaryIO | None:
        """Open a blob whose bytes are right; remove one whose bytes are not.  Blocking."""
        file = self._blobs.claim(address)
        if file is not None and self._blobs.digest(address) != sha256:
            file.close()
            self._blobs.remove(address)
            return None
        return file

    async def fetch(self, download: Download, sink: Sink) -> str:
        """See ``FileSource``."""
        index, link = download.index, download.known_file.link
        assert index is not None
        if self._offline:
            raise UpstreamUnreachable(index.name, link.filename, OFFLINE)
        now = self._client.clock.seconds
        started, host = now(), (index.name, public_address(link.url))
        blocked = self._failures.blocked(host, started)
        if blocked is not None:
            refusal = UpstreamUnreachable(index.name, link.filename, blocked.reason)
            raise refusal.later(blocked.until - started if blocked.is_asked_for else None)
        try:
            sha256 = await fetch_from_upstream(self._client, self._links, index, download, sink)
        except RequestFailed as failed:
            self._failures.failed_in_part(host, link.filename, started, now(), failed)
            raise upstream_error(index, link, failed) from failed
        self._failures.answered(host, now())
        return sha256

    async def record(self, download: Download, kept: KeptFile) -> None:
        """Commit that the file is cached."""
        index, path = download.index, download.known_file.path
        assert index is not None

        def decide(reader: Reader) -> Sequence[Change]:
            found = reader.file_by_path(index.name, path)
            project, file = found or (download.project, None)
            return decide_file_cached(index.name, project, file, kept.sha256, kept.size)

        await self._writer.commit(decide, by="+mirror")


async def fetch_from_upstream(client: HTTPClient, links: FileLinks, index: Index, download: Download, sink: Sink) -> str:
    """Fetch a file from the upstream of ``index``, as ``FileSource.fetch``; raise ``RequestFailed`` for what can be repeated."""
    link = download.known_file.link
    get = partial(links.get, upstream_config(index, link.filename), download.project, download.known_file)
    try:
        transfer = FileTransfer(client, get, link, sink, download.begin, download.advance)
        download.arrives_by(transfer)
        sha256 = await transfer.run()
        if promised_digest(link.hashes) is None:
            await client.offload(_check_archive, download, link.filename, sink.size)
    except (BytesDiffer, InvalidDistribution) as error:
        reason = error.reason if isinstance(error, InvalidDistribution) else str(error)
        raise WrongBytes(link.filename, public_address(link.url), reason) from error
    except FileGone as error:
        raise UnknownFile(index.name, download.known_file.path) from error
    return sha256


def _check_archive(download: Download, filename: str, size: int) -> None:
    """Raise ``InvalidDistribution`` unless a file is the archive that its name says; blocking.

    One that is passed on is too large to be looked into when it is not in memory as a whole.
    """
    window = download.window
    if window is None:
        with os.fdopen(os.dup(download.fileno()), "rb") as file:
            check_is_archive(file, filename, size)
    elif (content := window.content()) is not None:
        check_is_archive(io.BytesIO(content), filename, size)


def upstream_error(index: Index, link: Link, failed: RequestFailed) -> UpstreamFailed | UpstreamUnreachable:
    """Return the error for clients."""
    failure = UpstreamUnreachable if failed.unreachable else UpstreamFailed
    return failure(index.name, link.filename, failed.reason).later(failed.retry_after)
