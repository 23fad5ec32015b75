"""Brings a mirror's release here before it is pushed on: its page, its files, and the metadata that lies beside uploads."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import attrs

from twistpi.blobs.address import BlobAddress, blob_address, metadata_address
from twistpi.model.errors import NoMetadata, UnknownFile, UnknownProject, UpstreamFailed
from twistpi.model.records import Index, KnownFile
from twistpi.model.releases import Release
from twistpi.rules.push_requests import Selection
from twistpi.rules.pushes import selected_files
from twistpi.web.publishing.storing import Storing
from twistpi.web.services import Services

Sidecar = tuple[str, int]
"""SHA-256 and size of core metadata."""


@attrs.define(eq=False)
class Fetching:
    """Has upstreams asked for all of a release."""

    _services: Services
    _storing: Storing

    async def learn(self, index: Index, project: str) -> None:
        """See to it that is known what the mirror ``index`` has of ``project``, be it nothing.

        Raises ``UpstreamFailed`` and ``UpstreamUnreachable``.
        """
        with suppress(UnknownProject):
            await self._services.mirror.ensure(index, project)

    async def fetch(self, index: Index, release: Release, selection: Selection) -> Mapping[str, Sidecar]:
        """Bring the selected files of ``release`` here, which ``index`` mirrors.

        Returns, by file name, the metadata that was put beside files which the upstream lists without a digest.  Raises
        ``UpstreamFailed``, ``UpstreamUnreachable``, ``WrongBytes``, ``StorageFull``.
        """
        beside: dict[str, Sidecar] = {}
        for file in selected_files(release, selection):
            known = await self._file(index, release.project, file.known.path)
            if known is None or not known.link.is_wheel:
                continue
            with suppress(NoMetadata):
                address = await self._services.sidecars.metadata(index, release.project, known)
                if known.link.sha256 is None:
                    beside[known.link.filename] = await self._put_beside(known, address)
        return beside

    async def _file(self, index: Index, project: str, path: str) -> KnownFile | None:
        """The file at ``path``, whose bytes are here; None when it went away."""
        known = self._known(index, path)
        if known is None or await self._is_here(known):
            return known
        try:
            await self._services.downloads.open(index, project, known).finished()
        except UnknownFile as error:
            raise UpstreamFailed(index.name, known.link.filename, "it lists the file, but has it no more") from error
        return self._known(index, path)

    def _known(self, index: Index, path: str) -> KnownFile | None:
        found = self._services.readers.get().file_by_path(index.name, path)
        return None if found is None else found[1]

    async def _is_here(self, known: KnownFile) -> bool:
        if known.sha256 is None:
            return False
        address = blob_address(known.sha256, known.link.filename)
        return await self._services.offload(self._services.blobs.find, address) is not None

    async def _put_beside(self, known: KnownFile, address: BlobAddress) -> Sidecar:
        """Where a mirror's file has no digest, its metadata does not lie where that of an upload does."""
        assert known.sha256 is not None, "it was fetched"
        data: bytes = await self._services.offload(self._read, address)
        kept = await self._storing.keep_bytes(metadata_address(blob_address(known.sha256, known.link.filename)), data)
        return kept.sha256, kept.size

    def _read(self, address: BlobAddress) -> bytes:
        with self._services.blobs.open(address) as file:
            return file.read()
