"""Files that a replica has not yet, on their way from the primary: one fetch each, any number of readers (``download.py``).

A file that the view names is fetched as a blob.  One that a mirror only lists is fetched through the primary, which has it from
its upstream with one fetch for all, keeps it and says so in the log; the copy that passes is kept here, too.  With the primary
gone, the upstream itself is asked for what it lists; that cannot be said in the log, so it is found again by its digest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.mirror.addresses import Credentials, without_credentials
from twistpi.mirror.download import Download, Downloads, KeptFile
from twistpi.mirror.download_source import PAUSES, Asking, FileGone, FileSource
from twistpi.mirror.place import place_of
from twistpi.mirror.relayed_asking import PrimaryAsking, blob_path, file_path
from twistpi.mirror.trouble import Trouble
from twistpi.mirror.verify import BytesDiffer, Sink
from twistpi.model.errors import UnknownFile, UpstreamFailed, UpstreamUnreachable, WrongBytes
from twistpi.model.records import Index, KnownFile, Link
from twistpi.model.relaying_errors import FileNotHereYet
from twistpi.view.read import KeptBlob

_PATIENT: Final = (*PAUSES, 3.0, 5.0, 5.0, 5.0)
"""Seconds before each attempt to go on, where nobody else has the file: long enough for a primary to be started again."""
_BRIEF: Final = PAUSES[:2]
"""The same where the upstream can be asked instead."""
_GONE_FOR: Final = 2.0
"""Seconds for which a primary that could not be reached is not asked for what the upstream has."""
_MOST_REMEMBERED: Final = 10_000
_NOWHERE: Final = Index("", {})
"""Of a blob, which belongs to no index."""
Adopt = Callable[[BlobAddress, str, int], bool]
"""Makes a file that lies about the blob at an address, with a SHA-256 and a size; whether there was one.  Blocking."""


@attrs.frozen
class _Origin:
    """Where bytes may be had."""

    asking: Asking
    link: Link
    credentials: Credentials | None
    pauses: tuple[float, ...]
    is_primary: bool


@attrs.define(eq=False)
class RelayedDownloads(Downloads):
    """All files that are being fetched by a replica; its ``upstream`` is asked when the primary is gone."""

    _primary: PrimaryAsking = attrs.field(kw_only=True)
    _adopt_stray: Adopt | None = attrs.field(default=None, kw_only=True)
    _gone_at: float = attrs.field(default=float("-inf"), init=False)
    """When the primary could not be reached last."""
    _unsaid: OrderedDict[tuple[str, str], KeptFile] = attrs.field(factory=OrderedDict, init=False)
    """By index and path: files without a digest that are here though the log does not say so."""

    def open(self, index: Index, project: str, known_file: KnownFile) -> Download:
        """The download of ``known_file``, joined or started; see ``Downloads``."""
        digest, link = known_file.blob_sha256, known_file.link
        if digest is None:
            return self.join((index.name, known_file.path, link.url), index, Download(index.name, project, known_file))
        size = link.size if known_file.size is None else known_file.size
        promised = attrs.evolve(known_file, link=attrs.evolve(link, hashes={**link.hashes, "sha256": digest}, size=size))
        return self.join(blob_address(digest, link.filename), index, Download(index.name, project, promised))

    def open_blob(self, blob: KeptBlob) -> Download:
        """The download of a blob that the view names, joined or started.

        Whoever waits for it is told ``FileNotHereYet`` when nobody can be asked, ``FileLost`` when the primary has it no more,
        ``WrongBytes``, ``StorageFull``.
        """
        address = BlobAddress(blob.digits, blob.filename)
        link = Link(blob.filename, blob_path(address.relative), {"sha256": blob.sha256}, blob.size)
        known = KnownFile(link, f"+f/{address.relative}", blob.sha256, blob.size)
        return self.join(address, _NOWHERE, Download("", "", known, address))

    def is_fetching(self, address: BlobAddress) -> bool:
        """Whether the blob at ``address`` is on its way."""
        return address in self._running

    async def bring(self, blob: KeptBlob) -> None:
        """Return once a blob that the view names is here; raises as ``open_blob``."""
        await self.open_blob(blob).finished()

    def _refuse_offline(self, index: Index, filename: str) -> None:
        """The primary may be asked all the same."""

    # How it is brought ---------------------------------------------------------------------------------------------

    async def _adopt(self, download: Download) -> KeptFile | None:
        known = download.known_file
        digest = known.blob_sha256
        if digest is None:
            unsaid = self._unsaid.get((download.index, known.path))
            return None if unsaid is None else await self._claim(download, unsaid.address, unsaid.sha256)
        address = download.address or blob_address(digest, known.link.filename)
        size = known.link.size
        await self._offload(self._make_way, address, digest, size)
        found = await self._claim(download, address, digest)
        stray = self._adopt_stray
        if found is None and stray is not None and size is not None and await self._offload(stray, address, digest, size):
            found = await self._claim(download, address, digest)
        return found

    async def _claim(self, download: Download, address: BlobAddress, digest: str) -> KeptFile | None:
        file = await self._offload(self._blobs.claim, address)
        if file is None:
            return None
        download.use(file)
        size = file.seek(0, 2)
        download.become_whole(size)
        return KeptFile(address, digest, size)

    def _make_way(self, address: BlobAddress, digest: str, size: int | None) -> None:
        """Remove what lies in the place of other bytes, if anything does.

        Core metadata lies under its distribution's digits: what was read here may not be what the primary read.
        """
        found = self._blobs.find(address)
        if found is None or (digest.startswith(address.digits) and size in (None, found)):
            return
        if self._blobs.digest(address) != digest:
            self._blobs.remove(address)

    async def _fetch(self, index: Index, download: Download, sink: Sink) -> str:
        link = download.known_file.link
        trouble: Trouble | None = None
        for origin in self._origins(index, download):
            told = (download.begin, download.advance)
            source = FileSource(origin.asking, self._offload, origin.link, origin.credentials, sink, *told, origin.pauses)
            try:
                await source.bring()
                sha256: str = sink.verified(link.size)
            except BytesDiffer as error:
                raise WrongBytes(link.filename, without_credentials(origin.link.url), str(error)) from error
            except FileGone as error:
                raise UnknownFile(index.name, download.known_file.path) from error
            except Trouble as error:
                if not origin.is_primary:
                    failure = UpstreamUnreachable if error.unreachable else UpstreamFailed
                    raise failure(index.name, link.filename, error.reason) from error
                trouble = error
                if error.unreachable:
                    self._gone_at = self._clock.seconds()
            else:
                self._gone_at = float("-inf") if origin.is_primary else self._gone_at
                return sha256
        raise FileNotHereYet(link.filename, "nobody has it" if trouble is None else trouble.reason) from trouble

    def _origins(self, index: Index, download: Download) -> Sequence[_Origin]:
        """Whom to ask, one after the other."""
        link = download.known_file.link
        if not index.is_mirror:
            return [_Origin(self._primary, link, None, _PATIENT, is_primary=True)]
        relayed = attrs.evolve(link, url=file_path(index.name, download.known_file.path))
        primary = _Origin(self._primary, relayed, None, _BRIEF, is_primary=True)
        try:
            credentials = place_of(index, link.filename, 0).credentials
        except UpstreamFailed:  # it has none
            return [primary]
        if self._offline:
            return [primary]
        upstream = _Origin(self._upstream, link, credentials, PAUSES, is_primary=False)
        is_gone = 0 <= self._clock.seconds() - self._gone_at < _GONE_FOR  # not for ever when the clock was set back
        return [upstream] if is_gone else [primary, upstream]

    async def _record(self, download: Download, kept: KeptFile) -> KeptFile:
        """Nothing is said here: what the primary keeps, it says itself."""
        if download.known_file.blob_sha256 is None:
            self._unsaid[download.index, download.known_file.path] = kept
            if len(self._unsaid) > _MOST_REMEMBERED:
                self._unsaid.popitem(last=False)
        return kept
