"""Authenticates other servers, for what only they may read: ``+changelog``, ``+snapshot``, blobs and the like.

Such a request carries ``Authorization: Twistpi-Node TOKEN`` (``auth/tokens.py``).  A token is good for one request: for its
method, path and query, within a minute, and once.  Nonces are remembered for as long as their tokens would be good; tokens older
than this process are not good, so that a restart forgets nothing that matters.

Time is measured here by a clock that does not jump, set once at the start.  Each response tells it in ``X-Twistpi-Time``, and a
server that is refused as ``expired`` repeats its request by that time.  So clocks need not agree.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.auth.tokens import AHEAD, SCHEME, WINDOW, NodeClaim, NodeTokens
from twistpi.model.server_errors import NodeRefused
from twistpi.web.forwarding.headers import TIME
from twistpi.web.replies import Headers
from twistpi.web.request import header

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
