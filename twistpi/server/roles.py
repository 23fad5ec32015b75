"""What differs between a primary, which asks upstreams and writes by itself, and a replica, which follows another server.

Everything else is the same in ``application.py``.  What a server is stands in its ``node.json``, and lasts as long as the
process: what changes it restarts the server.
"""

from __future__ import annotations

import os
import random
import time
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from twistpi import __version__
from twistpi.auth.tokens import NodeTokens
from twistpi.blobs.received import adopt_file
from twistpi.blobs.reserve import Reserve
from twistpi.blobs.tree import INCOMING
from twistpi.changelog.compaction import Compactor
from twistpi.changelog.writer import Writer
from twistpi.http.client import HTTPClient
from twistpi.mirror.core_metadata import MetadataService, MetadataSource, UpstreamMetadata
from twistpi.mirror.files import FileService, FileSource
from twistpi.mirror.links import FileLinks
from twistpi.mirror.name_source import NameSource, PrimaryNames, UpstreamNames
from twistpi.mirror.names import NameLists
from twistpi.mirror.page_source import PageSource, UpstreamPages
from twistpi.mirror.pages import TIMEOUTS, PageService
from twistpi.mirror.primary import PrimaryClient, PrimaryPages
from twistpi.mirror.primary_files import PrimaryFiles, PrimaryMetadata
from twistpi.mirror.shared import SharedFiles, SharedPages
from twistpi.mirror.shared_metadata import SharedMetadata
from twistpi.mirror.upload_times import UploadTimes
from twistpi.mirror.upstream_files import UpstreamFiles
from twistpi.model.monitoring import Checked, Measured
from twistpi.model.records import Json
from twistpi.replication.blob_fetcher import BlobFetcher
from twistpi.replication.fencing import Fencing, KnownFollowers, ServerFacts
from twistpi.replication.following import Following
from twistpi.replication.missing_blobs import Adopt, BlobSearch
from twistpi.replication.primary import Primary
from twistpi.replication.promotion import Promotion
from twistpi.replication.segments import History
from twistpi.rules.replication import BlobPolicy
from twistpi.server.announcements import EntryListener
from twistpi.server.directory import read_secret
from twistpi.server.epochs import Epochs
from twistpi.server.process import Process
from twistpi.server.replica import is_far, reach
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage
from twistpi.view.read import Readers
from twistpi.web.components import MirrorServices, ReplicationServices
from twistpi.web.replication.authentication import NodeAuthenticator
from twistpi.web.replication.followers import Feeds
from twistpi.web.replication.snapshots import Snapshots

if TYPE_CHECKING:
    from twistpi.server.cluster import ClusterNode

_MARGIN: Final = 2.0
"""Seconds more than the primary waits for an upstream, so that its answer is not missed by a moment."""
_SILENCE: Final = 5.0
"""Seconds the primary may be silent in the middle of a file, beside twice what its upstreams may be."""
_FAR_BEHIND: Final = 5_000
"""Entries."""
_REACH: Final = 10.0
"""Seconds within which what the primary says has to be in the log here."""


