"""Core metadata of a mirror that several nodes of a cluster have: one finds it, and the others have it from there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from twistpi.blobs.address import BlobAddress
from twistpi.mirror.core_metadata import MetadataSource, kept_address
from twistpi.mirror.shared import TakeTurn
from twistpi.model.errors import NoMetadata
from twistpi.model.records import Index, KnownFile
from twistpi.view.read import Readers

_WAITS: Final = 10.0
"""Seconds that a node waits for another one's."""


@attrs.define(eq=False)
class SharedMetadata:
    """Core metadata from ``source``, or where another node put it; a ``MetadataSource``.

    Who holds the lease of a file's metadata looks for it.  Where no lease can be had, a node looks by itself.
    """

    _source: MetadataSource
    """Has what the view names from where all nodes have it."""
    _take: TakeTurn
    _reach: Callable[[], Awaitable[object]]
    """Returns once the view shows what other nodes recorded."""
    _readers: Readers

    async def bring(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        """See ``MetadataSource``."""
        if kept_address(known_file) is not None:
            return await self._source.bring(index, project, known_file)
        turn = await self._take(f"metadata {index.name} {known_file.path}", _WAITS)
        if turn is None:
            return await self._source.bring(index, project, known_file)
        try:
            if turn.is_news:
                await self._reach()
                known_file = self._as_known_now(index, known_file)
            return await self._source.bring(index, project, known_file)
        finally:
            await turn.end("")

    def _as_known_now(self, index: Index, known_file: KnownFile) -> KnownFile:
        """Return what the view says of the file; raise ``NoMetadata`` if another node found that there is none."""
        found = self._readers.get().file_by_path(index.name, known_file.path)
        if found is None or found[1].link.url != known_file.link.url:
            return known_file
        if found[1].metadata_missing and not known_file.metadata_missing:
            raise NoMetadata(index.name, known_file.path, "it holds none that can be read")
        return found[1]
