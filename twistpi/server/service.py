"""The service that twistd runs: builds everything, starts it, stops it.

``make_service`` refuses what can be refused while twistd still has the user's terminal.  ``startService`` runs in the process
that will serve, after the last fork: it locks the server directory, opens changelog, view and blobs, brings the view up to date,
starts the writer, and listens.  All of that is done when it returns, so that its errors reach the terminal; only a view that
lacks much is brought up to date while the ports are open.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import cast

from twisted.application.service import IService, Service
from twisted.internet import reactor as _chosen_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi import __version__
from twistpi.changelog.disk import Disk
from twistpi.model.errors import TwistpiError
from twistpi.model.text import counted
from twistpi.server.application import Application
from twistpi.server.directory import Layout, read_secret
from twistpi.server.health import Verification
from twistpi.server.listening import (
    Endpoint,
    InheritedSocket,
    accept_waiting,
    describe,
    endpoint_strings,
    inherited_endpoint,
    make_endpoint,
    reachable_at,
)
from twistpi.server.log_output import LogOutput, open_access_log
from twistpi.server.node import RECORDED_SETTINGS, record_running, record_stopped
from twistpi.server.process import (
    ClockWatch,
    IServerReactor,
    Notifier,
    Process,
    connections_for,
    ease_collecting,
    give_memory_back,
    on_hangup,
    on_second_stop,
    raise_descriptor_limit,
)
from twistpi.server.restart import Inherited, execute
from twistpi.server.server import Server
from twistpi.server.setting_sources import unknown_variables, words_of
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage, check_usable_by
from twistpi.web.access_log import AccessLog
from twistpi.web.transport.connections import Connections
from twistpi.workers.pool import WorkerPool

_log = Logger()


def make_service(settings: Settings, inherited: Inherited | None = None, pidfile: str | None = None) -> IService:
    """Return the service that ``settings`` describe, for twistd.

    ``inherited`` is what a restarted server has from before the restart, and ``pidfile`` the file that it removes in the end.
    Raise ``TwistpiError`` and ``ServerdirRefused`` for what is known before anything is opened.
    """
    reactor = cast(IServerReactor, _chosen_reactor)
    service = TwistpiService(settings, reactor, os.environ, inherited=inherited)
    on_hangup(reactor, service.reopen)  # before anything takes long: it must not end a start
    if pidfile is not None:
        _remove_in_the_end(pidfile, reactor)
    if inherited is None or inherited.lock is None:
        check_usable_by(settings)
    if settings.secretfile is not None or os.path.lexists(Layout(settings.serverdir).secret):
        read_secret(settings.serverdir, settings.secretfile)
    return service


def _remove_in_the_end(pidfile: str, reactor: IServerReactor) -> None:
    """Remove the pid file when the reactor stops, and when a start fails."""

    def remove() -> None:
        with suppress(OSError):
            os.unlink(pidfile)

    atexit.register(remove)
    reactor.addSystemEventTrigger("after", "shutdown", remove)


def _end_quietly(text: str) -> None:
    """Show the error with which twistd ends as ``text`` only, because it is in the log."""

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if sys.__stderr__ is not None:
            sys.__stderr__.write(text)

    sys.excepthook = show


def _end_with_failure() -> None:
    """Make this process end with the exit status 1; twistd ends with 0 whatever stopped its reactor."""

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    atexit.register(leave)


class TwistpiService(Service):
    """One server: everything between a server directory and the ports it is served at."""

    name = "twistpi"

    def __init__(
        self,
        settings: Settings,
        reactor: IServerReactor,
        environment: Mapping[str, str],
        *,
        disk: Disk | None = None,
        inherited: Inherited | None = None,
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._environment = environment
        self._inherited = inherited
        self._directory = os.getcwd()
        self._endpoints = {text: self._endpoint(text) for text in endpoint_strings(settings)}
        self._ports: dict[str, Port] = {}
        self._connections = Connections(reactor)
        self._access_log: AccessLog | None = None
        process = Process(reactor, environment, partial(datetime.now, UTC), self._fail, self.restart)
        self._notifier = Notifier.from_environment(environment, reactor, os.getpid(), time.monotonic)
        self._server = Server(
            settings, process, disk or Disk(), self._verify, self._serves, self._connections, folded=self._notifier.starting
        )
        self._log_output = LogOutput()
        self._workers = WorkerPool(settings, reactor)
        self._clock_watch = ClockWatch(reactor)
        self._verification: Verification | None = None
        self._failed: Exception | None = None
        self._is_late = False
        """Whether others cannot rely on the service yet, though the reactor runs: the view is being built."""
        self._closing: Deferred[None] | None = None
        """Fires when everything is closed but the ports; there once that was begun."""

    def startService(self) -> None:
        """Open, build and listen; raise what makes it impossible."""
        self._log_output = LogOutput.direct(self._settings.log_level, self._settings.log_format)
        for sentence in unknown_variables(self._environment):
            _log.warn("Ignored: {sentence}.", sentence=sentence)
        try:
            self._start()
        except TwistpiError as error:
            _log.critical("{reason}", reason=str(error))
            _end_quietly("" if self._log_output.is_shown else f"twistpi: {error}\n")
            raise
        super().startService()

    def stopService(self) -> Deferred[None]:
        """Stop listening, finish what is being written, close everything; fires when that is done."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def restart(self) -> None:
        """Begin anew in the role that ``node.json`` says, in this process, with its ports open.

        What is being answered is finished within the setting ``stop-timeout``; clients that connect meanwhile wait for the new
        program.  Should that be impossible, the process ends.
        """
        if self._closing is not None or not self.running:
            return
        _log.info("The server restarts with its ports open.")
        self._notifier.reloading()
        for port in self._ports.values():
            self._connections.closed(port)
            port.stopReading()
        lock = None if self._server.serverdir is None else self._server.serverdir.keep_locked()
        self._closing = Deferred.fromCoroutine(self._begin_anew(lock))

    async def _begin_anew(self, lock: int | None) -> None:
        try:
            await self._close()
            if self.running:  # else it was told to stop in the meantime
                execute(self._ports, lock, self._directory)
        except Exception as error:
            self._fail(error)

    def reopen(self) -> None:
        """Open logs and certificates again (SIGHUP)."""
        if not self._is_late:
            self._notifier.reloading()
        self._log_output.reopen()
        if self._access_log is not None:
            self._access_log.reopen()
        for endpoint in self._endpoints.values():
            if endpoint.certificate is not None:
                endpoint.certificate.reload()
        self._workers.reopen()
        _log.info("Opened logs and certificates again.")
        if not self._is_late:
            self._notifier.ready()

    def _start(self) -> None:
        give_memory_back()
        ease_collecting()
        descriptors = raise_descriptor_limit()
        self._connections.limit = self._settings.max_connections or connections_for(descriptors)
        # The name sys.stdout leads to the server's own log by now.
        self._access_log = open_access_log(self._settings, sys.__stdout__ or sys.stdout)
        self._server.open(self._access_log, None if self._inherited is None else self._inherited.lock)
        for text, endpoint in self._endpoints.items():
            listening = endpoint.listen(self._server.factory)
            listening.addCallbacks(self._listens, self._cannot_listen, callbackArgs=(text,), errbackArgs=(text,))
        if self._failed is not None:
            record_stopped(self._settings.serverdir)
            raise self._failed
        self._record_addresses()  # with no port at all, too
        self._reactor.callWhenRunning(self._runs)

    def _endpoint(self, text: str) -> Endpoint:
        """Return where to listen; at the inherited socket, where there is one."""
        if self._inherited is None or text not in self._inherited.sockets:
            return make_endpoint(self._reactor, text)
        return inherited_endpoint(self._reactor, InheritedSocket(text, *self._inherited.sockets[text]))

    def _serves(self, application: Application) -> None:
        """Leave the ports to workers, where there are any, and say so: the server has all that it is to serve."""
        self._reactor.callWhenRunning(self._workers.start, application, self._ports)
        if self._is_late:
            self._is_late = False
            self._notifier.ready()

    def _runs(self) -> None:
        """Say that others may rely on the service now, unless its view is still being built."""
        on_second_stop(self._reactor, self._hurry)
        self._clock_watch.start()
        self._is_late = self._server.is_rebuilding
        if not self._is_late:
            self._notifier.ready()

    def _hurry(self) -> None:
        """Stop without waiting for anybody (a second SIGTERM)."""
        _log.info("Stopping at once.")
        self._connections.finish(0)
        self._workers.hurry()

    async def _stop(self) -> None:
        self._connections.finishing = True
        self._notifier.stopping()
        for port in self._ports.values():
            self._connections.closed(port)
            if self._closing is None:
                accept_waiting(port)
            await maybeDeferred(port.stopListening)
        if self._closing is None:
            self._closing = Deferred.fromCoroutine(self._close())
        await self._closing
        record_stopped(self._settings.serverdir)
        self._notifier.stopped()
        _log.info("Stopped.")

    async def _close(self) -> None:
        """Finish what was asked and close everything; the ports accept nobody any more."""
        if self._connections:
            _log.info("Finishing the requests of {connections}.", connections=counted(len(self._connections), "connection"))
        workers = self._workers.close()
        await self._connections.finish(self._settings.stop_timeout)
        await workers
        self._clock_watch.stop()
        if self._verification is not None:
            self._verification.stop()
        await self._server.stop()
        if self._access_log is not None:
            self._access_log.close()

    def _listens(self, port: IListeningPort, text: str) -> None:
        self._ports[text] = cast(Port, port)
        if not self._settings.workers:  # else ports are paused and resumed as there are workers
            self._connections.listens(port)
        self._record_addresses()
        # Said when all ports are open and a signal ends it in order, for programs that wait for the line.
        said = "twistpi {version} answers at {address}"
        self._reactor.callWhenRunning(_log.info, said, version=__version__, address=describe(port))

    def _record_addresses(self) -> None:
        """Let commands on the same machine find this server."""
        try:
            addresses = [address for port in self._ports.values() if (address := reachable_at(port))]
            record_running(self._settings.serverdir, addresses, words_of(self._settings, RECORDED_SETTINGS))
        except OSError as error:
            _log.warn("Commands will not find this server: {reason}", reason=str(error))

    def _cannot_listen(self, failure: Failure, text: str) -> None:
        error = TwistpiError(
            f"Listening at {text} is not possible: {failure.getErrorMessage().rstrip('.')}. Stop what "
            "listens there, or choose another place with --port, --host or --listen."
        )
        if self.running:  # an endpoint that took its time
            self._fail(error)
        else:
            self._failed = error

    def _fail(self, error: Exception) -> None:
        """End the process: going on would make things worse."""
        if self._failed is not None:
            return
        self._failed = error
        _log.critical("The server stops: {reason}", reason=str(error))
        _end_with_failure()
        if self._reactor.running:
            self._reactor.stop()

    def _verify(self, storage: Storage) -> None:
        """Read through the changelog, once, beside everything else."""

        def failed(error: Exception) -> None:
            if storage.cluster is not None:
                storage.cluster.drop_copy(storage.serverdir)
            self._reactor.callFromThread(self._fail, error)

        self._verification = Verification(storage.changelog, failed)
        self._reactor.callWhenRunning(self._verification.start)
