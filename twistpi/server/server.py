"""One server directory and what serves it, in whichever role; what the ports lead to.

A primary, and a replica that has been one before, opens what it keeps and serves it.  A new replica first finds out whose log
it is going to have (``arriving``), then follows until it has all that its primary had, and only then answers anything but 503:
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
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi import __version__
from twistpi.blobs.tree import INCOMING
from twistpi.changelog.disk import IDisk
from twistpi.replication.progress import Progress
from twistpi.replication.snapshot import Bootstrap, Place
from twistpi.server.application import Application
from twistpi.server.directory import ServerDirectory
from twistpi.server.epochs import finish_promotion
from twistpi.server.first_sync import FirstSync
from twistpi.server.primary_connection import reach
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage, open_directory
from twistpi.web.doorway import Doorway
from twistpi.web.handlers.status import replica_facts
from twistpi.web.lasting import ProcessState
from twistpi.web.replies import Standing
from twistpi.web.waiting import Waiting, WaitingSite

_GRACE = 30.0
"""Seconds for which requests that were being answered in the former role may still read."""
_log = Logger()


@attrs.define(eq=False)
class Server:
    """Storage and serving, from ``open`` to ``stop``."""

    _settings: Settings
    _reactor: Any
    _environment: Mapping[str, str]
    _now: Callable[[], datetime]
    _disk: IDisk
    _fail: Callable[[Exception], object]
    """Told what makes it impossible to go on."""
    _opened: Callable[[Storage], object]
    """Told when the changelog is open."""
    _process_state: ProcessState
    """What outlasts every role."""
    doorway: Doorway = attrs.field(factory=Doorway, init=False)
    """The factory of the listening ports."""
    served: Callable[[Application | None], object] = attrs.field(default=lambda application: None, init=False)
    """Told what answers from now on; None before that ends."""
    _serverdir: ServerDirectory | None = attrs.field(default=None, init=False)
    _storage: Storage | None = attrs.field(default=None, init=False)
    _application: Application | None = attrs.field(default=None, init=False)
    _arriving: Deferred[None] | None = attrs.field(default=None, init=False)
    _changing: DeferredLock = attrs.field(factory=DeferredLock, init=False)
    _former: list[tuple[Application, Any]] = attrs.field(factory=list, init=False)
    """What served in former roles and may still be read from, each with the call that ends it."""

    def open(self) -> None:
        """Open the server directory and have ``doorway`` lead to what there is.  Blocking; raises what makes it impossible."""
        self._serverdir = serverdir = open_directory(self._settings)
        if serverdir.node.is_replica and serverdir.has_no_log():
            serverdir.note(log_id="", initialised=False)  # somebody removed what was no good; it is fetched anew
        if serverdir.node.is_replica and not serverdir.node.initialised:
            self._wait(serverdir)
        else:
            self._open_over(serverdir)
            self._lead_to(self._serve())

    async def stop(self) -> None:
        """Stop everything and close what is kept; the ports are closed already."""
        if self._arriving is not None:
            self._arriving.cancel()
        await self._changing.acquire()
        for former, timer in self._former:
            timer.cancel()
            await former.let_go()
        if self._application is not None:
            await self._application.stop()
        if self._storage is not None:
            self._storage.close()
        elif self._serverdir is not None:
            self._serverdir.close()

    def become(self, work: Callable[[Storage], object] | None = None, **changed: Any) -> Deferred[None]:
        """Note ``changed`` fields in ``node.json`` and play the role that it says then; fires when that is so.

        ``work`` is done before that, while nothing else writes.
        The ports stay open, and reading goes on: only commits are refused for a moment (``WriterStopped``), and fetches that are
        under way end.  A failure in between ends the process, whose next start plays the role that ``node.json`` says.
        """
        return self._changing.run(lambda: Deferred.fromCoroutine(self._become(work, changed)))

    async def _become(self, work: Callable[[Storage], object] | None, changed: Mapping[str, Any]) -> None:
        former, storage = self._application, self._storage
        assert former is not None, "a server that has nothing plays no other role"
        assert storage is not None
        self.served(None)
        role = storage.serverdir.node.role
        try:
            await former.rest()
            if work is not None:
                work(storage)
            storage.serverdir.note(**changed)
            self._lead_to(self._serve())
        except Exception as error:
            self._fail(error)
            raise
        if storage.serverdir.node.role != role:
            _log.info("This server is a {role} from now on.", role=storage.serverdir.node.role)
        self._former.append((former, self._reactor.callLater(_GRACE, self._let_go_of, former)))

    def _let_go_of(self, former: Application) -> None:
        self._former = [pair for pair in self._former if pair[0] is not former]
        done = Deferred.fromCoroutine(former.let_go())
        done.addErrback(lambda failure: _log.failure("A former role could not be ended", failure=failure))

    def _open_over(self, serverdir: ServerDirectory) -> None:
        self._storage = Storage.over(serverdir, self._settings, self._now, self._disk)
        finish_promotion(self._storage)
        self._opened(self._storage)

    def _serve(self) -> Application:
        """Build what serves in the present role, and start it."""
        assert self._storage is not None
        self._application = Application.build(
            self._settings,
            self._storage,
            self._reactor,
            self._environment,
            self._now,
            self._fail,
            self.become,
            self._process_state,
        )
        self._application.start()
        return self._application

    def _lead_to(self, application: Application) -> None:
        self.doorway.lead_to(application.site)
        self.served(application)

    # A new replica -------------------------------------------------------------------------------------------------

    def _wait(self, serverdir: ServerDirectory) -> None:
        node = serverdir.node
        assert node.primary_url is not None
        primary = reach(node.primary_url, node.node_id, self._settings, self._reactor, self._environment)
        layout = serverdir.layout
        place = Place(layout.changelog, layout.view, os.path.join(layout.path, INCOMING))
        offload = partial(deferToThreadPool, self._reactor, self._reactor.getThreadPool())
        bootstrap = Bootstrap(primary, place, self._disk, self._reactor, offload)
        first_sync = FirstSync(primary, serverdir, self._reactor, random.random, bootstrap)
        standing = Standing(f"twistpi/{__version__}", node.node_id)
        waiting = Waiting(
            lambda: standing.at(self._reactor.seconds()),
            lambda: self._sentence(first_sync),
            lambda: self._facts(first_sync, standing),
        )
        self.doorway.lead_to(WaitingSite(waiting))
        # Not before the reactor runs: until then, what goes wrong ends the start.
        self._reactor.callWhenRunning(self._arrive_soon, first_sync, serverdir)

    def _arrive_soon(self, first_sync: FirstSync, serverdir: ServerDirectory) -> None:
        self._arriving = Deferred.fromCoroutine(self._arrive(first_sync, serverdir))
        self._arriving.addErrback(self._did_not_arrive)

    async def _arrive(self, first_sync: FirstSync, serverdir: ServerDirectory) -> None:
        """Get to know the log, follow until all of it is here, and open the door."""
        await first_sync.run()
        self._open_over(serverdir)
        application = self._serve()
        assert application.parts.following is not None
        await application.parts.following.complete
        serverdir.initialised()
        self._lead_to(application)
        _log.info("This replica has all that its primary has, and serves it.")

    def _did_not_arrive(self, failure: Failure) -> None:
        if not failure.check(CancelledError):  # type: ignore[no-untyped-call]
            error = failure.value
            self._fail(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def _progress(self, first_sync: FirstSync) -> Progress:
        following = None if self._application is None else self._application.parts.following
        return first_sync.progress if following is None else following.progress

    def _sentence(self, first_sync: FirstSync) -> str:
        if self._application is None:
            return first_sync.sentence
        progress = self._progress(first_sync)
        there = "" if progress.primary_serial is None else f" of {progress.primary_serial}"
        return f"This replica is receiving what its primary has: serial {progress.serial}{there} is here. Try again in a moment."

    def _facts(self, first_sync: FirstSync, standing: Standing) -> Mapping[str, Any]:
        assert self._serverdir is not None
        node, (software, _, version) = self._serverdir.node, standing.software.partition("/")
        progress = self._progress(first_sync)
        told = {"uuid": node.node_id, "role": "REPLICA", "versioninfo": {software: version}, "serial": progress.serial}
        return {**told, **replica_facts(progress, node.primary_url, self._reactor.seconds())}
