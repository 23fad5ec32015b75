"""A node of a cluster: its cache directory, and what it shares with the other nodes.

Imported when a cluster is asked for, because it needs psycopg.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import attrs
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from twistpi.changelog.files import FileChangelog
from twistpi.changelog.interfaces import IChangelog
from twistpi.changelog.writer import Writer
from twistpi.cluster.database import Database
from twistpi.cluster.leases import Leadership, Leases
from twistpi.cluster.lines import find_head
from twistpi.cluster.listener import Listener
from twistpi.cluster.local_copy import LocalCopy
from twistpi.cluster.presence import Presence
from twistpi.cluster.schema import prepare
from twistpi.model.monitoring import Check, Measure
from twistpi.model.records import Json
from twistpi.server.directory import ServerDirectory
from twistpi.server.process import IServerReactor
from twistpi.server.settings import Settings
from twistpi.view.database import ViewDatabase, is_empty_view

_LEADERSHIP: Final = "housekeeping"
"""The lease of the node that does for all what one has to do."""
_MOST_LAG: Final = 30.0
"""Seconds for which a node may lack entries while it counts as ready."""
_LEASES_WAIT: Final = 2.0
"""Seconds for which the database may be gone until work goes on without a lease."""


@attrs.frozen
class Cluster:
    """The cluster whose database is at a URL."""

    url: str = attrs.field(repr=False)

    def open_cache(self, settings: Settings, lock: int | None) -> ServerDirectory:
        """Return the cache directory of ``settings``, locked for this process; ``lock`` holds the lock already, if it is given.

        The first node makes the cluster, unless the settings forbid to.  Blocking.  Raise ``ServerdirRefused``, and
        ``TwistpiError`` for a database that cannot be used.
        """
        facts = prepare(self.url, os.urandom, time.time, make=not settings.require_initialised)
        return ServerDirectory.open(settings.serverdir, secret=facts.secret, lock=lock, log_id=facts.log_id)

    def drop_copy(self, serverdir: ServerDirectory) -> None:
        """Remove the copy of the log, in which something is wrong: the next start fetches it again.  Blocking."""
        LocalCopy(serverdir.layout.changelog, serverdir.layout.view, serverdir.node.log_id).drop_lines()

    def open_log(self, serverdir: ServerDirectory, settings: Settings) -> tuple[IChangelog, FileChangelog, ViewDatabase]:
        """Return the log of the cluster, its copy here, and the view, which may be behind.

        A new view is one that is in the bucket of ``settings``, if that has one.  Blocking.  Raise ``LogUnreachable``,
        ``StorageFull``, ``ServerdirRefused``.
        """
        layout, node, database = serverdir.layout, serverdir.node, Database(self.url)
        if settings.blobs is not None and is_empty_view(layout.view, node.log_id):
            from twistpi.server.kept_views import bring_kept_view  # noqa: PLC0415 loads botocore

            bring_kept_view(settings, settings.blobs, layout.view, node.log_id, find_head(database)[0])
        log, view = LocalCopy(layout.changelog, layout.view, node.log_id, node.node_id).open(database)
        return log, log.copy, view

    def join(self, node_id: str, writer: Writer, reactor: IServerReactor, facts: Callable[[], Mapping[str, Json]]) -> ClusterNode:
        """Return what works with the other nodes, to be started; ``facts`` is what this one reports to them."""
        listener = Listener(self.url, node_id, writer.refresh, lambda: writer.seen.serial, reactor.callFromThread)
        threads = ThreadPool(minthreads=0, maxthreads=1, name="twistpi leases")
        database, run = Database(self.url, patience=_LEASES_WAIT), partial(deferToThreadPool, reactor, threads)
        leases = Leases(database, node_id, reactor, run)
        presence = Presence(database, node_id, facts, _LEADERSHIP, reactor, run)
        return ClusterNode(listener, leases, threads, Leadership(leases, _LEADERSHIP), presence)


@attrs.define(eq=False)
class ClusterNode:
    """What a running node has to work with the others."""

    listener: Listener
    leases: Leases
    _threads: ThreadPool
    """One thread that may wait for the database of leases."""
    _leadership: Leadership
    presence: Presence
    """What is known of the nodes."""
    may_lead: Callable[[], bool] = lambda: True
    """Whether the first node of this cluster may do what it does for all."""

    @property
    def is_leader(self) -> bool:
        """Whether what one node does for all is up to this one."""
        return self._leadership.is_held and self.may_lead()

    @property
    def holds_lease(self) -> bool:
        """Whether this node is the first of its cluster, which may not be allowed to do anything yet."""
        return self._leadership.is_held

    def start(self) -> None:
        """Listen, and offer to do what one node does for all."""
        self._threads.start()
        self.listener.start()
        self._leadership.start()
        self.presence.start()

    async def stop(self) -> None:
        """Leave all that to the others."""
        self.listener.stop()
        await self._leadership.stop()
        await self.presence.stop()
        await self.leases.close()
        self._threads.stop()

    def facts(self) -> Mapping[str, Json]:
        """Return what ``+status`` says of the cluster: who runs, as each reported lately, and who cleans up for all."""
        missing, seconds = self.listener.lag
        presence = self.presence
        nodes: dict[str, Json] = {
            node.node_id: {
                "outside-url": node.facts.get("url"),
                "serial": node.facts.get("serial"),
                "version": node.facts.get("version"),
                "cache-bytes": node.facts.get("cache-bytes"),
                "reported-seconds-ago": round(node.age, 1),
                "leads": node.node_id == presence.leader,
            }
            for node in presence.nodes
        }
        return {
            "serial": self.listener.heard,
            "lag-entries": missing,
            "lag-seconds": round(seconds, 1),
            "is-reachable": presence.failure is None,
            "leader": presence.leader,
            "nodes": nodes,
        }

    def checks(self) -> Iterator[Check]:
        """See ``Checked``."""
        missing, seconds = self.listener.lag
        if self.presence.failure is None:
            yield Check("database", True, "The database of the cluster answers.")
        else:
            served = "What is known is served, and changes are refused"
            sentence = f"The database of the cluster does not answer. {served}; the server's log tells more."
            yield Check("database", False, sentence, needed=False)
        if seconds > _MOST_LAG:
            sentence = f"This node lacks {missing} entries that others wrote, for {seconds:.0f} s; the server's log tells why."
            yield Check("cluster", False, sentence)
        else:
            yield Check("cluster", True, "This node has what the others wrote.")

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        missing, seconds = self.listener.lag
        yield Measure("twistpi_cluster_nodes", "gauge", "Nodes that run, as far as is known", len(self.presence.nodes))
        yield Measure("twistpi_cluster_lag_entries", "gauge", "Entries of other nodes that this one lacks", missing)
        yield Measure("twistpi_cluster_lag_seconds", "gauge", "How long it has lacked some", seconds)
        reached = int(self.presence.failure is None)
        yield Measure("twistpi_cluster_database_up", "gauge", "Whether the database answered last", reached)
        yield Measure(
            "twistpi_cluster_heard", "gauge", "The newest serial in the database, as far as is known", self.listener.heard
        )
        yield Measure("twistpi_cluster_leader", "gauge", "Whether this node cleans up for all", int(self.is_leader))
