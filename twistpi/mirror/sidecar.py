"""Core metadata beside wheels, from wherever it can be had, so that nobody downloads a wheel to learn its dependencies.

In this order: what is kept; the cached wheel itself; the upstream's ``.metadata`` file where the page announces one; a few ranges
of the wheel upstream; the whole wheel.  What is announced but wrong counts as not announced: a bad one degrades to the next way,
and in the end to none, never to an error.  Only an upstream out of reach is one, since asking again later may help.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import attrs
from twisted.logger import Logger

from twistpi.archives.core_metadata import check_core_metadata
from twistpi.archives.wheel_ranges import ByteRange, find_metadata, read_from
from twistpi.blobs.address import BlobAddress, blob_address, metadata_address
from twistpi.mirror.body import Collector
from twistpi.mirror.download import Downloads
from twistpi.mirror.inflight import Inflight
from twistpi.mirror.place import Place, place_of
from twistpi.mirror.ranges import RangesRefused, fetch_range, fetch_size
from twistpi.mirror.trouble import Trouble
from twistpi.mirror.upstream import Offload, Upstream
from twistpi.mirror.verify import promised_digest
from twistpi.model.changes import Change
from twistpi.model.errors import BlobConflict, NoMetadata, SyncFailed, UnknownFile, UpstreamUnreachable, WrongBytes
from twistpi.model.records import Index, KnownFile
from twistpi.model.upload_errors import InvalidDistribution
from twistpi.rules.mirrors import decide_metadata_cached, decide_metadata_missing

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of the largest core metadata that is believed."""

Wanted = tuple[str, str, str, str | None, bool]
"""Index, path, address, ``mirror_url`` and whether the upstream has metadata it does not announce: where an index is set up anew,
nobody joins a search under the old conditions."""


class _Degraded(Exception):
    """Here is no metadata to be had; try the next way.  Its text says why."""


