"""Connections that are idle: how many are kept, and how long."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from twistpi.web.forwarding.links import Link, Links


class Transport(StringTransport):
    """Remembers whether it was ended."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        pass


def made(links: Links) -> tuple[Link, Transport]:
    found: list[Link] = []
    links.make().addCallback(found.append)
    return found[0], found[0].transport


def house_of_links(most: int) -> tuple[Links, Clock]:
    clock = Clock()

    def connect(factory: Any) -> Deferred[Any]:
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(Transport())
        return succeed(protocol)

    return Links(connect, clock, most), clock


def test_no_more_connections_are_kept_than_are_allowed() -> None:
    links, _clock = house_of_links(2)
    three = [made(links) for _ in range(3)]
    for link, _transport in three:
        link.release()
    assert [transport.aborted for _link, transport in three] == [False, False, True]
    assert [links.take(), links.take(), links.take()] == [three[1][0], three[0][0], None]


def test_connections_that_nobody_uses_are_closed_after_a_while() -> None:
    links, clock = house_of_links(10)
    (first, first_transport), (second, second_transport) = made(links), made(links)
    first.release()
    clock.advance(15)
    second.release()
    clock.advance(6)
    assert (first_transport.aborted, second_transport.aborted) == (True, False)
    assert links.take() is second
    second.release()
    clock.advance(15)
    assert not second_transport.aborted
    clock.advance(6)
    assert second_transport.aborted
    assert links.take() is None
    assert not clock.getDelayedCalls()


def test_a_connection_that_the_other_server_closed_is_not_offered() -> None:
    links, _clock = house_of_links(10)
    link, _transport = made(links)
    link.release()
    link.connectionLost()
    assert links.take() is None
