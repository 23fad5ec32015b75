"""The fast path: responses that are ready are sent before a request object exists.

``FastChannel.dataReceived`` looks at the bytes of an idle keep-alive connection.  When they are exactly one plain GET
for a page in the page cache that is fresh, or for a file that was sent before (``answers``), the ready bytes go straight to the
socket.  Everything else goes to klein unchanged, which gives the very same answers, a little later.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from twistpi.model.changes import Change
from twistpi.web.access_log import AccessLog, Logged, RequestIds, logged_head, logged_refusal
from twistpi.web.addresses import client_address
from twistpi.web.components import Components
from twistpi.web.errors import error_reply
from twistpi.web.fast.answers import Answers, RequestHead, RequestHeadParser
from twistpi.web.fast.cold_pages import ColdPages, PendingPage
from twistpi.web.fast.ready import large_body
from twistpi.web.pages import Invalidation, Pages, invalidations_by_advisories, invalidations_of
from twistpi.web.receiving.streamed_body import Admit
from twistpi.web.replies import Reply, head_bytes
from twistpi.web.request import TwistpiRequest, header
from twistpi.web.token_uses import TokenUses
from twistpi.web.traffic import ABANDONED
from twistpi.web.transport.bodies import Body
from twistpi.web.transport.channel import Channel
from twistpi.web.transport.send import ConsumerOutput, Sender, SocketOutput, is_plain

_TOO_LARGE: Final = {
    413: "The body is larger than this server takes (its setting max-upload-size).",
    414: "The address of the request is too long: more than 16 KiB.",
    431: "The headers of the request are too large: more than 16 KiB, or more than 500.",
}
_MORE: Final[int] = getattr(socket, "MSG_MORE", 0)


def write_now(transport: tcp.Connection, data: bytes, *, more: bool) -> bool:
    """Write to a plain transport in this turn of the reactor if possible; return whether all of it, and all before it, is out.

    With ``more``, a body follows in the same turn, and the kernel may keep the head for it: a head sent alone wakes the reader
    for a few hundred bytes, and all that follows arrives in worse pieces, which can cost half of the speed.
    """
    # Twisted keeps unsent data in two places, one of them private; there is no public way to ask.
    if transport.dataBuffer or transport._tempDataBuffer or transport.disconnecting:
        transport.write(data)
        return False
    sent = 0
    if more:
        with suppress(OSError):  # if the connection is gone, the body finds out
            sent = transport.socket.send(data, _MORE)
    else:
        taken = transport.writeSomeData(data)
        sent = taken if isinstance(taken, int) else 0  # the connection is gone; the reactor finds out in its own way
    if sent < len(data):
        transport.write(data[sent:])
    return sent == len(data)


class FastChannel(Channel):
    """An HTTP connection that answers what is ready by itself."""

    site: FastSite
    quiet: bool | None = None
    """See ``Connection``."""
    _sender: Sender | None = None
    _pending: PendingPage | None = None

    def connectionMade(self) -> None:
        """A client connected."""
        super().connectionMade()
        transport: object = self.transport
        self._socket = transport if is_plain(transport) else None
        self.site.connections.made(self)

    def dataReceived(self, data: bytes) -> None:
        """Answer at once what can be answered, in the order of the requests."""
        self.quiet = False
        if self.paused or self.requests or self._buffer or not self.persistent or not self._answer(data):
            super().dataReceived(data)

    def _answer(self, data: bytes) -> bool:
        """Answer ``data``, or begin to; return False if the ordinary path has to."""
        self.site.before_answer()
        seen = self.site.heads.look(data)
        if seen is None:
            return False
        answer = None if self.site.connections.finishing else self.site.answers.find(*seen)
        if answer is None:
            return self._begin_page(data, *seen)
        self.resetTimeout()
        self._put(answer.head, answer.body)
        if self.site.access_log is not None:
            logged = logged_head(self.transport.getPeer(), data, answer.status, answer.length)
            self.site.access_log.note(logged, self.site.clock.seconds())
        return True

    def _put(self, head: bytes, body: Body | None) -> None:
        """Send a response whose large ``body``, if any, does not stand behind its ``head``."""
        if self._socket is None:
            self.transport.write(head)
            if body is not None:
                self._send(body, ConsumerOutput(self, self.transport.write))
        else:
            is_out = write_now(self._socket, head, more=body is not None)
            if body is not None:
                self._send(body, SocketOutput(self._socket, is_clear=is_out))

    def _begin_page(self, data: bytes, path: bytes, head: RequestHead) -> bool:
        """Make a page that is not ready; return False if ``data`` requests something else."""
        site = self.site
        asked = site.cold_pages.request_for(path, head, secure=self._socket is None and self.isSecure())
        if asked is None:
            return False
        request_id = site.request_ids.new()
        forwards = site.forwarder is not None
        work = Deferred.fromCoroutine(site.cold_pages.reply(asked, path, head, request_id, forwards=forwards))
        self._pending = PendingPage(data, path, request_id, site.clock.seconds(), work)
        self._begin_answer()
        work.addBoth(self._page_made, self._pending)
        return True

    def _page_made(self, reply: Reply | Failure | None, pending: PendingPage) -> None:
        if self._pending is not pending:
            return  # the client left
        self._pending = None
        if isinstance(reply, Reply):
            body = large_body(reply)
            small, size = (reply.body, len(reply.body)) if body is None else (b"", body.ready)
            head = self.site.cold_pages.head_of(reply, pending.request_id, close=self.site.connections.finishing)
            self.site.cold_pages.count(self.transport.getPeer(), pending, reply.status, size)
            self._put(head + small, body)
            if body is None:
                self._end_answer()
            return
        self._answering = self.paused = False
        self.setTimeout(self.idle_timeout)
        self._buffer = pending.data + self._buffer
        super().dataReceived(b"")

    def _send(self, body: Body, output: SocketOutput | ConsumerOutput) -> None:
        """Send a large body; further requests wait."""
        self._begin_answer()
        self._sender = sender = Sender(self, body, output)
        sender.start()
        sender.done.addCallbacks(self._sent, self._broken)

    def _sent(self, _: None) -> None:
        self._sender = None
        self._end_answer()

    def _begin_answer(self) -> None:
        """Take no request until ``_end_answer``."""
        self._answering = self.paused = True
        self.setTimeout(None)

    def _end_answer(self) -> None:
        self._answering = False
        self.setTimeout(self.idle_timeout)
        if self.site.connections.finishing:
            self.close_soon()
        else:
            self.await_turn()

    def _broken(self, failure: Failure) -> None:
        """Cut the connection: a body that ends early must never look complete."""
        self._sender = None
        self.cut()

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Return whether another request may follow ``request``: not while the server stops."""
        if super().checkPersistence(request, version) and not self.site.connections.finishing:
            return True
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    def too_slow(self) -> None:
        """Refuse a request that takes too long to arrive."""
        self.refuse(self.site.refusal(408, "The request came too slowly.", self.transport.getPeer()))

    def too_large(self, status: int) -> None:
        """Refuse a request whose target, head or body is too large."""
        self.refuse(self.site.refusal(status, _TOO_LARGE[status], self.transport.getPeer()), linger=True)

    @property
    def is_idle(self) -> bool:
        """Whether no request is arriving or being answered."""
        return self.is_between_requests and self._sender is None and self._pending is None

    def finish_up(self) -> None:
        """Close after the current response; at once when idle."""
        if self.is_idle:
            self.close_soon()
        elif self._sender is None and not self.line_mode and self.requests:  # its head is complete
            if self.endless:
                self.cut()
                return
            self.persistent = False
            if not self.requests[0].startedWriting:
                self.requests[0].responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Refuse bytes that are no HTTP, with the headers of every other response."""
        if self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders:
            self.too_large(431 if self.requests else 414)
            return
        self.refuse(self.site.refusal(400, "This is not an HTTP request that can be understood.", self.transport.getPeer()))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone."""
        if self._sender is not None:
            self._sender.stop()
            self._sender = None
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.work.cancel()
            self.site.cold_pages.count(self.transport.getPeer(), pending, ABANDONED, 0)
        super().connectionLost(reason)
        self.site.connections.lost(self)


