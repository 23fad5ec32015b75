"""Core metadata files beside wheels (PEP 658), so that no client downloads a wheel to learn its dependencies.

They come, in this order, from: the blob that is kept; the cached wheel itself; the upstream's ``.metadata`` file where the page
announces one; a few ranges of the wheel upstream; the whole wheel.  What is announced but wrong counts as not announced, and the
next way is tried.  In the end there is none, which is recorded.  Only an unreachable upstream is an error, since asking again
later may help.  What the disk has no room for is handed over in memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

import attrs
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from twistpi.archives.core_metadata import check_core_metadata
from twistpi.archives.wheel_ranges import ByteRange, find_metadata, read_from
from twistpi.blobs.address import BlobAddress, blob_address, metadata_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.blobs.reserve import Reserve
from twistpi.changelog.writer import Writer
from twistpi.http.client import HTTPClient
from twistpi.http.errors import RequestFailed
from twistpi.http.offload import Offload
from twistpi.http.single_flight import SingleFlight
from twistpi.mirror.file_transfer import promised_digest
from twistpi.mirror.files import FileService
from twistpi.mirror.links import FileLinks
from twistpi.mirror.upstream import OFFLINE, STOPPING, NotOffered, UpstreamConfig, fetch_range, fetch_size, upstream_config
from twistpi.model.changes import Change
from twistpi.model.errors import InvalidDistribution, NoMetadata, UnknownFile, UpstreamUnreachable
from twistpi.model.records import Index, KnownFile
from twistpi.model.server_errors import BlobConflict, LogUnreachable, StorageFull, SyncFailed
from twistpi.rules.mirrors import decide_metadata_cached, decide_metadata_missing
from twistpi.view.read import Reader

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of the largest core metadata that is accepted."""

Key = tuple[str, str, str, str | None, bool, str | None]
"""Index, path, address, ``mirror_url``, whether the upstream has metadata that it does not announce, and the digest of the
metadata: with another configuration nobody joins a search under the former one.
"""


@attrs.define(auto_exc=True, str=False)
class MetadataNotKept(StorageFull):
    """Core metadata cannot be written to {path}: {reason}. Free some space."""

    content: bytes = attrs.field(repr=False)
    """The metadata."""


