"""Listening sockets that a process inherits: a worker from the first process, or a restarted server from itself.

The endpoint is made anew around the inherited socket, so that what it does beside listening (TLS) is done here.  A socket that
several processes share loses no connection when one of them ends: what was not accepted waits for the others.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import attrs
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.lockfile import FilesystemLock
from zope.interface import implementer

from twistpi.server.listening import BACKLOG, make_endpoint

_INHERITED_BY_NUMBER: Final = "systemd:"
"""Endpoints that are nothing but a descriptor, whose number is another one in each process."""


@attrs.frozen
class Listening:
    """A listening socket that a process inherits."""

    endpoint: str
    """The Twisted endpoint it was made for."""
    descriptor: int
    family: int
    """``socket.AF_INET`` and the like."""


PortMaker = Callable[[Any, Listening, IProtocolFactory], Any]
"""Makes a port of Twisted's, which does not listen yet, of a reactor and an inherited socket."""


def inherited_endpoint(reactor: Any, listening: Listening, make_port: PortMaker) -> IStreamServerEndpoint:
    """Return the endpoint of ``listening``, which listens at the inherited socket.  Raise ``TwistpiError``."""
    adopting = _AdoptingReactor(reactor, listening, make_port)
    if listening.endpoint.startswith(_INHERITED_BY_NUMBER):
        return _AdoptedEndpoint(adopting)
    return make_endpoint(adopting, listening.endpoint)


def make_own_port(reactor: Any, listening: Listening, factory: IProtocolFactory) -> Any:
    """Make the port of a process that alone accepts from the socket.  It removes a socket file in the end (a ``PortMaker``)."""
    port = make_shared_port(reactor, listening, factory, tcp.Port, unix.Port)
    if isinstance(port, unix.Port):
        lock = FilesystemLock(os.fsdecode(port._bindPath) + ".lock")
        with suppress(OSError):
            if os.readlink(lock.name) == str(os.getpid()):
                lock.locked = True
                port.lockFile = lock
    return port


def make_shared_port(
    reactor: Any, listening: Listening, factory: IProtocolFactory, tcp_port: type[tcp.Port], unix_port: type[unix.Port]
) -> Any:
    """Make a port of the class for the family of the socket."""
    if listening.family != socket.AF_UNIX:
        return tcp_port._fromListeningDescriptor(reactor, listening.descriptor, listening.family, factory)
    port = unix_port._fromListeningDescriptor(reactor, listening.descriptor, factory)
    port.backlog = BACKLOG  # Twisted listens once more
    with suppress(OSError):  # it has no name in the file system
        port.mode = stat.S_IMODE(os.stat(port._bindPath).st_mode)  # Twisted sets the mode once more
    return port


@implementer(IStreamServerEndpoint)
@attrs.frozen(eq=False)
class _AdoptedEndpoint:
    """An endpoint that is nothing but the inherited socket."""

    _reactor: _AdoptingReactor

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See ``IStreamServerEndpoint``."""
        return succeed(self._reactor.adopt(protocolFactory))


class _AdoptingReactor:
    """A reactor that listens at the inherited socket, wherever it is told to listen."""

    def __init__(self, reactor: Any, listening: Listening, make_port: PortMaker) -> None:
        self._reactor, self._listening, self._make_port = reactor, listening, make_port

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def adopt(self, factory: IProtocolFactory) -> IListeningPort:
        """Return a port that listens at the inherited socket."""
        port: Any = self._make_port(self._reactor, self._listening, factory)
        port.startListening()
        os.close(self._listening.descriptor)  # the port has one of its own
        return port  # type: ignore[no-any-return]

    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        """See ``IReactorTCP``."""
        return self.adopt(factory)

    def listenUNIX(
        self, address: str, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> IListeningPort:
        """See ``IReactorUNIX``."""
        return self.adopt(factory)

    def listenSSL(
        self, port: int, factory: IProtocolFactory, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """See ``IReactorSSL``."""
        return self.adopt(TLSMemoryBIOFactory(contextFactory, False, factory))
