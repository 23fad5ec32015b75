"""The routes that only other servers of the house may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twistpi.web.nodes.feed import FeedDoor
from twistpi.web.nodes.snapshot import SnapshotDoor
from twistpi.web.services import Services

Route = tuple[str, Sequence[str], Callable[..., Any]]
"""Path, methods and handler."""


def node_routes(services: Services) -> Sequence[Route]:
    """Those for which ``services`` has what they need."""
    return (*_feed_routes(services), *_snapshot_routes(services))


def _feed_routes(services: Services) -> Sequence[Route]:
    if services.nodes is None or services.feeds is None:
        return ()
    feed = FeedDoor(services, services.nodes, services.feeds)
    return (
        ("/+changelog", ["GET"], feed.only(feed.changelog)),
        ("/+changelog/position", ["GET"], feed.only(feed.position)),
        ("/+changelog/segments", ["GET"], feed.only(feed.segments)),
        ("/+changelog/segments/<first>", ["GET"], feed.only(feed.segment)),
    )


def _snapshot_routes(services: Services) -> Sequence[Route]:
    if services.nodes is None or services.snapshots is None:
        return ()
    door = SnapshotDoor(services, services.nodes, services.snapshots)
    return (
        ("/+snapshot", ["POST"], door.only(door.make)),
        ("/+snapshot/<name>", ["GET"], door.only(door.read)),
    )
