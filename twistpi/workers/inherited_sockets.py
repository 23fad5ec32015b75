"""Inherited listening sockets: made by the first process, accepted from by every worker.

A socket that all share loses no connection when one of them dies: what was not accepted waits for the others.  The kernel gives a
waiting connection to whoever asks first, which is not fair: one worker could take all connections of a client that opens many at
once, and keep them.  So a worker with more open connections than another lets that one go first, for a millisecond.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from twistpi.server.listening import Certificate, certificate_of, make_endpoint
from twistpi.workers.control_channel import Listening

_POLITE: Final = 0.001
"""Seconds for which a worker leaves a waiting connection to the others."""
_INHERITED_BY_NUMBER: Final = "systemd:"
"""Endpoints that are nothing but a descriptor, whose number is another one in each process."""


def listen(
    reactor: Any,
    listening: Listening,
    factory: IProtocolFactory,
    is_my_turn: Callable[[], bool],
    certified: Callable[[Certificate], object] = lambda _: None,
) -> IListeningPort:
    """Accept connections from ``listening`` for ``factory``, when ``is_my_turn``, or nobody else comes.

    The endpoint is made anew, around the inherited socket, so that what it does beside listening (TLS) is done here;
    ``certified`` is told the certificate, for TLS.
    """
    adopting = _Adopting(reactor, listening, is_my_turn)
    if listening.endpoint.startswith(_INHERITED_BY_NUMBER):
        return adopting.adopt(factory)
    ports: list[IListeningPort] = []
    endpoint = make_endpoint(adopting, listening.endpoint)
    endpoint.listen(factory).addCallback(ports.append)
    certificate = certificate_of(endpoint)
    if certificate is not None:
        certified(certificate)
    return ports[0]


class _Adopting:
    """A reactor that, asked to listen wherever, listens at the inherited socket."""

    def __init__(self, reactor: Any, listening: Listening, is_my_turn: Callable[[], bool]) -> None:
        self._reactor, self._listening, self._is_my_turn = reactor, listening, is_my_turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def adopt(self, factory: IProtocolFactory) -> IListeningPort:
        """A port of the inherited socket."""
        descriptor = self._listening.descriptor
        port: Any
        if self._listening.family == socket.AF_UNIX:
            port = FairUnixPort._fromListeningDescriptor(self._reactor, descriptor, factory)  # type: ignore[no-untyped-call]
            with suppress(OSError):  # it has no name in the file system
                port.mode = stat.S_IMODE(os.stat(port._bindPath).st_mode)  # Twisted sets it once more
        else:
            port = FairPort._fromListeningDescriptor(  # type: ignore[no-untyped-call]
                self._reactor, descriptor, self._listening.family, factory
            )
        port.is_my_turn = self._is_my_turn
        port.startListening()
        os.close(descriptor)  # the port has one of its own
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


class _Fair:
    """How a port takes turns with those of other processes at the same socket."""

    is_my_turn: Callable[[], bool]
    reactor: Any
    _was_polite = False

    def doRead(self) -> None:
        """Somebody waits at the socket."""
        if not self._was_polite and not self.is_my_turn():
            self._was_polite = True
            self.stopReading()  # type: ignore[attr-defined]
            self.reactor.callLater(_POLITE, self._go_on)
            return
        self._was_polite = False
        self.numberAccepts = 1  # Twisted's name for how many it takes at a time
        super().doRead()  # type: ignore[misc]

    def _go_on(self) -> None:
        if self.connected and not self.disconnecting:  # type: ignore[attr-defined]
            self.startReading()  # type: ignore[attr-defined]


class FairPort(_Fair, tcp.Port):
    """A port of the network."""


class FairUnixPort(_Fair, unix.Port):
    """A port of the file system; its socket file is the first process's to remove."""

    def connectionLost(self, reason: object) -> None:
        """The port is closed."""
        tcp.Port.connectionLost(self, reason)  # type: ignore[no-untyped-call]
