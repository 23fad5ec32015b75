"""Files of mirrors: fetched once for any number of readers, verified, kept as blobs, recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import BinaryIO, Final, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from twistpi.archives.inspect import check_is_archive
from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.changelog.writer import Writer
from twistpi.http.backoff import CircuitBreaker
from twistpi.http.body import Offload
from twistpi.http.client import HTTPClient
from twistpi.http.errors import RequestFailed
from twistpi.mirror.download import Download, KeptFile
from twistpi.mirror.file_transfer import BytesDiffer, FileGone, FileTransfer, Sink, promised_digest
from twistpi.mirror.links import FileLinks
from twistpi.mirror.upstream import OFFLINE, STOPPING, upstream_config
from twistpi.model.changes import Change
from twistpi.model.errors import (
    FileLost,
    InvalidDistribution,
    TwistpiError,
    UnknownFile,
    UpstreamFailed,
    UpstreamUnreachable,
    WrongBytes,
)
from twistpi.model.records import Index, KnownFile, Link
from twistpi.model.server_errors import SyncFailed
from twistpi.model.text import public_address
from twistpi.rules.mirrors import decide_file_cached
from twistpi.view.read import KeptBlob, Reader

_FAILURE_PAUSE: Final = 5.0
"""Seconds for which a host that failed is not asked for further files."""


class FileSource(Protocol):
    """Where files come from, and what is noted when one is here."""

    def plan(self, index: Index, project: str, known_file: KnownFile) -> Download:
        """Return a new download of ``known_file``, not begun."""

    def plan_blob(self, blob: KeptBlob) -> Download:
        """Return a new download of a blob that the view names and the disk lacks; raise ``FileLost`` when it cannot be had."""

    async def find(self, download: Download) -> KeptFile | None:
        """Return the file when its bytes are on the disk already, and have the download use them."""

    async def fetch(self, download: Download, sink: Sink) -> str:
        """Fetch the file into ``sink`` and verify it; return its SHA-256.

        Raise ``WrongBytes``, ``UnknownFile``, ``UpstreamFailed``, ``UpstreamUnreachable``, ``FileNotHereYet`` or ``StorageFull``.
        """

    async def record(self, download: Download, kept: KeptFile) -> None:
        """Note that the file is here."""


@attrs.define(eq=False)
class FileService:
    """All files that are being fetched."""

    _source: FileSource
    _blobs: IBlobs
    _offload: Offload
    _fail: Callable[[Exception], object] = attrs.field(default=lambda error: None, kw_only=True)
    """Called when a sync failed, after which the server has to stop (law 10)."""
    _running: dict[Hashable, tuple[Download, Deferred[None]]] = attrs.field(init=False, factory=dict)
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.mirror"))

    def open(self, index: Index, project: str, known_file: KnownFile) -> Download:
        """Return the download of ``known_file``, joined or started; its waiters are told what goes wrong."""
        return self._join(self._source.plan(index, project, known_file))

    def open_blob(self, blob: KeptBlob) -> Download:
        """Return the download of a blob that the view names, joined or started; raise ``FileLost`` when nobody can have it.

        Its waiters are told ``FileNotHereYet`` when nobody can be asked, ``FileLost`` when the primary has it no more,
        ``WrongBytes``, ``StorageFull``.
        """
        return self._join(self._source.plan_blob(blob))

    async def bring(self, blob: KeptBlob) -> None:
        """Return once a blob that the view names is here; raise as ``open_blob``."""
        await self.open_blob(blob).finished()

    def is_idle(self) -> bool:
        """Return whether nothing is on its way."""
        return not self._running

    def stop(self) -> None:
        """Cancel all downloads, because the server stops."""
        for _, running in list(self._running.values()):
            running.cancel()

    def _join(self, download: Download) -> Download:
        """Return the download that runs under the same key; begin ``download`` when there is none."""
        key = download.key
        if key in self._running:
            return self._running[key][0]
        self._running[key] = (download, Deferred())
        running = Deferred.fromCoroutine(self._run(download))
        if key in self._running:
            self._running[key] = (download, running)
        return download

    async def _run(self, download: Download) -> None:
        index = "" if download.index is None else download.index.name
        filename = download.known_file.link.filename
        kept: KeptFile | None = None
        error: Exception | None = None
        try:
            kept = await self._bring(download)
        except CancelledError:
            error = UpstreamUnreachable(index, filename, STOPPING)
        except SyncFailed as final:
            error = final
            self._fail(final)
        except TwistpiError as expected:
            error = expected
            self._log.warn("{index}: {filename} was not cached: {reason}", index=index, filename=filename, reason=str(error))
        except Exception as unforeseen:
            error = unforeseen
            self._log.failure("{index}: {filename} was not cached", index=index, filename=filename)
        finally:
            # The table first: a client that asks again after the end gets a new download.
            del self._running[download.key]
            download.end(kept, error)

    async def _bring(self, download: Download) -> KeptFile:
        link = download.known_file.link
        kept = await self._source.find(download)
        if kept is None:
            incoming = await self._offload(self._blobs.incoming)
            download.use(incoming)
            try:
                sha256 = await self._source.fetch(download, Sink(incoming, promised_digest(link.hashes)))
                download.become_whole(incoming.size)
                kept = KeptFile(download.address or blob_address(sha256, link.filename), sha256, incoming.size)
                await self._offload(self._blobs.keep, incoming, kept.address, sha256)
            except BaseException:
                incoming.discard()
                raise
        await self._source.record(download, kept)
        return kept


@attrs.define(eq=False)
class UpstreamFiles:
    """Files from the upstreams themselves, recorded in the changelog."""

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
        sha256 = await FileTransfer(client, get, link, sink, download.begin, download.advance).run()
        if promised_digest(link.hashes) is None:
            await client.offload(_check_archive, download.fileno(), link.filename, sink.size)
    except (BytesDiffer, InvalidDistribution) as error:
        reason = error.reason if isinstance(error, InvalidDistribution) else str(error)
        raise WrongBytes(link.filename, public_address(link.url), reason) from error
    except FileGone as error:
        raise UnknownFile(index.name, download.known_file.path) from error
    return sha256


def _check_archive(descriptor: int, filename: str, size: int) -> None:
    """Raise ``InvalidDistribution`` unless an open file is the archive that its name says; blocking."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        check_is_archive(file, filename, size)


def upstream_error(index: Index, link: Link, failed: RequestFailed) -> UpstreamFailed | UpstreamUnreachable:
    """Return the error for clients."""
    failure = UpstreamUnreachable if failed.unreachable else UpstreamFailed
    return failure(index.name, link.filename, failed.reason).later(failed.retry_after)
