"""A primary for tests: a small site on loopback or behind a unix socket, whose answers a test writes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import maybeDeferred
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.in_reactor import offload
from twistpi.http.agent import Agent, make_agent, unix_agent
from twistpi.http.client import HTTPClient

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


class Spoken:
    """A signer whose tokens can be read."""

    def make(self, node: str, method: str, target: str, at: float, nonce: str, _told: str) -> str:
        return json.dumps([node, method, target, at, nonce], separators=(",", ":"))


class _Everything(Resource):
    isLeaf = True  # noqa: N815

    def __init__(self, answer: Answering) -> None:
        super().__init__()
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
        site = Site(_Everything(self._answer))
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


def client_for(url: str, clock: Any = reactor) -> tuple[HTTPClient, Agent]:
    """A client that reaches the server at ``url``, with the agent whose connections are to be closed."""
    agent = unix_agent(reactor, url.removeprefix("unix:")) if url.startswith("unix:") else make_agent(reactor, {})
    return make_client(agent, clock), agent


def make_client(agent: IAgent, clock: Any = reactor) -> HTTPClient:
    """A client over ``agent``."""
    return HTTPClient(agent, clock, offload, reactor.callFromThread)
