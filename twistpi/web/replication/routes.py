"""The routes that only other servers of the house may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twistpi.web.components import Components
from twistpi.web.file_sender import FileSender
from twistpi.web.replication.base import NodeResponder
from twistpi.web.replication.blobs import BlobFeedHandler, NodeFiles
from twistpi.web.replication.feed import FeedHandler
from twistpi.web.replication.snapshots import SnapshotHandler
from twistpi.web.replication.upstream_questions import PeerHandler, UpstreamQuestionHandler

Route = tuple[str, Sequence[str], Callable[..., Any]]
"""Path, methods and handler."""


def node_routes(parts: Components, sender: FileSender) -> Iterator[Route]:
    """Return the routes for which ``parts`` has what they need."""
    replication, access, offload = parts.replication, parts.access, parts.offload
    if replication.nodes is None:
        return
    node = NodeResponder(parts.responder, replication.nodes)
    if replication.feeds is not None:
        feed = FeedHandler(node, replication.feeds, access, replication, offload)
        yield "/+changelog", ["GET"], node.only(feed.changelog)
        yield "/+changelog/position", ["GET"], node.only(feed.position)
        yield "/+changelog/segments", ["GET"], node.only(feed.segments)
        yield "/+changelog/segments/<first>", ["GET"], node.only(feed.segment)
    if replication.snapshots is not None:
        snapshots = SnapshotHandler(node, replication.snapshots)
        yield "/+snapshot", ["POST"], node.only(snapshots.make)
        yield "/+snapshot/<name>", ["GET"], node.only(snapshots.read)
    files = NodeFiles(sender, replication.nodes)
    blobs = BlobFeedHandler(node, files, access, parts.mirrors, parts.storage.blobs, offload)
    relay = UpstreamQuestionHandler(node, files, access, parts.mirrors, parts.storage.blobs, offload, parts.responder)
    yield "/+blob/<three>/<thirteen>/<filename>", ["GET"], node.only(blobs.blob)
    yield "/+blobs", ["POST"], node.only(blobs.blobs)
    yield "/+relay/page", ["POST"], node.only(relay.page)
    yield "/+relay/metadata", ["POST"], node.only(relay.metadata)
    yield "/+relay/file/<name:user>/<name:index>/<path:path>", ["GET"], node.only(relay.file)
    yield "/+relay/names/<name:user>/<name:index>", ["GET"], node.only(relay.names)
    if replication.fencing is not None:
        peers = PeerHandler(node, replication.fencing)
        yield "/+peer", ["GET"], node.only(peers.peer)
        yield "/+fence", ["POST"], node.only(peers.fence)
