"""Where the server listens: endpoints from text, certificates that can be read again, and sockets that a process inherits.

A worker inherits the sockets of the first process, a restarted server its own.  A socket that several processes share loses no
connection when one of them ends: what was not accepted waits for the others.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

import attrs
from OpenSSL.SSL import Context
from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IOpenSSLContextFactory, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.lockfile import FilesystemLock
from zope.interface import implementer

from twistpi.http.errors import explain
from twistpi.model.errors import invalid_setting
from twistpi.server.process import IServerReactor
from twistpi.server.settings import Settings

BACKLOG: Final = 4096
"""Clients that may wait to be accepted, as far as the system allows: when a company's builds start, many come in one moment."""
_NOTHING_HANDED_OVER: Final = "systemd passed no such socket to the server; start the server through its socket unit"
_LISTENING: Final = ("tcp:", "tcp6:", "ssl:", "unix:")
_TLS: Final = "ssl:"
_log = Logger()


@attrs.frozen
class InheritedSocket:
    """A listening socket that a process inherits."""

    endpoint: str
    """The Twisted endpoint it was made for."""
    descriptor: int
    family: int
    """``socket.AF_INET`` and the like."""


def endpoint_strings(settings: Settings) -> tuple[str, ...]:
    """Return where to listen, as Twisted endpoints."""
    host = settings.host.replace("\\", "\\\\").replace(":", "\\:")
    return settings.listen or (f"tcp:{settings.port}:interface={host}",)


class _TLSArguments(NamedTuple):
    """What an endpoint for TLS tells its reactor."""

    port: int
    context: Context
    interface: str
    backlog: int


def _read_tls(text: str) -> _TLSArguments:
    """Return what the endpoint ``text`` would listen with; raise where key or certificate are none, or do not belong together."""
    heard: list[tuple[int, IOpenSSLContextFactory, str, int]] = []

    class Recorder:
        """A reactor that does not listen."""

        def listenSSL(
            self, port: int, factory: object, contextFactory: IOpenSSLContextFactory, backlog: int = 50, interface: str = ""
        ) -> None:
            heard.append((port, contextFactory, interface, backlog))

    endpoint: IStreamServerEndpoint = serverFromString(Recorder(), text)
    endpoint.listen(ServerFactory())
    ((port, context, interface, backlog),) = heard
    return _TLSArguments(port, context.getContext(), interface, backlog)


@implementer(IOpenSSLContextFactory)
@attrs.define(eq=False)
class Certificate:
    """What Twisted asks for the context of each connection: that of the certificate as it was read last."""

    _text: str
    """The endpoint that names it."""
    arguments: _TLSArguments = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.arguments = _read_tls(self._text)

    def getContext(self) -> Context:
        """Return the context of a new connection (``IOpenSSLContextFactory``)."""
        return self.arguments.context

    def reload(self) -> None:
        """Read key and certificate again, for connections from now on; when they are not good, the former ones stay."""
        try:
            self.arguments = _read_tls(self._text)
        except Exception as error:  # of OpenSSL, of the file system, of Twisted
            said = "The certificate of {endpoint} could not be read again, so the former one stays: {reason}"
            _log.error(said, endpoint=_as_given(self._text), reason=explain(error))
            return
        _log.info("Read the certificate of {endpoint} again.", endpoint=_as_given(self._text))


