"""What differs between a primary, which asks upstreams and writes by itself, and a replica, which follows another server.

Everything else is the same in ``application.py``.  What a server is stands in its ``node.json``, and lasts as long as the
process: what changes it restarts the server.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial
from inspect import isawaitable
from typing import Final, Protocol

import attrs

from twistpi.auth.tokens import NodeTokens
from twistpi.blobs.received import adopt_file
from twistpi.blobs.tree import INCOMING
from twistpi.changelog.writer import Writer
from twistpi.http.client import HTTPClient
from twistpi.mirror.core_metadata import MetadataService, UpstreamMetadata
from twistpi.mirror.files import FileService, UpstreamFiles
from twistpi.mirror.links import FileLinks
from twistpi.mirror.name_source import NameSource, PrimaryNames, UpstreamNames
from twistpi.mirror.names import NameLists
from twistpi.mirror.page_source import UpstreamPages
from twistpi.mirror.pages import TIMEOUTS, PageService
from twistpi.mirror.primary import PrimaryClient, PrimaryPages
from twistpi.mirror.primary_files import PrimaryFiles, PrimaryMetadata
from twistpi.model.changes import Change
from twistpi.model.monitoring import Measured
from twistpi.replication.blob_fetcher import BlobFetcher
from twistpi.replication.fencing import Fencing, KnownFollowers, ServerFacts
from twistpi.replication.following import Following
from twistpi.replication.missing_blobs import Adopt, BlobSearch
from twistpi.replication.primary import Primary
from twistpi.replication.promotion import Promotion
from twistpi.replication.segments import History
from twistpi.rules.replication import BlobPolicy
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

_MARGIN: Final = 2.0
"""Seconds more than the primary waits for an upstream, so that its answer is not missed by a moment."""
_SILENCE: Final = 5.0
"""Seconds the primary may be silent in the middle of a file, beside twice what its upstreams may be."""
_FAR_BEHIND: Final = 5_000
"""Entries."""
_REACH: Final = 10.0
"""Seconds within which what the primary says has to be in the log here."""

EntryListener = Callable[[int, tuple[Change, ...]], object]
"""Called in the reactor with the serial up to which readers of the view see the entries from now on, and with the new changes."""


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
    """Told of entries, in this order, after the site was."""
    measuring: list[Measured] = attrs.field(factory=list)
    """What has figures for ``/+metrics``."""

    @property
    def following(self) -> Following | None:
        """What keeps the log of a replica up to date; None on a primary."""
        return self.replication.following

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
        for fetching in (_names(self.mirrors), self.mirrors.metadata, self.mirrors.pages, self.mirrors.files):
            fetching.stop()
        for service in reversed(self.background):
            stopped = service.stop()
            if isawaitable(stopped):
                await stopped


def _names(mirrors: MirrorServices) -> NameLists:
    assert isinstance(mirrors.names, NameLists), "a worker has none"
    return mirrors.names


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
            mirrors = self.upstream_mirrors()
            role = Role(mirrors, ReplicationServices(nodes), listeners=[_names(mirrors).changed])
        self._add_followers(role)
        self._add_epochs(role)
        return role

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
        if self.settings.history == "all":
            incoming = os.path.join(layout.path, INCOMING)
            background.append(History(primary, changelog, layout.changelog, incoming, reactor, offload, random.random))
        replication = ReplicationServices(nodes, following, queue=fetcher)
        listeners: list[EntryListener] = [_names(mirrors).changed, fetcher.changed, following.changed]
        return Role(mirrors, replication, primary, background, listeners, [following.measures, fetcher.measures])

    def _add_followers(self, role: Role) -> None:
        """Have the server followed by others, whatever it is itself: replicas can be chained."""
        writer, layout, log_id = self.writer, self.storage.serverdir.layout, self.storage.serverdir.node.log_id
        reactor, offload = self.process.reactor, self.process.offload
        feeds = Feeds(self.storage.changelog, log_id, lambda: writer.seen, reactor, offload)
        snapshots = Snapshots(layout.view, os.path.join(layout.path, INCOMING), reactor, offload, os.urandom)
        role.replication.feeds, role.replication.snapshots = feeds, snapshots
        role.background += [snapshots, feeds]
        role.listeners.append(feeds.changed)
        role.measuring += [feeds.measures, snapshots.measures]

    def _add_epochs(self, role: Role) -> None:
        """Have the server heed the epochs of others, and begin one when it is promoted."""
        serverdir, process, replication = self.storage.serverdir, self.process, role.replication
        node, fetcher = serverdir.node, replication.queue

        def to(url: str) -> Primary:
            return reach(url, node.node_id, self.settings, process)

        def former_url() -> str | None:
            return serverdir.node.former_url

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
        take_over, reactor = epochs.take_over, process.reactor
        replication.fencing, replication.known_followers = fencing, followers
        replication.promoting = Promotion(fencing, role.primary, following, take_over, former_url, missing_files, reactor)
        role.background.append(epochs)
        role.measuring.append(fencing.measures)

    def upstream_mirrors(self) -> MirrorServices:
        """Return the mirrors of a primary, which asks upstreams.  A fenced one serves what is here."""
        settings, readers, writer, upstream = self.settings, self.readers, self.writer, self.upstream
        blobs, offload, fail = self.storage.blobs, self.process.offload, self.process.fail
        offline = settings.offline or self.storage.serverdir.node.fence is not None
        wait, expiry = settings.request_timeout, settings.mirror_cache_expiry
        links = FileLinks(upstream, wait)
        source = UpstreamPages(upstream, readers, writer, TIMEOUTS * wait, links.learn)
        pages = PageService(source, readers, self.process.reactor, cache_expiry=expiry, request_timeout=wait, offline=offline)
        files = FileService(UpstreamFiles(upstream, links, blobs, writer, offline=offline), blobs, offload, fail=fail)
        finder = UpstreamMetadata(upstream, links, files, blobs, writer, offline=offline, fail=fail)
        metadata = MetadataService(finder, blobs, offload)
        names = self._name_lists(UpstreamNames(upstream), wait, offline=offline)
        return MirrorServices(pages, files, metadata, names, None, settings.offline, expiry)

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
        files = FileService(PrimaryFiles(client, with_primary_gone, links, blobs, self._adopt()), blobs, offload, fail=fail)
        here = UpstreamMetadata(upstream, links, files, blobs, None, offline=settings.offline, fail=fail)
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

    def _adopt(self) -> Adopt | None:
        path = self.settings.file_search_path
        return None if path is None else partial(adopt_file, path, self.storage.blobs)
