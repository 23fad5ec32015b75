"""One server directory and what serves it, in the role that its ``node.json`` says.

A primary, and a replica that has been one before, opens what it keeps and serves it.  A new replica first finds out whose log
it is going to have (``first_sync``), then follows until it has all that its primary had, and only then answers anything but 503:
a page that is not here yet must not look like one that does not exist.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi import __version__
from twistpi.blobs.tree import INCOMING
from twistpi.changelog.disk import Disk
from twistpi.replication.progress import Progress
from twistpi.replication.snapshot import Bootstrap, SnapshotPaths
from twistpi.server.application import Application
from twistpi.server.directory import ServerDirectory
from twistpi.server.epochs import finish_promotion
from twistpi.server.first_sync import FirstSync
from twistpi.server.primary_connection import reach
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
    """Storage and serving, from ``open`` to ``stop``."""

    _settings: Settings
    _reactor: Any
    _environment: Mapping[str, str]
    _now: Callable[[], datetime]
    _disk: Disk
    _fail: Callable[[Exception], object]
    """Told what makes it impossible to go on."""
    _opened: Callable[[Storage], object]
    """Told when the changelog is open."""
    _restart: Callable[[], object]
    """Has the process begin anew, in the role that ``node.json`` says then."""
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
        """Open the server directory and have ``factory`` lead to what there is.  Blocking; raises what makes it impossible.

        ``access_log`` is told of every answer.  ``lock`` is a descriptor that holds the lock of the directory already.
        """
        self._access_log = access_log
        self.serverdir = serverdir = open_directory(self._settings, lock)
        if serverdir.node.is_replica and serverdir.has_no_log():
            serverdir.note(log_id="", initialised=False)  # somebody removed what was no good; it is fetched anew
        if serverdir.node.is_replica and not serverdir.node.initialised:
            self._wait(serverdir)
        else:
            self._open_storage(serverdir)
            self._answer(self._start())

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

    def _open_storage(self, serverdir: ServerDirectory) -> None:
        self._storage = Storage.over(serverdir, self._settings, self._now, self._disk)
        finish_promotion(self._storage)
        self._opened(self._storage)

    def _start(self) -> Application:
        """Build what serves, and start it."""
        assert self._storage is not None
        self._application = Application.build(
            self._settings,
            self._storage,
            self._reactor,
            self._environment,
            self._now,
            self._fail,
            self._restart,
            self._connections,
            self._access_log,
        )
        self._application.start()
        return self._application

    def _answer(self, application: Application) -> None:
        self.factory.site = application.site
        self._serves(application)

    # A new replica -------------------------------------------------------------------------------------------------

    def _wait(self, serverdir: ServerDirectory) -> None:
        node = serverdir.node
        assert node.primary_url is not None
        primary = reach(node.primary_url, node.node_id, self._settings, self._reactor, self._environment)
        layout = serverdir.layout
        place = SnapshotPaths(layout.changelog, layout.view, os.path.join(layout.path, INCOMING))
        offload = partial(deferToThreadPool, self._reactor, self._reactor.getThreadPool())
        bootstrap = Bootstrap(primary, place, self._disk, offload)
        first_sync = FirstSync(primary, serverdir, self._reactor, random.random, bootstrap)
        default_headers = DefaultHeaders(f"twistpi/{__version__}", node.node_id)
        waiting = Waiting(
            lambda: default_headers.at(self._reactor.seconds()),
            lambda: self._sentence(first_sync),
            lambda: self._facts(first_sync, default_headers),
        )
        self.factory.site = WaitingSite(waiting)
        # Not before the reactor runs: until then, what goes wrong ends the start.
        self._reactor.callWhenRunning(self._sync_soon, first_sync, serverdir)

    def _sync_soon(self, first_sync: FirstSync, serverdir: ServerDirectory) -> None:
        self._syncing = Deferred.fromCoroutine(self._sync(first_sync, serverdir))
        self._syncing.addErrback(self._not_synced)

    async def _sync(self, first_sync: FirstSync, serverdir: ServerDirectory) -> None:
        """Get to know the log, follow until all of it is here, and answer."""
        await first_sync.run()
        self._open_storage(serverdir)
        application = self._start()
        assert application.role.following is not None
        await application.role.following.complete
        serverdir.initialised()
        self._answer(application)
        _log.info("This replica has all that its primary has, and serves it.")

    def _not_synced(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            error = failure.value
            self._fail(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def _progress(self, first_sync: FirstSync) -> Progress:
        following = None if self._application is None else self._application.role.following
        return first_sync.progress if following is None else following.progress

    def _sentence(self, first_sync: FirstSync) -> str:
        if self._application is None:
            return first_sync.sentence
        progress = self._progress(first_sync)
        there = "" if progress.primary_serial is None else f" of {progress.primary_serial}"
        return f"This replica is receiving what its primary has: serial {progress.serial}{there} is here. Try again in a moment."

    def _facts(self, first_sync: FirstSync, default_headers: DefaultHeaders) -> Mapping[str, Any]:
        assert self.serverdir is not None
        node, (software, _, version) = self.serverdir.node, default_headers.software.partition("/")
        progress = self._progress(first_sync)
        told = {"uuid": node.node_id, "role": "REPLICA", "versioninfo": {software: version}, "serial": progress.serial}
        return {**told, **replica_facts(progress, node.primary_url, self._reactor.seconds())}
