"""Files of mirrors: fetched once for any number of readers, verified, kept as blobs, recorded.

What the disk has no room for is passed on to the readers without being kept, verified all the same (``window``).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Final, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from twistpi.blobs.address import blob_address
from twistpi.blobs.incoming import IncomingFile
from twistpi.blobs.interfaces import IBlobs
from twistpi.blobs.reserve import Reserve
from twistpi.http.offload import Offload
from twistpi.mirror.download import Download, KeptFile
from twistpi.mirror.file_transfer import Sink, promised_digest
from twistpi.mirror.upstream import STOPPING
from twistpi.model.errors import (
    TwistpiError,
    UpstreamUnreachable,
)
from twistpi.model.monitoring import Measure
from twistpi.model.records import Index, KnownFile
from twistpi.model.server_errors import LogUnreachable, StorageFull, SyncFailed
from twistpi.view.read import KeptBlob

_MOST_PASSED_ON: Final = 64
"""Files that are passed on at a time: each has some megabytes in memory."""


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
    _reserve: Reserve | None = attrs.field(default=None, kw_only=True)
    """What has to stay free of the disk when a file of a mirror is kept."""
    short_of_room: Callable[[], object] = attrs.field(default=lambda: None, init=False)
    """Called when a file is not kept for want of room."""
    _passing: int = attrs.field(default=0, init=False)
    """Files that are passed on at the moment."""
    _passed: int = attrs.field(default=0, init=False)
    _running: dict[Hashable, tuple[Download, Deferred[None]]] = attrs.field(init=False, factory=dict)
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.mirror"))

    def open(self, index: Index, project: str, known_file: KnownFile) -> Download:
        """Return the download of ``known_file``, joined or started; its waiters get what goes wrong."""
        return self._join(self._source.plan(index, project, known_file))

    def open_blob(self, blob: KeptBlob) -> Download:
        """Return the download of a blob that the view names, joined or started; raise ``FileLost`` when nobody can have it.

        Its waiters get ``FileNotHereYet`` when nobody can be asked, ``FileLost`` when the primary has it no more,
        ``WrongBytes``, ``StorageFull``.
        """
        return self._join(self._source.plan_blob(blob))

    async def bring(self, blob: KeptBlob) -> None:
        """Return once a blob that the view names is here; raise as ``open_blob``."""
        await self.open_blob(blob).finished()

    def is_idle(self) -> bool:
        """Return whether nothing is on its way."""
        return not self._running

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        help = "Files that were passed on without being kept, because the disk has no room"
        yield Measure("twistpi_files_passed_on", "counter", help, self._passed)

    def stop(self) -> None:
        """Cancel all downloads, because the server stops."""
        for _, running in list(self._running.values()):
            running.cancel()

    def _join(self, download: Download) -> Download:
        """Return the download that runs under the same key; begin ``download`` when there is none."""
        key = download.key
        if key in self._running:
            former = self._running[key][0]
            if former.may_be_joined:
                return former
            former.key = object()
            self._running[former.key] = self._running.pop(key)
        self._running[key] = (download, Deferred())
        running = Deferred.fromCoroutine(self._run(download))
        if key in self._running:
            self._running[key] = (download, running)
        return download

    def _again(self, key: Hashable, former: Download) -> Download:
        """Return a download for readers whom ``former`` left behind: bytes of two transfers are the same if a digest says so."""
        known = former.known_file
        if promised_digest(known.link.hashes) is None:
            raise TwistpiError(f"The file {known.link.filename}, which is not kept, was read too slowly; ask again.", 503)
        return self._join(Download(key, former.index, former.project, known, former.address))

    async def _run(self, download: Download) -> None:
        index = "" if download.index is None else download.index.name
        filename = download.known_file.link.filename
        kept: KeptFile | None = None
        error: Exception | None = None
        try:
            kept = await self._bring(download)
        except CancelledError:
            error = UpstreamUnreachable(index, filename, STOPPING)
        except StorageFull as full:
            error = full
            is_passed = download.window is not None and download.is_whole
            text = "{index}: {filename} was passed on without being kept: {reason}"
            text = text if is_passed else "{index}: {filename} was not cached: {reason}"
            self._log.warn(text, index=index, filename=filename, reason=full.reason)
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
        kept = await self._source.find(download)
        if kept is None:
            try:
                kept = await self._store(download)
            except StorageFull:
                self.short_of_room()
                if not download.is_whole and download.readers > 0:
                    await self._pass_on(download)
                raise
        try:
            await self._source.record(download, kept)
        except (StorageFull, LogUnreachable) as full:  # it is here all the same, and found again by its digest
            text = "{filename} is kept, but cannot be recorded: {reason}"
            self._log.warn(text, filename=download.known_file.link.filename, reason=full.reason)
        return kept

    async def _store(self, download: Download) -> KeptFile:
        """Fetch a file into a blob."""
        link = download.known_file.link
        incoming = await self._offload(self._incoming, self._to_come(download))
        download.use(incoming)
        sink = Sink(incoming, promised_digest(link.hashes))
        try:
            sha256 = await self._source.fetch(download, sink)
            download.become_whole(incoming.size)
            kept = KeptFile(download.address or blob_address(sha256, link.filename), sha256, incoming.size)
            await self._offload((download.keeper or self._blobs).keep, incoming, kept.address, sha256)
        except BaseException:
            download.beginning = sink.written
            incoming.discard()
            raise
        return kept

    def _to_come(self, download: Download) -> int | None:
        """Return how many bytes are going to be written, if this one is of a mirror, by all downloads; None if it is not."""
        if download.index is None or not download.index.is_mirror:
            return None
        running = [one for one, _ in self._running.values() if one.window is None]
        return sum(max(0, (one.size or one.known_file.link.size or 0) - one.available) for one in running)

    def _incoming(self, to_come: int | None) -> IncomingFile:
        """Return a new file; raise ``StorageFull``.  Blocking."""
        if self._reserve is not None and to_come is not None:
            self._reserve.require(to_come)
        return self._blobs.incoming()

    async def _pass_on(self, download: Download) -> None:
        """Fetch a file for its readers alone."""
        if self._passing >= _MOST_PASSED_ON:
            text = "Too many files are passed on at the moment, because the disk of this server is full; try again later."
            raise TwistpiError(text, 503)
        download.again = partial(self._again, download.key, download)
        sink = Sink(download.pass_on(), promised_digest(download.known_file.link.hashes), beginning=download.beginning)
        self._passing += 1
        try:
            await self._source.fetch(download, sink)
        finally:
            self._passing -= 1
        self._passed += 1
        download.become_whole(sink.size)
