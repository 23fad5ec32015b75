"""Where the rooms are joined: builds everything, starts it, stops it.

The order of a request
----------------------

1. A listening port (``--host``, ``--port``, ``--listen``) hands the connection to ``web.app.make_site``'s factory.
2. ``web/fast`` answers at once when the bytes that came are one plain GET for a page that lies ready in the page cache.
3. Otherwise Klein finds the door.  A door reads the view through ``Readers`` and, for a mirror, first asks
   ``Mirror.ensure``, ``Downloads.open``, ``Sidecars.metadata`` or ``NameLists.ensure`` for what may be missing.
4. Those fetch through ``Upstream``, decide with the rules, keep blobs, and then commit to the ``Writer``.
5. The writer's thread appends to the changelog, syncs once for all who wait, folds into the view, and then, in the reactor,
   announces each entry: the site forgets the pages and files the entry touches.  Only then do the waiters go on.
6. The door renders from the view, in a thread when there is much to render, and answers.

The order of a start
--------------------

``make_service`` refuses what can be refused while twistd still has the user's terminal.  ``startService`` runs in the process
that will serve, after the last fork: it locks the server directory, opens changelog, view and blobs, brings the view up to date,
starts the writer, and listens.  All of that is done when it returns, so that its errors reach whoever started twistd.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet import reactor as _chosen_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from twistpi import __version__
from twistpi.changelog.disk import IDisk, RealDisk
from twistpi.house import House
from twistpi.keeping import Keeping, check_usable_by
from twistpi.log_level import drop_less_than
from twistpi.model.errors import CannotListen, InvalidSetting, TwistpiError
from twistpi.model.position import Position
from twistpi.running import address_of, say_running, say_stopped
from twistpi.runtime import ease_collecting, give_memory_back
from twistpi.serverdir import read_secret
from twistpi.settings import Settings, unknown_variables
from twistpi.verifying import Verification
from twistpi.workers.staff import Staff

_log = Logger()


def make_service(settings: Settings) -> IService:
    """The service that ``settings`` describe, for twistd.

    Raises ``InvalidSetting``, ``ServerdirRefused`` and ``SecretRefused`` for what can be told before anything is opened.
    """
    service = TwistpiService(settings, _chosen_reactor, os.environ)
    check_usable_by(settings)
    if settings.secretfile is not None:
        read_secret(settings.serverdir, settings.secretfile)
    return service


def endpoint_strings(settings: Settings) -> tuple[str, ...]:
    """Where to listen, as Twisted endpoints."""
    host = settings.host.replace("\\", "\\\\").replace(":", "\\:")
    return settings.listen or (f"tcp:{settings.port}:interface={host}",)


def _make_endpoint(reactor: Any, text: str) -> IStreamServerEndpoint:
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)  # type: ignore[no-untyped-call]
    except Exception as error:  # each kind of endpoint raises its own errors
        raise InvalidSetting("listen", text, "the settings", f"it must be a Twisted endpoint that works here: {error}") from None
    return endpoint


def _now() -> datetime:
    return datetime.now(UTC)


def end_with_failure() -> None:
    """Have this process end with the exit status 1: twistd returns 0 whenever its reactor stops, whatever stopped it."""

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
        reactor: Any,
        environment: Mapping[str, str],
        *,
        disk: IDisk | None = None,
        end_with_failure: Callable[[], object] = end_with_failure,
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._environment = environment
        self._disk = RealDisk() if disk is None else disk
        self._end_with_failure = end_with_failure
        self._endpoints = {text: _make_endpoint(reactor, text) for text in endpoint_strings(settings)}
        self._ports: list[IListeningPort] = []
        self._house = House(settings, reactor, environment, _now, self._disk, self._fail, self._verify)
        self._staff = Staff(settings, reactor)
        self._house.served = self._staff.serves
        self._verification: Verification | None = None
        self._failed: Exception | None = None

    def startService(self) -> None:
        """Open, build and listen; raises what makes it impossible."""
        drop_less_than(self._settings.log_level)
        for sentence in unknown_variables(self._environment):
            _log.warn("Ignored: {sentence}.", sentence=sentence)
        try:
            self._start()
        except TwistpiError as error:
            _log.critical("{reason}", reason=str(error))
            sys.tracebacklimit = 0  # twistd raises it on and ends; the sentence says all there is to say
            raise
        super().startService()  # type: ignore[no-untyped-call]

    def become(self, **changed: Any) -> Deferred[None]:
        """Change fields of ``node.json`` and play the role that it says then, with the ports open (``house.House.become``)."""
        return self._house.become(**changed)

    def stopService(self) -> Deferred[None]:
        """Stop listening, finish what is being written, close everything; fires when that is done."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    def _start(self) -> None:
        give_memory_back()
        ease_collecting()
        self._house.open()
        for text, endpoint in self._endpoints.items():
            listening = endpoint.listen(self._house.doorway)
            listening.addCallbacks(self._listens, self._cannot_listen, callbackArgs=(text,), errbackArgs=(text,))
        if self._failed is not None:
            raise self._failed
        self._staff.open(self._house.doorway)
        self._say_where()

    async def _stop(self) -> None:
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        if self._verification is not None:
            self._verification.stop()
        say_stopped(self._settings.serverdir)
        await self._staff.close()
        await self._house.stop()
        _log.info("Stopped.")

    def _listens(self, port: IListeningPort, text: str) -> None:
        self._ports.append(port)
        self._staff.listens(text, port)
        _log.info("twistpi {version} answers at {address}", version=__version__, address=_describe(port))
        if self.running:  # an endpoint that took its time
            self._say_where()

    def _say_where(self) -> None:
        """Let commands on the same machine find this server."""
        try:
            say_running(self._settings.serverdir, [address for port in self._ports if (address := _address(port))])
        except OSError as error:
            _log.warn("Commands will not find this server: {reason}", reason=str(error))

    def _cannot_listen(self, failure: Failure, text: str) -> None:
        error = CannotListen(text, failure.getErrorMessage())
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
        self._end_with_failure()
        if self._reactor.running:
            self._reactor.stop()

    def _verify(self, keeping: Keeping) -> None:
        """Read through the changelog, once, beside everything else."""
        self._verification = Verification(keeping.changelog, self._verified, self._damaged)
        self._reactor.callWhenRunning(self._verification.start)

    def _verified(self, position: Position) -> None:
        _log.info("The changelog is whole up to serial {serial}.", serial=position.serial)

    def _damaged(self, error: Exception) -> None:
        self._reactor.callFromThread(self._fail, error)


def _scheme(port: IListeningPort) -> str:
    return "https" if isinstance(getattr(port, "factory", None), TLSMemoryBIOFactory) else "http"


def _address(port: IListeningPort) -> str | None:
    """Where this machine reaches a port; None when it does not."""
    place = address_of(port.getHost())
    return place if place is None or place.startswith("unix:") else f"{_scheme(port)}://{place}/"


def _describe(port: IListeningPort) -> str:
    """Where a port listens, as people write it."""
    address: Any = port.getHost()
    if hasattr(address, "host"):
        scheme = _scheme(port)
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"{scheme}://{host}:{address.port}/"
    name = getattr(address, "name", None)
    return f"unix:{os.fsdecode(name)}" if name else str(address)
