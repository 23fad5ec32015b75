"""The objects from which a site is built; ``server.application`` and ``workers.process`` make them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import attrs
from twisted.internet.interfaces import IReactorTime

from twistpi.advisories.service import Advisories
from twistpi.gc.access_times import AccessTimes
from twistpi.http.answer_times import AnswerTimes
from twistpi.http.offload import Offload
from twistpi.model.monitoring import Checked, ConfiguredSetting, Measured
from twistpi.model.records import Json
from twistpi.statistics.downloads import Downloads
from twistpi.statistics.failures import RecentFailures
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, Network
from twistpi.web.commits import UploadStorage
from twistpi.web.delivery import Delivery
from twistpi.web.fast.ready import ReadyAnswers
from twistpi.web.forwarding.peers import TrustedPeers, own_name
from twistpi.web.policies import Policies
from twistpi.web.replies import CROSS_ORIGIN, DefaultHeaders, Responder
from twistpi.web.traffic import Traffic
from twistpi.web.transport.connections import Connections

if TYPE_CHECKING:
    from twistpi.changelog.compaction import Compactor
    from twistpi.changelog.writer import Writer
    from twistpi.gc.collector import GarbageCollector
    from twistpi.gc.evictor import Evictor
    from twistpi.mirror.core_metadata import MetadataService
    from twistpi.mirror.files import FileService
    from twistpi.mirror.local_only import LocalOnly
    from twistpi.mirror.names import NameLists
    from twistpi.mirror.pages import PageService
    from twistpi.oidc.identity import Identities
    from twistpi.push.releases import Pusher
    from twistpi.replication.blob_fetcher import BlobFetcher
    from twistpi.replication.fencing import Fencing, KnownFollowers
    from twistpi.replication.following import Following
    from twistpi.replication.promotion import Promotion
    from twistpi.search.service import SearchService
    from twistpi.statistics.history import History
    from twistpi.statistics.recorder import Recorder
    from twistpi.web.forwarding.forwarder import Forwarder
    from twistpi.web.replication.authentication import NodeAuthenticator
    from twistpi.web.replication.followers import Feeds
    from twistpi.web.replication.snapshots import Snapshots


@attrs.frozen
class NodeFacts:
    """What this server is among others."""

    node_id: str
    """32 hexadecimal digits that differ from those of every other server; ``X-Devpi-Uuid``."""
    role: str = "primary"
    """``primary``: its own writer appends to the log.  ``replica``: it follows another server."""
    log_id: str = ""
    """32 hexadecimal digits that differ from those of every other changelog."""
    primary_url: str | None = None
    """The server that a replica follows."""


@attrs.define(eq=False)
class MirrorServices:
    """The services that fetch what this server lacks."""

    pages: PageService
    files: FileService
    metadata: MetadataService
    names: NameLists | LocalOnly
    blobs: FileService | None = None
    """Fetches blobs that the view names and the disk lacks; None on a primary, which has them all."""
    offline: bool = False
    """Whether no upstream is asked; pages then list only files that are here."""
    cache_expiry: float = 1800.0
    """Seconds after which what an upstream said is stale, unless the index says otherwise."""


@attrs.define(eq=False)
class ReplicationServices:
    """The services with which servers follow each other; each is None where it does not apply."""

    nodes: NodeAuthenticator | None = None
    """Authenticates other servers."""
    following: Following | None = None
    """Keeps the log of a replica up to date with the primary's."""
    fencing: Fencing | None = None
    """Knows whether this server may take writes."""
    promoting: Promotion | None = None
    """Makes this server the primary."""
    known_followers: KnownFollowers | None = None
    """The servers that the next start asks whether one of them was promoted."""
    queue: BlobFetcher | None = None
    """Fetches the blobs of a replica before they are requested."""
    feeds: Feeds | None = None
    """The followers of the changelog."""
    snapshots: Snapshots | None = None
    """Makes copies of the view for new replicas."""
    compactor: Compactor | None = None
    """Makes the changelog begin later."""
    cluster: Callable[[], Mapping[str, Json]] | None = None
    """Returns what the nodes of a cluster know of each other."""


