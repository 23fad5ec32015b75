"""The routes that only other servers of the house may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twistpi.web.project_sources import Reading
from twistpi.web.replication.authentication import Nodes
from twistpi.web.replication.blobs import BlobFeedHandler, NodeFiles
from twistpi.web.replication.feed import FeedHandler
from twistpi.web.replication.snapshot_handler import SnapshotHandler
from twistpi.web.replication.upstream_questions import PeerHandler, UpstreamQuestionHandler
from twistpi.web.services import Services

Route = tuple[str, Sequence[str], Callable[..., Any]]
"""Path, methods and handler."""


def node_routes(services: Services, reading: Reading) -> Sequence[Route]:
    """Those for which ``services`` has what they need."""
    nodes = services.nodes
    if nodes is None:
        return ()
    return (
        *_feed_routes(services, nodes),
        *_snapshot_routes(services, nodes),
        *_blob_routes(services, nodes, reading),
        *_epoch_routes(services, nodes),
    )


def _feed_routes(services: Services, nodes: Nodes) -> Sequence[Route]:
    if services.feeds is None:
        return ()
    feed = FeedHandler(services, nodes, services.feeds)
    return (
        ("/+changelog", ["GET"], feed.only(feed.changelog)),
        ("/+changelog/position", ["GET"], feed.only(feed.position)),
        ("/+changelog/segments", ["GET"], feed.only(feed.segments)),
        ("/+changelog/segments/<first>", ["GET"], feed.only(feed.segment)),
    )


def _snapshot_routes(services: Services, nodes: Nodes) -> Sequence[Route]:
    if services.snapshots is None:
        return ()
    door = SnapshotHandler(services, nodes, services.snapshots)
    return (
        ("/+snapshot", ["POST"], door.only(door.make)),
        ("/+snapshot/<name>", ["GET"], door.only(door.read)),
    )


def _blob_routes(services: Services, nodes: Nodes, reading: Reading) -> Sequence[Route]:
    """What is asked for beside the log."""
    files = NodeFiles(services, reading, nodes)
    feed, relay = BlobFeedHandler(services, nodes, files), UpstreamQuestionHandler(services, nodes, files)
    return (
        ("/+blob/<three>/<thirteen>/<filename>", ["GET"], feed.only(feed.blob)),
        ("/+blobs", ["POST"], feed.only(feed.blobs)),
        ("/+relay/page", ["POST"], relay.only(relay.page)),
        ("/+relay/metadata", ["POST"], relay.only(relay.metadata)),
        ("/+relay/file/<name:user>/<name:index>/<path:path>", ["GET"], relay.only(relay.file)),
        ("/+relay/names/<name:user>/<name:index>", ["GET"], relay.only(relay.names)),
    )


def _epoch_routes(services: Services, nodes: Nodes) -> Sequence[Route]:
    """Who is the primary."""
    if services.fencing is None:
        return ()
    peers = PeerHandler(services, nodes, services.fencing)
    return ("/+peer", ["GET"], peers.only(peers.peer)), ("/+fence", ["POST"], peers.only(peers.fence))
