"""What a new replica answers until it has all that its primary has: that it is not ready, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IProtocolNegotiationFactory
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import implementer

from twistpi.model.records import Json
from twistpi.web.errors import error_reply
from twistpi.web.handlers.operations import ALIVE
from twistpi.web.replies import JSON, NO_STORE, Headers, Reply, length_of, put, result_reply
from twistpi.web.request import speaks_json

_CLOSE: Headers = ((b"Connection", b"close"),)
_ALIVE = frozenset({b"/+health", b"/+health/"})
_STATUS = frozenset({b"/+status", b"/+status/"})


@attrs.frozen
class Waiting:
    """What there is to say meanwhile."""

    standing: Callable[[], Headers]
    """The headers that every answer begins with."""
    sentence: Callable[[], str]
    """Why nothing is served yet."""
    facts: Callable[[], Mapping[str, Json]]
    """The status."""


class WaitingSite(Site):
    """The factory of connections on which all but the status is put off.

    Every connection is closed after its answer, so that the next one finds whoever answers then.
    """

    noisy = False

    def __init__(self, waiting: Waiting) -> None:
        super().__init__(_NotYet(waiting), parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]

    def acceptableProtocols(self) -> list[bytes]:
        """Return what is offered to clients over TLS: HTTP/1.1 alone."""
        return [b"http/1.1"]

    def log(self, request: Any) -> None:
        """Note nothing: there will be many of these for a while."""


class _NotYet(Resource):
    isLeaf = True  # noqa: N815

    def __init__(self, waiting: Waiting) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._waiting = waiting

    def render(self, request: Request) -> bytes:
        """The status, or 503."""
        if isinstance(request.channel, HTTPChannel):
            request.channel.persistent = False
        standing = (*self._waiting.standing(), *_CLOSE)
        if request.path in _STATUS:
            return put(request, result_reply("status", dict(self._waiting.facts())), standing)
        if request.path in _ALIVE:
            return put(request, Reply(200, ((b"Content-Type", JSON), length_of(ALIVE), NO_STORE), ALIVE), standing)
        reply = error_reply(503, self._waiting.sentence(), wants_json=speaks_json(request))
        return put(request, reply, standing)


@implementer(IProtocolFactory, IProtocolNegotiationFactory)
@attrs.define(eq=False)
class SiteHolder:
    """The factory of the listening ports: it has the connections of ``site``, which is set before the first one comes.

    A new replica sets it twice: a ``WaitingSite``, whose connections end with their first answer, and its own site.
    """

    site: Any = None
    noisy: bool = False
    """Twisted asks factories whether their start is worth a line."""

    def doStart(self) -> None:
        """A port opens (``IProtocolFactory``)."""

    def doStop(self) -> None:
        """A port closes (``IProtocolFactory``)."""

    def acceptableProtocols(self) -> list[bytes]:
        """Return what clients over TLS may choose from (``IProtocolNegotiationFactory``): HTTP/1.1 alone."""
        return [b"http/1.1"]

    def buildProtocol(self, address: IAddress) -> IProtocol | None:
        """Return a connection of the site."""
        built: IProtocol | None = self.site.buildProtocol(address)
        return built
