"""One server directory and what serves it, in the role that its ``node.json`` says.

A primary, and a replica that has been one before, opens what it keeps and serves it, once its view has all that its log has
(``rebuild``).  A new replica first finds out whose log it is going to have (``replica``), then follows until it has all that its
primary had.  Until then, everything is answered with 503: a page that is not here yet must not look like one that does not exist.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Coroutine, Mapping

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
from twistpi.server.epochs import begin_after_restore, finish_promotion
from twistpi.server.optional_bucket import find_bucket
from twistpi.server.process import Process
from twistpi.server.rebuild import PATIENCE, Rebuild
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
    """Called with the storage when the changelog is open."""
    _serves: Callable[[Application], object]
    """Called with the application once it answers."""
    _connections: Connections
    _folded: Callable[[int, int], object] = attrs.field(default=lambda _serial, _last: None, kw_only=True)
    """Called, perhaps in a thread, with how far the view is brought up to date: its serial, and the last one of the log."""
    _patience: float = attrs.field(default=PATIENCE, kw_only=True)
    """Seconds for which ``open`` brings the view up to date."""
    factory: SiteHolder = attrs.field(factory=SiteHolder, init=False)
    """Of the listening ports."""
    serverdir: ServerDirectory | None = attrs.field(default=None, init=False)
    """Once it is open."""
    _access_log: AccessLog | None = attrs.field(default=None, init=False)
    _storage: Storage | None = attrs.field(default=None, init=False)
    _application: Application | None = attrs.field(default=None, init=False)
    _rebuild: Rebuild | None = attrs.field(default=None, init=False)
    """While the view is brought up to date."""
    _preparing: Deferred[None] | None = attrs.field(default=None, init=False)
    """Fires when this answers, where that takes until after the start."""

    def open(self, access_log: AccessLog | None = None, lock: int | None = None) -> None:
        """Open the server directory and have ``factory`` lead to what there is.  Blocking; raise what makes it impossible.

        ``access_log`` gets a line for every answer.  ``lock`` is a descriptor that holds the lock of the directory already.
        """
        self._access_log = access_log
        self.serverdir = serverdir = open_directory(self._settings, lock)
        if serverdir.node.is_replica and serverdir.has_no_log():
            serverdir.note(log_id="", initialised=False)  # somebody removed what was no good; it is fetched anew
        if serverdir.node.is_replica and not serverdir.node.initialised:
            self._follow_first(serverdir)
        else:
            self._open_storage(serverdir)

    @property
    def is_rebuilding(self) -> bool:
        """Whether nothing is served yet because the view is brought up to date."""
        return self._rebuild is not None

    async def stop(self) -> None:
        """Stop everything and close what is kept; nobody connects any more."""
        if self._rebuild is not None:
            await self._rebuild.stop()
        if self._preparing is not None:
            self._preparing.cancel()
        if self._application is not None:
            await self._application.stop()
        if self._storage is not None:
            self._storage.close()
        elif self.serverdir is not None:
            self.serverdir.close()

    def _open_storage(self, serverdir: ServerDirectory) -> None:
        """Open what is kept and answer; later where the view lacks more than can be folded at once."""
        rebuild = self._begin_rebuild(serverdir)
        try:
            is_complete = rebuild.begin(self._patience)
        except BaseException:
            serverdir.close()
            raise
        if is_complete:
            self._answer(self._start())
        else:
            self._wait(lambda: rebuild.sentence, rebuild.facts, lambda: rebuild.retry_after)
            self._prepare(self._finish_rebuild)

    def _begin_rebuild(self, serverdir: ServerDirectory) -> Rebuild:
        self._storage = Storage.over(serverdir, self._settings, self._process.now, self._disk)
        process, tree, log_id = self._process, self._storage.tree, serverdir.node.log_id
        self._storage.use_bucket(find_bucket(self._settings, tree, log_id, process.reactor, process.environment, process.fail))
        self._rebuild = Rebuild(self._storage, self._folded)
        return self._rebuild

    async def _finish_rebuild(self) -> None:
        assert self._rebuild is not None
        await self._rebuild.finish(self._process.offload)
        self._answer(self._start())

    def _start(self) -> Application:
        """Build what serves the storage, whose view is up to date, and start that."""
        assert self._storage is not None
        self._rebuild = None
        self._storage.apply_settings(self._settings, self._process.now)
        finish_promotion(self._storage)
        begin_after_restore(self._storage, self._process.now)
        self._opened(self._storage)
        self._application = Application(self._settings, self._storage, self._process, self._connections, self._access_log)
        self._application.start()
        return self._application

    def _answer(self, application: Application) -> None:
        self.factory.site = application.site
        self._serves(application)

    # While nothing can be served ------------------------------------------------------------------------------------

    def _wait(
        self, sentence: Callable[[], str], facts: Callable[[], Mapping[str, Json]], retry_after: Callable[[], int | None]
    ) -> None:
        """Answer with 503 and ``sentence()``, and with the status ``facts()``."""
        assert self.serverdir is not None
        node, clock = self.serverdir.node, self._process.reactor
        default_headers = DefaultHeaders(f"twistpi/{__version__}", node.node_id)
        versions: dict[str, Json] = {"twistpi": __version__}
        role = "REPLICA" if node.is_replica else "MASTER"
        common = {"uuid": node.node_id, "role": role, "versioninfo": versions}
        waiting = Waiting(lambda: default_headers.at(clock.seconds()), sentence, lambda: {**common, **facts()}, retry_after)
        self.factory.site = WaitingSite(waiting)

    def _prepare(self, prepare: Callable[[], Coroutine[Deferred[object], object, None]]) -> None:
        """Run ``prepare``, which ends with an answering server, once the reactor runs: what goes wrong before ends the start."""

        def begin() -> None:
            self._preparing = Deferred.fromCoroutine(self._run(prepare()))

        self._process.reactor.callWhenRunning(begin)

    async def _run(self, preparing: Coroutine[Deferred[object], object, None]) -> None:
        try:
            await preparing
        except CancelledError:  # the server stops
            return
        except Exception as error:
            self._process.fail(error)

    def _follow_first(self, serverdir: ServerDirectory) -> None:
        """Get the log of the primary before anything is answered."""
        node, layout = serverdir.node, serverdir.layout
        assert node.primary_url is not None
        primary = reach(node.primary_url, node.node_id, self._settings, self._process)
        place = SnapshotPaths(layout.changelog, layout.view, os.path.join(layout.path, INCOMING))
        bootstrap = Bootstrap(primary, place, self._disk, self._process.offload)
        first_sync = FirstSync(primary, serverdir, self._process.reactor, random.random, bootstrap)
        self._wait(lambda: self._sentence(first_sync), lambda: self._facts(first_sync, serverdir), lambda: None)
        self._prepare(lambda: self._sync(first_sync, serverdir))

    async def _sync(self, first_sync: FirstSync, serverdir: ServerDirectory) -> None:
        """Get to know the log, follow until all of it is here, and answer."""
        await first_sync.run()
        await self._begin_rebuild(serverdir).finish(self._process.offload)
        application = self._start()
        assert application.role.following is not None
        await application.role.following.complete
        serverdir.initialised()
        self._answer(application)
        _log.info("This replica has all that its primary has, and serves it.")

    def _progress(self, first_sync: FirstSync) -> Progress:
        following = None if self._application is None else self._application.role.following
        return first_sync.progress if following is None else following.progress

    def _sentence(self, first_sync: FirstSync) -> str:
        if self._rebuild is not None:
            return self._rebuild.sentence
        if self._application is None:
            return first_sync.sentence
        progress = self._progress(first_sync)
        there = "" if progress.primary_serial is None else f" of {progress.primary_serial}"
        return f"This replica is receiving what its primary has: serial {progress.serial}{there} is here. Try again in a moment."

    def _facts(self, first_sync: FirstSync, serverdir: ServerDirectory) -> Mapping[str, Json]:
        """Return the status."""
        progress = self._progress(first_sync)
        facts = replica_facts(progress, serverdir.node.primary_url, self._process.reactor.seconds())
        return {"serial": progress.serial, **facts}
