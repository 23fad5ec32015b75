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
from twistpi.serverdir.directory import Serverdir
from twistpi.serverdir.keeping import Keeping, open_serverdir
from twistpi.settings import Settings
from twistpi.web.doorway import Doorway
from twistpi.web.lasting import Lasting
from twistpi.web.operating.status import replica_facts
from twistpi.web.replies import Standing
from twistpi.web.waiting import Waiting, WaitingSite
from twistpi.wiring.arriving import Arrival
from twistpi.wiring.epochs import finish_promotion
from twistpi.wiring.reaching import reach
from twistpi.wiring.serving import Serving

_GRACE = 30.0
"""Seconds for which requests that were being answered in the former role may still read."""
_log = Logger()


@attrs.define(eq=False)
class House:
    """Keeping and serving, from ``open`` to ``stop``."""

    _settings: Settings
    _reactor: Any
    _environment: Mapping[str, str]
    _now: Callable[[], datetime]
    _disk: IDisk
    _fail: Callable[[Exception], object]
    """Told what makes it impossible to go on."""
    _opened: Callable[[Keeping], object]
    """Told when the changelog is open."""
    _lasting: Lasting
    """What outlasts every role."""
    doorway: Doorway = attrs.field(factory=Doorway, init=False)
    """The factory of the listening ports."""
    served: Callable[[Serving | None], object] = attrs.field(default=lambda serving: None, init=False)
    """Told what answers from now on; None before that ends."""
    _serverdir: Serverdir | None = attrs.field(default=None, init=False)
    _keeping: Keeping | None = attrs.field(default=None, init=False)
    _serving: Serving | None = attrs.field(default=None, init=False)
    _arriving: Deferred[None] | None = attrs.field(default=None, init=False)
    _changing: DeferredLock = attrs.field(factory=DeferredLock, init=False)
    _former: list[tuple[Serving, Any]] = attrs.field(factory=list, init=False)
    """What served in former roles and may still be read from, each with the call that ends it."""

    def open(self) -> None:
        """Open the server directory and have ``doorway`` lead to what there is.  Blocking; raises what makes it impossible."""
        self._serverdir = serverdir = open_serverdir(self._settings)
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
        if self._serving is not None:
            await self._serving.stop()
        if self._keeping is not None:
            self._keeping.close()
        elif self._serverdir is not None:
            self._serverdir.close()

    def become(self, work: Callable[[Keeping], object] | None = None, **changed: Any) -> Deferred[None]:
        """Note ``changed`` fields in ``node.json`` and play the role that it says then; fires when that is so.

        ``work`` is done before that, while nothing else writes.
        The ports stay open, and reading goes on: only commits are refused for a moment (``WriterStopped``), and fetches that are
        under way end.  A failure in between ends the process, whose next start plays the role that ``node.json`` says.
        """
        return self._changing.run(lambda: Deferred.fromCoroutine(self._become(work, changed)))

    async def _become(self, work: Callable[[Keeping], object] | None, changed: Mapping[str, Any]) -> None:
        former, keeping = self._serving, self._keeping
        assert former is not None, "a server that has nothing plays no other role"
        assert keeping is not None
        self.served(None)
        role = keeping.serverdir.node.role
        try:
            await former.rest()
            if work is not None:
                work(keeping)
            keeping.serverdir.note(**changed)
            self._lead_to(self._serve())
        except Exception as error:
            self._fail(error)
            raise
        if keeping.serverdir.node.role != role:
            _log.info("This server is a {role} from now on.", role=keeping.serverdir.node.role)
        self._former.append((former, self._reactor.callLater(_GRACE, self._let_go_of, former)))

    def _let_go_of(self, former: Serving) -> None:
        self._former = [pair for pair in self._former if pair[0] is not former]
        done = Deferred.fromCoroutine(former.let_go())
        done.addErrback(lambda failure: _log.failure("A former role could not be ended", failure=failure))

    def _open_over(self, serverdir: Serverdir) -> None:
        self._keeping = Keeping.over(serverdir, self._settings, self._now, self._disk)
        finish_promotion(self._keeping)
        self._opened(self._keeping)

    def _serve(self) -> Serving:
        """Build what serves in the present role, and start it."""
        assert self._keeping is not None
        self._serving = Serving.build(
            self._settings, self._keeping, self._reactor, self._environment, self._now, self._fail, self.become, self._lasting
        )
        self._serving.start()
        return self._serving

    def _lead_to(self, serving: Serving) -> None:
        self.doorway.lead_to(serving.site)
        self.served(serving)

    # A new replica -------------------------------------------------------------------------------------------------

    def _wait(self, serverdir: Serverdir) -> None:
        node = serverdir.node
        assert node.primary_url is not None
        primary = reach(node.primary_url, node.node_id, self._settings, self._reactor, self._environment)
        layout = serverdir.layout
        place = Place(layout.changelog, layout.view, os.path.join(layout.path, INCOMING))
        offload = partial(deferToThreadPool, self._reactor, self._reactor.getThreadPool())
        bootstrap = Bootstrap(primary, place, self._disk, self._reactor, offload)
        arrival = Arrival(primary, serverdir, self._reactor, random.random, bootstrap)
        standing = Standing(f"twistpi/{__version__}", node.node_id)
        waiting = Waiting(
            lambda: standing.at(self._reactor.seconds()), lambda: self._sentence(arrival), lambda: self._facts(arrival, standing)
        )
        self.doorway.lead_to(WaitingSite(waiting))
        # Not before the reactor runs: until then, what goes wrong ends the start.
        self._reactor.callWhenRunning(self._arrive_soon, arrival, serverdir)

    def _arrive_soon(self, arrival: Arrival, serverdir: Serverdir) -> None:
        self._arriving = Deferred.fromCoroutine(self._arrive(arrival, serverdir))
        self._arriving.addErrback(self._did_not_arrive)

    async def _arrive(self, arrival: Arrival, serverdir: Serverdir) -> None:
        """Get to know the log, follow until all of it is here, and open the door."""
        await arrival.run()
        self._open_over(serverdir)
        serving = self._serve()
        assert serving.parts.following is not None
        await serving.parts.following.complete
        serverdir.initialised()
        self._lead_to(serving)
        _log.info("This replica has all that its primary has, and serves it.")

    def _did_not_arrive(self, failure: Failure) -> None:
        if not failure.check(CancelledError):  # type: ignore[no-untyped-call]
            error = failure.value
            self._fail(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def _progress(self, arrival: Arrival) -> Progress:
        following = None if self._serving is None else self._serving.parts.following
        return arrival.progress if following is None else following.progress

    def _sentence(self, arrival: Arrival) -> str:
        if self._serving is None:
            return arrival.sentence
        progress = self._progress(arrival)
        there = "" if progress.primary_serial is None else f" of {progress.primary_serial}"
        return f"This replica is receiving what its primary has: serial {progress.serial}{there} is here. Try again in a moment."

    def _facts(self, arrival: Arrival, standing: Standing) -> Mapping[str, Any]:
        assert self._serverdir is not None
        node, (software, _, version) = self._serverdir.node, standing.software.partition("/")
        progress = self._progress(arrival)
        told = {"uuid": node.node_id, "role": "REPLICA", "versioninfo": {software: version}, "serial": progress.serial}
        return {**told, **replica_facts(progress, node.primary_url, self._reactor.seconds())}
