"""The services of mirrors: over the upstreams on a primary, over the primary on a replica."""

from __future__ import annotations

from functools import partial

from twistpi.blobs.search_path import SearchPath
from twistpi.mirror.core_metadata import MetadataService, UpstreamMetadata
from twistpi.mirror.files import FileService, UpstreamFiles
from twistpi.mirror.names import NameLists, NameSource, PrimaryNames, UpstreamNames
from twistpi.mirror.page_source import UpstreamPages
from twistpi.mirror.pages import TIMEOUTS, PageService
from twistpi.mirror.primary import PrimaryClient, PrimaryPages
from twistpi.mirror.primary_files import PrimaryFiles, PrimaryMetadata
from twistpi.replication.blob_fetcher import BlobFetcher
from twistpi.replication.following import Following
from twistpi.replication.missing_blobs import Adopt, BlobSearch
from twistpi.replication.primary import Primary
from twistpi.rules.replication import BlobPolicy
from twistpi.server.foundation import Foundation
from twistpi.web.components import MirrorServices

_MARGIN = 2.0
"""Seconds more than the primary waits for an upstream, so that its answer is not missed by a moment."""
_SILENCE = 5.0
"""Seconds the primary may be silent in the middle of a file, beside twice what its upstreams may be."""
_FAR_BEHIND = 5_000
"""Entries."""
_REACH = 10.0
"""Seconds within which what the primary says has to be in the log here."""


def upstream_mirrors(foundation: Foundation) -> MirrorServices:
    """Return the services of a primary, which asks upstreams.  A fenced one serves what is here."""
    settings, reactor, offload = foundation.settings, foundation.reactor, foundation.offload
    upstream, readers, writer = foundation.upstream, foundation.readers, foundation.writer
    blobs, fail = foundation.storage.blobs, foundation.fail
    offline = settings.offline or foundation.storage.serverdir.node.fence is not None
    wait, expiry = settings.request_timeout, settings.mirror_cache_expiry
    source = UpstreamPages(upstream, readers, writer, TIMEOUTS * wait)
    pages = PageService(source, readers, reactor, cache_expiry=expiry, request_timeout=wait, offline=offline)
    files = FileService(UpstreamFiles(upstream, blobs, writer, offline=offline), blobs, offload, fail=fail)
    metadata = MetadataService(UpstreamMetadata(upstream, files, blobs, writer, offline=offline, fail=fail), blobs, offload)
    names = _name_lists(foundation, UpstreamNames(upstream), wait, offline=offline)
    return MirrorServices(pages, files, metadata, names, None, settings.offline, expiry)


def primary_mirrors(foundation: Foundation, primary: Primary, following: Following) -> MirrorServices:
    """Return the services of a replica, which asks its primary."""
    settings, reactor, offload = foundation.settings, foundation.reactor, foundation.offload
    upstream, readers, writer = foundation.upstream, foundation.readers, foundation.writer
    blobs, fail = foundation.storage.blobs, foundation.fail
    wait, expiry = settings.request_timeout + _MARGIN, settings.mirror_cache_expiry
    # While the primary asks an upstream again that fell silent, it is silent, too.
    client = PrimaryClient(primary, reactor, offload, reactor.callFromThread, 2 * settings.request_timeout + _SILENCE)
    reach = partial(following.wait_for, timeout=_REACH)
    source = PrimaryPages(client, readers, writer, reach, TIMEOUTS * settings.request_timeout + _MARGIN)
    pages = PageService(source, readers, reactor, cache_expiry=expiry, request_timeout=wait)
    with_primary_gone = None if settings.offline else upstream
    files = FileService(PrimaryFiles(client, with_primary_gone, blobs, _adopt(foundation)), blobs, offload, fail=fail)
    here = UpstreamMetadata(upstream, files, blobs, None, offline=settings.offline, fail=fail)
    metadata = MetadataService(PrimaryMetadata(client, files, here, blobs, reach), blobs, offload)
    names = _name_lists(foundation, PrimaryNames(client), wait, offline=False)
    return MirrorServices(pages, files, metadata, names, files, settings.offline, expiry)


def blob_fetcher(foundation: Foundation, primary: Primary, following: Following, files: FileService) -> BlobFetcher:
    """Return what fetches the blobs of a replica before they are requested."""
    settings, blobs = foundation.settings, foundation.storage.blobs
    policy = BlobPolicy.parse(settings.replicate_files)

    def is_catching_up() -> bool:
        return following.progress.is_connected and (following.progress.lag_entries or 0) > _FAR_BEHIND

    return BlobFetcher(
        primary, BlobSearch(foundation.readers, blobs, policy, _adopt(foundation)), files.bring, blobs, foundation.reactor,
        offload=foundation.offload, policy=policy, at_once=settings.replicate_at_once, fail=foundation.fail,
        is_busy=is_catching_up,
    )  # fmt: skip


def _name_lists(foundation: Foundation, source: NameSource, wait: float, *, offline: bool) -> NameLists:
    return NameLists(
        source, foundation.readers, foundation.reactor, root=foundation.storage.serverdir.layout.names,
        offload=foundation.offload, call_in_reactor=foundation.reactor.callFromThread,
        cache_expiry=foundation.settings.mirror_cache_expiry, request_timeout=wait, offline=offline,
    )  # fmt: skip


def _adopt(foundation: Foundation) -> Adopt | None:
    path = foundation.settings.file_search_path
    return None if path is None else partial(SearchPath(path).adopt, foundation.storage.blobs)
