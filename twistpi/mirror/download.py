"""Files of upstreams on their way into the cache: one fetch each, any number of readers of the growing file.

The life of a ``Download``, in order; it fails from any of the first three:

1. *asking*: nothing is known but what the page says.
2. *growing*: the upstream answers; ``available`` advances with what is written, but stays 64 KiB behind the end.
3. *whole*: length and digest are right; every byte is available (law 12), though perhaps not yet synced.
4. *recorded*: the blob is under its name and ``FileCached`` is in the changelog.

A reader that leaves changes nothing.  Bytes that turn out wrong are never completed: readers get ``WrongBytes`` instead of the
last piece, the file is removed, nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.mirror.addresses import without_credentials
from twistpi.mirror.breaker import Breaker
from twistpi.mirror.download_source import FileGone, FileSource
from twistpi.mirror.inflight import Waiters
from twistpi.mirror.place import place_of
from twistpi.mirror.trouble import Trouble
from twistpi.mirror.upstream import Offload, Upstream
from twistpi.mirror.verify import BytesDiffer, Sink, promised_digest
from twistpi.model.changes import Change
from twistpi.model.errors import SyncFailed, TwistpiError, UnknownFile, UpstreamFailed, UpstreamUnreachable, WrongBytes
from twistpi.model.records import Index, KnownFile
from twistpi.rules.mirrors import decide_file_cached

HELD_BACK: Final = 64 * 1024
"""Bytes at the end of a file that nobody gets before all of it is verified."""


@attrs.frozen
class KeptFile:
    """A file that is in the cache."""

    address: BlobAddress
    sha256: str
    size: int


@attrs.define(eq=False)
class Download:
    """One file while it is fetched.  Only the reactor's thread touches it."""

    index: str
    project: str
    known_file: KnownFile
    address: BlobAddress | None = None
    """Where the bytes are going to be kept; None when they themselves tell."""
    size: int | None = None
    """Bytes of the whole file, None while nobody knows."""
    last_modified: str | None = None
    """The upstream's ``Last-Modified``, as it came."""
    available: int = 0
    """Bytes that may be read from ``fileno()`` now, from the beginning."""
    readers: int = 0
    """How many read the file; the descriptor stays open while there are any."""
    _began: bool = False
    _whole: bool = False
    _ended: bool = False
    _error: Exception | None = None
    _file: Any = None
    _kept: KeptFile | None = None
    _beginnings: Waiters[None] = attrs.field(factory=Waiters)
    _growth: Waiters[None] = attrs.field(factory=Waiters)
    _ends: Waiters[None] = attrs.field(factory=Waiters)

    # For readers ---------------------------------------------------------------------------------------------------

    async def headers(self) -> int | None:
        """The size, as soon as the upstream answers; None when it will only be known at the end.

        Raises ``UnknownFile``, ``UpstreamFailed``, ``UpstreamUnreachable``, ``WrongBytes`` or ``StorageFull``.
        """
        if not self._began and self._error is None:
            await self._beginnings.wait()
        if self._error is not None and not self._whole:
            raise self._error
        return self.size

    async def wait(self, offset: int) -> int:
        """How many bytes are available, once more than ``offset`` are; the file's size when there are no more than ``offset``.

        Raises as ``headers``.
        """
        while self.available <= offset and not self._whole and self._error is None:
            await self._growth.wait()
        if self._error is not None and not self._whole and self.available <= offset:
            raise self._error
        return self.available

    async def finished(self) -> KeptFile:
        """The file once it is recorded; raises as ``headers``, or what went wrong in keeping it."""
        if not self._ended:
            await self._ends.wait()
        if self._kept is None:
            raise self._error or RuntimeError("a download ended without a result")
        return self._kept

    def fileno(self) -> int:
        """The descriptor to read from, with explicit offsets; there is one from ``headers()`` on, while there are readers."""
        number: int = self._file.fileno()
        return number

    def retain(self) -> None:
        """Somebody begins to read."""
        self.readers += 1

    def release(self) -> None:
        """Somebody stops reading."""
        self.readers -= 1
        self._close_if_unused()

    # For the fetch -------------------------------------------------------------------------------------------------

    def begin(self, size: int | None, last_modified: str | None) -> None:
        """The upstream answers."""
        self.size, self.last_modified, self._began = size, last_modified, True
        self._beginnings.fire(None)

    def advance(self, written: int) -> None:
        """``written`` bytes are in the file."""
        end = written if self.size is None else min(written, self.size)
        held_back = end - HELD_BACK if self.size is None else min(end, self.size - HELD_BACK)
        if held_back > self.available:
            self.available = held_back
            self._growth.fire(None)

    def become_whole(self, size: int) -> None:
        """All bytes are there and right."""
        self.size = self.available = size
        self._whole = True
        if not self._began:
            self.begin(size, None)
        self._growth.fire(None)

    def use(self, file: Any) -> None:
        """``file`` is where the bytes are."""
        self._file = file

    def end(self, kept: KeptFile | None, error: Exception | None) -> None:
        """It is recorded, or failed."""
        self._kept, self._error, self._ended = kept, error, True
        for waiters in (self._beginnings, self._growth, self._ends):
            waiters.fire(None)
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._ended and self.readers <= 0 and self._file is not None:
            self._file.close()


