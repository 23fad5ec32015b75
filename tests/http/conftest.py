"""A raw server and a client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from tests.http.raw_server import RawServer, Script
from tests.in_reactor import wait_for
from twistpi.http.agent import make_agent
from twistpi.http.client import HTTPClient
from twistpi.http.routes import NONE, ForbiddenNetworks

reactor: Any = _reactor


def make_client(environment: dict[str, str] | None = None, **agent: Any) -> HTTPClient:
    """A client that may connect to everything."""
    anywhere = ForbiddenNetworks.parse((NONE,))
    offload = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    return HTTPClient(
        make_agent(reactor, environment or {}, **{"forbidden": anywhere, **agent}), reactor, offload, reactor.callFromThread
    )


@pytest.fixture
def client() -> HTTPClient:
    return make_client()


@pytest.fixture
def serve() -> Iterator[Callable[..., RawServer]]:
    servers = []

    def start(script: Script, context: Any = None) -> RawServer:
        servers.append(RawServer(reactor, script).start(context))
        return servers[-1]

    yield start
    for server in servers:
        wait_for(Deferred.fromCoroutine(server.stop()))