class Background(Protocol):
    """A service that runs by itself."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> object:
        """End; what is returned is awaited, where it can be."""


@attrs.define(eq=False)
class Role:
    """What a server has by its role.  ``RoleBuilder`` makes one."""

    mirrors: MirrorServices
    replication: ReplicationServices
    primary: Primary | None = None
    """The client of the server that a replica follows; None on a primary."""
    background: list[Background] = attrs.field(factory=list)
    """Started in this order, and stopped in the other one."""
    listeners: list[EntryListener] = attrs.field(factory=list)
    """Called after all entries, in this order, after the site."""
    measuring: list[Measured] = attrs.field(factory=list)
    """What has figures for ``/+metrics``."""
    checking: list[Checked] = attrs.field(factory=list)
    """What has checks for ``/+ready``."""
    cluster: ClusterNode | None = None
    """What works with the other nodes of a cluster."""

    @property
    def following(self) -> Following | None:
        """What keeps the log of a replica up to date; None on a primary."""
        return self.replication.following

    @property
    def names(self) -> NameLists:
        """The lists of the projects of mirrors."""
        assert isinstance(self.mirrors.names, NameLists), "a worker has none"
        return self.mirrors.names

    def leads(self) -> bool:
        """Whether it is up to this server to clean up by itself: it is alone, or the one of a cluster's nodes that does."""
        return self.cluster is None or self.cluster.is_leader

    def start(self) -> None:
        """Start what runs by itself."""
        for service in self.background:
            service.start()
        if self.following is not None:
            self.following.start()

    async def stop(self) -> None:
        """Stop following and fetching."""
        if self.following is not None:
            self.following.stop()
        for fetching in (self.names, self.mirrors.metadata, self.mirrors.pages, self.mirrors.files):
            fetching.stop()
        for service in reversed(self.background):
            stopped = service.stop()
            if isawaitable(stopped):
                await stopped