@attrs.define(eq=False)
class Downloads:
    """All files that are being fetched."""

    _upstream: Upstream
    _blobs: Any
    """``blobs.interfaces.IBlobs``."""
    _writer: Any
    _clock: Any
    _offload: Offload = attrs.field(kw_only=True)
    _offline: bool = attrs.field(default=False, kw_only=True)
    _fail: Callable[[Exception], object] = attrs.field(default=lambda error: None, kw_only=True)
    """Told when a sync failed, after which the server has to stop (law 10)."""
    _failures: Breaker = attrs.field(factory=lambda: Breaker(5.0), kw_only=True)
    _running: dict[Hashable, tuple[Download, Deferred[None]]] = attrs.field(init=False, factory=dict)
    _stopping: bool = attrs.field(init=False, default=False)
    """Whether downloads fail because this server gave them up."""
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.mirror"))

    def open(self, index: Index, project: str, known_file: KnownFile) -> Download:
        """The download of ``known_file``, joined or started; what goes wrong is told to whoever waits for it."""
        # Where an index is aimed elsewhere, nobody joins a download from the old upstream.
        wanted = (index.name, known_file.path, known_file.link.url, index.config.get("mirror_url"))
        return self.join(wanted, index, Download(index.name, project, known_file))

    def join(self, wanted: Hashable, index: Index, download: Download) -> Download:
        """The download that runs under the key ``wanted``; ``download`` is begun when there is none."""
        if wanted in self._running:
            return self._running[wanted][0]
        work: Deferred[None] = Deferred()
        self._running[wanted] = (download, work)
        running = Deferred.fromCoroutine(self._run(index, download, wanted))
        if wanted in self._running:
            self._running[wanted] = (download, running)
        return download

    def stop(self) -> None:
        """Give up all that is on its way, because the server stops."""
        self._stopping = True
        for _, running in list(self._running.values()):
            running.cancel()

    async def _run(self, index: Index, download: Download, wanted: Hashable) -> None:
        filename = download.known_file.link.filename
        kept: KeptFile | None = None
        error: Exception | None = None
        try:
            kept = await self._bring_and_record(index, download)
        except CancelledError as stopped:
            error = stopped
        except SyncFailed as final:
            error = final
            self._fail(final)
        except TwistpiError as expected:
            error = expected
            if not self._stopping:
                text = "{index}: {filename} was not cached: {reason}"
                self._log.warn(text, index=index.name, filename=filename, reason=str(error))
        except Exception as unforeseen:
            error = unforeseen
            self._log.failure("{index}: {filename} was not cached", index=index.name, filename=filename)
        finally:
            # The table first: who asks again after hearing of the end gets a new download.
            del self._running[wanted]
            download.end(kept, error)

    async def _bring_and_record(self, index: Index, download: Download) -> KeptFile:
        link = download.known_file.link
        there = await self._adopt(download)
        if there is not None:
            return await self._record(download, there)
        self._refuse_offline(index, link.filename)
        incoming = await self._offload(self._blobs.incoming)
        download.use(incoming)
        try:
            sha256 = await self._fetch(index, download, Sink(incoming, promised_digest(link.hashes)))
            download.become_whole(incoming.size)
            kept = KeptFile(download.address or blob_address(sha256, link.filename), sha256, incoming.size)
            await self._offload(self._blobs.keep, incoming, kept.address, sha256)
        except BaseException:
            incoming.discard()
            raise
        return await self._record(download, kept)

    def _refuse_offline(self, index: Index, filename: str) -> None:
        if self._offline:
            raise UpstreamUnreachable(index.name, filename, "this server works offline")

    async def _adopt(self, download: Download) -> KeptFile | None:
        """The bytes when they are here already, because another index has the same file."""
        link = download.known_file.link
        if link.sha256 is None:
            return None
        address = blob_address(link.sha256, link.filename)
        file: BinaryIO | None = await self._offload(self._blobs.claim, address)
        if file is None:
            return None
        download.use(file)
        size = file.seek(0, 2)
        download.become_whole(size)
        return KeptFile(address, link.sha256, size)

    async def _fetch(self, index: Index, download: Download, sink: Sink) -> str:
        """Bring the bytes and verify them; returns their SHA-256."""
        link = download.known_file.link
        place = place_of(index, link.filename, 0)
        url = without_credentials(link.url)
        started = self._clock.seconds()
        host = (place.index, urlsplit(url).netloc)
        pause = self._failures.blocked(host, started)
        source = FileSource(self._upstream, self._offload, link, place.credentials, sink, download.begin, download.advance)
        try:
            if pause is not None:
                raise Trouble(pause.reason, unreachable=True)
            await source.bring()
            sha256: str = sink.verified(link.size)
        except BytesDiffer as error:
            raise WrongBytes(link.filename, url, str(error)) from error
        except FileGone as error:
            raise UnknownFile(place.index, download.known_file.path) from error
        except Trouble as trouble:
            if trouble.unreachable and pause is None:
                self._failures.failed(host, started, self._clock.seconds(), trouble.reason, True)
            failure = UpstreamUnreachable if trouble.unreachable else UpstreamFailed
            raise failure(place.index, link.filename, trouble.reason) from trouble
        self._failures.answered(host, self._clock.seconds())
        return sha256

    async def _record(self, download: Download, kept: KeptFile) -> KeptFile:
        path = download.known_file.path

        def decide(reader: Any) -> Sequence[Change]:
            found = reader.file_by_path(download.index, path)
            project, file = found or (download.project, None)
            return decide_file_cached(download.index, project, file, kept.sha256, kept.size)

        await self._writer.commit(decide, by="+mirror")
        return kept