class FastSite(Site):
    """The factory of HTTP connections."""

    noisy = False
    protocol = FastChannel  # type: ignore[assignment]

    def __init__(
        self,
        components: Components,
        pages: Pages,
        resource: IResource,
        admit: Admit,
        *,
        timeout: float,
        access_log: AccessLog | None,
    ) -> None:
        super().__init__(resource, TwistpiRequest, timeout=timeout, parsePOSTFormSubmission=False)
        self.access_log = access_log
        self.admit = admit
        """Decides, before the body comes, whether a request may upload."""
        self.before_answer: Callable[[], object] = lambda: None
        """Called before a request is answered; a worker learns here what another process wrote."""
        self.clock = components.clock
        self.cold_pages = ColdPages(
            components.access, pages, components.addresses, components.responder, components.traffic, access_log
        )
        self.connections = components.connections
        self.forwarder = components.forwarder
        self.heads = RequestHeadParser(components.lenient_accept)
        self.answers = Answers(
            components.ready,
            components.responder,
            components.traffic,
            components.access_times,
            components.downloads.tally,
        )
        self.request_ids = RequestIds(components.addresses, components.access.authenticator.entropy)
        self.storage = components.storage
        """Stores the files of uploads while they arrive."""
        self.trusted_peers = components.trusted_peers
        self._addresses = components.addresses
        self._pages = pages
        self._responder = components.responder
        self._traffic = components.traffic
        self._uses = TokenUses(components.access.authenticator, components.traffic)

    def acceptableProtocols(self) -> list[bytes]:
        """Return what is offered to clients over TLS (``IProtocolNegotiationFactory``): HTTP/1.1 alone."""
        return [b"http/1.1"]

    def log(self, request: object) -> None:
        """Count a request that was answered, and write it to the access log, if there is one."""
        if isinstance(request, TwistpiRequest) and not self.trusted_peers.is_worker(request):  # which counts it itself
            seconds = request.lasted()
            self._traffic.count(request.method, request.path, request.code, seconds, request.sentLength)
            if self.access_log is not None:
                self.access_log.note(self._logged(request, seconds), self.clock.seconds())

    def _logged(self, request: TwistpiRequest, seconds: float) -> Logged:
        return Logged(
            client=client_address(request, self._addresses),
            method=request.method.decode("latin-1"),
            target=request.uri.decode("latin-1"),
            protocol=request.clientproto.decode("latin-1"),
            status=request.code,
            sent=request.sentLength,
            referrer=header(request, "referer"),
            agent=header(request, "user-agent"),
            seconds=seconds,
            request_id=request.request_id,
            token=self._uses.label(request),
        )

    def changed(self, serial: int, changes: Sequence[Change]) -> None:
        """The entries up to ``serial`` were committed; called in the reactor, before their authors hear of it."""
        self.invalidated(serial, invalidations_of(changes))

    def invalidated(self, serial: int, invalidations: Iterable[Invalidation] | None) -> None:
        """The view shows the entries up to ``serial``, which invalidate ``invalidations``; everything, if those are None."""
        self._responder.default_headers.moved(serial, self.clock.seconds())
        if invalidations is None:
            self._pages.forget_everything()
        else:
            self._pages.invalidated(invalidations)

    def advisories_changed(self, projects: frozenset[str] | None) -> None:
        """Other advisories are known about ``projects``, or about perhaps all if that is None."""
        self._pages.invalidated(invalidations_by_advisories(projects))

    def refusal(self, status: int, message: str, peer: object) -> bytes:
        """Return the complete response to what is no request, from the client at ``peer``, and write it to the access log."""
        reply = error_reply(status, message, wants_json=False)
        if self.access_log is not None:
            self.access_log.note(logged_refusal(peer, reply.status, len(reply.body)), self.clock.seconds())
        return head_bytes(reply.status, (*self._responder.headers(), *reply.headers, (b"Connection", b"close"))) + reply.body
