"""The routes that only other servers of the house may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twistpi.web.nodes.blob_feed import BlobFeedDoor, NodeFiles
from twistpi.web.nodes.feed import FeedDoor
from twistpi.web.nodes.guard import Nodes
from twistpi.web.nodes.peers import PeerDoor
from twistpi.web.nodes.relay import RelayDoor
from twistpi.web.nodes.snapshot import SnapshotDoor
from twistpi.web.reading import Reading
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
    feed = FeedDoor(services, nodes, services.feeds)
    return (
        ("/+changelog", ["GET"], feed.only(feed.changelog)),
        ("/+changelog/position", ["GET"], feed.only(feed.position)),
        ("/+changelog/segments", ["GET"], feed.only(feed.segments)),
        ("/+changelog/segments/<first>", ["GET"], feed.only(feed.segment)),
    )


def _snapshot_routes(services: Services, nodes: Nodes) -> Sequence[Route]:
    if services.snapshots is None:
        return ()
    door = SnapshotDoor(services, nodes, services.snapshots)
    return (
        ("/+snapshot", ["POST"], door.only(door.make)),
        ("/+snapshot/<name>", ["GET"], door.only(door.read)),
    )


def _blob_routes(services: Services, nodes: Nodes, reading: Reading) -> Sequence[Route]:
    """What is asked for beside the log."""
    files = NodeFiles(services, reading, nodes)
    feed, relay = BlobFeedDoor(services, nodes, files), RelayDoor(services, nodes, files)
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
    peers = PeerDoor(services, nodes, services.fencing)
    return ("/+peer", ["GET"], peers.only(peers.peer)), ("/+fence", ["POST"], peers.only(peers.fence))
