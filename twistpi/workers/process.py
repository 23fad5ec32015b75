"""A worker: ``python -m twistpi.workers.process``, started by the first process only.

It serves what the view and its own page cache have, and forwards everything else to the first process.  It ends when its standard
input does: then the first process is gone, however that ended.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Final, TextIO, cast

import attrs
from twisted.internet import reactor as _chosen_reactor
from twisted.internet.interfaces import IListeningPort
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import LoopingCall
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from twistpi.model.errors import TwistpiError
from twistpi.server.listening import Certificate
from twistpi.server.log_output import LogOutput, open_access_log
from twistpi.server.process import ClockWatch, IServerReactor, ease_collecting, give_memory_back
from twistpi.web.components import Components
from twistpi.web.fast.site import FastSite
from twistpi.web.pages import InvalidationKind
from twistpi.web.routes import make_site
from twistpi.workers.control_channel import (
    ASKED_FOR,
    DOWNLOADS,
    HURRY,
    MOST_ASKED_FOR,
    MOST_DOWNLOADS,
    MOST_REFUSED,
    READY,
    REFUSED,
    REOPEN,
    STOP,
    TRAFFIC,
    LogRelay,
    RelayedOutput,
    WorkerConfig,
    encode_message,
    read_config,
)
from twistpi.workers.fair_ports import shared_endpoint
from twistpi.workers.shared_state import SharedState, Slot
from twistpi.workers.site import make_components

_REPORT_INTERVAL: Final = 0.5
"""Seconds between two reports of a worker's counters."""
_LAST_MESSAGES: Final = 0.05
"""Seconds for the last messages to be written."""
_DONE: Final = Failure(CONNECTION_DONE)


@attrs.define(eq=False)
class Worker:
    """Serves from ``start`` to the end of the process."""

    _config: WorkerConfig
    _shared_state: SharedState
    _components: Components
    _site: FastSite
    _reactor: IServerReactor
    _ports: list[IListeningPort] = attrs.field(factory=list, init=False)
    _certificates: list[Certificate] = attrs.field(factory=list, init=False)
    _reporting: LoopingCall = attrs.field(init=False)
    send: Callable[[bytes], object] = attrs.field(default=lambda line: None, init=False)
    """Sends a message to the first process."""
    _answered: int = attrs.field(default=0, init=False)
    _stopping: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._reporting = LoopingCall(self._report)
        self._site.before_answer = self._catch_up
        self._components.connections.watch = self._count

    def start(self) -> None:
        """Accept connections."""
        for inherited in self._config.sockets:
            endpoint = shared_endpoint(self._reactor, inherited, self._is_my_turn)
            endpoint.listen(self._site).addCallback(self._listens)
            if endpoint.certificate is not None:
                self._certificates.append(endpoint.certificate)
        self._shared_state.set(self._config.number, Slot.ALIVE, 1)
        self._reporting.start(_REPORT_INTERVAL)

    def stop(self) -> None:
        """Finish the requests under way, then end."""
        if self._stopping:
            return
        self._stopping = True
        self._shared_state.set(self._config.number, Slot.ALIVE, 0)
        for port in self._ports:
            port.stopListening()
        self._components.connections.finish(self._config.settings.stop_timeout).addBoth(self._end)

    def reopen(self) -> None:
        """Open the access log and certificates again."""
        if self._site.access_log is not None:
            self._site.access_log.reopen()
        for certificate in self._certificates:
            certificate.reload()

    def _listens(self, port: IListeningPort) -> None:
        self._ports.append(port)
        self._components.connections.listens(port)

    def _end(self, _: object) -> None:
        self._report()
        while self._components.downloads.tally:
            self._report()
        self._reactor.callLater(_LAST_MESSAGES, self._reactor.stop)

    def _catch_up(self) -> None:
        announced = self._shared_state.announced()
        if announced is not None:
            invalid = announced.invalidations
            if invalid is None or any(one.kind is InvalidationKind.ADVISORIES for one in invalid):
                self._components.advisories.store.open()
            self._site.invalidated(announced.serial, announced.invalidations)

    def _count(self, connections: int) -> None:
        self._shared_state.set(self._config.number, Slot.CONNECTIONS, connections)

    def _is_my_turn(self) -> bool:
        """Return whether no other worker has fewer connections."""
        state = self._shared_state
        alive = (number for number in range(1, self._config.workers + 1) if state.get(number, Slot.ALIVE))
        fewest = min((state.get(number, Slot.CONNECTIONS) for number in alive), default=0)
        return len(self._components.connections) <= fewest

    def _report(self) -> None:
        components, number = self._components, self._config.number
        count = sum(count for _kind, _status, count in components.traffic.answered)
        tally = components.downloads.tally
        downloads = [] if tally is None else tally.take(MOST_DOWNLOADS)
        asked_for = components.access_times.take(self._reactor.seconds(), MOST_ASKED_FOR)
        refused = components.policies.refused.take(MOST_REFUSED)
        if count or downloads or asked_for or refused:
            self._answered += count
            more = {DOWNLOADS: downloads, ASKED_FOR: asked_for, REFUSED: refused}
            self.send(encode_message({TRAFFIC: components.traffic.take(), **more}))
        counters = (
            (Slot.ANSWERED, self._answered),
            (Slot.PASSED_ON, 0 if components.forwarder is None else components.forwarder.passed),
            (Slot.PAGES, len(components.ready.page_cache)),
            (Slot.PAGE_BYTES, components.ready.page_cache.size),
        )
        for word, value in counters:
            self._shared_state.set(number, word, value)


class _Commands(Protocol):
    """Carries out the commands of the first process."""

    def __init__(self, worker: Worker, die: Callable[[], object]) -> None:
        self._die = die
        self._line = b""
        self._commands = {STOP: worker.stop, HURRY: die, REOPEN: worker.reopen}

    def dataReceived(self, data: bytes) -> None:
        """Carry out commands, one a line."""
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._commands[line]()

    def connectionLost(self, reason: Failure = _DONE) -> None:
        """End: the first process is gone."""
        self._die()


def main() -> None:
    """Serve until the first process says to stop, or is gone."""
    with open(0, "rb", buffering=0, closefd=False) as file:
        config = read_config(file)
    give_memory_back()
    ease_collecting()
    reactor = cast(IServerReactor, _chosen_reactor)
    shared_state = SharedState(config.shared_state)
    components = make_components(config, reactor)
    components.responder.default_headers.moved(shared_state.serial)
    output = RelayedOutput()
    site = make_site(components, access_log=open_access_log(config.settings, cast(TextIO, output)))
    worker = Worker(config, shared_state, components, site, reactor)
    wire = StandardIO(_Commands(worker, lambda: os._exit(0)))
    output.send = worker.send = wire.write
    globalLogBeginner.beginLoggingTo([LogRelay(wire.write)], redirectStandardIO=False)
    LogOutput.direct(config.settings.log_level)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which has every worker stop
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the first process passes on what that means
    signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(worker.stop))
    try:
        worker.start()
    except TwistpiError as error:  # such as a certificate that is being changed
        sys.exit(str(error))
    ClockWatch(reactor).start()
    wire.write(encode_message({READY: os.getpid()}))
    reactor.run(installSignalHandlers=False)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
