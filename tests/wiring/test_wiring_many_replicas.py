"""Twenty replicas begin at the same moment, follow, and are the same as their primary; all of them in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from tests.crash.soaking import are_the_same
from tests.in_reactor import PATIENCE, in_reactor, wait_for
from twistpi.changelog.disk import RealDisk
from twistpi.model.changes import Change, UserCreated
from twistpi.settings import Settings
from twistpi.web.lasting import Lasting
from twistpi.web.transport.connections import Connections
from twistpi.wiring.house import House
from twistpi.wiring.serving import Serving

reactor: Any = _reactor
REPLICAS = 20
ENTRIES = 300
LATER = 50


@attrs.define(eq=False)
class Server:
    """A server without a process of its own."""

    path: Path
    house: House
    serving: Deferred[Serving]
    """Fires when it answers."""
    failures: list[Exception]

    @classmethod
    def below(cls, folder: Path, name: str, **settings: Any) -> Server:
        path, failures = folder / name, list[Exception]()
        given = Settings(serverdir=str(path), no_root_pypi=True, bcrypt_cost=4, **settings)
        house = House(
            given, reactor, {}, lambda: datetime.now(UTC), RealDisk(), failures.append, lambda _keeping: None,
            Lasting(Connections(reactor)),
        )  # fmt: skip
        serving: Deferred[Serving] = Deferred()
        house.served = lambda one: serving.callback(one) if one is not None and not serving.called else None
        house.open()
        return cls(path, house, serving, failures)


@attrs.define(eq=False)
class Town:
    """All of them, and where the primary listens."""

    folder: Path
    servers: list[Server] = attrs.field(factory=list)
    port: Any = None

    def begin(self) -> Server:
        """The primary."""
        primary = Server.below(self.folder, "primary")
        self.servers.append(primary)
        self.port = reactor.listenTCP(0, primary.house.doorway, interface="127.0.0.1")
        return primary

    def replica(self, number: int) -> Server:
        """Another one."""
        url, secret = f"http://127.0.0.1:{self.port.getHost().port}", str(self.folder / "primary" / "secret")
        server = Server.below(self.folder, f"replica-{number}", primary_url=url, secretfile=secret)
        self.servers.append(server)
        return server

    async def close(self) -> None:
        await self.port.stopListening()
        for server in reversed(self.servers):
            await server.house.stop()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    yield town
    wait_for(Deferred.fromCoroutine(town.close()))


async def _write(serving: Serving, first: int, count: int) -> None:
    commit = serving.services.writer.commit
    await gatherResults([commit(_creating(f"user{number}"), "root") for number in range(first, first + count)])


def _creating(name: str) -> Callable[[Any], list[Change]]:
    return lambda _view: [UserCreated(name)]


@in_reactor
async def test_twenty_replicas_at_once_are_the_same_as_their_primary(town: Town) -> None:
    primary = town.begin()
    serving = await primary.serving
    await _write(serving, 0, ENTRIES)
    replicas = await gatherResults([town.replica(number).serving for number in range(REPLICAS)])
    await _write(serving, ENTRIES, LATER)
    last = serving.services.standing.serial
    assert last == 1 + ENTRIES + LATER
    for replica in replicas:
        following = replica.parts.following
        assert following is not None
        await following.wait_for(last, 5 * PATIENCE)
    await deferToThread(_all_are_the_same, town)
    assert [server.failures for server in town.servers if server.failures] == []


def _all_are_the_same(town: Town) -> None:
    for server in town.servers[1:]:
        are_the_same(town.servers[0].path, server.path)
