"""The open connections of the process: their limit, which idle ones are closed to make room, and how they end at a stop.

Over the limit nobody is refused: the listening ports are not read any more, and new clients wait in the system's queue. Room is
made by closing connections that are idle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, runtime_checkable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twistpi.model.monitoring import Measure

_IDLE_CHECK: Final = 2.0
"""Seconds between two searches for idle connections, while clients wait."""
_FIRST_REQUEST: Final = 1.0
"""Seconds that a connection without any request yet gets when the server stops: its first one may be on its way."""


class Connection(Protocol):
    """One connection of a client."""

    quiet: bool | None
    """True since the last check, False once something came after it, None while nothing ever came."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is arriving or being answered."""

    def finish_up(self) -> None:
        """Close after the current answer; at once when idle."""

    def cut(self) -> None:
        """End now, in the middle of whatever is being sent."""


@runtime_checkable
class Port(Protocol):
    """A listening port: one of Twisted's for TCP, TLS or unix sockets."""

    def stopReading(self) -> None:
        """Accept no connections."""

    def startReading(self) -> None:
        """Accept connections."""


@attrs.define(eq=False)
class Connections:
    """The open connections and the ports that accept them; used in the reactor's thread only."""

    _clock: IReactorTime
    limit: int = 10_000
    """The most connections at once."""
    accepted: int = attrs.field(init=False, default=0)
    """Connections so far."""
    watch: Callable[[int], object] = attrs.field(init=False, default=lambda count: None)
    """Called with the number of connections whenever that changes."""
    finishing: bool = attrs.field(init=False, default=False)
    """Whether the server stops: every answer is the last one of its connection."""
    _open: dict[Connection, None] = attrs.field(init=False, factory=dict)
    _ports: list[Port] = attrs.field(init=False, factory=list)
    _full: bool = attrs.field(init=False, default=False)
    _finished: list[Deferred[None]] = attrs.field(init=False, factory=list)
    """Fire when no connection is left."""
    _calls: list[IDelayedCall] = attrs.field(init=False, factory=list)
    """The next search for idle connections, or what is to be done about connections that don't end."""

    def __len__(self) -> int:
        return len(self._open)

    def listens(self, port: object) -> None:
        """Note that ``port`` accepts connections from now on; Twisted's interfaces don't say that its ports are ``Port``."""
        assert isinstance(port, Port)
        self._ports.append(port)
        if self._full:
            port.stopReading()

    def closed(self, port: object) -> None:
        """Note that ``port`` is closed."""
        if port in self._ports:
            self._ports.remove(port)

    def made(self, connection: Connection) -> None:
        """Note a new connection."""
        self.accepted += 1
        self._open[connection] = None
        self.watch(len(self._open))
        if len(self._open) >= self.limit and not self._full:
            self._full = True
            for port in self._ports:
                port.stopReading()
            self._calls = [self._clock.callLater(_IDLE_CHECK, self._check_idle)]

    def lost(self, connection: Connection) -> None:
        """Note that a connection ended."""
        self._open.pop(connection, None)
        self.watch(len(self._open))
        if self._full and len(self._open) < self.limit and not self.finishing:
            self._full = False
            self._cancel_calls()
            for port in self._ports:
                port.startReading()
        if not self._open:
            self._over()

    def finish(self, seconds: float) -> Deferred[None]:
        """End every connection: idle ones now, others after their current answer, all of them after ``seconds``.

        Fires when none is left. May be called again, with fewer seconds.
        """
        self.finishing = True
        self._cancel_calls()
        done: Deferred[None] = Deferred()
        self._finished.append(done)
        self._finish_up(lambda connection: connection.quiet is not None or not connection.is_idle)
        if not self._open:
            self._over()
            return done
        if seconds > _FIRST_REQUEST:
            self._calls.append(self._clock.callLater(_FIRST_REQUEST, self._finish_up, lambda connection: connection.is_idle))
        self._calls.append(self._clock.callLater(seconds, self._cut_all))
        return done

    def measures(self) -> list[Measure]:
        """See ``Measured``."""
        return [
            Measure("twistpi_connections", "gauge", "Open connections of clients", len(self._open)),
            Measure("twistpi_connections_limit", "gauge", "How many there may be", self.limit),
            Measure("twistpi_connections_accepted", "counter", "Connections of clients so far", self.accepted),
            Measure("twistpi_connections_full", "gauge", "1 while further clients have to wait", self._full),
        ]

    def _over(self) -> None:
        finished, self._finished = self._finished, []
        if finished:
            self._cancel_calls()
        for done in finished:
            done.callback(None)

    def _cancel_calls(self) -> None:
        for call in self._calls:
            if call.active():
                call.cancel()
        self._calls = []

    def _finish_up(self, concerns: Callable[[Connection], bool]) -> None:
        for connection in list(self._open):
            if concerns(connection):
                connection.finish_up()

    def _cut_all(self) -> None:
        for connection in list(self._open):
            connection.cut()

    def _check_idle(self) -> None:
        """Close up to a tenth of the limit: connections, oldest first, on which nothing came since the last check."""
        self._calls = [self._clock.callLater(_IDLE_CHECK, self._check_idle)]
        room = max(1, self.limit // 10)
        for connection in list(self._open):
            if room and connection.is_idle and connection.quiet:
                room -= 1
                connection.finish_up()
            else:
                connection.quiet = True