@attrs.define(eq=False, kw_only=True)
class Components:
    """What ``routes`` builds the handlers of a site from; each handler gets only the objects that it uses."""

    node: NodeFacts
    software: str = "twistpi"
    """``Server``, as ``twistpi/1.0``."""
    addresses: Addresses = attrs.field(factory=Addresses)
    access: Access
    changelog_folder: str = ""
    """From which pages read what happened to a release; empty where there is none."""
    writer: Writer
    storage: UploadStorage
    mirrors: MirrorServices
    pusher: Pusher
    replication: ReplicationServices = attrs.field(factory=ReplicationServices)
    search: SearchService
    ready: ReadyAnswers
    connections: Connections
    clock: IReactorTime
    offload: Offload
    now: Callable[[], datetime]
    """The time, in UTC, for what is decided and recorded; ``clock`` is for measuring."""
    collector: GarbageCollector | None = None
    """Collects garbage; None where nobody may request that."""
    evictor: Evictor | None = None
    """Keeps what mirrors cached within its budget; None where nobody may request that."""
    reach: Callable[[int], Awaitable[object]] | None = None
    """Returns once the view shows a serial that another node of the cluster wrote; None where no other one writes."""
    delivery: Delivery | None = None
    """Sends clients to the bucket that has the files; None where there is none."""
    forwarder: Forwarder | None = None
    """Forwards requests that this server cannot answer; None where it can answer all."""
    lenient_accept: bool = False
    """Whether HTML is served to clients that accept no available representation."""
    theme: str | None = None
    """A folder whose templates and files come before those of the pages for people."""
    render_description: Callable[[str, str], tuple[str | None, bool]] | None = None
    """Makes HTML of descriptions, see ``browser.descriptions``; None for a process of its own."""
    identities: Identities | None = None
    """Verifies tokens of other issuers; None in a worker."""
    json_index: str = ""
    """The index whose JSON API is at ``/pypi/`` as well; empty without one."""
    local_folders: Sequence[str] = ()
    """Folders of this server that mirrors may be of."""
    metrics_from: Sequence[Network] = ()
    """The networks from which the figures may be read, beside this machine."""
    measuring: list[Measured] = attrs.field(factory=list)
    """What has figures for ``/+metrics``."""
    checking: list[Checked] = attrs.field(factory=list)
    """What has checks for ``/+ready``."""
    traffic: Traffic = attrs.field(factory=Traffic)
    access_times: AccessTimes = attrs.field(factory=AccessTimes)
    """Notes which blobs are asked for."""
    downloads: Downloads = attrs.field(factory=Downloads)
    """Counts downloads, and says what was downloaded."""
    recorder: Recorder | None = None
    """Writes what was counted; None in a worker, and where downloads are not counted."""
    history: History | None = None
    """The figures of the last month; None in a worker."""
    failures: RecentFailures = attrs.field(factory=RecentFailures)
    """What went wrong of late."""
    settings: Sequence[ConfiguredSetting] = ()
    """All settings, to be shown to administrators."""
    upstream_times: AnswerTimes = attrs.field(factory=AnswerTimes)
    """How long upstreams take to answer."""
    advisories: Advisories = attrs.field(factory=Advisories)
    policies: Policies = attrs.field(init=False)
    responder: Responder = attrs.field(init=False)
    trusted_peers: TrustedPeers = attrs.field(init=False)

    @policies.default
    def _make_policies(self) -> Policies:
        return Policies(self.clock, self.addresses, self.advisories.store.of)

    @responder.default
    def _make_responder(self) -> Responder:
        cross_origin = CROSS_ORIGIN if self.access.shares else ()
        return Responder(DefaultHeaders(self.software, self.node.node_id, self._primary_uuid, cross_origin), self.clock)

    @trusted_peers.default
    def _make_trusted_peers(self) -> TrustedPeers:
        return TrustedPeers(self.addresses, self.replication.nodes, own_name(self.node.node_id), self.access.is_open)

    def _primary_uuid(self) -> str | None:
        following = self.replication.following
        return None if following is None else following.progress.primary_uuid
