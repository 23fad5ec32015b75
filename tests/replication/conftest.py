"""Fixtures of the replication's tests: a fake upstream, and servers that follow each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import wait_for
from tests.replication.two_servers import Server, build_server, reactor


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    upstream = FakeUpstream(reactor).start()
    yield upstream
    wait_for(Deferred.fromCoroutine(upstream.stop()))


@pytest.fixture
def make_server(tmp_path: Path, fake: FakeUpstream) -> Iterator[Callable[..., Server]]:
    """Builds servers; ``parent`` is whom one follows, further options are settings."""
    servers: list[Server] = []

    def make(parent: Server | None = None, **settings: Any) -> Server:
        servers.append(build_server(tmp_path / f"server{len(servers)}", fake, parent, **settings))
        return servers[-1]

    yield make
    for server in reversed(servers):
        wait_for(Deferred.fromCoroutine(server.close()))


@pytest.fixture
def primary(make_server: Callable[..., Server]) -> Server:
    return make_server()
