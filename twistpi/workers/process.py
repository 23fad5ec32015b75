"""A worker: ``python -m twistpi.workers.process``, started by the first process only.

It serves what the view and its own page cache have, and forwards everything else to the first process.  It ends when its standard
input does: then the first process is gone, however that ended.
"""

from __future__ import annotations

import os
import signal
import sys
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TextIO, cast

import attrs
import orjson
from twisted.internet import reactor as _chosen_reactor
from twisted.internet.interfaces import IListeningPort
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure
from twisted.web.client import readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from twistpi import __version__
from twistpi.blobs.tree import Tree
from twistpi.http.agent import unix_agent
from twistpi.mirror.core_metadata import MetadataService
from twistpi.mirror.files import FileService
from twistpi.mirror.local_only import LocalOnly
from twistpi.mirror.pages import PageService
from twistpi.model.errors import AskFirst, TwistpiError
from twistpi.rules.permissions import Policy
from twistpi.server.authentication import login_tokens
from twistpi.server.clock import ClockWatch
from twistpi.server.directory import Layout
from twistpi.server.listening import Certificate, open_access_log
from twistpi.server.log_output import LogOutput
from twistpi.server.primary_connection import agent_for
from twistpi.server.process import connections_for, ease_collecting, give_memory_back, raise_descriptor_limit
from twistpi.view.page_cache import PageCache
from twistpi.view.read import Readers
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses
from twistpi.web.authentication import Authenticator, PasswordQueue
from twistpi.web.commits import UploadStorage
from twistpi.web.components import Components, MirrorServices
from twistpi.web.fast.ready import ReadyAnswers
from twistpi.web.fast.site import FastSite
from twistpi.web.forwarding.forwarder import Forwarder
from twistpi.web.forwarding.headers import HEADER, PassedOn
from twistpi.web.forwarding.peers import first_process_backend
from twistpi.web.paths import worker_answers
from twistpi.web.routes import make_site
from twistpi.web.transport.connections import Connections
from twistpi.workers.control_channel import (
    HURRY,
    READY,
    REOPEN,
    STOP,
    TRAFFIC,
    LogRelay,
    RelayedOutput,
    WorkerConfig,
    encode_message,
    read_config,
)
from twistpi.workers.fair_ports import listen
from twistpi.workers.shared_state import SharedState, Slot

_REPORT_INTERVAL: Final = 0.5
"""Seconds between two reports of a worker's counters."""
_LAST_MESSAGES: Final = 0.05
"""Seconds for the last messages to be written."""
_FORWARD_TIMEOUT: Final = 900.0
"""Seconds in which the first process may be silent: it knows itself how long its upstreams may be."""
_IDLE_CONNECTIONS: Final = 64
"""Unused connections to the first process that are kept."""
_IDLE_TIMEOUT: Final = 20.0
"""Seconds; well before the first process would close them."""
_WHOSE_LOGIN: Final = b"http://localhost/+api"
"""Its answer names the user whose login came with the request."""
_DONE = Failure(CONNECTION_DONE)

log = Logger()


@attrs.frozen
class FirstProcess:
    """The first process: it verifies passwords, counts the wrong ones, and has clients that send such wait."""

    _agent: IAgent
    """Leads to its socket."""

    async def is_right(self, name: str, password: str, address: str, *, local: bool) -> bool:
        """See ``PasswordCheck``.  ``AskFirst``: there is no plain answer, so the whole request goes to the first process."""
        client = PassedOn("http://localhost", address, local)
        credentials = b64encode(f"{name}:{password}".encode()).decode("ascii")
        fields = {"Authorization": [f"Basic {credentials}"], HEADER: [client.text], "Accept": ["application/json"]}
        try:
            response = await self._agent.request(b"GET", _WHOSE_LOGIN, Headers(fields), None)
            status = orjson.loads(await readBody(response))["result"]["authstatus"]
        except Exception as error:  # of the connection, of HTTP, of a server that has too much to do
            raise AskFirst from error
        return bool(status[:2] == ["ok", name])


