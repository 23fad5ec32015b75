"""What a replica has in place of what asks upstreams: the same faces, with the primary behind them, and a queue of files."""

from __future__ import annotations

from functools import partial

import attrs

from twistpi.blobs.search_path import SearchPath
from twistpi.mirror.core_metadata import MetadataService, UpstreamMetadata
from twistpi.mirror.files import FileService
from twistpi.mirror.names import NameLists, PrimaryNames
from twistpi.mirror.pages import TIMEOUTS, PageService
from twistpi.mirror.primary import PrimaryClient, PrimaryPages
from twistpi.mirror.primary_files import PrimaryFiles, PrimaryMetadata
from twistpi.replication.blob_fetcher import BlobFetcher
from twistpi.replication.blob_search import BlobSearch
from twistpi.replication.following import Following
from twistpi.replication.primary import Primary
from twistpi.rules.blob_policy import BlobPolicy
from twistpi.server.foundation import Foundation

_MARGIN = 2.0
"""Seconds more than the primary waits for an upstream, so that its answer is not missed by a moment."""
_SILENCE = 5.0
"""Seconds the primary may be silent in the middle of a file, beside twice what its upstreams may be."""
_FAR_BEHIND = 5_000
"""Entries."""
_REACH = 10.0
"""Seconds within which what the primary says has to be in the log here."""


@attrs.frozen(eq=False)
class Relayed:
    """The parts of a replica that bring things from its primary."""

    mirror: PageService
    downloads: FileService
    sidecars: MetadataService
    name_lists: NameLists
    files: BlobFetcher


def relay(foundation: Foundation, primary: Primary, following: Following) -> Relayed:
    """Join them."""
    settings, reactor, offload = foundation.settings, foundation.reactor, foundation.offload
    upstream, readers, writer = foundation.upstream, foundation.readers, foundation.writer
    blobs, fail = foundation.storage.blobs, foundation.fail
    patience = settings.request_timeout + _MARGIN
    # While the primary asks an upstream again that fell silent, it is silent, too.
    client = PrimaryClient(primary, reactor, offload, reactor.callFromThread, 2 * settings.request_timeout + _SILENCE)
    reach = partial(following.wait_for, timeout=_REACH)
    pages = PrimaryPages(client, readers, writer, reach, TIMEOUTS * settings.request_timeout + _MARGIN)
    mirror = PageService(pages, readers, reactor, cache_expiry=settings.mirror_cache_expiry, request_timeout=patience)
    search = None if settings.file_search_path is None else partial(SearchPath(settings.file_search_path).adopt, blobs)
    sources = PrimaryFiles(client, None if settings.offline else upstream, blobs, search)
    downloads = FileService(sources, blobs, offload, fail=fail)
    here = UpstreamMetadata(upstream, downloads, blobs, None, offline=settings.offline, fail=fail)
    sidecars = MetadataService(PrimaryMetadata(client, downloads, here, blobs, reach), blobs, offload)
    name_lists = NameLists(
        PrimaryNames(client), readers, reactor, root=foundation.storage.serverdir.layout.names, offload=offload,
        call_in_reactor=reactor.callFromThread, cache_expiry=settings.mirror_cache_expiry, request_timeout=patience,
    )  # fmt: skip
    policy = BlobPolicy.parse(settings.replicate_files)
    files = BlobFetcher(
        primary, BlobSearch(readers, blobs, policy, search), downloads, blobs, reactor, offload=offload, policy=policy,
        at_once=settings.replicate_at_once, fail=fail, is_busy=lambda: _is_catching_up(following),
    )  # fmt: skip
    return Relayed(mirror, downloads, sidecars, name_lists, files)


def _is_catching_up(following: Following) -> bool:
    progress = following.progress
    return progress.is_connected and (progress.lag_entries or 0) > _FAR_BEHIND
