"""What stands, in a worker, for the rooms that fetch: they know what is here, and leave the rest to the first process.

With the interfaces of ``mirror.refresh.Mirror``, ``mirror.download.Downloads``, ``mirror.sidecar.Sidecars`` and
``mirror.names.NameLists``.  Where one of them would have to ask an upstream it raises ``AskFirst``, and the whole request goes to
the first process.  So there is one fetch for the whole machine, and one place that remembers which upstream failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import attrs
from twisted.internet.defer import Deferred

from twistpi.blobs.address import BlobAddress, blob_address, metadata_address
from twistpi.mirror.freshness import Standing, standing
from twistpi.mirror.place import place_of
from twistpi.mirror.refresh import PageState
from twistpi.model.errors import UpstreamFailed
from twistpi.model.forwarding_errors import AskFirst
from twistpi.model.records import Index, KnownFile
from twistpi.view.read import KeptBlob, Readers


@attrs.define(eq=False)
class SharedMirror:
    """Serves what the view knows while it is fresh."""

    _readers: Readers
    _clock: Any
    _cache_expiry: float
    """Seconds for which a page holds where its index does not say."""
    _offline: bool = attrs.field(default=False, kw_only=True)

    async def ensure(self, index: Index, project: str, *, force: bool = False) -> PageState:
        """How ``project`` came to be what the view says of it; raises ``AskFirst`` unless it was confirmed lately."""
        reader = self._readers.get()
        freshness, known = reader.freshness(index.name, project), reader.has_project(index.name, project)
        if force or freshness is None or freshness.missing or not known:
            raise AskFirst
        try:
            place = place_of(index, project, self._cache_expiry)
        except UpstreamFailed:
            raise AskFirst from None
        now = self._clock.seconds()
        if self._offline:
            return PageState("hit", max(0.0, now - freshness.checked_at), place.source, "offline", place.expiry)
        if standing(freshness, known, place.source, place.expiry, now) is not Standing.FRESH:
            raise AskFirst
        age = max(0.0, now - freshness.checked_at)
        return PageState("hit", age, place.source, None, max(0.0, place.expiry - age))

    async def find_file(self, index: Index, path: str) -> tuple[str, KnownFile]:
        """The project and file at ``path`` below ``index``; raises ``AskFirst`` when the view does not know it."""
        found = self._readers.get().file_by_path(index.name, path)
        if found is None:
            raise AskFirst
        return found


class NoDownloads:
    """Fetches nothing."""

    def open(self, index: Index, project: str, known_file: KnownFile) -> NoReturn:
        """See ``Downloads``."""
        raise AskFirst


class NoBlobs:
    """Brings nothing: what the view names and the disk lacks is on its way to the first process, or lost."""

    def open_blob(self, blob: KeptBlob) -> NoReturn:
        """See ``web.services.Elsewhere``."""
        raise AskFirst

    async def bring(self, blob: KeptBlob) -> NoReturn:
        """See ``web.services.Elsewhere``."""
        raise AskFirst


@attrs.define(eq=False)
class SharedSidecars:
    """Knows the metadata that is here."""

    _blobs: Any
    _offload: Callable[..., Deferred[Any]]

    async def metadata(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        """Where the metadata of ``known_file`` is kept; raises ``AskFirst`` when it is not here."""
        digest = known_file.metadata_blob_sha256
        if known_file.metadata_sha256 is None or digest is None:
            raise AskFirst
        address = metadata_address(blob_address(digest, known_file.link.filename))
        if await self._offload(self._blobs.find, address) is None:
            raise AskFirst
        return address


class NoNameLists:
    """The list of all names is for the first process to send."""

    async def ensure(self, index: Index, *, force: bool = False) -> NoReturn:
        """See ``NameLists``."""
        raise AskFirst
