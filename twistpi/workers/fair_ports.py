"""How workers share the listening sockets of the first process.

The kernel gives a waiting connection to the process that accepts first, which is not fair: one worker could take all connections
of a client that opens many at once, and keep them.  So a worker with more open connections than another one leaves a waiting
connection to that one for a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from twistpi.server.inherited_sockets import Listening, inherited_endpoint, make_shared_port
from twistpi.server.listening import Certificate, certificate_of

_POLITE: Final = 0.001
"""Seconds for which a worker leaves a waiting connection to the others."""


def listen(
    reactor: Any,
    listening: Listening,
    factory: IProtocolFactory,
    is_my_turn: Callable[[], bool],
    certified: Callable[[Certificate], object] = lambda _: None,
) -> IListeningPort:
    """Accept connections from ``listening`` for ``factory``, when ``is_my_turn``, or nobody else accepts them.

    ``certified`` is told the certificate, for TLS.
    """

    def make_port(reactor: Any, listening: Listening, factory: IProtocolFactory) -> Any:
        port = make_shared_port(reactor, listening, factory, FairPort, FairUnixPort)
        port.is_my_turn = is_my_turn
        return port

    ports: list[IListeningPort] = []
    endpoint = inherited_endpoint(reactor, listening, make_port)
    endpoint.listen(factory).addCallback(ports.append)
    certificate = certificate_of(endpoint)
    if certificate is not None:
        certified(certificate)
    return ports[0]


class FairPort(tcp.Port):
    """A port of the network that takes turns with those of other processes at the same socket."""

    is_my_turn: Callable[[], bool]
    reactor: Any
    _was_polite = False

    def doRead(self) -> None:
        """Accept a waiting connection, or leave it to another process for a moment."""
        if not self._was_polite and not self.is_my_turn():
            self._was_polite = True
            self.stopReading()
            self.reactor.callLater(_POLITE, self._go_on)
            return
        self._was_polite = False
        self.numberAccepts = 1  # Twisted's name for how many it accepts at a time
        super().doRead()

    def _go_on(self) -> None:
        if self.connected and not self.disconnecting:
            self.startReading()


class FairUnixPort(FairPort, unix.Port):
    """The same in the file system.  The socket file is the first process's to remove."""

    _shouldShutdown = False  # noqa: N815
    """What Twisted asks a port when it closes: after a shutdown, connections would be refused whichever process accepts."""

    def connectionLost(self, reason: object) -> None:
        """The port is closed."""
        tcp.Port.connectionLost(self, reason)
