"""The worker processes of a server, as its first process has them: started, watched, restarted when they die, and stopped.

While workers accept connections, the first process leaves the listening sockets to them.  While none does - before the first is
ready, and when all have died - it accepts connections itself, so that no client has to wait.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, Literal

import orjson
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi.http.backoff import Backoff
from twistpi.model.changes import Change
from twistpi.model.monitoring import Measure
from twistpi.model.records import Json
from twistpi.server.application import Application
from twistpi.server.figures import resident_bytes
from twistpi.server.listening import InheritedSocket
from twistpi.server.process import IServerReactor
from twistpi.server.settings import Settings
from twistpi.statistics.tally import Row
from twistpi.web.components import Components
from twistpi.web.pages import invalidations_by_advisories, invalidations_of
from twistpi.web.traffic import Counts
from twistpi.workers.control_channel import (
    ACCESS,
    ASKED_FOR,
    DOWNLOADS,
    HURRY,
    READY,
    REFUSED,
    REOPEN,
    STOP,
    TRAFFIC,
    WorkerConfig,
    encode_config,
    log_relayed,
)
from twistpi.workers.shared_state import SharedState, Slot

_SHORTEST_DELAY: Final = 0.1
"""Seconds before a worker that died is started again; doubled each time it dies young."""
_LONGEST_DELAY: Final = 30.0
_YOUNG: Final = 60.0
"""Seconds.  After that long a life, a worker's death says nothing about the next one."""
_STOP_MARGIN: Final = 5.0
"""Seconds beyond the setting stop-timeout after which a worker that was told to stop is killed."""
_SHARED_STATE: Final = 3
"""The number of the shared memory's descriptor in a worker; the sockets follow."""
_OWN_VARIABLES: Final = frozenset({"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"})
"""Variables by which a service manager addresses the first process alone."""
_LONGEST_LINE: Final = 1024 * 1024
_SOCKET_NAME: Final = "workers.sock"
_LONGEST_PATH: Final = 100
"""Bytes of a socket's path; systems take 104 to 108."""
_MEASURES: Final[Sequence[tuple[str, Literal["counter", "gauge"], str, int]]] = (
    ("twistpi_worker_up", "gauge", "1 while the worker serves", Slot.ALIVE),
    ("twistpi_worker_connections", "gauge", "Open connections of clients to the worker", Slot.CONNECTIONS),
    ("twistpi_worker_requests", "counter", "Requests the worker answered", Slot.ANSWERED),
    ("twistpi_worker_passed_on", "counter", "Requests the worker passed on to the first process", Slot.PASSED_ON),
    ("twistpi_worker_page_cache_pages", "gauge", "Ready pages in the worker's memory", Slot.PAGES),
    ("twistpi_worker_page_cache_bytes", "gauge", "Memory they take", Slot.PAGE_BYTES),
)

log = Logger()


def socket_path(serverdir: str) -> str:
    """Return the path for the socket at which workers ask, and remove what a former process left there."""
    path = os.path.join(os.path.abspath(serverdir), _SOCKET_NAME)
    if len(os.fsencode(path)) > _LONGEST_PATH:
        path = os.path.join(tempfile.mkdtemp(prefix="twistpi-"), _SOCKET_NAME)
    with suppress(FileNotFoundError):
        os.unlink(path)
    return path


def remove_socket(path: str) -> None:
    """Remove the socket at a path of ``socket_path``, and the folder that was made for it."""
    with suppress(OSError):
        os.unlink(path)
    folder = os.path.dirname(path)
    if os.path.basename(folder).startswith("twistpi-"):
        with suppress(OSError):  # a server directory of that name is not empty
            os.rmdir(folder)


