"""The workers, as the first process sees them: started, watched, started again when they die, and ended with it.

While workers serve, the first process leaves the listening sockets to them.  While none does - before the first is ready, and
when all have died - it serves at these sockets itself, so that nobody waits.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import orjson
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi.model.monitoring import Measure
from twistpi.server.inherited_sockets import Listening
from twistpi.server.settings import Settings
from twistpi.web.traffic import Traffic
from twistpi.workers.control_channel import ACCESS, READY, STOP, TRAFFIC, ControlChannel, sealed
from twistpi.workers.log_relay import log_again
from twistpi.workers.shared_state import SharedState, Slot

_FIRST_PAUSE: Final = 0.1
"""Seconds before a worker that died is started again; they double each time it dies young."""
_LONGEST_PAUSE: Final = 30.0
_YOUNG: Final = 60.0
"""Seconds after which a worker's death is a matter of its own."""
_PATIENCE: Final = 5.0
"""Seconds beyond the setting stop-timeout after which a worker that was told to stop is killed."""
_BOARD: Final = 3
"""The number of the board's descriptor in a worker; the sockets follow."""
_OF_THE_FIRST: Final = frozenset({"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"})
"""Variables with which a service manager speaks to this process alone."""
_LONGEST_LINE: Final = 1024 * 1024

log = Logger()


@attrs.define(eq=False)
class WorkerPool:
    """All workers of a server."""

    _settings: Settings
    _reactor: Any
    _ports: Mapping[str, IListeningPort]
    """By the endpoints they were made for."""
    _first_process: str
    """The path of the socket at which this process answers its workers."""
    shared_state: SharedState
    traffic: Traffic = attrs.field(factory=Traffic, init=False)
    """Of the whole server: what workers answered counts there, too."""
    _stations: list[_Station] = attrs.field(factory=list, init=False)
    _ending: list[_Station] = attrs.field(factory=list, init=False)
    _node: Any = attrs.field(default=None, init=False)
    _offline: bool = attrs.field(default=False, init=False)
    _accepting: bool = attrs.field(default=True, init=False)
    """Whether this process serves at the sockets itself."""
    _stopped: bool = attrs.field(default=False, init=False)

    def start(self, node: Any, *, offline: bool) -> None:
        """Start the workers of a server that is ``node`` (``web.services.NodeFacts``); ``offline`` as its own pages are."""
        self._node, self._offline = node, offline
        self._stations = [_Station(self, number) for number in range(1, self._settings.workers + 1)]
        for station in self._stations:
            station.begin()

    def stop(self) -> Deferred[None]:
        """Have all end; fires when none is left.  This process leaves the sockets alone from now on."""
        self._ending, self._stations, self._stopped = self._stations, [], True
        return DeferredList([station.end() for station in self._ending]).addCallback(self._have_ended)

    def _have_ended(self, _: object) -> None:
        self._ending = []

    def say(self, word: bytes) -> None:
        """Tell all workers a ``word`` of ``orders``, those that are ending, too."""
        for station in (*self._stations, *self._ending):
            station.say(word)

    def look(self) -> None:
        """Serve at the sockets, or leave them to workers, as there are any."""
        wanted = not any(station.is_ready for station in self._stations)
        if wanted == self._accepting or self._stopped:
            return
        self._accepting = wanted
        for port in self._ports.values():
            if getattr(port, "connected", False) and not getattr(port, "disconnecting", False):
                port.startReading() if wanted else port.stopReading()  # type: ignore[attr-defined]

    def channel(self, number: int) -> tuple[ControlChannel, dict[int, int]]:
        """What the worker ``number`` is told, and which descriptors it inherits: theirs to ours."""
        listening: list[Listening] = []
        descriptors = {_BOARD: self.shared_state.descriptor}
        for endpoint, port in self._ports.items():
            descriptor = _BOARD + 1 + len(listening)
            of_port: Any = port
            descriptors[descriptor] = of_port.fileno()
            listening.append(Listening(endpoint, descriptor, int(of_port.socket.family)))
        channel = ControlChannel(
            number, self._settings.workers, self._settings, self._node, self._first_process, _BOARD, tuple(listening),
            self._offline,
        )  # fmt: skip
        return channel, descriptors

    def spawn(self, protocol: ProcessProtocol, number: int, descriptors: Mapping[int, int]) -> Any:
        """A process with ``descriptors`` beside three pipes."""
        environment = {name: value for name, value in os.environ.items() if name not in _OF_THE_FIRST}
        return self._reactor.spawnProcess(
            protocol, sys.executable, [sys.executable, "-m", "twistpi.workers.process", str(number)], environment,
            childFDs={0: "w", 1: "r", 2: "r", **descriptors},
        )  # fmt: skip

    def call_later(self, seconds: float, work: Callable[[], object]) -> Any:
        """See ``IReactorTime``."""
        return self._reactor.callLater(seconds, work)

    @property
    def patience(self) -> float:
        """Seconds that a worker has to end."""
        return self._settings.stop_timeout + _PATIENCE

    def seconds(self) -> float:
        """See ``IReactorTime``."""
        seconds: float = self._reactor.seconds()
        return seconds

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        words: Sequence[tuple[str, Any, str, int]] = (
            ("twistpi_worker_up", "gauge", "1 while the worker serves", Slot.ALIVE),
            ("twistpi_worker_connections", "gauge", "Open connections of clients to the worker", Slot.CONNECTIONS),
            ("twistpi_worker_requests", "counter", "Requests the worker answered", Slot.ANSWERED),
            ("twistpi_worker_passed_on", "counter", "Requests the worker passed on to the first process", Slot.PASSED_ON),
            ("twistpi_worker_page_cache_pages", "gauge", "Ready pages in the worker's memory", Slot.PAGES),
            ("twistpi_worker_page_cache_bytes", "gauge", "Memory they take", Slot.PAGE_BYTES),
        )
        for name, kind, help, word in words:
            for station in self._stations:
                yield Measure(name, kind, help, self.shared_state.told(station.number, word), station.labels)
        for station in self._stations:
            yield Measure("twistpi_worker_starts", "counter", "How often the worker was started", station.starts, station.labels)


