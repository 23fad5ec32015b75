"""The joint between a service and its workers: the socket they ask at, the memory they share, and when they start and stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from twistpi.model.changes import Change
from twistpi.settings import Settings
from twistpi.web.touches import touches_of
from twistpi.wiring.serving import Serving
from twistpi.workers.board import Board
from twistpi.workers.crew import Crew
from twistpi.workers.orders import HURRY, REOPEN
from twistpi.workers.place import clear_place, place_for_socket

_log = Logger()


@attrs.define(eq=False)
class Staff:
    """Has workers serve what a service serves; does nothing where none are wanted.

    ``listens`` for each port, ``open`` when they are there, ``serves`` with each ``Serving`` that answers from now on, ``close``
    at the end.
    """

    _settings: Settings
    _reactor: Any
    _ports: dict[str, IListeningPort] = attrs.field(factory=dict, init=False)
    """By their endpoints."""
    _board: Board | None = attrs.field(default=None, init=False)
    _crew: Crew | None = attrs.field(default=None, init=False)
    _port: IListeningPort | None = attrs.field(default=None, init=False)
    _place: str | None = attrs.field(default=None, init=False)
    _changing: DeferredLock = attrs.field(factory=DeferredLock, init=False)
    _serving: Serving | None = attrs.field(default=None, init=False)
    _started_for: Serving | None = attrs.field(default=None, init=False)
    """What the workers that were started last serve."""

    def listens(self, endpoint: str, port: IListeningPort) -> None:
        """``port`` was made for ``endpoint``."""
        self._ports[endpoint] = port

    def open(self, factory: IProtocolFactory) -> None:
        """Answer workers through ``factory``, which this process's own ports lead to, too."""
        if not self._settings.workers:
            return
        self._board = Board.make()
        self._place = place_for_socket(self._settings.serverdir)
        self._port = self._reactor.listenUNIX(self._place, factory, mode=0o600, backlog=1024)
        self._crew = Crew(self._settings, self._reactor, self._ports, self._place, self._board)
        self.serves(self._serving)

    def serves(self, serving: Serving | None) -> None:
        """``serving`` answers from now on; workers of a former one end, and others start.  None: they end."""
        self._serving = serving
        if self._crew is None or self._board is None:
            return
        if serving is not None:
            self._join(serving, self._crew, self._board)
        # When the reactor runs: twistd may fork before.
        self._reactor.callWhenRunning(self._change)

    def reopen(self) -> None:
        """Have workers open their certificates and logs again."""
        if self._crew is not None:
            self._crew.say(REOPEN)

    def hurry(self) -> None:
        """Have workers end now, whatever they are answering; after ``close``."""
        if self._crew is not None:
            self._crew.say(HURRY)

    def close(self) -> Deferred[None]:
        """Have all workers end; fires when they have."""
        return Deferred.fromCoroutine(self._close())

    def _join(self, serving: Serving, crew: Crew, board: Board) -> None:
        services = serving.services
        services.workers_at = self._place
        crew.traffic = services.traffic
        services.measuring.append(crew.measures)
        board.begin(services.standing.serial)
        serving.announcements.append(self._announce)

    def _announce(self, serial: int, changes: Sequence[Change]) -> None:
        if self._board is not None:  # else what is written last, when no worker is left, is announced
            self._board.announce(serial, touches_of(changes))

    def _change(self) -> None:
        changing = self._changing.run(self._restart)
        changing.addErrback(lambda failure: _log.failure("Workers could not be started", failure=failure))

    def _restart(self) -> Deferred[None]:
        crew = self._crew
        if crew is None or self._serving is self._started_for:  # the latter: what changed in the meantime was seen to already
            return succeed(None)
        wanted = crew

        def start(_: None) -> None:
            self._started_for = self._serving
            if self._serving is not None:
                services = self._serving.services
                wanted.start(services.node, offline=services.offline)

        return crew.stop().addCallback(start)

    async def _close(self) -> None:
        self._serving = None
        if self._crew is not None:
            await self._changing.run(self._crew.stop)
        self._crew = None
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        if self._place is not None:
            clear_place(self._place)
        if self._board is not None:
            self._board.close()
            self._board = None