class WorkerPool:
    """All workers of a server; none where the setting ``workers`` is 0."""

    def __init__(self, settings: Settings, reactor: IServerReactor) -> None:
        self._settings, self._reactor = settings, reactor
        self._ports: Mapping[str, Port] = {}
        """By the endpoints they were made for."""
        self._components: Components | None = None
        """Those of the first process's site, once ``start`` was called."""
        self._path = ""
        """Of the socket at which this process answers its workers."""
        self._port: IListeningPort | None = None
        """The port at that socket."""
        self.shared_state: SharedState | None = None
        """None before ``start`` and after ``close``."""
        self._workers: list[_Worker] = []
        self._accepting = True
        """Whether this process accepts connections itself."""
        self._stopping = False

    def start(self, application: Application, ports: Mapping[str, Port]) -> None:
        """Let workers accept from ``ports``, given by their endpoints, and answer what they cannot through ``application``.

        To be called once, when the reactor runs: twistd may fork before.
        """
        if not self._settings.workers:
            return
        self._ports, self._components = ports, application.components
        components = self._components
        self.shared_state = SharedState.make()
        self.shared_state.begin(components.responder.serial)
        self._path = components.trusted_peers.workers_at = socket_path(self._settings.serverdir)
        self._port = self._reactor.listenUNIX(self._path, application.site, mode=0o600, backlog=1024)
        components.measuring.append(self.measures)
        application.announcements.add(self._announce)
        if (loader := components.advisories.loader) is not None:
            loader.listeners.append(self._announce_advisories)
        self._workers = [_Worker(self, self._reactor, number) for number in range(1, self._settings.workers + 1)]
        for worker in self._workers:
            worker.start()

    def reopen(self) -> None:
        """Let workers open their certificates and logs again."""
        self._command(REOPEN)

    def hurry(self) -> None:
        """Make workers end now, whatever they are answering; after ``close``."""
        self._command(HURRY)

    def close(self) -> Deferred[None]:
        """Stop all workers; fire when none is left.  This process leaves the listening sockets alone from now on."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        self._stopping = True
        timeout = self._settings.stop_timeout + _STOP_MARGIN
        await DeferredList([worker.stop(timeout) for worker in self._workers])
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
            remove_socket(self._path)
        if self.shared_state is not None:
            self.shared_state.close()
            self.shared_state = None

    def _command(self, command: bytes) -> None:
        for worker in self._workers:
            worker.command(command)

    def _announce(self, serial: int, changes: Sequence[Change]) -> None:
        if self.shared_state is not None:  # else the entry was written after the last worker had ended
            self.shared_state.announce(serial, invalidations_of(changes))

    def _announce_advisories(self, projects: frozenset[str] | None) -> None:
        if self.shared_state is not None:
            self.shared_state.announce(self.shared_state.serial, invalidations_by_advisories(projects))

    # For the workers' protocols -------------------------------------------------------------------------------------

    def worker_changed(self, number: int, *, gone: bool) -> None:
        """Accept connections, or leave that to workers: one became ready, or is ``gone``."""
        if gone and self.shared_state is not None:
            self.shared_state.clear_slot(number)
        accepting = not any(worker.is_ready for worker in self._workers)
        if accepting == self._accepting or self._stopping:
            return
        self._accepting = accepting
        for port in self._ports.values():
            if not port.connected or port.disconnecting:
                continue
            if accepting:
                port.startReading()
            else:
                port.stopReading()

    def count(
        self, traffic: Counts, downloads: Iterable[Row], asked_for: Iterable[str], refused: Iterable[Sequence[Json]]
    ) -> None:
        """Count what a worker answered as the server's."""
        if self._components is not None:
            self._components.traffic.add(traffic)
            if self._components.downloads.tally is not None:
                self._components.downloads.tally.add(downloads)
            for path in asked_for:
                self._components.access_times.note(path)
            self._components.policies.refused.add_rows(refused)

    def spawn(self, protocol: ProcessProtocol, number: int) -> IProcessTransport:
        """Start a process for the worker ``number`` and send it its configuration.  Raise ``OSError``."""
        assert self.shared_state is not None
        assert self._components is not None
        descriptors = {_SHARED_STATE: self.shared_state.descriptor}
        sockets: list[InheritedSocket] = []
        for descriptor, (endpoint, port) in enumerate(self._ports.items(), _SHARED_STATE + 1):
            descriptors[descriptor] = port.fileno()
            sockets.append(InheritedSocket(endpoint, descriptor, int(port.socket.family)))
        environment = {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}
        command = [sys.executable, "-m", "twistpi.workers.process", str(number)]
        childFDs: dict[int, int | str] = {0: "w", 1: "r", 2: "r", **descriptors}  # noqa: N806
        process = self._reactor.spawnProcess(protocol, sys.executable, command, environment, childFDs=childFDs)
        settings, node, offline = self._settings, self._components.node, self._components.mirrors.offline
        config = WorkerConfig(number, settings.workers, settings, node, self._path, _SHARED_STATE, tuple(sockets), offline)
        process.write(encode_config(config))
        return process

    def measures(self) -> Iterator[Measure]:
        """Yield the counters of each worker (``Measured``)."""
        if self.shared_state is None:
            return
        for name, kind, help, word in _MEASURES:
            for worker in self._workers:
                yield Measure(name, kind, help, self.shared_state.get(worker.number, word), worker.labels)
        for worker in self._workers:
            yield Measure("twistpi_worker_memory_bytes", "gauge", "Memory of the worker", worker.memory, worker.labels)
            yield Measure("twistpi_worker_starts", "counter", "How often the worker was started", worker.starts, worker.labels)