@attrs.define(eq=False)
class Sidecars:
    """The core metadata of all mirrored files."""

    _upstream: Upstream
    _downloads: Downloads
    _blobs: Any
    _writer: Any
    _clock: Any
    _offload: Offload = attrs.field(kw_only=True)
    _offline: bool = attrs.field(default=False, kw_only=True)
    _fail: Callable[[Exception], object] = attrs.field(default=lambda error: None, kw_only=True)
    """Told when a sync failed, after which the server has to stop (law 10)."""
    _fetches: Inflight[Wanted, BlobAddress] = attrs.field(init=False, factory=Inflight)
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.mirror"))

    async def metadata(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        """Where the core metadata of ``known_file`` is kept, brought there if need be.

        Raises ``NoMetadata`` when there is none to be had, ``UpstreamUnreachable`` when nobody can tell now, ``StorageFull``.
        """
        refuse_missing(index, known_file)
        wanted = (index.name, known_file.path, known_file.link.url, index.config.get("mirror_url"), _provides_metadata(index))
        return await self._fetches.join(wanted, lambda: self._bring(index, project, known_file))

    def stop(self) -> None:
        """Give up what is on its way, because the server stops."""
        self._fetches.cancel_all()

    async def _bring(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        kept = _kept_address(known_file)
        if kept is not None and await self._offload(self._blobs.find, kept) is not None:
            return kept
        try:
            body = await self._read(index, project, known_file)
        except _Degraded as degraded:
            await self._record_missing(index, project, known_file, str(degraded))
            raise NoMetadata(index.name, known_file.path, str(degraded)) from degraded
        return await self._keep(index, project, known_file, body)

    # Ways to it ----------------------------------------------------------------------------------------------------

    async def _read(self, index: Index, project: str, known_file: KnownFile) -> bytes:
        """The metadata by the first way that leads there; raises ``_Degraded``."""
        link = known_file.link
        if known_file.sha256 is not None and link.is_wheel:
            return await self._from_kept(blob_address(known_file.sha256, link.filename))
        if self._offline:
            raise UpstreamUnreachable(index.name, f"{link.filename}.metadata", "this server works offline")
        place = place_of(index, link.filename, 0)
        announced = bool(link.core_metadata) or _provides_metadata(index)
        ways = [self._from_upstream] * announced + [self._from_ranges] * link.is_wheel
        for way in ways:
            try:
                return await way(place, known_file)
            except (_Degraded, RangesRefused) as closed:
                self._note(index, link.filename, str(closed))
            except Trouble as trouble:
                if trouble.unreachable:
                    raise UpstreamUnreachable(index.name, f"{link.filename}.metadata", trouble.reason) from trouble
                self._note(index, link.filename, trouble.reason)
        if not link.is_wheel:
            raise _Degraded("it is no wheel, and the upstream has no metadata for it")
        return await self._from_whole(index, project, known_file)

    async def _from_upstream(self, place: Place, known_file: KnownFile) -> bytes:
        """The file that the page announces beside the distribution."""
        link = known_file.link
        response = await self._upstream.ask(_sidecar_url(link.url), {"Accept-Encoding": "identity"}, place.credentials)
        if response.status != 200:
            response.discard(self._clock)
            raise _Degraded(f"the upstream answered {response.status} for its metadata file")
        collector = Collector(self._clock, self._upstream.request_timeout, LARGEST)
        response.deliver(collector)
        body = await collector.body()
        await self._offload(_verify, link.filename, body, link.core_metadata)
        return body

    async def _from_ranges(self, place: Place, known_file: KnownFile) -> bytes:
        """The end of the wheel upstream, and the piece it points to."""
        link = known_file.link
        size = link.size
        if size is None:
            size = await fetch_size(self._upstream, link.url, place.credentials)
        walk = find_metadata(link.filename, size)
        step = await self._offload(_step, walk, None)
        while isinstance(step, ByteRange):
            piece = await fetch_range(self._upstream, link.url, place.credentials, step.start, step.length)
            step = await self._offload(_step, walk, piece)
        body: bytes = step
        return body

    async def _from_whole(self, index: Index, project: str, known_file: KnownFile) -> bytes:
        """The whole wheel, which is cached on the way."""
        try:
            kept = await self._downloads.open(index, project, known_file).finished()
        except (UnknownFile, WrongBytes) as error:
            raise NoMetadata(index.name, known_file.path, str(error)) from error
        return await self._from_kept(kept.address)

    async def _from_kept(self, address: BlobAddress) -> bytes:
        body: bytes = await self._offload(self._read_kept, address)
        return body

    def _read_kept(self, address: BlobAddress) -> bytes:
        """Out of a wheel on disk; blocking."""
        try:
            with self._blobs.open(address) as file:
                size = file.seek(0, 2)

                def read(start: int, length: int) -> bytes:
                    file.seek(start)
                    piece: bytes = file.read(length)
                    return piece

                return read_from(find_metadata(address.filename, size), read)
        except InvalidDistribution as error:
            raise _Degraded(error.reason) from error
        except FileNotFoundError as error:
            raise NoMetadata("", address.relative, "the wheel is not on disk any more") from error

    def _note(self, index: Index, filename: str, reason: str) -> None:
        self._log.info(
            "{index}: one way to the metadata of {filename} is closed: {reason}",
            index=index.name,
            filename=filename,
            reason=reason,
        )

    # Storage it ----------------------------------------------------------------------------------------------------

    async def _keep(self, index: Index, project: str, known_file: KnownFile, body: bytes) -> BlobAddress:
        """Put ``body`` on disk, then say so."""
        try:
            address, sha256, size = await self._offload(self._store, known_file, body)
        except SyncFailed as final:
            self._fail(final)
            raise

        def decide(reader: Any) -> Sequence[Change]:
            found = reader.file_by_path(index.name, known_file.path)
            owner, file = found or (project, None)
            return decide_metadata_cached(index.name, owner, file, sha256, size)

        await self._writer.commit(decide, by="+mirror")
        kept: BlobAddress = address
        return kept

    def _store(self, known_file: KnownFile, body: bytes) -> tuple[BlobAddress, str, int]:
        """Blocking.  What another index put there already stays: it is as good as ours."""
        sha256 = hashlib.sha256(body).hexdigest()
        filename = known_file.link.filename
        address = metadata_address(blob_address(known_file.link.sha256 or sha256, filename))
        with self._blobs.incoming() as incoming:
            incoming.write(body)
            try:
                self._blobs.keep(incoming, address, sha256)
            except BlobConflict:
                return address, self._blobs.digest(address), self._blobs.find(address) or 0
        return address, sha256, len(body)

    async def _record_missing(self, index: Index, project: str, known_file: KnownFile, reason: str) -> None:
        def decide(reader: Any) -> Sequence[Change]:
            found = reader.file_by_path(index.name, known_file.path)
            owner, file = found or (project, None)
            return decide_metadata_missing(index.name, owner, file, reason)

        await self._writer.commit(decide, by="+mirror")


def refuse_missing(index: Index, known_file: KnownFile) -> None:
    """Raise ``NoMetadata`` for a file that is known to have none."""
    is_worth_asking = _provides_metadata(index) and not known_file.link.is_wheel  # a wheel has been looked into
    if known_file.metadata_missing and not is_worth_asking:
        raise NoMetadata(index.name, known_file.path, "it holds none that can be read")


def _provides_metadata(index: Index) -> bool:
    """Whether the upstream of ``index`` has metadata files also where its pages don't say so."""
    return bool(index.config.get("mirror_provides_core_metadata"))


def _kept_address(known_file: KnownFile) -> BlobAddress | None:
    """Where the metadata lies when it is kept."""
    digest = known_file.metadata_blob_sha256
    if known_file.metadata_sha256 is None or digest is None:
        return None
    return metadata_address(blob_address(digest, known_file.link.filename))


def _sidecar_url(url: str) -> str:
    """``.metadata`` is added to the path; what follows it stays."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path}.metadata"))


def _verify(filename: str, body: bytes, announced: bool | Mapping[str, str] | None) -> None:
    """Raise ``_Degraded`` unless ``body`` has the announced digest, or at least looks like core metadata where none is."""
    promise = promised_digest(announced) if isinstance(announced, Mapping) else None
    if promise is not None:
        algorithm, expected = promise
        actual = hashlib.new(algorithm, body, usedforsecurity=False).hexdigest()
        if actual != expected:
            raise _Degraded(f"the {algorithm} of the upstream's metadata file is {actual}, not {expected}")
        return
    try:
        check_core_metadata(body, filename)
    except InvalidDistribution as error:
        raise _Degraded(error.reason) from error


def _step(walk: Generator[ByteRange, bytes, bytes], piece: bytes | None) -> ByteRange | bytes:
    """One step of a search for metadata: the next range it needs, or what it found."""
    try:
        return next(walk) if piece is None else walk.send(piece)
    except StopIteration as found:
        body: bytes = found.value
        return body
    except InvalidDistribution as error:
        raise _Degraded(error.reason) from error
