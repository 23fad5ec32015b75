"""How workers share the listening sockets of the first process.

The kernel gives a waiting connection to the process that accepts first, which is not fair: one worker could take all connections
of a client that opens many at once, and keep them.  So a worker with more open connections than another one leaves a waiting
connection to that one for a millisecond.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from twistpi.server.listening import Endpoint, InheritedSocket, make_endpoint
from twistpi.server.process import IServerReactor

_POLITE: Final = 0.001
"""Seconds for which a worker leaves a waiting connection to the others."""
_OUT_OF_DESCRIPTORS: Final = 0.1
"""Seconds after which accepting is tried again when the system refused."""


def shared_endpoint(reactor: IServerReactor, inherited: InheritedSocket, is_my_turn: Callable[[], bool]) -> Endpoint:
    """Return an endpoint that accepts connections when ``is_my_turn``, or nobody else accepts them."""

    def adopt(factory: IProtocolFactory) -> IListeningPort:
        port: IListeningPort = SharedPort(reactor, inherited, factory, is_my_turn)
        port.startListening()
        return port

    return make_endpoint(reactor, inherited.endpoint, adopt)


@implementer(IListeningPort, IReadDescriptor)
class SharedPort:
    """A port that takes turns with those of other processes at the same socket.  What it closes is its own descriptor."""

    def __init__(
        self, reactor: IServerReactor, inherited: InheritedSocket, factory: IProtocolFactory, is_my_turn: Callable[[], bool]
    ) -> None:
        self.factory = factory
        self._reactor = reactor
        self._socket = socket.socket(fileno=inherited.descriptor)
        self._socket.setblocking(False)
        self._is_my_turn = is_my_turn
        self._was_polite = False
        self._is_reading = False
        """Whether connections are wanted at all."""

    def startListening(self) -> None:
        """Accept connections (``IListeningPort``)."""
        self.factory.doStart()
        self.startReading()

    def stopListening(self) -> Deferred[None]:
        """Accept no more (``IListeningPort``)."""
        self.stopReading()
        self._socket.close()
        self.factory.doStop()
        return succeed(None)

    def getHost(self) -> IAddress:
        """Return where the socket listens (``IListeningPort``)."""
        name = self._socket.getsockname()
        if self._socket.family == socket.AF_UNIX:
            return UNIXAddress(name)
        return (IPv6Address if self._socket.family == socket.AF_INET6 else IPv4Address)("TCP", *name)

    def startReading(self) -> None:
        """Go on after ``stopReading``."""
        self._is_reading = True
        self._resume()

    def stopReading(self) -> None:
        """Accept nothing for now."""
        self._is_reading = False
        self._reactor.removeReader(self)

    def fileno(self) -> int:
        """Return the descriptor (``IReadDescriptor``)."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Return the beginning of log lines (``ILoggingContext``)."""
        return "shared port"

    def connectionLost(self, reason: Failure) -> None:
        """End with the reactor (``IReadDescriptor``)."""
        self._is_reading = False
        self._socket.close()

    def doRead(self) -> None:
        """Accept a waiting connection, or leave it to another process for a moment (``IReadDescriptor``)."""
        if not self._was_polite and not self._is_my_turn():
            self._was_polite = True
            self._pause(_POLITE)
            return
        self._was_polite = False
        try:
            connection, _address = self._socket.accept()
        except (BlockingIOError, ConnectionError, InterruptedError):
            return  # another process was faster, or the client has left
        except OSError:
            self._pause(_OUT_OF_DESCRIPTORS)
            return
        with connection, suppress(OSError):  # a client that leaves at once
            connection.setblocking(False)
            self._reactor.adoptStreamConnection(connection.fileno(), self._socket.family, self.factory)

    def _pause(self, seconds: float) -> None:
        self._reactor.removeReader(self)
        self._reactor.callLater(seconds, self._resume)

    def _resume(self) -> None:
        if self._is_reading:
            self._reactor.addReader(self)
