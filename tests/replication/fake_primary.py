"""A primary for tests: a small site on loopback or behind a unix socket, whose answers a test writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

reactor: Any = the_reactor
Answering = Callable[[Any], None]
"""Answers a request: writes, and finishes it or not."""


@attrs.define
class Seen:
    """A request that came."""

    method: str
    uri: str
    token: str
    headers: Any
    body: bytes


class _Everything(Resource):
    isLeaf = True  # noqa: N815

    def __init__(self, answer: Answering) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._answer = answer

    def render(self, request: Any) -> int:
        self._answer(request)
        return NOT_DONE_YET


@attrs.define(eq=False)
class FakePrimary:
    """Answers as ``answering`` says; notes what it was asked."""

    answering: Answering
    seen: list[Seen] = attrs.field(factory=list)
    requests: list[Any] = attrs.field(factory=list)
    _port: Any = None

    def start(self, unix: str | None = None) -> FakePrimary:
        """Listen at a free port of loopback, or at a unix socket."""
        site = Site(_Everything(self._answer))  # type: ignore[no-untyped-call]
        site.noisy = False
        self._port = reactor.listenUNIX(unix, site) if unix else reactor.listenTCP(0, site, interface="127.0.0.1")
        return self

    @property
    def url(self) -> str:
        """Where it answers."""
        host = self._port.getHost()
        return f"http://127.0.0.1:{host.port}" if hasattr(host, "port") else f"unix:{os.fsdecode(host.name)}"

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        await maybeDeferred(self._port.stopListening)
        self.hang_up()

    def hang_up(self) -> None:
        """Cut every connection."""
        for request in self.requests:
            if request.channel is not None:
                request.channel.forceAbortClient()
        self.requests.clear()

    def _answer(self, request: Any) -> None:
        authorization = request.getHeader("Authorization") or ""
        assert request.content is not None
        self.seen.append(
            Seen(
                request.method.decode(),
                request.uri.decode(),
                authorization.removeprefix("Twistpi-Node "),
                request.requestHeaders,
                request.content.read(),
            )
        )
        self.requests.append(request)
        request.notifyFinish().addBoth(lambda _: self.requests.remove(request) if request in self.requests else None)
        self.answering(request)


@implementer(IAgentEndpointFactory)
@attrs.define
class _ToSocket:
    path: str

    def endpointForURI(self, _uri: object) -> UNIXClientEndpoint:
        return UNIXClientEndpoint(reactor, self.path)  # type: ignore[no-untyped-call]


def agent_for(url: str) -> tuple[IAgent, HTTPConnectionPool]:
    """An agent that reaches the server at ``url``, with the pool whose connections are to be closed."""
    pool = HTTPConnectionPool(reactor, persistent=True)  # type: ignore[no-untyped-call]
    if url.startswith("unix:"):
        endpoints = _ToSocket(url.removeprefix("unix:"))
        return Agent.usingEndpointFactory(reactor, endpoints, pool), pool  # type: ignore[no-untyped-call]
    return Agent(reactor, pool=pool), pool  # type: ignore[no-untyped-call]
