"""One server directory and what serves it, in the role that its ``node.json`` says.

A primary, and a replica that has been one before, opens what it keeps and serves it.  A new replica first finds out whose log
it is going to have (``replica``), then follows until it has all that its primary had, and only then answers anything but 503:
a page that is not here yet must not look like one that does not exist.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from twistpi import __version__
from twistpi.blobs.tree import INCOMING
from twistpi.changelog.disk import Disk
from twistpi.model.records import Json
from twistpi.replication.progress import Progress
from twistpi.replication.snapshot import Bootstrap, SnapshotPaths
from twistpi.server.application import Application
from twistpi.server.directory import ServerDirectory
from twistpi.server.epochs import finish_promotion
from twistpi.server.process import Process
from twistpi.server.replica import FirstSync, reach
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage, open_directory
from twistpi.web.access_log import AccessLog
from twistpi.web.front import SiteHolder, Waiting, WaitingSite
from twistpi.web.handlers.status import replica_facts
from twistpi.web.replies import DefaultHeaders
from twistpi.web.transport.connections import Connections

_log = Logger()


@attrs.define(eq=False)
class Server:
    """Storage and application, from ``open`` to ``stop``."""

    _settings: Settings
    _process: Process
    _disk: Disk
    _opened: Callable[[Storage], object]
    """Told when the changelog is open."""
    _serves: Callable[[Application], object]
    """Told what answers, once it does."""
    _connections: Connections
    factory: SiteHolder = attrs.field(factory=SiteHolder, init=False)
    """Of the listening ports."""
    serverdir: ServerDirectory | None = attrs.field(default=None, init=False)
    """Once it is open."""
    _access_log: AccessLog | None = attrs.field(default=None, init=False)
    _storage: Storage | None = attrs.field(default=None, init=False)
    _application: Application | None = attrs.field(default=None, init=False)
    _syncing: Deferred[None] | None = attrs.field(default=None, init=False)

    def open(self, access_log: AccessLog | None = None, lock: int | None = None) -> None:
        """Open the server directory and have ``factory`` lead to what there is.  Blocking; raise what makes it impossible.

        ``access_log`` is told of every answer.  ``lock`` is a descriptor that holds the lock of the directory already.
        """
        self._access_log = access_log
        self.serverdir = serverdir = open_directory(self._settings, lock)
        if serverdir.node.is_replica and serverdir.has_no_log():
            serverdir.note(log_id="", initialised=False)  # somebody removed what was no good; it is fetched anew
        if serverdir.node.is_replica and not serverdir.node.initialised:
            self._wait(serverdir)
        else:
            self._answer(self._start(serverdir))

    async def stop(self) -> None:
        """Stop everything and close what is kept; nobody connects any more."""
        if self._syncing is not None:
            self._syncing.cancel()
        if self._application is not None:
            await self._application.stop()
        if self._storage is not None:
            self._storage.close()
        elif self.serverdir is not None:
            self.serverdir.close()

    def _start(self, serverdir: ServerDirectory) -> Application:
        """Open what is kept, build what serves it, and start that."""
        self._storage = Storage.over(serverdir, self._settings, self._process.now, self._disk)
        finish_promotion(self._storage)
        self._opened(self._storage)
        self._application = Application(self._settings, self._storage, self._process, self._connections, self._access_log)
        self._application.start()
        return self._application

    def _answer(self, application: Application) -> None:
        self.factory.site = application.site
        self._serves(application)

    # A new replica -------------------------------------------------------------------------------------------------

    def _wait(self, serverdir: ServerDirectory) -> None:
        """Answer with 503 until the log of the primary is here."""
        node, layout, reactor = serverdir.node, serverdir.layout, self._process.reactor
        assert node.primary_url is not None
        primary = reach(node.primary_url, node.node_id, self._settings, self._process)
        place = SnapshotPaths(layout.changelog, layout.view, os.path.join(layout.path, INCOMING))
        bootstrap = Bootstrap(primary, place, self._disk, self._process.offload)
        first_sync = FirstSync(primary, serverdir, reactor, random.random, bootstrap)
        default_headers = DefaultHeaders(f"twistpi/{__version__}", node.node_id)
        waiting = Waiting(
            lambda: default_headers.at(reactor.seconds()),
            lambda: self._sentence(first_sync),
            lambda: self._facts(first_sync, serverdir),
        )
        self.factory.site = WaitingSite(waiting)

        def sync() -> None:
            self._syncing = Deferred.fromCoroutine(self._sync(first_sync, serverdir))

        # Not before the reactor runs: until then, what goes wrong ends the start.
        reactor.callWhenRunning(sync)

    async def _sync(self, first_sync: FirstSync, serverdir: ServerDirectory) -> None:
        """Get to know the log, follow until all of it is here, and answer."""
        try:
            await first_sync.run()
            application = self._start(serverdir)
            assert application.role.following is not None
            await application.role.following.complete
            serverdir.initialised()
            self._answer(application)
        except CancelledError:  # the server stops
            return
        except Exception as error:
            self._process.fail(error)
            return
        _log.info("This replica has all that its primary has, and serves it.")

    def _progress(self, first_sync: FirstSync) -> Progress:
        following = None if self._application is None else self._application.role.following
        return first_sync.progress if following is None else following.progress

    def _sentence(self, first_sync: FirstSync) -> str:
        if self._application is None:
            return first_sync.sentence
        progress = self._progress(first_sync)
        there = "" if progress.primary_serial is None else f" of {progress.primary_serial}"
        return f"This replica is receiving what its primary has: serial {progress.serial}{there} is here. Try again in a moment."

    def _facts(self, first_sync: FirstSync, serverdir: ServerDirectory) -> Mapping[str, Json]:
        """Return the status."""
        node, progress = serverdir.node, self._progress(first_sync)
        versions: dict[str, Json] = {"twistpi": __version__}
        told = {"uuid": serverdir.node.node_id, "role": "REPLICA", "versioninfo": versions, "serial": progress.serial}
        return {**told, **replica_facts(progress, node.primary_url, self._process.reactor.seconds())}
