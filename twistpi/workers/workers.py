"""The joint between a service and its workers: the socket they ask at, the memory they share, and when they start and stop."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort

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


@attrs.define(eq=False)
class Workers:
    """Has workers serve what a service serves; does nothing where none are wanted."""

    _settings: Settings
    _reactor: Any
    _shared_state: SharedState | None = attrs.field(default=None, init=False)
    _pool: WorkerPool | None = attrs.field(default=None, init=False)
    _port: IListeningPort | None = attrs.field(default=None, init=False)
    _place: str | None = attrs.field(default=None, init=False)

    def start(self, application: Application, ports: Mapping[str, IListeningPort]) -> None:
        """Have workers accept from ``ports``, given by their endpoints, and answer what they cannot through ``application``.

        To be called once, when the reactor runs: twistd may fork before.
        """
        if not self._settings.workers:
            return
        services = application.services
        self._shared_state = SharedState.make()
        self._shared_state.begin(services.standing.serial)
        self._place = services.workers_at = place_for_socket(self._settings.serverdir)
        self._port = self._reactor.listenUNIX(self._place, application.site, mode=0o600, backlog=1024)
        self._pool = WorkerPool(self._settings, self._reactor, ports, self._place, self._shared_state)
        self._pool.traffic = services.traffic
        services.measuring.append(self._pool.measures)
        application.announcements.append(self._announce)
        self._pool.start(services.node, offline=services.offline)

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

    def _announce(self, serial: int, changes: Sequence[Change]) -> None:
        if self._shared_state is not None:  # else what is written last, when no worker is left, is announced
            self._shared_state.announce(serial, invalidations_of(changes))

    async def _close(self) -> None:
        if self._pool is not None:
            await self._pool.stop()
        self._pool = None
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        if self._place is not None:
            clear_place(self._place)
        if self._shared_state is not None:
            self._shared_state.close()
            self._shared_state = None