@attrs.frozen(eq=False)
class RoleBuilder:
    """Builds the role that stands in the server directory, over what both roles have."""

    settings: Settings
    process: Process
    storage: Storage
    readers: Readers
    writer: Writer
    upstream: HTTPClient
    """Sends requests to upstreams, also for a replica whose primary is gone."""

    def build(self) -> Role:
        """Return what the role consists of."""
        secret = read_secret(self.settings.serverdir, self.settings.secretfile)
        nodes = NodeAuthenticator(NodeTokens(secret), time.monotonic, self.process.reactor.seconds())
        if self.storage.serverdir.node.is_replica:
            role = self._build_replica(nodes)
        else:
            cluster = self._join_cluster()
            mirrors = self.upstream_mirrors(cluster)
            role = Role(mirrors, ReplicationServices(nodes), cluster=cluster)
            role.replication.cluster = None if cluster is None else cluster.facts
            for part in (cluster, self.storage.bucket):
                if part is not None:
                    role.background.append(part)
                    role.measuring.append(part.measures)
                    role.checking.append(part.checks)
        self._add_followers(role)
        self._add_epochs(role)
        return role

    def _join_cluster(self) -> ClusterNode | None:
        """Return what works with the other nodes; None for a server that is alone."""
        storage, bucket = self.storage, self.storage.bucket
        if storage.cluster is None:
            return None

        def facts() -> dict[str, Json]:
            cached, url = None if bucket is None else bucket.budget.size, self.settings.outside_url
            return {"url": url, "serial": self.writer.seen.serial, "version": __version__, "cache-bytes": cached}

        cluster = storage.cluster.join(storage.serverdir.node.node_id, self.writer, self.process.reactor, facts)
        if bucket is not None:
            bucket.join(cluster, storage.serverdir.layout.view, lambda: self.writer.seen.serial)
        return cluster

    def _build_replica(self, nodes: NodeAuthenticator) -> Role:
        """Return a server that has its log from another one."""
        node, changelog, layout = self.storage.serverdir.node, self.storage.changelog, self.storage.serverdir.layout
        reactor, offload = self.process.reactor, self.process.offload
        assert node.primary_url is not None
        primary = reach(node.primary_url, node.node_id, self.settings, self.process)
        following = Following(
            primary,
            node.log_id,
            changelog,
            self.writer.receive,
            lambda: self.readers.get().epoch(),
            offload,
            reactor,
            random.random,
            is_far(node.primary_url),
        )
        mirrors = self.primary_mirrors(primary, following)
        fetcher = self.blob_fetcher(primary, following, mirrors.files)
        background: list[Background] = [fetcher]
        if self.settings.history == "all" and changelog.summary is None:
            incoming = os.path.join(layout.path, INCOMING)
            background.append(History(primary, changelog, layout.changelog, incoming, reactor, offload, random.random))
        replication = ReplicationServices(nodes, following, queue=fetcher)
        listeners: list[EntryListener] = [fetcher.changed, following.changed]
        return Role(mirrors, replication, primary, background, listeners, [following.measures, fetcher.measures])

    def _add_followers(self, role: Role) -> None:
        """Let other servers follow this one, whatever its role: replicas can be chained."""
        writer, layout, log_id = self.writer, self.storage.serverdir.layout, self.storage.serverdir.node.log_id
        reactor, offload = self.process.reactor, self.process.offload
        feeds = Feeds(self.storage.changelog, log_id, lambda: writer.seen, reactor, offload)
        snapshots = Snapshots(layout.view, os.path.join(layout.path, INCOMING), reactor, offload, os.urandom)
        role.replication.feeds, role.replication.snapshots = feeds, snapshots
        if self.storage.cluster is None:
            is_replica = self.storage.serverdir.node.is_replica
            compactor = Compactor(layout.changelog, self.storage.changelog, writer, offload, is_replica, feeds.behind)
            role.replication.compactor = compactor
        role.background += [snapshots, feeds]
        role.listeners.append(feeds.changed)
        role.measuring += [feeds.measures, snapshots.measures]

    def _add_epochs(self, role: Role) -> None:
        """Make the server react to the epochs of others, and begin one when it is promoted."""
        serverdir, process, replication = self.storage.serverdir, self.process, role.replication
        node, fetcher = serverdir.node, replication.queue

        def to(url: str) -> Primary:
            return reach(url, node.node_id, self.settings, process)

        def missing_files() -> int:
            return 0 if fetcher is None else fetcher.outstanding or int(fetcher.is_searching)

        fencing = Fencing(
            ServerFacts(node.node_id, node.log_id, node.role, self.settings.outside_url, node.primary_url),
            self.storage.changelog,
            self.writer,
            lambda: self.readers.get().epochs(),
            process.reactor,
            process.offload,
            lambda fence: serverdir.note(fence=fence),
            lambda _fence: process.restart(),
            node.fence,
        )
        followers, following = KnownFollowers.open(self.settings.serverdir), role.following
        epochs = Epochs(fencing, followers, self.storage, self.writer, following, to, process)
        replication.fencing, replication.known_followers = fencing, followers
        sources = (lambda: serverdir.node.former_url, missing_files, process.reactor)
        replication.promoting = Promotion(fencing, role.primary, following, epochs.take_over, *sources)
        role.background.append(epochs)
        role.measuring.append(fencing.measures)

    def upstream_mirrors(self, cluster: ClusterNode | None = None) -> MirrorServices:
        """Return the mirrors of a primary, which asks upstreams.  A fenced one serves what is here.

        Of the nodes of a ``cluster``, one asks for all.
        """
        settings, readers, writer, upstream = self.settings, self.readers, self.writer, self.upstream
        blobs, bucket, offload, fail = self.storage.blobs, self.storage.bucket, self.process.offload, self.process.fail
        offline = settings.offline or self.storage.serverdir.node.fence is not None
        wait, expiry = settings.request_timeout, settings.mirror_cache_expiry
        links = FileLinks(upstream, wait)
        times = UploadTimes(upstream, readers, wait)
        source: PageSource = UpstreamPages(upstream, readers, writer, TIMEOUTS * wait, links.learn, times)
        source_of_files: FileSource = UpstreamFiles(upstream, links, blobs, writer, offline=offline)
        if cluster is not None:
            take, reach = cluster.leases.take, cluster.listener.reach
            source = SharedPages(source, take, reach, readers, writer, self.process.reactor.seconds)
            inner = source_of_files if bucket is None else bucket.before_upstream(source_of_files)
            source_of_files = SharedFiles(inner, take, writer.refresh)
        if bucket is not None:
            source_of_files = bucket.with_named(source_of_files)
        pages = PageService(source, readers, self.process.reactor, cache_expiry=expiry, request_timeout=wait, offline=offline)
        reserve = self._reserve()
        files = FileService(source_of_files, blobs, offload, fail=fail, reserve=reserve)
        finder: MetadataSource = UpstreamMetadata(
            upstream, links, files, blobs, writer, offline=offline, fail=fail, reserve=reserve
        )
        if bucket is not None:
            finder = bucket.with_metadata(finder, files)
        if cluster is not None and bucket is not None:
            finder = SharedMetadata(finder, cluster.leases.take, writer.refresh, readers)
        metadata = MetadataService(finder, blobs, offload)
        names = self._name_lists(UpstreamNames(upstream), wait, offline=offline)
        return MirrorServices(pages, files, metadata, names, None if bucket is None else files, settings.offline, expiry)

    def primary_mirrors(self, primary: Primary, following: Following) -> MirrorServices:
        """Return the mirrors of a replica, which asks its primary."""
        settings, readers, upstream, blobs = self.settings, self.readers, self.upstream, self.storage.blobs
        reactor, offload, fail = self.process.reactor, self.process.offload, self.process.fail
        wait, expiry = settings.request_timeout + _MARGIN, settings.mirror_cache_expiry
        # While the primary asks an upstream again that fell silent, it is silent, too.
        client = PrimaryClient(primary, reactor, offload, reactor.callFromThread, 2 * settings.request_timeout + _SILENCE)
        reach_serial = partial(following.wait_for, timeout=_REACH)
        source = PrimaryPages(client, readers, self.writer, reach_serial, TIMEOUTS * settings.request_timeout + _MARGIN)
        pages = PageService(source, readers, reactor, cache_expiry=expiry, request_timeout=wait)
        with_primary_gone, links = None if settings.offline else upstream, FileLinks(upstream, settings.request_timeout)
        source_of_files, reserve = PrimaryFiles(client, with_primary_gone, links, blobs, self._adopt()), self._reserve()
        files = FileService(source_of_files, blobs, offload, fail=fail, reserve=reserve)
        here = UpstreamMetadata(upstream, links, files, blobs, None, offline=settings.offline, fail=fail, reserve=reserve)
        metadata = MetadataService(PrimaryMetadata(client, files, here, blobs, reach_serial), blobs, offload)
        names = self._name_lists(PrimaryNames(client), wait, offline=False)
        return MirrorServices(pages, files, metadata, names, files, settings.offline, expiry)

    def blob_fetcher(self, primary: Primary, following: Following, files: FileService) -> BlobFetcher:
        """Return what fetches the blobs of a replica before they are requested."""
        process, blobs, policy = self.process, self.storage.blobs, BlobPolicy.parse(self.settings.replicate_files)

        def is_catching_up() -> bool:
            return following.progress.is_connected and (following.progress.lag_entries or 0) > _FAR_BEHIND

        return BlobFetcher(
            primary,
            BlobSearch(self.readers, blobs, policy, self._adopt()),
            files.bring,
            blobs,
            process.reactor,
            offload=process.offload,
            policy=policy,
            at_once=self.settings.replicate_at_once,
            fail=process.fail,
            is_busy=is_catching_up,
        )

    def _name_lists(self, source: NameSource, wait: float, *, offline: bool) -> NameLists:
        return NameLists(
            source,
            self.readers,
            self.process.reactor,
            root=self.storage.serverdir.layout.names,
            offload=self.process.offload,
            call_in_reactor=self.process.reactor.callFromThread,
            cache_expiry=self.settings.mirror_cache_expiry,
            request_timeout=wait,
            offline=offline,
        )

    def _reserve(self) -> Reserve:
        return Reserve(self.settings.serverdir, self.settings.disk_reserve)

    def _adopt(self) -> Adopt | None:
        path = self.settings.file_search_path
        return None if path is None else partial(adopt_file, path, self.storage.blobs)
