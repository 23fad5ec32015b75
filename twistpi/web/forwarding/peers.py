"""Both ends of forwarding: the server that answers forwarded requests, and the servers that are trusted to tell whose they are.

A replica's requests go to its primary, which wants them signed. A worker's go to the first process of its machine, which knows
the worker by the socket.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

import attrs
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.web.server import Request as ClientRequest

from twistpi.http.agent import Agent
from twistpi.http.messages import Line, Request
from twistpi.http.urls import Origin, origin_of
from twistpi.http.wire_response import WireResponse
from twistpi.model.errors import TwistpiError
from twistpi.model.server_errors import NodeRefused
from twistpi.web.addresses import Addresses, bare_path, check_site, outside_prefix, path_parts
from twistpi.web.forwarding.headers import HEADER, NODE, PassedOn
from twistpi.web.replication.authentication import NodeAuthenticator
from twistpi.web.replies import Headers
from twistpi.web.request import header


def own_name(node_id: str) -> str:
    """Return the name in ``Via`` of requests that a server sends where its users tell it to."""
    return f"twistpi-{node_id[:12]}"


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
    """None if the connection itself identifies the sender: then tokens of other servers are passed on, too, and it is kept."""

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
    return Backend(f"the primary at {url}", host, agent, origin_of(base), parts.path.encode("ascii"), signer)


def first_process_backend(agent: Agent, base: str = "http://localhost") -> Backend:
    """Return the first process, which knows its workers by the socket that ``agent`` leads to."""
    return Backend("the first process of this server", b"localhost", agent, origin_of(base))


@attrs.define(eq=False)
class TrustedPeers:
    """Checks requests when their headers are here."""

    _addresses: Addresses
    _nodes: NodeAuthenticator | None = None
    """Verifies the tokens of other servers; None where there are none."""
    _own_name: str | None = None
    """See ``own_name``."""
    _is_open: Callable[[str], bool] = lambda _index: False
    """Whether everybody may read an index."""
    workers_at: str | None = None
    """The path of the socket that this server's own workers use; None without workers."""

    def passed_on(self, request: ClientRequest, method: bytes, raw: bytes) -> PassedOn | None:
        """Return for whom ``request`` is forwarded; None if no trusted server says so. ``raw`` is its target.

        Raise ``NodeRefused`` for a token that is not valid.
        """
        token, text, nodes = header(request, NODE), header(request, HEADER), self._nodes
        if token is not None and nodes is not None:
            # The prefix is not signed: a proxy in front of this server may or may not remove it.
            target = bare_path(raw, outside_prefix(request, self._addresses)).decode("latin-1")
            nodes.claim(token, method.decode("latin-1"), target, text or "")
        elif token is not None or not self.is_worker(request):
            return None  # a worker leaves tokens to the first process
        if text is None:
            return None
        try:
            return PassedOn.read(text)
        except ValueError:
            raise NodeRefused("malformed") from None

    def check_sender(self, request: ClientRequest, method: bytes, raw: bytes) -> None:
        """Raise ``TwistpiError`` for a request that somebody else made a browser, or this server, send.

        This server requests of itself what everybody may read, and uploads to such an index; other mirrors and pushes would lend
        users its own place in the network.
        """
        check_site(request, method, self._addresses)
        if self._own_name is None or self._own_name not in (header(request, "via") or ""):
            return
        index = "/".join(path_parts(request, raw.decode("latin-1"), self._addresses)[:2])
        if method not in (b"GET", b"HEAD", b"POST") or not self._is_open(index):
            raise TwistpiError(
                f"This server mirrors, and pushes to, an index of its own only if everybody may read it: not {index}.", 403
            )

    def headers(self) -> Headers:
        """Return the headers that answers to other servers have beside the default ones."""
        return () if self._nodes is None else self._nodes.headers()

    def is_worker(self, request: ClientRequest) -> bool:
        """Return whether ``request`` comes from a worker of this server."""
        path = self.workers_at
        if path is None:
            return False
        host: object = request.getHost()
        return isinstance(host, UNIXAddress) and os.fsdecode(host.name or b"") == path
