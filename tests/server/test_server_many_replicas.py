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
from twistpi.changelog.disk import Disk
from twistpi.model.changes import Change, UserCreated
from twistpi.server.application import Application
from twistpi.server.process import Process
from twistpi.server.server import Server
from twistpi.server.settings import Settings
from twistpi.web.transport.connections import Connections

reactor: Any = _reactor
REPLICAS = 20
ENTRIES = 300
LATER = 50


@attrs.define(eq=False)
class Node:
    """A server without a process of its own."""

    path: Path
    setup: Server
    application: Deferred[Application]
    """Fires when it answers."""
    failures: list[Exception]

    @classmethod
    def below(cls, folder: Path, name: str, **settings: Any) -> Node:
        path, failures = folder / name, list[Exception]()
        application: Deferred[Application] = Deferred()
        given = Settings(serverdir=str(path), no_root_pypi=True, bcrypt_cost=4, **settings)
        process = Process(reactor, {}, lambda: datetime.now(UTC), failures.append, lambda: None)
        setup = Server(given, process, Disk(), lambda _storage: None, application.callback, Connections(reactor))
        setup.open()
        return cls(path, setup, application, failures)


@attrs.define(eq=False)
class Town:
    """All of them, and where the primary listens."""

    folder: Path
    servers: list[Node] = attrs.field(factory=list)
    port: Any = None

    def begin(self) -> Node:
        """The primary."""
        primary = Node.below(self.folder, "primary")
        self.servers.append(primary)
        self.port = reactor.listenTCP(0, primary.setup.factory, interface="127.0.0.1")
        return primary

    def replica(self, number: int) -> Node:
        """Another one."""
        url, secret = f"http://127.0.0.1:{self.port.getHost().port}", str(self.folder / "primary" / "secret")
        server = Node.below(self.folder, f"replica-{number}", primary_url=url, secretfile=secret)
        self.servers.append(server)
        return server

    async def close(self) -> None:
        await self.port.stopListening()
        for server in reversed(self.servers):
            await server.setup.stop()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    yield town
    wait_for(Deferred.fromCoroutine(town.close()))


async def _write(application: Application, first: int, count: int) -> None:
    commit = application.components.writer.commit
    await gatherResults([commit(_creating(f"user{number}"), "root") for number in range(first, first + count)])


def _creating(name: str) -> Callable[[Any], list[Change]]:
    return lambda _view: [UserCreated(name)]


@in_reactor
async def test_twenty_replicas_at_once_are_the_same_as_their_primary(town: Town) -> None:
    primary = town.begin()
    application = await primary.application
    await _write(application, 0, ENTRIES)
    replicas = await gatherResults([town.replica(number).application for number in range(REPLICAS)])
    await _write(application, ENTRIES, LATER)
    last = application.components.responder.serial
    assert last == 1 + ENTRIES + LATER
    for replica in replicas:
        following = replica.role.following
        assert following is not None
        await following.wait_for(last, 5 * PATIENCE)
    await deferToThread(_all_are_the_same, town)
    assert [server.failures for server in town.servers if server.failures] == []


def _all_are_the_same(town: Town) -> None:
    for server in town.servers[1:]:
        are_the_same(town.servers[0].path, server.path)
