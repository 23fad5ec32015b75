"""The joint between a service and its workers: the socket they ask at, the memory they share, and when they start and stop."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from twistpi.model.changes import Change
from twistpi.server.application import Application
from twistpi.server.settings import Settings
from twistpi.web.fast.invalidation import invalidations_of
from twistpi.workers.control_channel import HURRY, REOPEN
from twistpi.workers.pool import WorkerPool
from twistpi.workers.shared_state import SharedState

_NAME: Final = "workers.sock"
_LONGEST: Final = 100
"""Bytes of a socket's path; systems take 104 to 108."""


def place_for_socket(serverdir: str) -> str:
    """The path, at which nothing is: the server directory is this process's alone, so what lies there is left over."""
    path = os.path.join(os.path.abspath(serverdir), _NAME)
    if len(os.fsencode(path)) > _LONGEST:
        path = os.path.join(tempfile.mkdtemp(prefix="twistpi-"), _NAME)
    with suppress(FileNotFoundError):
        os.unlink(path)
    return path


def clear_place(path: str) -> None:
    """Take away what ``place_for_socket`` made; the port at ``path`` is closed."""
    with suppress(OSError):
        os.unlink(path)
    folder = os.path.dirname(path)
    if os.path.basename(folder).startswith("twistpi-"):
        with suppress(OSError):  # a server directory of that name is not empty
            os.rmdir(folder)


_log = Logger()


@attrs.define(eq=False)
class Workers:
    """Has workers serve what a service serves; does nothing where none are wanted.

    Call ``listens`` for each port, ``open`` when they are there, ``serves`` with each ``Application`` that answers from now on,
    and ``close`` at the end.
    """

    _settings: Settings
    _reactor: Any
    _ports: dict[str, IListeningPort] = attrs.field(factory=dict, init=False)
    """By their endpoints."""
    _shared_state: SharedState | None = attrs.field(default=None, init=False)
    _pool: WorkerPool | None = attrs.field(default=None, init=False)
    _port: IListeningPort | None = attrs.field(default=None, init=False)
    _place: str | None = attrs.field(default=None, init=False)
    _changing: DeferredLock = attrs.field(factory=DeferredLock, init=False)
    _application: Application | None = attrs.field(default=None, init=False)
    _started_for: Application | None = attrs.field(default=None, init=False)
    """What the workers that were started last serve."""

    def listens(self, endpoint: str, port: IListeningPort) -> None:
        """``port`` was made for ``endpoint``."""
        self._ports[endpoint] = port

    def open(self, factory: IProtocolFactory) -> None:
        """Answer workers through ``factory``, which this process's own ports lead to, too."""
        if not self._settings.workers:
            return
        self._shared_state = SharedState.make()
        self._place = place_for_socket(self._settings.serverdir)
        self._port = self._reactor.listenUNIX(self._place, factory, mode=0o600, backlog=1024)
        self._pool = WorkerPool(self._settings, self._reactor, self._ports, self._place, self._shared_state)
        self.serves(self._application)

    def serves(self, application: Application | None) -> None:
        """``serving`` answers from now on; workers of a former one end, and others start.  None: they end."""
        self._application = application
        if self._pool is None or self._shared_state is None:
            return
        if application is not None:
            self._join(application, self._pool, self._shared_state)
        # When the reactor runs: twistd may fork before.
        self._reactor.callWhenRunning(self._change)

    def reopen(self) -> None:
        """Have workers open their certificates and logs again."""
        if self._pool is not None:
            self._pool.say(REOPEN)

    def hurry(self) -> None:
        """Have workers end now, whatever they are answering; after ``close``."""
        if self._pool is not None:
            self._pool.say(HURRY)

    def close(self) -> Deferred[None]:
        """Have all workers end; fires when they have."""
        return Deferred.fromCoroutine(self._close())

    def _join(self, application: Application, pool: WorkerPool, shared_state: SharedState) -> None:
        services = application.services
        services.workers_at = self._place
        pool.traffic = services.traffic
        services.measuring.append(pool.measures)
        shared_state.begin(services.standing.serial)
        application.announcements.append(self._announce)

    def _announce(self, serial: int, changes: Sequence[Change]) -> None:
        if self._shared_state is not None:  # else what is written last, when no worker is left, is announced
            self._shared_state.announce(serial, invalidations_of(changes))

    def _change(self) -> None:
        changing = self._changing.run(self._restart)
        changing.addErrback(lambda failure: _log.failure("Workers could not be started", failure=failure))

    def _restart(self) -> Deferred[None]:
        pool = self._pool
        if pool is None or self._application is self._started_for:  # the latter: what changed in the meantime was seen to already
            return succeed(None)
        wanted = pool

        def start(_: None) -> None:
            self._started_for = self._application
            if self._application is not None:
                services = self._application.services
                wanted.start(services.node, offline=services.offline)

        return pool.stop().addCallback(start)

    async def _close(self) -> None:
        self._application = None
        if self._pool is not None:
            await self._changing.run(self._pool.stop)
        self._pool = None
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        if self._place is not None:
            clear_place(self._place)
        if self._shared_state is not None:
            self._shared_state.close()
            self._shared_state = None