class MetadataSource(Protocol):
    """Where core metadata comes from that is not on the disk."""

    async def bring(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        """Bring the core metadata of ``known_file`` here; return where it is kept.  Raise as ``MetadataService.metadata``."""


@attrs.define(eq=False)
class MetadataService:
    """The core metadata of all mirrored files."""

    _source: MetadataSource
    _blobs: IBlobs
    _offload: Offload
    _searches: SingleFlight[Key, BlobAddress] = attrs.field(init=False, factory=SingleFlight)

    async def metadata(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        """Return where the core metadata of ``known_file`` is kept, brought there if need be.

        Raise ``NoMetadata`` when there is none to be had, ``UpstreamUnreachable``, ``UpstreamFailed``, ``WrongBytes`` or
        ``FileNotHereYet`` when nobody can tell now, ``StorageFull``, and ``MetadataNotKept`` when it is here in memory only.
        """
        if known_file.metadata_missing and (known_file.link.is_wheel or not _provides_metadata(index)):
            # An upstream with unannounced metadata may have got some since; but a wheel has been looked into.
            raise NoMetadata(index.name, known_file.path, "it holds none that can be read")
        key = (
            index.name,
            known_file.path,
            known_file.link.url,
            index.config.get("mirror_url"),
            _provides_metadata(index),
            known_file.metadata_sha256,
        )
        return await self._searches.join(key, lambda: self._find(index, project, known_file))

    def stop(self) -> None:
        """Cancel all searches, because the server stops."""
        self._searches.cancel_all()

    async def _find(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        kept = kept_address(known_file)
        if kept is not None and await self._offload(self._blobs.find, kept) is not None:
            return kept
        try:
            return await self._source.bring(index, project, known_file)
        except CancelledError as stopped:
            raise UpstreamUnreachable(index.name, f"{known_file.link.filename}.metadata", STOPPING) from stopped


@attrs.define(eq=False)
class UpstreamMetadata:
    """Core metadata from the upstreams themselves, or from wheels that are cached."""

    _client: HTTPClient
    _links: FileLinks
    _files: FileService
    _blobs: IBlobs
    _writer: Writer | None
    """None where the log is another server's: what was found is used, and not recorded."""
    _offline: bool = attrs.field(default=False, kw_only=True)
    _fail: Callable[[Exception], object] = attrs.field(default=lambda error: None, kw_only=True)
    """Called when a sync failed, after which the server has to stop (law 10)."""
    _reserve: Reserve | None = attrs.field(default=None, kw_only=True)
    """What has to stay free of the disk when metadata is kept."""
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.mirror"))

    async def bring(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        """See ``MetadataSource``."""
        try:
            body = await self._read(index, project, known_file)
        except NotOffered as unavailable:
            reason = str(unavailable)
            await self._record(
                index, project, known_file, lambda owner, file: decide_metadata_missing(index.name, owner, file, reason)
            )
            raise NoMetadata(index.name, known_file.path, reason) from unavailable
        try:
            address, sha256, size = await self._client.offload(self._store, known_file, body)
        except SyncFailed as final:
            self._fail(final)
            raise
        except StorageFull as full:
            raise MetadataNotKept(full.path, full.reason, body) from full
        await self._record(
            index, project, known_file, lambda owner, file: decide_metadata_cached(index.name, owner, file, sha256, size)
        )
        return address

    async def _read(self, index: Index, project: str, known_file: KnownFile) -> bytes:
        """Return the metadata by the first way that leads there; raise ``NotOffered``."""
        link = known_file.link
        if known_file.sha256 is not None and link.is_wheel:
            return await self._from_kept(blob_address(known_file.sha256, link.filename))
        if self._offline:
            raise UpstreamUnreachable(index.name, f"{link.filename}.metadata", OFFLINE)
        config = upstream_config(index, link.filename)
        announced = bool(link.core_metadata) or _provides_metadata(index)
        ways = [self._from_upstream] * announced + [self._from_ranges] * link.is_wheel
        for way in ways:
            try:
                return await way(config, project, known_file)
            except NotOffered as closed:
                self._note(index, link.filename, str(closed))
            except RequestFailed as failed:
                if failed.unreachable or failed.retry_after is not None:
                    refusal = UpstreamUnreachable(index.name, f"{link.filename}.metadata", failed.reason)
                    raise refusal.later(failed.retry_after) from failed
                self._note(index, link.filename, failed.reason)
        if not link.is_wheel:
            raise NotOffered("it is no wheel, and the upstream has no metadata for it")
        return await self._from_whole(index, project, known_file)

    async def _from_upstream(self, config: UpstreamConfig, project: str, known_file: KnownFile) -> bytes:
        """Return the file that the page announces beside the distribution."""
        link = known_file.link
        is_listed = bool(link.core_metadata)
        response = await self._links.get(config, project, known_file, {}, beside=_metadata_url, is_listed=is_listed)
        if response.status != 200:
            response.discard()
            raise NotOffered(f"the upstream answered {response.status} for its metadata file")
        body = await response.read(LARGEST)
        await self._client.offload(_verify, link.filename, body, link.core_metadata)
        return body

    async def _from_ranges(self, config: UpstreamConfig, project: str, known_file: KnownFile) -> bytes:
        """Read the directory at the end of the wheel upstream, then the piece it points to."""
        link, get = known_file.link, partial(self._links.get, config, project, known_file)
        size = link.size
        if size is None:
            size = await fetch_size(get)
        walk = find_metadata(link.filename, size)
        step = await self._client.offload(_step, walk, None)
        while isinstance(step, ByteRange):
            piece = await fetch_range(get, step.start, step.length)
            step = await self._client.offload(_step, walk, piece)
        return step

    async def _from_whole(self, index: Index, project: str, known_file: KnownFile) -> bytes:
        """Download the whole wheel, which caches it, and read the metadata in it."""
        try:
            kept = await self._files.open(index, project, known_file).finished()
        except UnknownFile as error:
            raise NoMetadata(index.name, known_file.path, str(error)) from error
        return await self._from_kept(kept.address)

    async def _from_kept(self, address: BlobAddress) -> bytes:
        return await self._client.offload(self._read_kept, address)

    def _read_kept(self, address: BlobAddress) -> bytes:
        """Return the metadata in a wheel on disk; blocking."""
        try:
            with self._blobs.open(address) as file:
                size = file.seek(0, os.SEEK_END)

                def read(start: int, length: int) -> bytes:
                    file.seek(start)
                    return file.read(length)

                return read_from(find_metadata(address.filename, size), read)
        except InvalidDistribution as error:
            raise NotOffered(error.reason) from error
        except FileNotFoundError as error:
            raise NoMetadata("", address.relative, "the wheel is not on disk any more") from error

    def _note(self, index: Index, filename: str, reason: str) -> None:
        self._log.info(
            "{index}: the metadata of {filename}: {reason}",
            index=index.name,
            filename=filename,
            reason=reason,
        )

    def _store(self, known_file: KnownFile, body: bytes) -> tuple[BlobAddress, str, int]:
        """Keep ``body``; return its address, SHA-256 and size.  Blocking.

        What another index put there already stays: it is as good as ours.
        """
        sha256 = hashlib.sha256(body).hexdigest()
        filename = known_file.link.filename
        address = metadata_address(blob_address(known_file.link.sha256 or sha256, filename))
        if self._reserve is not None:
            self._reserve.require(len(body))
        with self._blobs.incoming() as incoming:
            incoming.write(body)
            try:
                self._blobs.keep(incoming, address, sha256)
            except BlobConflict:
                return address, self._blobs.digest(address), self._blobs.find(address) or 0
        return address, sha256, len(body)

    async def _record(
        self,
        index: Index,
        project: str,
        known_file: KnownFile,
        decision: Callable[[str, KnownFile | None], Sequence[Change]],
    ) -> None:
        def decide(reader: Reader) -> Sequence[Change]:
            owner, file = reader.file_by_path(index.name, known_file.path) or (project, None)
            return decision(owner, file)

        if self._writer is None:
            return
        try:
            await self._writer.commit(decide, by="+mirror")
        except (StorageFull, LogUnreachable) as full:  # it is told all the same, and found again
            self._note(index, known_file.link.filename, f"it cannot be recorded: {full.reason}")


def kept_address(known_file: KnownFile) -> BlobAddress | None:
    """Return where the metadata lies when the view says that it is kept."""
    digest = known_file.metadata_blob_sha256
    if known_file.metadata_sha256 is None or digest is None:
        return None
    return metadata_address(blob_address(digest, known_file.link.filename))


def _provides_metadata(index: Index) -> bool:
    """Return whether the upstream of ``index`` has metadata files also where its pages don't say so."""
    return bool(index.config.get("mirror_provides_core_metadata"))


def _metadata_url(url: str) -> str:
    """Return ``url`` with ``.metadata`` added to its path (PEP 658)."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path}.metadata"))


def _verify(filename: str, body: bytes, announced: bool | Mapping[str, str] | None) -> None:
    """Raise ``NotOffered`` unless ``body`` has the announced digest, or at least looks like core metadata where none is."""
    promise = promised_digest(announced) if isinstance(announced, Mapping) else None
    if promise is not None:
        algorithm, expected = promise
        actual = hashlib.new(algorithm, body, usedforsecurity=False).hexdigest()
        if actual != expected:
            raise NotOffered(f"the {algorithm} of the upstream's metadata file is {actual}, not {expected}")
        return
    try:
        check_core_metadata(body, filename)
    except InvalidDistribution as error:
        raise NotOffered(error.reason) from error


def _step(walk: Generator[ByteRange, bytes, bytes], piece: bytes | None) -> ByteRange | bytes:
    """Return the next range that a search for metadata needs, or the metadata it found.  ``piece`` is the range before."""
    try:
        return next(walk) if piece is None else walk.send(piece)
    except StopIteration as found:
        return bytes(found.value)
    except InvalidDistribution as error:
        raise NotOffered(error.reason) from error
