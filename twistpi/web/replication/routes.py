"""The routes for other servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from twistpi.web.components import Components
from twistpi.web.file_sender import FileSender
from twistpi.web.replication.authentication import NodeResponder, NodeRoute
from twistpi.web.replication.blobs import BlobFeedHandler, NodeFiles
from twistpi.web.replication.downloads import DownloadsFeedHandler
from twistpi.web.replication.feed import FeedHandler, SnapshotHandler
from twistpi.web.replication.upstream_questions import AttemptsHandler, PeerHandler, UpstreamQuestionHandler


def node_routes(parts: Components, sender: FileSender) -> Iterator[tuple[str, Sequence[str], NodeRoute]]:
    """Return the routes for which ``parts`` has what they need."""
    replication, access, offload = parts.replication, parts.access, parts.offload
    if replication.nodes is None:
        return
    node = NodeResponder(parts.responder, replication.nodes)
    files = NodeFiles(sender, replication.nodes)
    if replication.feeds is not None:
        feed = FeedHandler(node, files, replication.feeds, access, replication, offload, parts.reach)
        yield "/+changelog", ["GET"], node.only(feed.changelog)
        yield "/+changelog/position", ["GET"], node.only(feed.position)
        yield "/+changelog/segments", ["GET"], node.only(feed.segments)
        yield "/+changelog/summary", ["GET"], node.only(feed.summary)
        yield "/+changelog/segments/<first>", ["GET"], node.only(feed.segment)
    if replication.snapshots is not None:
        snapshots = SnapshotHandler(node, files, replication.snapshots)
        yield "/+snapshot", ["POST"], node.only(snapshots.make)
        yield "/+snapshot/<name>", ["GET"], node.only(snapshots.read)
    blobs = BlobFeedHandler(node, files, access, parts.mirrors, parts.storage.blobs, offload)
    relay = UpstreamQuestionHandler(node, files, access, parts.mirrors, parts.storage.blobs, offload)
    yield "/+blob/<three>/<thirteen>/<filename>", ["GET"], node.only(blobs.blob)
    yield "/+blobs", ["POST"], node.only(blobs.blobs)
    yield "/+relay/page", ["POST"], node.only(relay.page)
    yield "/+relay/metadata", ["POST"], node.only(relay.metadata)
    yield "/+relay/file/<name:user>/<name:index>/<path:path>", ["GET"], node.only(relay.file)
    yield "/+relay/names/<name:user>/<name:index>", ["GET"], node.only(relay.names)
    yield "/+attempts", ["POST"], node.only(AttemptsHandler(node, access.authenticator).count)
    if parts.recorder is not None:
        yield "/+relay/downloads", ["POST"], node.only(DownloadsFeedHandler(node, parts.recorder).receive)
    if replication.fencing is not None:
        peers = PeerHandler(node, replication.fencing)
        yield "/+peer", ["GET"], node.only(peers.peer)
        yield "/+fence", ["POST"], node.only(peers.fence)
