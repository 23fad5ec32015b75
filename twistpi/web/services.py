"""What the doors are handed by the wiring: the rooms below, the settings they need, and the tables they share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.internet.defer import Deferred

from twistpi.model.monitoring import Checked, Measured
from twistpi.web.addresses import Network
from twistpi.web.fast.tables import Tables
from twistpi.web.forwarding.trusted_peers import TrustedPeers
from twistpi.web.replies import Standing
from twistpi.web.traffic import Traffic
from twistpi.web.transport.connections import Connections

if TYPE_CHECKING:
    from twistpi.blobs.interfaces import IBlobs
    from twistpi.changelog.writer import Writer
    from twistpi.gc.collector import GarbageCollector
    from twistpi.mirror.core_metadata import MetadataService
    from twistpi.mirror.files import FileService
    from twistpi.mirror.local_only import LocalOnly
    from twistpi.mirror.names import NameLists
    from twistpi.mirror.pages import PageService
    from twistpi.push.releases import Pusher
    from twistpi.replication.blob_fetcher import BlobFetcher
    from twistpi.replication.fencing import Fencing
    from twistpi.replication.following import Following
    from twistpi.replication.peers import KnownFollowers
    from twistpi.replication.primary import Primary
    from twistpi.replication.promotion import Promotion
    from twistpi.rules.permissions import Policy
    from twistpi.view.page_cache import PageCache, PageKey
    from twistpi.view.read import Readers
    from twistpi.web.authentication import Authenticator
    from twistpi.web.fast.ready import ReadyPage
    from twistpi.web.forwarding.forwarder import Forwarder
    from twistpi.web.replication.authentication import Nodes
    from twistpi.web.replication.followers import Feeds
    from twistpi.web.replication.snapshots import Snapshots


class Clock(Protocol):
    """Where the doors take the time from (``IReactorTime``)."""

    def seconds(self) -> float:
        """Unix seconds."""


@attrs.frozen
class NodeFacts:
    """What this server is among others."""

    node_id: str
    """32 hexadecimal digits that tell this server from every other; ``X-Devpi-Uuid``."""
    role: str = "primary"
    """``primary``: its own writer appends to the log.  ``replica``: it follows another server."""
    log_id: str = ""
    """32 hexadecimal digits that tell its changelog from every other."""
    primary_url: str | None = None
    """Whom a replica follows."""


@attrs.define(eq=False)
class Services:
    """Everything a door may use."""

    readers: Readers
    blobs: IBlobs
    mirror: PageService
    downloads: FileService
    sidecars: MetadataService
    name_lists: NameLists | LocalOnly
    page_cache: PageCache[PageKey, ReadyPage]
    clock: Clock
    offload: Callable[..., Deferred[Any]]
    """Runs a function in a thread, as ``deferToThread`` does."""
    authenticator: Authenticator
    """Tells who asks, and lets people log in."""
    policy: Policy
    """What an administrator restricts."""
    pusher: Pusher
    """Hands releases to other servers."""
    writer: Writer
    """Through which doors commit; its ``decide`` functions run in its thread."""
    now: Callable[[], datetime]
    """The present time, in UTC, for what is decided and written down; ``clock`` is for measuring."""
    node: NodeFacts
    trusted_proxies: tuple[Network, ...] = ()
    """The networks of the proxies whose ``X-Forwarded-*``, ``X-Real-IP`` and ``X-Outside-Url`` count."""
    cache_expiry: float = 1800.0
    """Seconds after which what an upstream said counts as old, where the index says nothing else."""
    offline: bool = False
    """Whether no upstream is asked; pages then list only what is here."""
    outside_url: str = ""
    """What people and proxies call this server, without a slash at the end; empty when it is not known."""
    max_upload_size: int = 4 << 30
    """Bytes of a request's body; what is larger is refused."""
    lenient_accept: bool = False
    """Whether who accepts nothing that can be served gets HTML instead of a refusal."""
    software: str = "twistpi"
    """``Server``, as ``twistpi/1.0``."""
    fail: Callable[[Exception], object] = attrs.field(default=lambda error: None)
    """Told when a sync failed, after which the server has to stop (law 10)."""
    collector: GarbageCollector | None = None
    """Removes what nothing names; None where nobody may ask for that."""
    nodes: Nodes | None = None
    """Tells which server of the house asks; None where no other server may ask for anything."""
    primary: Primary | None = None
    """The server that this one follows, as a place to ask; None on a primary."""
    following: Following | None = None
    """What keeps the log up to date with the primary's; None on a primary."""
    fencing: Fencing | None = None
    """Whether this server may take writes; None where no other server can be promoted."""
    promoting: Promotion | None = None
    """Makes a primary of this server."""
    known_followers: KnownFollowers | None = None
    """Whom the next start asks whether one of them was promoted."""
    elsewhere: FileService | None = None
    """Brings blobs that the view names and the disk lacks; None on a primary, which has them all."""
    files: BlobFetcher | None = None
    """Brings them before anybody asks; None on a primary."""
    feeds: Feeds | None = None
    """Who follows the changelog; None where nobody may."""
    snapshots: Snapshots | None = None
    """Makes copies of the view for new replicas."""
    measuring: list[Measured] = attrs.field(factory=list)
    """Whoever has figures for administrators."""
    checking: list[Checked] = attrs.field(factory=list)
    """Whoever knows what this server cannot do without."""
    metrics_from: tuple[Network, ...] = ()
    """The networks from which the figures may be read, beside this machine."""
    connections: Connections = attrs.field(default=attrs.Factory(lambda self: Connections(self.clock), takes_self=True))
    """The open connections of the process."""
    traffic: Traffic = attrs.field(factory=Traffic)
    """What was answered so far."""
    workers_at: str | None = None
    """The path of the socket through which this server's own workers ask; None without any."""
    before_looking: Callable[[], object] = lambda: None
    """Called before a request is looked at: where another process writes, what it did is heard of here."""
    forward: Forwarder | None = None
    """Hands on what this server cannot answer itself; None where it can answer all."""
    trusted_peers: TrustedPeers = attrs.field(init=False)
    """Knows which servers pass requests on."""
    standing: Standing = attrs.field(init=False)
    tables: Tables = attrs.field(init=False, factory=Tables)

    @trusted_peers.default
    def _trusted_peers(self) -> TrustedPeers:
        return TrustedPeers(self)

    @standing.default
    def _standing(self) -> Standing:
        return Standing(self.software, self.node.node_id, self._primary_uuid)

    def _primary_uuid(self) -> str | None:
        return None if self.following is None else self.following.progress.primary_uuid
