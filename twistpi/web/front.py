"""The first look at a request: refuses what no route may see, forwards what another server answers; and the site of a server
that has nothing to serve yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from klein import Klein
from klein.resource import KleinResource
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from twistpi.model.errors import TwistpiError
from twistpi.model.monitoring import Check
from twistpi.model.records import Json
from twistpi.model.server_errors import NodeRefused
from twistpi.web.addresses import Addresses, bare_path, outside_prefix
from twistpi.web.errors import error_reply, failure_reply
from twistpi.web.forwarding.forwarded_request import ForwardedRequest
from twistpi.web.forwarding.headers import REFUSED
from twistpi.web.forwarding.peers import TrustedPeers
from twistpi.web.handlers.operations import ALIVE, ready_reply
from twistpi.web.paths import merge_slashes, segments_of, without_prefix
from twistpi.web.replies import JSON, NO_STORE, Headers, Reply, Responder, length_of, put, redirect_reply, result_reply
from twistpi.web.request import TwistpiRequest, query_of, speaks_json

log = Logger()


class Front(Resource):
    """Removes the prefix of the outside URL from paths, and refuses ambiguous ones."""

    isLeaf = True  # noqa: N815

    def __init__(self, app: Klein, responder: Responder, addresses: Addresses, trusted_peers: TrustedPeers) -> None:
        super().__init__()
        self._responder = responder
        self._addresses = addresses
        self._trusted_peers = trusted_peers
        self._routes: KleinResource = app.resource()

    def render(self, request: Request) -> object:
        """Route the request, forward it, or refuse it."""
        content: object = request.content
        if isinstance(request, TwistpiRequest) and request.refusal is not None:
            return self._responder.put(request, self._refused(request, request.refusal))
        if isinstance(content, ForwardedRequest):
            content.complete()
            Deferred.fromCoroutine(self._relay(request, content))
            return NOT_DONE_YET
        try:
            segments = segments_of(request.path.decode("latin-1"))
        except TwistpiError as refusal:
            return self._responder.put(request, error_reply(refusal.status, str(refusal), wants_json=speaks_json(request)))
        prefix = outside_prefix(request, self._addresses)
        if b"//" in request.path.lstrip(b"/") and request.method in (b"GET", b"HEAD"):
            # Relative links of the answer would lead elsewhere, and so would a relative redirect: clients differ in how they
            # count an empty segment.
            path = bare_path(merge_slashes(request.path), prefix).decode("latin-1")
            return self._responder.put(request, redirect_reply(f"{prefix}{path}{query_of(request)}"))
        request.postpath = without_prefix(segments, prefix)
        return self._routes.render(request)

    def _refused(self, request: Request, refusal: TwistpiError) -> Reply:
        """Return the response to a request that was refused by its head, also that of a server with an invalid token."""
        if not isinstance(refusal, NodeRefused):
            log.info("A request for {path} was refused: {reason}", path=request.path.decode("latin-1"), reason=str(refusal))
            return error_reply(refusal.status, str(refusal), wants_json=speaks_json(request))
        headers = ((REFUSED.encode("ascii"), refusal.reason.encode("ascii")), *self._trusted_peers.headers())
        sentence = (
            "A request that another server passes on must prove where it comes from, and the token of this one does not: "
            f"{refusal.reason}. Servers that pass requests on share one secret; see the setting secretfile."
        )
        return error_reply(refusal.status, sentence, wants_json=True, extra=headers)

    async def _relay(self, request: Request, forwarding: ForwardedRequest) -> None:
        """Answer ``request`` as the other server does, when that is there."""
        relaying = Deferred.fromCoroutine(forwarding.relay(request))
        gone = request.notifyFinish().addErrback(lambda _: relaying.cancel())
        try:
            await relaying
        except CancelledError:
            return
        except Exception:
            if gone.called:
                return
            body = self._responder.put(request, failure_reply(request, Failure(), wants_json=True))
            if request.method != b"HEAD":
                request.write(body)
        request.finish()


_CLOSE: Headers = ((b"Connection", b"close"),)
_ALIVE = frozenset({b"/+health", b"/+health/"})
_READY = frozenset({b"/+ready", b"/+ready/"})
_STATUS = frozenset({b"/+status", b"/+status/"})


class Waiting(Resource):
    """What a server says until it can serve."""

    isLeaf = True  # noqa: N815

    def __init__(
        self,
        default_headers: Callable[[], Headers],
        sentence: Callable[[], str],
        facts: Callable[[], Mapping[str, Json]],
        retry_after: Callable[[], int | None],
    ) -> None:
        """``sentence`` returns why nothing is served yet, and ``facts`` the status.

        ``retry_after`` returns in how many seconds a client should ask again, or None where that is unknown.
        """
        super().__init__()
        self._default_headers, self._sentence, self._facts, self._retry_after = default_headers, sentence, facts, retry_after

    def render(self, request: Request) -> bytes:
        """Answer with the status, or 503."""
        if isinstance(request.channel, HTTPChannel):
            request.channel.persistent = False
        default_headers = (*self._default_headers(), *_CLOSE)
        if request.path in _STATUS:
            return put(request, result_reply("status", dict(self._facts())), default_headers)
        if request.path in _ALIVE:
            return put(request, Reply(200, ((b"Content-Type", JSON), length_of(ALIVE), NO_STORE), ALIVE), default_headers)
        if request.path in _READY:
            return put(request, ready_reply([Check("started", fine=False, sentence=self._sentence())]), default_headers)
        seconds = self._retry_after()
        extra = () if seconds is None else ((b"Retry-After", b"%d" % seconds),)
        reply = error_reply(503, self._sentence(), wants_json=speaks_json(request), extra=extra)
        return put(request, reply, default_headers)


class WaitingSite(Site):
    """The factory of connections on which only the status is served.

    Every connection is closed after its answer, so that the next one reaches the site that serves then.
    """

    noisy = False

    def __init__(self, waiting: Waiting) -> None:
        super().__init__(waiting, parsePOSTFormSubmission=False)

    def log(self, request: object) -> None:
        """Log nothing: there may be many of these requests."""


@implementer(IProtocolNegotiationFactory)
class SiteHolder(Factory):
    """The factory of the listening ports: it has the connections of ``site``, which is set before the first one comes.

    A new replica, and a server that builds its view, set it twice: a ``WaitingSite``, whose connections end with their first
    answer, and their own site.
    """

    noisy = False
    site: Site

    def acceptableProtocols(self) -> list[bytes]:
        """Return what clients over TLS may choose from: HTTP/1.1 alone."""
        return [b"http/1.1"]

    def buildProtocol(self, address: IAddress | None) -> HTTPChannel:
        """Return a connection of the site."""
        built: HTTPChannel = self.site.buildProtocol(address)
        return built