class _Worker(ProcessProtocol):
    """A worker of a certain number: a process, and the next one when that dies."""

    def __init__(self, pool: WorkerPool, reactor: IServerReactor, number: int) -> None:
        self.number = number
        self.labels = (("worker", str(number)),)
        self.starts = 0
        self.is_ready = False
        """Whether it accepts connections."""
        self._pool = pool
        self._reactor = reactor
        self._process: IProcessTransport | None = None
        self._started_at = 0.0
        self._backoff = Backoff(_SHORTEST_DELAY, _LONGEST_DELAY)
        self._timer: IDelayedCall | None = None
        """Starts the next process, or kills the one that is to end."""
        self._ended: Deferred[None] | None = None
        """Fires when the process has ended; None until ``stop``."""
        self._line = b""

    @property
    def memory(self) -> int:
        """The resident bytes of the process; 0 while there is none."""
        pid = None if self._process is None else self._process.pid
        return 0 if pid is None else resident_bytes(pid)

    def start(self) -> None:
        """Start a process."""
        self._timer = None
        self.starts += 1
        self._started_at = self._reactor.seconds()
        self._line = b""
        try:
            self._process = self._pool.spawn(self, self.number)
        except OSError as error:
            self._start_later(f"it could not be started: {error}")

    def stop(self, timeout: float) -> Deferred[None]:
        """Make the process end within ``timeout`` seconds, and start no other."""
        self._cancel_timer()
        if self._process is None:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._ended = ended
        self.command(STOP)
        self._timer = self._reactor.callLater(timeout, self._process.signalProcess, signal.SIGKILL)
        return ended

    def command(self, command: bytes) -> None:
        """Send a command to the process, if there is one."""
        if self._process is not None:
            self._process.write(command + b"\n")

    def outReceived(self, data: bytes) -> None:
        """Handle messages."""
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > _LONGEST_LINE:
            self._line = b""
        for line in lines:
            self._handle(line)

    def errReceived(self, data: bytes) -> None:
        """Log what should not have been printed: a worker logs through messages."""
        log.warn("worker {worker}: {text}", worker=self.number, text=data.decode("utf-8", "replace").rstrip())

    def _handle(self, line: bytes) -> None:
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            self.errReceived(line)
        elif log_relayed(self.number, message):
            pass
        elif TRAFFIC in message:
            beside = (message.get(key, ()) for key in (DOWNLOADS, ASKED_FOR, REFUSED))
            self._pool.count(message[TRAFFIC], *beside)
        elif ACCESS in message:
            (sys.__stdout__ or sys.stdout).write(message[ACCESS])  # sys.stdout leads to the server's log by now
        elif READY in message:
            self.is_ready = True
            log.info("Worker {worker} serves (process {pid}).", worker=self.number, pid=message[READY])
            self._pool.worker_changed(self.number, gone=False)

    def processEnded(self, reason: Failure) -> None:
        """Start another process later, unless this one was to end."""
        self._process = None
        self.is_ready = False
        self._pool.worker_changed(self.number, gone=True)
        if self._ended is None:
            self._start_later(f"it died: {reason.getErrorMessage().rstrip('.')}")
            return
        self._cancel_timer()
        self._ended.callback(None)

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _start_later(self, why: str) -> None:
        if self._reactor.seconds() - self._started_at >= _YOUNG:
            self._backoff.reset()
        delay = self._backoff.next()
        log.warn("Worker {worker} is started again in {pause:g} s, because {why}.", worker=self.number, pause=delay, why=why)
        self._timer = self._reactor.callLater(delay, self.start)
