"""The last steps of an upload: its bytes become blobs, then an entry names them (law 2).

They go on when the client leaves in the midst of them: half an upload is none, and a whole one that nobody waits for any more is
worth as much as another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.received import Received
from twistpi.http.single_flight import SingleFlight
from twistpi.model.errors import BlobConflict, SyncFailed
from twistpi.web.services import Services

_Result = TypeVar("_Result")


@attrs.frozen
class Kept:
    """A small blob."""

    sha256: str
    size: int
    """Bytes."""


@attrs.define(eq=False)
class Storing:
    """Stores what was uploaded; one for a site."""

    _services: Services
    _work: SingleFlight[object, Any] = attrs.field(init=False, factory=SingleFlight)

    def finish(self, work: Callable[[], Coroutine[Any, Any, _Result]]) -> Deferred[_Result]:
        """What comes of ``work``, which goes on when the Deferred is cancelled."""
        return self._work.join(object(), work)

    async def keep(self, content: Received, filename: str) -> BlobAddress:
        """Make ``content`` the blob ``filename``; raises what ``Received.keep`` raises."""
        address: BlobAddress = await self._blocking(content.keep, filename)
        return address

    async def keep_at(self, content: Received, address: BlobAddress) -> None:
        """Make ``content`` the blob at ``address``; raises what ``Received.keep_at`` raises."""
        await self._blocking(content.keep_at, address)

    async def keep_bytes(self, address: BlobAddress, data: bytes) -> Kept:
        """Make ``data`` the blob at ``address``; when there is another already, it stays, and is what is told.

        Raises ``StorageFull`` and ``SyncFailed``.
        """
        kept: Kept = await self._blocking(self._write, address, data)
        return kept

    async def _blocking(self, work: Callable[..., object], *arguments: object) -> Any:
        try:
            return await self._services.offload(work, *arguments)
        except SyncFailed as final:
            self._services.fail(final)
            raise

    def _write(self, address: BlobAddress, data: bytes) -> Kept:
        blobs = self._services.blobs
        sha256 = hashlib.sha256(data).hexdigest()
        with blobs.incoming() as incoming:
            incoming.write(data)
            try:
                blobs.keep(incoming, address, sha256)
            except BlobConflict:
                return Kept(blobs.digest(address), blobs.find(address) or 0)
        return Kept(sha256, len(data))
