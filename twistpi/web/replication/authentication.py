"""Authenticates other servers, for what only they may read (``+changelog``, ``+snapshot``, blobs), and answers them.

Such a request carries ``Authorization: Twistpi-Node TOKEN`` (``auth/tokens.py``).  A token is good for one request: for its
method, path and query, within a minute, and once.  Nonces are remembered for as long as their tokens would be good; tokens older
than this process are not good, so that a restart forgets nothing that matters.

Time is measured here by a clock that does not jump, set once at the start.  Each response says it in ``X-Twistpi-Time``, and a
server that is refused as ``expired`` repeats its request by that time.  So clocks need not agree.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import orjson
from twisted.logger import Logger
from twisted.web.server import Request

from twistpi.auth.tokens import AHEAD, SCHEME, WINDOW, NodeClaim, NodeTokens
from twistpi.model.errors import TwistpiError, fields_of
from twistpi.model.server_errors import NodeRefused
from twistpi.web.forwarding.headers import TIME
from twistpi.web.replies import JSON, NO_STORE, Headers, Reply, Responder, length_of
from twistpi.web.request import header

_log = Logger()
_MOST_NONCES: Final = 100_000
"""Remembered at a time; beyond, the oldest is forgotten, and no token as old as that is good any more."""


@attrs.define(eq=False)
class NodeAuthenticator:
    """Verifies the tokens of other servers."""

    _tokens: NodeTokens
    _seconds: Callable[[], float]
    """A clock that does not jump, from any beginning."""
    started: float
    """Unix seconds at this moment."""
    most_nonces: int = attrs.field(default=_MOST_NONCES, kw_only=True)
    _offset: float = attrs.field(init=False)
    _earliest: float = attrs.field(init=False)
    """No older token is valid."""
    _seen: set[str] = attrs.field(factory=set, init=False)
    _by_age: list[tuple[float, str]] = attrs.field(factory=list, init=False)
    """A heap of the nonces."""

    def __attrs_post_init__(self) -> None:
        self._offset = self.started - self._seconds()
        # A token of a server whose clock is ahead may have been used before this process began.
        self._earliest = math.nextafter(self.started + AHEAD, math.inf)

    def now(self) -> float:
        """The time by which tokens are to be made, in Unix seconds."""
        return max(self._time(), self._earliest)

    def _time(self) -> float:
        return self._seconds() + self._offset

    def node(self, request: Request) -> NodeClaim:
        """Return the server that sent ``request``; raise ``NodeRefused``, also for a request that was accepted before."""
        scheme, _, text = (header(request, "authorization") or "").partition(" ")
        if scheme.lower() != SCHEME.lower():
            raise NodeRefused("missing")
        return self.claim(text.strip(), request.method.decode("latin-1"), request.uri.decode("latin-1"))

    def claim(self, text: str, method: str, target: str, told: str = "") -> NodeClaim:
        """Return the server that sent the token ``text`` with a request for ``target``; ``told`` is signed, too.

        Raise ``NodeRefused``, also for a token that was used before.
        """
        claim = self._tokens.read(text, method, target, self._time(), told)
        self._use(claim)
        return claim

    @property
    def remembered(self) -> int:
        """How many nonces are remembered at this moment."""
        return len(self._seen)

    def headers(self) -> Headers:
        """Return the headers that every response to a server has beside the default ones."""
        return ((TIME.encode("ascii"), repr(self.now()).encode("ascii")),)

    def _use(self, claim: NodeClaim) -> None:
        """Remember a valid token; raise ``NodeRefused`` for one that was used before."""
        now = self._time()
        while self._by_age and (len(self._by_age) >= self.most_nonces or self._by_age[0][0] < now - WINDOW):
            at, nonce = heapq.heappop(self._by_age)
            self._seen.discard(nonce)
            self._earliest = max(self._earliest, math.nextafter(at, math.inf))
        if claim.at < self._earliest:
            raise NodeRefused("expired")
        if claim.nonce in self._seen:
            raise NodeRefused("replayed")
        self._seen.add(claim.nonce)
        heapq.heappush(self._by_age, (claim.at, claim.nonce))


NodeRoute = Callable[..., Awaitable[Reply | bytes | None]]
"""Takes the request, the ``NodeClaim`` of the server that asks, and the variable parts of the path by name."""


@attrs.define(eq=False)
class NodeResponder:
    """Answers other servers, and only them; every answer tells the time by which tokens are to be made."""

    _responder: Responder
    _nodes: NodeAuthenticator

    @property
    def serial(self) -> int:
        """The last serial that was announced."""
        return self._responder.serial

    def only(self, handler: NodeRoute) -> Callable[..., Awaitable[Reply | bytes | None]]:
        """Return ``handler`` as a route for other servers only, which answers what ``handler`` raises as they read it."""

        async def guarded(request: Request, **parts: str) -> Reply | bytes | None:
            try:
                return await handler(request, self._nodes.node(request), **parts)
            except TwistpiError as error:
                path = request.path.decode("latin-1")
                _log.info("{path} answered {status}: {reason}", path=path, status=error.status, reason=str(error))
                return self.put(request, refusal_reply(error))

        return guarded

    def put(self, request: Request, reply: Reply) -> bytes:
        """Make ``reply`` the response to another server's ``request``."""
        return self._responder.put(request, attrs.evolve(reply, headers=(*reply.headers, *self._nodes.headers())))

    def head(self) -> Headers:
        """Return the headers with which a response to another server begins, for one that does not go through ``put``."""
        return (*self._responder.headers(), NO_STORE, *self._nodes.headers())


def node_json(value: object, status: int = 200) -> Reply:
    """Return ``value`` as servers send it to each other."""
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return Reply(status, ((b"Content-Type", JSON), length_of(body), NO_STORE), body)


def refusal_reply(error: TwistpiError) -> Reply:
    """Return ``error`` as servers send it to each other: sentence, name, and fields, which also stand beside these."""
    fields = fields_of(error)
    later = {} if error.retry_after is None else {"retry_after": error.retry_after}
    report = {**fields, **later, "error": type(error).__name__, "message": str(error), "fields": fields}
    return node_json(report, error.status)