def make_components(config: WorkerConfig, shared_state: SharedState, reactor: Any) -> Components:
    """Return what the site of a worker is built from."""
    settings, layout = config.settings, Layout(config.settings.serverdir)
    offload = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    readers, blobs = Readers(layout.view), Tree(settings.serverdir)
    addresses = Addresses(settings.trusted_proxy, settings.outside_url or "")
    authenticator = Authenticator(
        readers, login_tokens(settings), PasswordQueue(offload), reactor, os.urandom, settings.bcrypt_cost, addresses,
        FirstProcess(agent_for(f"unix:{config.first_process}", settings, reactor, {})),
    )  # fmt: skip
    nobody: Any = None  # changes are forwarded
    source = LocalOnly()
    pages = PageService(source, readers, reactor, cache_expiry=settings.mirror_cache_expiry, offline=config.offline)
    files, metadata = FileService(source, blobs, offload), MetadataService(source, blobs, offload)
    limit = settings.max_connections or connections_for(raise_descriptor_limit()) * config.workers
    backend = first_process_backend(unix_agent(reactor, config.first_process, connections=_IDLE_CONNECTIONS, idle=_IDLE_TIMEOUT))
    components = Components(
        node=config.node, software=f"twistpi/{__version__}", addresses=addresses,
        access=Access(readers, authenticator, Policy.parse(settings.restrict_modify)),
        writer=nobody, storage=UploadStorage(blobs, offload, nobody, settings.max_upload_size),
        mirrors=MirrorServices(pages, files, metadata, source, files, config.offline, settings.mirror_cache_expiry),
        pusher=nobody, ready=ReadyAnswers(PageCache(settings.page_cache_size)),
        connections=Connections(reactor, -(-limit // config.workers)),
        clock=reactor, offload=offload, now=lambda: datetime.now(UTC),
        forwarder=Forwarder(backend, addresses, reactor, worker_answers, patience=_FORWARD_TIMEOUT),
        lenient_accept=settings.lenient_accept,
    )  # fmt: skip
    components.responder.default_headers.moved(shared_state.serial)
    return components


@attrs.define(eq=False)
class Worker:
    """Serves from ``start`` to the end of the process."""

    _config: WorkerConfig
    _shared_state: SharedState
    _components: Components
    _site: FastSite
    _reactor: Any
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
        for listening in self._config.listening:
            port = listen(self._reactor, listening, self._site, self._is_my_turn, self._certificates.append)
            self._ports.append(port)
            self._components.connections.listens(port)
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

    def _end(self, _: object) -> None:
        self._report()
        self._reactor.callLater(_LAST_MESSAGES, self._reactor.stop)

    def reopen(self) -> None:
        """Open the access log and certificates again."""
        if self._site.access_log is not None:
            self._site.access_log.reopen()
        for certificate in self._certificates:
            certificate.reload()

    def _catch_up(self) -> None:
        announced = self._shared_state.announced()
        if announced is not None:
            self._site.invalidated(announced.serial, announced.invalidations)

    def _count(self, connections: int) -> None:
        self._shared_state.set(self._config.number, Slot.CONNECTIONS, connections)

    def _is_my_turn(self) -> bool:
        """Whether no other worker has fewer connections."""
        state = self._shared_state
        alive = (number for number in range(1, self._config.workers + 1) if state.get(number, Slot.ALIVE))
        fewest = min((state.get(number, Slot.CONNECTIONS) for number in alive), default=0)
        return len(self._components.connections) <= fewest

    def _report(self) -> None:
        components, number = self._components, self._config.number
        count = sum(count for _kind, _status, count in components.traffic.answered)
        if count:
            self._answered += count
            self.send(encode_message({TRAFFIC: components.traffic.take()}))
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
    reactor: Any = _chosen_reactor
    shared_state = SharedState(config.shared_state)
    components = make_components(config, shared_state, reactor)
    output = RelayedOutput()
    site = make_site(components, access_log=open_access_log(config.settings, cast(TextIO, output)))
    worker = Worker(config, shared_state, components, site, reactor)
    wire: Any = StandardIO(_Commands(worker, lambda: os._exit(0)))
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
