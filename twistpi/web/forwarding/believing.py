"""Which servers are believed when they say whom a request is passed on for: those that share the secret, and own workers."""

from __future__ import annotations

import os
from typing import Any, Protocol

import attrs
from twisted.internet.address import UNIXAddress
from twisted.web.server import Request

from twistpi.model.forwarding_errors import SenderRefused
from twistpi.model.replication_errors import NodeRefused
from twistpi.web.addresses import Addressing, bare_path, outside_prefix
from twistpi.web.forwarding.passed_on import HEADER, NODE, PassedOn
from twistpi.web.replication.authentication import Nodes
from twistpi.web.replies import Headers
from twistpi.web.request import header


class TrustedPeersServices(Addressing, Protocol):
    """What is needed of ``Services``."""

    @property
    def nodes(self) -> Nodes | None:
        """Knows the servers of the house by their tokens; None where there are no others."""

    @property
    def workers_at(self) -> str | None:
        """The path of the socket through which this server's own workers ask; None without any."""


@attrs.define(eq=False)
class TrustedPeers:
    """Looks at requests when their headers are here."""

    _services: TrustedPeersServices

    def passed_on(self, request: Request, method: bytes, raw: bytes) -> PassedOn | None:
        """Whom ``request`` is passed on for; None when nobody says so whose word counts.

        ``raw`` are path and query.  Raises ``SenderRefused`` when a token is shown that is not good.
        """
        token, text, nodes = header(request, NODE), header(request, HEADER), self._services.nodes
        if token is not None and nodes is not None:
            # The prefix is not signed: a proxy before this server may or may not take it away.
            target = bare_path(raw, outside_prefix(request, self._services)).decode("latin-1")
            try:
                nodes.claim(token, method.decode("latin-1"), target, text or "")
            except NodeRefused as refusal:
                raise SenderRefused(refusal.reason) from None
        elif token is not None or not self.is_worker(request):
            return None  # a worker leaves tokens to the first process
        if text is None:
            return None
        try:
            return PassedOn.read(text)
        except ValueError:
            raise SenderRefused("malformed") from None

    def headers(self) -> Headers:
        """What every answer to another server has beside the standing headers."""
        return () if self._services.nodes is None else self._services.nodes.headers()

    def is_worker(self, request: Request) -> bool:
        """Whether it is a worker of this server that asks."""
        place = self._services.workers_at
        if place is None:
            return False
        host: Any = request.getHost()  # type: ignore[no-untyped-call]
        return isinstance(host, UNIXAddress) and os.fsdecode(host.name or b"") == place