class _Station(ProcessProtocol):
    """The place of one worker, whichever process has it."""

    def __init__(self, pool: WorkerPool, number: int) -> None:
        self._pool = pool
        self.number = number
        self.labels = (("worker", str(number)),)
        self.starts = 0
        self.is_ready = False
        self._process: Any = None
        self._began = 0.0
        self._pause = _FIRST_PAUSE
        self._timer: Any = None
        self._ended: Deferred[None] | None = None
        """Fires when it is over; there while it is to end."""
        self._line = b""

    def begin(self) -> None:
        """Start a process."""
        channel, descriptors = self._pool.channel(self.number)
        self.starts += 1
        self._began = self._pool.seconds()
        self._line = b""
        self._timer = None
        try:
            self._process = self._pool.spawn(self, self.number, descriptors)
        except OSError as error:
            self._begin_later(f"it could not be started: {error}")
            return
        self._process.write(sealed(channel))

    def end(self) -> Deferred[None]:
        """Have it end, soon, and not begin again."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._process is None:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._ended = ended
        self.say(STOP)
        self._timer = self._pool.call_later(self._pool.patience, self._kill)
        return ended

    def say(self, word: bytes) -> None:
        """Tell it something, if it is there."""
        if self._process is not None:
            self._process.write(word + b"\n")

    def _kill(self) -> None:
        if self._process is not None:
            self._process.signalProcess(signal.SIGKILL)

    def outReceived(self, data: bytes) -> None:
        """It says something."""
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > _LONGEST_LINE:
            self._line = b""
        for line in lines:
            self._heard(line)

    def errReceived(self, data: bytes) -> None:
        """It complains, which no worker should."""
        log.warn("worker {worker}: {text}", worker=self.number, text=data.decode("utf-8", "replace").rstrip())

    def _heard(self, line: bytes) -> None:
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError:
            told = None
        if not isinstance(told, dict):
            self.errReceived(line)
            return
        if log_again(self.number, told):
            return
        if TRAFFIC in told:
            self._pool.traffic.add(told[TRAFFIC])
        elif ACCESS in told:
            (sys.__stdout__ or sys.stdout).write(told[ACCESS])  # sys.stdout leads to the server's log by now
        elif READY in told:
            self.is_ready = True
            log.info("Worker {worker} serves (process {pid}).", worker=self.number, pid=told[READY])
            self._pool.look()

    def processEnded(self, reason: Failure) -> None:
        """It is gone."""
        self._process = None
        self.is_ready = False
        self._pool.shared_state.clear_slot(self.number)
        self._pool.look()
        if self._ended is not None:
            if self._timer.active():
                self._timer.cancel()
            self._ended.callback(None)
            return
        self._begin_later(f"it died: {reason.getErrorMessage().rstrip('.')}")

    def _begin_later(self, why: str) -> None:
        self._pause = min(self._pause * 2, _LONGEST_PAUSE) if self._pool.seconds() - self._began < _YOUNG else _FIRST_PAUSE
        text = "Worker {worker} is started again in {pause:g} s, because {why}."
        log.warn(text, worker=self.number, pause=self._pause, why=why)
        self._timer = self._pool.call_later(self._pause, self.begin)
