"""The objects from which a site is built; ``server.application`` and ``workers.process`` make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import attrs
from twisted.internet.interfaces import IReactorTime

from twistpi.model.monitoring import Checked, Measured
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, Network
from twistpi.web.commits import UploadStorage
from twistpi.web.fast.ready import ReadyAnswers
from twistpi.web.forwarding.trusted_peers import TrustedPeers
from twistpi.web.replies import DefaultHeaders, Responder
from twistpi.web.services import MirrorServices, NodeFacts, Offload, ReplicationServices
from twistpi.web.traffic import Traffic
from twistpi.web.transport.connections import Connections

if TYPE_CHECKING:
    from twistpi.changelog.writer import Writer
    from twistpi.gc.collector import GarbageCollector
    from twistpi.push.releases import Pusher
    from twistpi.web.forwarding.forwarder import Forwarder


@attrs.define(eq=False, kw_only=True)
class Components:
    """What ``routes`` builds the handlers of a site from; each handler gets only the objects that it uses."""

    node: NodeFacts
    software: str = "twistpi"
    """``Server``, as ``twistpi/1.0``."""
    addresses: Addresses = attrs.field(factory=Addresses)
    access: Access
    writer: Writer
    storage: UploadStorage
    mirrors: MirrorServices
    pusher: Pusher
    replication: ReplicationServices = attrs.field(factory=ReplicationServices)
    ready: ReadyAnswers
    connections: Connections
    clock: IReactorTime
    offload: Offload
    now: Callable[[], datetime]
    """The time, in UTC, for what is decided and recorded; ``clock`` is for measuring."""
    collector: GarbageCollector | None = None
    """Collects garbage; None where nobody may request that."""
    forwarder: Forwarder | None = None
    """Forwards requests that this server cannot answer; None where it can answer all."""
    lenient_accept: bool = False
    """Whether HTML is served to clients that accept no available representation."""
    metrics_from: Sequence[Network] = ()
    """The networks from which the figures may be read, beside this machine."""
    measuring: list[Measured] = attrs.field(factory=list)
    """What has figures for ``/+metrics``."""
    checking: list[Checked] = attrs.field(factory=list)
    """What has checks for ``/+ready``."""
    traffic: Traffic = attrs.field(factory=Traffic)
    responder: Responder = attrs.field(init=False)
    trusted_peers: TrustedPeers = attrs.field(init=False)

    @responder.default
    def _make_responder(self) -> Responder:
        return Responder(DefaultHeaders(self.software, self.node.node_id, self._primary_uuid), self.clock)

    @trusted_peers.default
    def _make_trusted_peers(self) -> TrustedPeers:
        return TrustedPeers(self.addresses, self.replication.nodes)

    def _primary_uuid(self) -> str | None:
        following = self.replication.following
        return None if following is None else following.progress.primary_uuid
