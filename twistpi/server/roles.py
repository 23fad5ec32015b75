"""What differs between a primary, which decides and writes by itself, and a replica, which follows another server.

Everything else is built the same in ``serving.py``, over a ``Foundation``; the joints at which the roles differ are the fields of
``Parts``.  What a server is stands in its ``node.json``, and lasts as long as the process: what changes it restarts the server.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from inspect import isawaitable
from typing import Any

import attrs

from twistpi.blobs.tree import INCOMING
from twistpi.mirror.core_metadata import MetadataService, UpstreamMetadata
from twistpi.mirror.files import FileService, UpstreamFiles
from twistpi.mirror.names import NameLists, UpstreamNames
from twistpi.mirror.page_source import UpstreamPages
from twistpi.mirror.pages import TIMEOUTS, PageService
from twistpi.model.changes import Change
from twistpi.model.monitoring import Measured
from twistpi.replication.blob_fetcher import BlobFetcher
from twistpi.replication.fencing import Fencing, ServerFacts
from twistpi.replication.following import Following
from twistpi.replication.history import History
from twistpi.replication.peers import KnownFollowers
from twistpi.replication.primary import Primary
from twistpi.replication.promotion import Promotion
from twistpi.replication.refusals import Refusals
from twistpi.server.epochs import Epochs
from twistpi.server.foundation import Foundation
from twistpi.server.primary_connection import is_far, reach
from twistpi.server.replica_services import relay
from twistpi.web.components import ReplicationServices
from twistpi.web.replication.authentication import NodeAuthenticator
from twistpi.web.replication.followers import Feeds
from twistpi.web.replication.snapshots import Snapshots

__all__ = ["Foundation", "Parts", "Told", "make_parts"]

Told = Callable[[int, tuple[Change, ...]], object]
"""Told, in the reactor, up to which serial readers of the view see the entries from now on, and what the new ones changed."""


@attrs.frozen(eq=False)
class Parts:
    """What a server has that differs by its role.

    Whoever adds something to a role adds it here: a field where the doors or the wiring ask for it by name, ``background`` for
    what only runs by itself.
    """

    mirror: PageService
    downloads: FileService
    sidecars: MetadataService
    name_lists: NameLists
    primary: Primary | None = None
    """The server that is followed, as a place to ask; None on a primary."""
    following: Following | None = None
    """What keeps the log up to date; None on a primary."""
    elsewhere: FileService | None = None
    """What brings files that the log names and the disk lacks; None on a primary."""
    files: BlobFetcher | None = None
    """What brings them before anybody asks; None on a primary."""
    background: Sequence[Any] = ()
    """What runs by itself: each has ``start()``, and ``stop()``, which may return something to be awaited."""
    told: Sequence[Told] = ()
    """Told of entries, in this order, after the site was."""
    measuring: Sequence[Measured] = ()
    """Whoever has figures."""
    feeds: Feeds | None = None
    """Who follows this server."""
    snapshots: Snapshots | None = None
    """Makes copies of the view for new followers."""
    epochs: Epochs | None = None
    """Whether this server may take writes."""
    promoting: Promotion | None = None
    """How it becomes the primary."""

    def replication(self, nodes: NodeAuthenticator) -> ReplicationServices:
        """Return the services that the site needs for replication; ``nodes`` authenticates other servers."""
        services = ReplicationServices(nodes, self.following, queue=self.files, feeds=self.feeds, snapshots=self.snapshots)
        if self.epochs is not None:
            services.fencing, services.promoting = self.epochs.fencing, self.promoting
            services.known_followers = self.epochs.followers
        return services

    def start(self) -> None:
        """Start what runs by itself."""
        for part in self.background:
            part.start()
        if self.following is not None:
            self.following.start()

    async def stop(self) -> None:
        """Stop following and fetching."""
        if self.following is not None:
            self.following.stop()
        for fetching in (self.name_lists, self.sidecars, self.mirror, self.downloads):
            fetching.stop()
        for part in reversed(self.background):
            stopped = part.stop()
            if isawaitable(stopped):
                await stopped


def make_parts(foundation: Foundation) -> Parts:
    """The parts of the role that the server directory says."""
    parts = replica_parts(foundation) if foundation.storage.serverdir.node.is_replica else primary_parts(foundation)
    epochs, feeds, snapshots = make_epochs(foundation, parts), make_feeds(foundation), make_snapshots(foundation)
    measuring = (*parts.measuring, epochs.fencing.measures, feeds.measures, snapshots.measures)
    return attrs.evolve(
        parts, epochs=epochs, promoting=make_promoting(foundation, parts, epochs), feeds=feeds, snapshots=snapshots,
        background=(*parts.background, epochs, snapshots, feeds),
        measuring=measuring, told=(*parts.told, feeds.changed),
    )  # fmt: skip


def primary_parts(foundation: Foundation) -> Parts:
    """A server that asks upstreams and writes the log; or that did so, until another one was promoted."""
    return _fetching(foundation, offline=foundation.settings.offline or foundation.storage.serverdir.node.fence is not None)


def make_feeds(foundation: Foundation) -> Feeds:
    """Those who follow this server, whatever it is itself: replicas can be chained."""
    storage, writer = foundation.storage, foundation.writer
    return Feeds(
        storage.changelog, storage.serverdir.node.log_id, lambda: writer.seen, foundation.reactor, foundation.offload
    )  # fmt: skip


def make_snapshots(foundation: Foundation) -> Snapshots:
    """Copies of the view for those who begin to follow."""
    layout = foundation.storage.serverdir.layout
    folder = os.path.join(layout.path, INCOMING)
    return Snapshots(layout.view, folder, foundation.reactor, foundation.offload, os.urandom)


def make_epochs(foundation: Foundation, parts: Parts) -> Epochs:
    """What every role has to do with epochs."""
    storage, settings = foundation.storage, foundation.settings
    node = storage.serverdir.node

    def to(url: str) -> Primary:
        return reach(url, node.node_id, settings, foundation.reactor, foundation.environment)

    facts = ServerFacts(node.node_id, node.log_id, node.role, settings.outside_url, node.primary_url)
    fencing = Fencing(
        facts, storage.changelog, foundation.writer,
        lambda: foundation.readers.get().epochs(), foundation.reactor, foundation.offload,
        lambda fence: storage.serverdir.note(fence=fence), lambda _fence: foundation.restart(), node.fence,
    )  # fmt: skip
    return Epochs(
        fencing, KnownFollowers.open(settings.serverdir), storage, foundation.writer, parts.following, to, foundation.offload,
        foundation.reactor, foundation.now, foundation.fail, foundation.restart,
    )  # fmt: skip


def make_promoting(foundation: Foundation, parts: Parts, epochs: Epochs) -> Promotion:
    """What ``POST /+promote`` begins."""

    def missing_files() -> int:
        return 0 if parts.files is None else parts.files.outstanding or int(parts.files.is_searching)

    serverdir = foundation.storage.serverdir
    return Promotion(
        epochs.fencing, parts.primary, parts.following, epochs.take_over, lambda: serverdir.node.former_url, missing_files,
        foundation.reactor,
    )  # fmt: skip


def replica_parts(foundation: Foundation) -> Parts:
    """A server that has its log from another one, and shows what stands in it."""
    node, settings, changelog = foundation.storage.serverdir.node, foundation.settings, foundation.storage.changelog
    assert node.primary_url is not None
    primary = reach(node.primary_url, node.node_id, settings, foundation.reactor, foundation.environment)
    following = Following(
        primary, node.log_id, lambda: changelog.last, foundation.writer.receive, lambda: foundation.readers.get().epoch(),
        Refusals(primary, changelog, foundation.offload), foundation.reactor, random.random, is_far(node.primary_url),
    )  # fmt: skip
    relayed = relay(foundation, primary, following)
    files = relayed.files
    layout = foundation.storage.serverdir.layout
    history = History(
        primary, changelog, layout.changelog, os.path.join(layout.path, INCOMING), foundation.reactor, foundation.offload,
        random.random,
    )  # fmt: skip
    older = (history,) if settings.history == "all" else ()
    return Parts(
        relayed.mirror, relayed.downloads, relayed.sidecars, relayed.name_lists, primary=primary, following=following,
        elsewhere=relayed.downloads, files=files, background=(files, *older),
        told=(relayed.name_lists.changed, files.changed, following.changed), measuring=(following.measures, files.measures),
    )  # fmt: skip


def _fetching(foundation: Foundation, *, offline: bool) -> Parts:
    """What fetches from upstreams, or, ``offline``, serves what is here."""
    settings, reactor, offload = foundation.settings, foundation.reactor, foundation.offload
    upstream, readers, writer = foundation.upstream, foundation.readers, foundation.writer
    blobs, fail = foundation.storage.blobs, foundation.fail
    source = UpstreamPages(upstream, readers, writer, TIMEOUTS * settings.request_timeout)
    mirror = PageService(
        source, readers, reactor, cache_expiry=settings.mirror_cache_expiry, request_timeout=settings.request_timeout,
        offline=offline,
    )  # fmt: skip
    downloads = FileService(UpstreamFiles(upstream, blobs, writer, offline=offline), blobs, offload, fail=fail)
    metadata = UpstreamMetadata(upstream, downloads, blobs, writer, offline=offline, fail=fail)
    sidecars = MetadataService(metadata, blobs, offload)
    name_lists = NameLists(
        UpstreamNames(upstream), readers, reactor, root=foundation.storage.serverdir.layout.names, offload=offload,
        call_in_reactor=reactor.callFromThread,
        cache_expiry=settings.mirror_cache_expiry, request_timeout=settings.request_timeout, offline=offline,
    )  # fmt: skip
    return Parts(mirror, downloads, sidecars, name_lists, told=(name_lists.changed,))
