"""The server that answers forwarded requests: the primary, which wants them signed, or the first process of this machine."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import Deferred

from twistpi.http.agent import Agent
from twistpi.http.connection import WireResponse
from twistpi.http.messages import Request
from twistpi.http.urls import Origin, origin_of
from twistpi.web.forwarding.headers import NODE, Line


class Signer(Protocol):
    """Proves to the primary which server sends a request (``replication.primary.Primary``)."""

    def token(self, method: str, target: str, told: str) -> str:
        """Return a token for one request and ``told``, which is sent with it."""

    def clock_is(self, seconds: float) -> None:
        """Sign by the primary's clock from now on."""


@attrs.frozen(eq=False)
class Backend:
    """The server that answers."""

    name: str
    """For messages: ``the primary at https://…``."""
    host: bytes
    """The value of ``Host``."""
    agent: Agent
    _origin: Origin
    _prefix: bytes = b""
    """What the path of the server's URL begins with."""
    signer: Signer | None = None
    """None if the connection itself proves who sends: then tokens of other servers are passed on, too."""
    closes: bool = False
    """Whether each connection carries one request."""

    def target(self, raw: bytes, bare: bytes) -> bytes:
        """Return the request target; ``raw`` is that of the client, ``bare`` the same without the prefix of the outside URL."""
        return raw if self.signer is None else self._prefix + bare

    def signature(self, method: bytes, target: bytes, told: bytes) -> list[Line]:
        """Return the headers that prove this request and ``told``. The prefix is not signed: a proxy there may remove it."""
        if self.signer is None:
            return []
        bare = target.removeprefix(self._prefix)
        token = self.signer.token(method.decode("latin-1"), bare.decode("latin-1"), told.decode("latin-1"))
        return [(NODE.encode("ascii"), token.encode("ascii"))]

    def send(self, request: Request, *, repeatable: bool) -> Deferred[WireResponse]:
        """Send ``request``; fails as ``Agent.exchange`` does.

        A request that is not ``repeatable`` gets a new connection: the server may be closing a kept one just now.
        """
        return self.agent.exchange(request, self._origin, fresh=not repeatable)


def primary_backend(url: str, base: str, agent: Agent, signer: Signer) -> Backend:
    """Return the primary, which people know as ``url``, below ``base`` (``http://primary.example:4040/prefix``)."""
    parts = urlsplit(base)
    host = parts.netloc.rpartition("@")[2].encode("ascii")
    return Backend(f"the primary at {url}", host, agent, origin_of(base), parts.path.encode("ascii"), signer, closes=True)


def first_process_backend(agent: Agent, base: str = "http://localhost") -> Backend:
    """Return the first process, which knows its workers by the socket that ``agent`` leads to."""
    return Backend("the first process of this server", b"localhost", agent, origin_of(base))
