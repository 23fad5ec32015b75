"""The groups of services that several handlers share, and what this server is among others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from twistpi.mirror.core_metadata import MetadataService
    from twistpi.mirror.files import FileService
    from twistpi.mirror.local_only import LocalOnly
    from twistpi.mirror.names import NameLists
    from twistpi.mirror.pages import PageService
    from twistpi.replication.blob_fetcher import BlobFetcher
    from twistpi.replication.fencing import Fencing
    from twistpi.replication.following import Following
    from twistpi.replication.peers import KnownFollowers
    from twistpi.replication.promotion import Promotion
    from twistpi.web.replication.authentication import Nodes
    from twistpi.web.replication.followers import Feeds
    from twistpi.web.replication.snapshots import Snapshots

Offload = Callable[..., Deferred[Any]]
"""Runs a function in a thread, as ``deferToThread`` does."""


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

    nodes: Nodes | None = None
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
