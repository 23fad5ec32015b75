"""What differs between a primary, which decides and writes by itself, and a replica, which follows another server.

Everything else is the same in ``application.py``.  What a server is stands in its ``node.json``, and lasts as long as the
process: what changes it restarts the server.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from inspect import isawaitable
from typing import Protocol

import attrs

from twistpi.auth.tokens import NodeTokens
from twistpi.blobs.tree import INCOMING
from twistpi.mirror.names import NameLists
from twistpi.model.changes import Change
from twistpi.model.monitoring import Measured
from twistpi.replication.fencing import Fencing, KnownFollowers, ServerFacts
from twistpi.replication.following import Following
from twistpi.replication.primary import Primary
from twistpi.replication.promotion import Promotion
from twistpi.replication.segments import History
from twistpi.server.epochs import Epochs
from twistpi.server.foundation import Foundation
from twistpi.server.mirror_services import blob_fetcher, primary_mirrors, upstream_mirrors
from twistpi.server.primary_connection import is_far, reach
from twistpi.server.secret import read_secret
from twistpi.web.components import MirrorServices, ReplicationServices
from twistpi.web.replication.authentication import NodeAuthenticator
from twistpi.web.replication.followers import Feeds
from twistpi.web.replication.snapshots import Snapshots

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
    """What a server has by its role.  ``build_role`` makes one."""

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


def build_role(foundation: Foundation) -> Role:
    """Return what the role that stands in the server directory consists of."""
    role = _build_replica(foundation) if foundation.storage.serverdir.node.is_replica else _build_primary(foundation)
    _add_followers(foundation, role)
    _add_epochs(foundation, role)
    return role


def _build_primary(foundation: Foundation) -> Role:
    """A server that asks upstreams and writes the log; or that did so, until another one was promoted."""
    mirrors = upstream_mirrors(foundation)
    return Role(mirrors, ReplicationServices(_nodes(foundation)), listeners=[_names(mirrors).changed])


def _build_replica(foundation: Foundation) -> Role:
    """A server that has its log from another one."""
    node, settings, changelog = foundation.storage.serverdir.node, foundation.settings, foundation.storage.changelog
    layout = foundation.storage.serverdir.layout
    assert node.primary_url is not None
    primary = reach(node.primary_url, node.node_id, settings, foundation.reactor, foundation.environment)
    following = Following(
        primary, node.log_id, changelog, foundation.writer.receive, lambda: foundation.readers.get().epoch(),
        foundation.offload, foundation.reactor, random.random, is_far(node.primary_url),
    )  # fmt: skip
    mirrors = primary_mirrors(foundation, primary, following)
    fetcher = blob_fetcher(foundation, primary, following, mirrors.files)
    background: list[Background] = [fetcher]
    if settings.history == "all":
        incoming = os.path.join(layout.path, INCOMING)
        background.append(
            History(primary, changelog, layout.changelog, incoming, foundation.reactor, foundation.offload, random.random)
        )
    return Role(
        mirrors, ReplicationServices(_nodes(foundation), following, queue=fetcher), primary, background,
        [_names(mirrors).changed, fetcher.changed, following.changed], [following.measures, fetcher.measures],
    )  # fmt: skip


def _nodes(foundation: Foundation) -> NodeAuthenticator:
    """What authenticates other servers."""
    secret = read_secret(foundation.settings.serverdir, foundation.settings.secretfile)
    return NodeAuthenticator(NodeTokens(secret), time.monotonic, foundation.reactor.seconds())


def _add_followers(foundation: Foundation, role: Role) -> None:
    """Have the server followed by others, whatever it is itself: replicas can be chained."""
    storage, writer, layout = foundation.storage, foundation.writer, foundation.storage.serverdir.layout
    log_id, incoming = storage.serverdir.node.log_id, os.path.join(layout.path, INCOMING)
    feeds = Feeds(storage.changelog, log_id, lambda: writer.seen, foundation.reactor, foundation.offload)
    snapshots = Snapshots(layout.view, incoming, foundation.reactor, foundation.offload, os.urandom)
    role.replication.feeds, role.replication.snapshots = feeds, snapshots
    role.background += [snapshots, feeds]
    role.listeners.append(feeds.changed)
    role.measuring += [feeds.measures, snapshots.measures]


def _add_epochs(foundation: Foundation, role: Role) -> None:
    """Have the server heed the epochs of others, and begin one when it is promoted."""
    storage, settings, replication = foundation.storage, foundation.settings, role.replication
    serverdir, node, fetcher = storage.serverdir, storage.serverdir.node, role.replication.queue

    def to(url: str) -> Primary:
        return reach(url, node.node_id, settings, foundation.reactor, foundation.environment)

    def missing_files() -> int:
        return 0 if fetcher is None else fetcher.outstanding or int(fetcher.is_searching)

    facts = ServerFacts(node.node_id, node.log_id, node.role, settings.outside_url, node.primary_url)
    fencing = Fencing(
        facts, storage.changelog, foundation.writer, lambda: foundation.readers.get().epochs(), foundation.reactor,
        foundation.offload, lambda fence: serverdir.note(fence=fence), lambda _fence: foundation.restart(), node.fence,
    )  # fmt: skip
    epochs = Epochs(
        fencing, KnownFollowers.open(settings.serverdir), storage, foundation.writer, role.following, to, foundation.offload,
        foundation.reactor, foundation.now, foundation.fail, foundation.restart,
    )  # fmt: skip
    replication.fencing, replication.known_followers = fencing, epochs.followers
    replication.promoting = Promotion(
        fencing, role.primary, role.following, epochs.take_over, lambda: serverdir.node.former_url, missing_files,
        foundation.reactor,
    )  # fmt: skip
    role.background.append(epochs)
    role.measuring.append(fencing.measures)
