"""The joint between a service and its workers: the socket they ask at, the memory they share, and when they start and stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from twistpi.serving import Serving
from twistpi.settings import Settings
from twistpi.web.touches import touches_of
from twistpi.workers.board import Board
from twistpi.workers.crew import Crew
from twistpi.workers.place import clear_place, place_for_socket

_log = Logger()


@attrs.define(eq=False)
class Staff:
    """Has workers serve what a service serves; does nothing where none are wanted.

    ``open`` when the ports are there, ``serves`` with each ``Serving`` that answers from now on, ``close`` at the end.
    """

    _settings: Settings
    _reactor: Any
    _ports: Mapping[str, IListeningPort]
    """By their endpoints; filled by the service."""
    _board: Board | None = attrs.field(default=None, init=False)
    _crew: Crew | None = attrs.field(default=None, init=False)
    _port: IListeningPort | None = attrs.field(default=None, init=False)
    _place: str | None = attrs.field(default=None, init=False)
    _changing: DeferredLock = attrs.field(factory=DeferredLock, init=False)
    _serving: Serving | None = attrs.field(default=None, init=False)

    def open(self, factory: IProtocolFactory) -> None:
        """Answer workers through ``factory``, which this process's own ports lead to, too."""
        if not self._settings.workers:
            return
        self._board = Board.make()
        self._place = place_for_socket(self._settings.serverdir)
        self._port = self._reactor.listenUNIX(self._place, factory, mode=0o600, backlog=1024)
        self._crew = Crew(self._settings, self._reactor, self._ports, self._place, self._board)
        if self._serving is not None:
            self.serves(self._serving)

    def serves(self, serving: Serving) -> None:
        """``serving`` answers from now on; workers of a former role end, and others start."""
        self._serving = serving
        if self._crew is None or self._board is None:
            return
        board, services = self._board, serving.services
        services.workers_at = self._place
        services.measuring.append(self._crew.measures)
        board.begin(services.standing.serial)
        serving.announcements.append(lambda serial, changes: board.announce(serial, touches_of(changes)))
        changing = self._changing.run(self._restart, serving)
        changing.addErrback(lambda failure: _log.failure("Workers could not be started", failure=failure))

    def close(self) -> Deferred[None]:
        """Have all workers end; fires when they have."""
        return Deferred.fromCoroutine(self._close())

    def _restart(self, serving: Serving) -> Deferred[None]:
        crew = self._crew
        assert crew is not None

        def start(_: None) -> None:
            if self._serving is serving:
                crew.start(serving.services.node, offline=serving.services.offline)

        return crew.stop().addCallback(start)

    async def _close(self) -> None:
        self._serving = None
        if self._crew is not None:
            await self._changing.run(self._crew.stop)
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        if self._place is not None:
            clear_place(self._place)
        if self._board is not None:
            self._board.close()
        self._crew = self._board = None
