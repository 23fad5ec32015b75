"""Answers plain requests for project pages that are not ready, without a request object and a router.

Only requests whose meaning is certain from their head are answered here, with the very bytes of the ordinary path.
"""

from __future__ import annotations

import re

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twistpi.http.conditional import tags_match
from twistpi.model.errors import AskFirst, FileLost
from twistpi.web.access import Access
from twistpi.web.access_log import AccessLog, logged_head
from twistpi.web.addresses import Addresses
from twistpi.web.errors import reply_to
from twistpi.web.fast.answers import RequestHead
from twistpi.web.pages import PageRequest, Pages
from twistpi.web.replies import Reply, Responder, head_bytes
from twistpi.web.traffic import Traffic

_PAGE = re.compile(rb"/([A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100})/\+simple/([a-z0-9]+(?:-[a-z0-9]+)*)/")
"""``/{user}/{index}/+simple/{project}/`` with a normalised name, and nothing encoded."""
_LONGEST = 1000
"""Bytes of a path that is looked at."""


@attrs.define(eq=False)
class PendingPage:
    """A page that is being made."""

    data: bytes
    """The request."""
    path: bytes
    request_id: str
    began: float
    """Unix seconds."""
    work: Deferred[Reply | None]


@attrs.define(eq=False)
class ColdPages:
    """Makes pages that are not ready."""

    _access: Access
    _pages: Pages
    _addresses: Addresses
    _responder: Responder
    _traffic: Traffic
    _access_log: AccessLog | None

    def request_for(self, path: bytes, head: RequestHead, *, secure: bool) -> PageRequest | None:
        """Return which page is requested; None for what only the ordinary path understands.

        ``secure`` says whether the connection is one over TLS.
        """
        representation, outside = head.negotiated.representation, self._addresses.outside_url
        found = _PAGE.fullmatch(path) if len(path) <= _LONGEST else None
        # A public URL with a path is a prefix of paths here; without one, the Host header tells the address of this server.
        absolute_urls = self._addresses.absolute_urls
        if found is None or representation is None or absolute_urls or outside.count("/") > 2 or (secure and not outside):
            return None
        visibility = self._access.open_visibility(found[1].decode("ascii"))
        if visibility is None:
            return None
        outside = outside if outside.startswith("https://") else ""
        return PageRequest(visibility, found[2].decode("ascii"), representation, head.negotiated.gzip, outside=outside)

    async def reply(self, asked: PageRequest, path: bytes, head: RequestHead, request_id: str, *, forwards: bool) -> Reply | None:
        """Return the response; None if the ordinary path has to answer.

        ``forwards`` says whether another server answers what this one cannot.
        """
        try:
            found = await self._pages.page(asked)
            if found is None:
                return None  # an index was reconfigured meanwhile
            page, status = found
            unchanged = head.tags is not None and tags_match(head.tags, page.etag)
            self._pages.learn(path, head.negotiated.variant, asked)
            return page.reply(status, self._responder.now(), unchanged=unchanged)
        except Exception as error:
            if forwards and isinstance(error, AskFirst | FileLost):
                return None
            failure = Failure()
            return reply_to(failure, wants_json=head.json_errors, path=path.decode("ascii"), request_id=request_id)

    def head_of(self, reply: Reply, request_id: str, *, close: bool) -> bytes:
        """Return the head of ``reply`` as it goes over the wire; ``close`` tells the client that it is the last one."""
        last = ((b"Connection", b"close"),) if close else ()
        named = (b"X-Request-Id", request_id.encode("ascii"))
        first, shared = self._responder.headers(), self._responder.default_headers.cross_origin
        return head_bytes(reply.status, (*last, *first, *reply.headers, *shared, named))

    def count(self, peer: object, pending: PendingPage, status: int, sent: int) -> None:
        """Count a page that was made, and log it."""
        now = self._responder.now()
        seconds = max(0.0, now - pending.began)
        self._traffic.count(b"GET", pending.path, status, seconds, sent)
        if self._access_log is not None:
            logged = logged_head(peer, pending.data, status, sent)
            self._access_log.note(attrs.evolve(logged, seconds=seconds, request_id=pending.request_id), now)
