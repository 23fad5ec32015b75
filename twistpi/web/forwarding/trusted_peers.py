"""Which servers are trusted to tell for whom they forward a request: those that share the secret, and this server's workers."""

from __future__ import annotations

import os

import attrs
from twisted.internet.address import UNIXAddress
from twisted.web.server import Request

from twistpi.model.replication_errors import NodeRefused, SenderRefused
from twistpi.web.addresses import Addresses, bare_path, outside_prefix
from twistpi.web.forwarding.headers import HEADER, NODE, PassedOn
from twistpi.web.replication.authentication import NodeAuthenticator
from twistpi.web.replies import Headers
from twistpi.web.request import header


@attrs.define(eq=False)
class TrustedPeers:
    """Checks requests when their headers are here."""

    _addresses: Addresses
    _nodes: NodeAuthenticator | None = None
    """Verifies the tokens of other servers; None where there are none."""
    workers_at: str | None = None
    """The path of the socket that this server's own workers use; None without workers."""

    def passed_on(self, request: Request, method: bytes, raw: bytes) -> PassedOn | None:
        """Return for whom ``request`` is forwarded; None if no trusted server says so. ``raw`` is its target.

        Raise ``SenderRefused`` for a token that is not valid.
        """
        token, text, nodes = header(request, NODE), header(request, HEADER), self._nodes
        if token is not None and nodes is not None:
            # The prefix is not signed: a proxy in front of this server may or may not remove it.
            target = bare_path(raw, outside_prefix(request, self._addresses)).decode("latin-1")
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
        """Return the headers that answers to other servers have beside the default ones."""
        return () if self._nodes is None else self._nodes.headers()

    def is_worker(self, request: Request) -> bool:
        """Return whether ``request`` comes from a worker of this server."""
        path = self.workers_at
        if path is None:
            return False
        host: object = request.getHost()
        return isinstance(host, UNIXAddress) and os.fsdecode(host.name or b"") == path