@implementer(IStreamServerEndpoint)
@attrs.define(eq=False)
class Endpoint:
    """A place to listen at: a Twisted endpoint, or an inherited socket.  ``make_endpoint`` makes one."""

    _listen: Callable[[IProtocolFactory], Deferred[IListeningPort]]
    certificate: Certificate | None = None
    """For TLS."""

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See ``IStreamServerEndpoint``."""
        if self.certificate is None:
            return self._listen(protocolFactory)
        return self._listen(TLSMemoryBIOFactory(self.certificate, False, protocolFactory))


def make_endpoint(
    reactor: IServerReactor, text: str, adopt: Callable[[IProtocolFactory], IListeningPort] | None = None
) -> Endpoint:
    """Return the endpoint that ``text`` describes.  Raise ``TwistpiError``.

    With ``adopt`` it listens at an inherited socket instead: ``adopt`` makes the port.
    """
    if text.startswith(_LISTENING) and ":backlog=" not in text:
        text = f"{text}:backlog={BACKLOG}"
    try:
        certificate = Certificate(text) if text.startswith(_TLS) else None
        if adopt is not None:
            return Endpoint(lambda factory: succeed(adopt(factory)), certificate)
        if certificate is None:
            return Endpoint(serverFromString(reactor, text).listen)
    except Exception as error:  # each kind of endpoint raises its own errors
        reason = _NOTHING_HANDED_OVER if text.startswith("systemd:") and isinstance(error, LookupError) else error
        allowed = f"it must be a Twisted endpoint that works here: {reason}"
        raise invalid_setting("listen", _as_given(text), "the settings", allowed) from None
    at = certificate.arguments
    return Endpoint(lambda factory: execute(reactor.listenTCP, at.port, factory, at.backlog, at.interface), certificate)


def _as_given(text: str) -> str:
    """Return an endpoint as it stands in the settings."""
    return text.removesuffix(f":backlog={BACKLOG}")


def inherited_endpoint(reactor: IServerReactor, inherited: InheritedSocket) -> Endpoint:
    """Return an endpoint for the one process that accepts from the socket.  It removes a socket file in the end."""

    def adopt(factory: IProtocolFactory) -> IListeningPort:
        if inherited.family == socket.AF_UNIX:
            port: IListeningPort = _InheritedUnixPort(reactor, inherited.descriptor, factory)
            port.startListening()
        else:
            port = reactor.adoptStreamPort(inherited.descriptor, inherited.family, factory)
        os.close(inherited.descriptor)  # the port has one of its own
        return port

    return make_endpoint(reactor, inherited.endpoint, adopt)


class _BoundSocket(socket.socket):
    """A socket that is bound already."""

    def bind(self, address: object) -> None:
        """Do nothing."""


class _InheritedUnixPort(unix.Port):
    """A port at an inherited socket.  Twisted's own would open its file to everybody."""

    def __init__(self, reactor: IServerReactor, descriptor: int, factory: IProtocolFactory) -> None:
        self._bound = _BoundSocket(fileno=os.dup(descriptor))
        self._bound.setblocking(False)
        path = self._bound.getsockname()
        mode = 0o600
        with suppress(OSError, ValueError):  # it has no name in the file system
            mode = stat.S_IMODE(os.stat(path).st_mode)
        super().__init__(path, factory, BACKLOG, mode, reactor)
        lock = FilesystemLock(f"{os.fsdecode(path)}.lock")
        with suppress(OSError):
            if os.readlink(lock.name) == str(os.getpid()):
                lock.locked = True
                self.lockFile = lock

    def createInternetSocket(self) -> socket.socket:
        """Return the inherited socket."""
        return self._bound


def accept_waiting(port: IListeningPort) -> None:
    """Accept the clients that wait at ``port`` already: when it is closed, the system would reset them."""
    if isinstance(port, tcp.Port) and port.connected:
        port.numberAccepts = BACKLOG
        port.doRead()


def address_of(host: object) -> str | None:
    """Return how this machine reaches a port that listens at ``host``, the result of its ``getHost()``, without the scheme.

    ``127.0.0.1:3141``, ``[::1]:3141`` or ``unix:/run/twistpi.sock``; None for what is neither.  A port that listens on every
    interface is reached on loopback.
    """
    if isinstance(host, IPv4Address | IPv6Address):
        return _host_and_port(attrs.evolve(host, host={"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.host, host.host)))
    return f"unix:{os.fsdecode(host.name)}" if isinstance(host, UNIXAddress) and host.name else None


def _host_and_port(address: IPv4Address | IPv6Address) -> str:
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def _scheme(port: IListeningPort) -> str:
    return "https" if isinstance(getattr(port, "factory", None), TLSMemoryBIOFactory) else "http"


def reachable_at(port: IListeningPort) -> str | None:
    """Return where this machine reaches a port; None when it does not."""
    place = address_of(port.getHost())
    return place if place is None or place.startswith("unix:") else f"{_scheme(port)}://{place}/"


def describe(port: IListeningPort) -> str:
    """Return where a port listens, as people write it."""
    address = port.getHost()
    if isinstance(address, IPv4Address | IPv6Address):
        return f"{_scheme(port)}://{_host_and_port(address)}/"
    return address_of(address) or str(address)
