"""A replica's core metadata: found by the primary, fetched as a blob; with the primary gone it is looked for here.

What is found here cannot be said in the log.  Where the upstream gives its wheel a digest, the metadata lies beside that wheel,
and is found again; where it does not, it is looked for anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed

from twistpi.blobs.address import BlobAddress, blob_address, metadata_address
from twistpi.mirror.inflight import Inflight
from twistpi.mirror.relayed_asking import PrimaryAsking, Reach
from twistpi.mirror.relayed_files import RelayedDownloads
from twistpi.mirror.sidecar import Sidecars, refuse_missing
from twistpi.mirror.trouble import Trouble
from twistpi.mirror.upstream import Offload
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Index, KnownFile
from twistpi.model.relaying_errors import FileNotHereYet
from twistpi.view.read import KeptBlob

PATH: Final = "/+relay/metadata"
_Wanted = tuple[str, str, str, str | None]


class Unwritten:
    """In place of a writer where the log is another server's: what was learned is used, and not said."""

    def commit(self, decide: Callable[[Any], Sequence[Any]], by: str) -> Deferred[None]:
        """Nothing is decided."""
        return succeed(None)


@attrs.define(eq=False)
class RelayedSidecars:
    """The core metadata of all mirrored files, on a replica; with the face of ``Sidecars``."""

    _asking: PrimaryAsking
    _downloads: RelayedDownloads
    _here: Sidecars
    """Looks for metadata without the primary; its writer is ``Unwritten``."""
    _blobs: Any
    _offload: Offload
    _reach: Reach
    _fetches: Inflight[_Wanted, BlobAddress] = attrs.field(init=False, factory=Inflight)

    async def metadata(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        """Where the core metadata of ``known_file`` is kept, brought there if need be.

        Raises ``NoMetadata``, ``UpstreamUnreachable``, ``UpstreamFailed``, ``FileNotHereYet``, ``StorageFull``.
        """
        refuse_missing(index, known_file)
        wanted = (index.name, known_file.path, known_file.link.url, known_file.metadata_sha256)
        return await self._fetches.join(wanted, lambda: self._bring(index, project, known_file))

    def stop(self) -> None:
        """Give up what is on its way, because the server stops."""
        self._fetches.cancel_all()
        self._here.stop()

    async def _bring(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        named = _named(known_file)
        found = _address(known_file) if named is None else BlobAddress(named.digits, named.filename)
        if found is not None and await self._offload(self._blobs.find, found) is not None:
            return found
        try:
            if named is None:
                named = await self._ask(index, project, known_file)
            await self._downloads.bring(named)
        except FileNotHereYet:
            return await self._here.metadata(index, project, attrs.evolve(known_file, metadata_sha256=None))
        return BlobAddress(named.digits, named.filename)

    async def _ask(self, index: Index, project: str, known_file: KnownFile) -> KeptBlob:
        """Have the primary find it; raises ``FileNotHereYet`` when that cannot tell, and what it met."""
        asked = {"index": index.name, "project": project, "path": known_file.path}
        try:
            told = await self._asking.question(PATH, asked, patience=6 * self._asking.request_timeout)
        except Trouble as trouble:
            raise FileNotHereYet(f"{known_file.link.filename}.metadata", trouble.reason) from trouble
        with suppress(TwistpiError):  # the metadata can be had before the log speaks of it
            await self._reach(int(told["serial"]))
        return KeptBlob(told["digits"], told["filename"], told["sha256"], told["size"])


def _address(known_file: KnownFile) -> BlobAddress | None:
    """Where metadata that the log does not speak of would lie."""
    link = known_file.link
    return None if link.sha256 is None else metadata_address(blob_address(link.sha256, link.filename))


def _named(known_file: KnownFile) -> KeptBlob | None:
    """The blob that the log speaks of."""
    digest, size = known_file.metadata_blob_sha256, known_file.metadata_size
    if known_file.metadata_sha256 is None or digest is None or size is None:
        return None
    return KeptBlob(digest[:16], f"{known_file.link.filename}.metadata", known_file.metadata_sha256, size)
