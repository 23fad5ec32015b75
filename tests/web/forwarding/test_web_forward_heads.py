"""What a worker writes to the first process: heads in its own words, and never a byte that could be taken for another request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport

from tests.web.web_wire import Wire, request_bytes
from tests.web.web_world import MIRROR, World
from twistpi.http.agent import Agent, Pool
from twistpi.mirror.local_only import LocalOnly
from twistpi.web.forwarding.forwarder import Forwarder
from twistpi.web.forwarding.peers import first_process_backend
from twistpi.web.paths import worker_answers


@attrs.define(eq=False)
class Endpoint:
    """Leads to transports that keep what is written."""

    transports: list[Any] = attrs.field(factory=list)

    def connect(self, factory: Any) -> Deferred[Any]:
        protocol = factory.buildProtocol(None)
        self.transports.append(StringTransport())
        self.transports[-1].protocol = protocol
        protocol.makeConnection(self.transports[-1])
        return succeed(protocol)

    @property
    def written(self) -> list[bytes]:
        return [transport.value() for transport in self.transports]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(str(tmp_path))
    yield world
    world.close()


@pytest.fixture
def endpoint(world: World) -> Endpoint:
    """Where a first process would be; ``world`` is its worker."""
    endpoint: Any = Endpoint()
    backend = first_process_backend(Agent(lambda _route: endpoint, Pool(world.clock, 64)))
    world.site.forwarder = Forwarder(backend, world.components.addresses, world.clock, worker_answers)
    made: Endpoint = endpoint
    return made


@pytest.mark.parametrize("path", ["/+status", f"/{MIRROR}/+simple/"])
def test_what_strangers_call_their_requests_is_not_handed_on(world: World, endpoint: Endpoint, path: str) -> None:
    nobody: Any = LocalOnly()
    world.components.mirrors.names = nobody
    Wire(world).send(request_bytes(path, x_request_id="of-a-stranger"))
    assert len(endpoint.written) == 1
    head = endpoint.written[0].lower()
    assert head.count(b"\r\nx-request-id: ") == 1
    assert b"of-a-stranger" not in head


def test_bytes_that_no_target_may_have_are_quoted(world: World, endpoint: Endpoint) -> None:
    Wire(world).send(request_bytes("/+status").replace(b"/+status", b"/+status/\x80?\x7f"))
    assert endpoint.written[0].startswith(b"GET /+status/%80?%7F HTTP/1.1\r\n")
