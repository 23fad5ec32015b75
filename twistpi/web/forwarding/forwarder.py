"""Forwards whole requests to the server that answers them: a replica to its primary, a worker to the first process.

Bodies stream in both directions at the pace of the slower side, with a few hundred KiB in memory at most. A request with a body
is forwarded from the moment its headers are here (``begin``), and its answer comes back even before the body's end. A GET is
forwarded when a handler finds that it cannot answer (``ask_first``).

If nothing of the response came, the client gets an error; if something did, its connection is cut, so that an incomplete response
never looks complete. Nothing is sent twice, except what was refused unread, and what only reads when a connection that was kept
turns out to be closed.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.iweb import IBodyProducer
from twisted.web.server import Request

from twistpi.http.messages import Line
from twistpi.http.messages import Request as OutgoingRequest
from twistpi.http.wire_response import WireResponse
from twistpi.model.errors import TwistpiError
from twistpi.web.addresses import Addresses, bare_path, outside_prefix, principal_of
from twistpi.web.forwarding.forwarded_request import ForwardedRequest, Informed
from twistpi.web.forwarding.headers import HEADER, NODE, request_lines, token_lines
from twistpi.web.forwarding.peers import Backend
from twistpi.web.paths import is_search_call

_LONGEST_HEAD: Final = 16 * 1024 - 128
"""Bytes of target and headers that every server accepts; Twisted's limit is 16 KiB for all of the head."""
_SERIAL: Final = re.compile("[0-9]{1,18}", re.ASCII)
TAKES_OVER: Final = "This server becomes the primary at this moment. Try again in a moment."
"""Why a replica that is being promoted forwards nothing."""
_UNPRINTABLE: Final = re.compile(rb"[^!-~]")

log = Logger()


@attrs.define(eq=False)
class Forwarder:
    """Knows the server that answers, and which requests are for it."""

    backend: Backend
    _addresses: Addresses
    _clock: IReactorTime
    _is_answered_here: Callable[[bytes, bytes], bool]
    """Whether a request, by its method and its path without query and prefix, is answered by this server."""
    patience: float = attrs.field(default=300.0, kw_only=True)
    """Seconds without any progress after which the other server counts as lost."""
    reach: Callable[[int], Awaitable[bool]] | None = attrs.field(default=None, kw_only=True)
    """Waits until a serial is in this server's view; False if that takes too long. None where both servers share the view."""
    serial: Callable[[], int] = attrs.field(default=lambda: 0, kw_only=True)
    """Returns the last serial that is here."""
    hindrance: Callable[[], str | None] = attrs.field(default=lambda: None, kw_only=True)
    """Returns the sentence that says why nothing is forwarded; None while it is."""
    mark: tuple[Line, ...] = attrs.field(default=(), kw_only=True)
    """Headers that say who passed a response back."""
    passed: int = attrs.field(default=0, init=False)
    """Requests forwarded so far."""

    def takes(self, request: Request, method: bytes, raw: bytes) -> bool:
        """Return whether a request is forwarded as soon as its headers are here; ``raw`` is its target."""
        path = self._bare(request, raw).partition(b"?")[0]
        content_type = (request.requestHeaders.getRawHeaders(b"Content-Type") or [b""])[0]
        return not (self._is_answered_here(method, path) or is_search_call(method, path, content_type))

    def begin(self, request: Request, method: bytes, raw: bytes, length: int | None) -> ForwardedRequest:
        """Forward ``request``, whose headers are here; its body of ``length`` bytes (None: chunked) is written to the result."""
        self.passed += 1
        return ForwardedRequest(
            request,
            method,
            length,
            backend=self.backend,
            clock=self._clock,
            patience=self.patience,
            outgoing=partial(self._outgoing, request, method, raw),
            own_headers=partial(self._own_headers, method),
        )

    async def ask_first(self, request: Request) -> None:
        """Answer ``request``, which is complete and has no body that matters, as the other server does."""
        forwarded = self.begin(request, request.method, request.uri, 0)
        try:
            await forwarded.relay(request)
        finally:
            forwarded.close()

    def _outgoing(
        self, request: Request, method: bytes, raw: bytes, body: IBodyProducer | None, informed: Informed
    ) -> OutgoingRequest:
        """See ``MakeOutgoing``."""
        if (hindrance := self.hindrance()) is not None:
            raise TwistpiError(hindrance, 503)
        backend, headers = self.backend, request.requestHeaders
        target = backend.target(raw, self._bare(request, raw))
        target = _UNPRINTABLE.sub(lambda found: b"%%%02X" % found[0][0], target)
        lines = [(b"Host", backend.host), (b"Via", b"1.1 twistpi"), *request_lines(headers)]
        if backend.signer is None and headers.hasHeader(NODE):
            lines += token_lines(headers)
        else:
            client = principal_of(request, self._addresses).text.encode("latin-1", "replace")
            lines += [*backend.signature(method, target, client), (HEADER.encode("ascii"), client)]
        if backend.signer is not None:
            lines.append((b"Connection", b"close"))
        size = len(target) + sum(len(name) + len(value) + 4 for name, value in lines)
        if size > _LONGEST_HEAD:
            raise TwistpiError(
                (
                    f"The headers of this request are too large to be handed on to {backend.name}: {size:,} "
                    f"bytes, where it takes {_LONGEST_HEAD:,}."
                ),
                431,
            )
        return OutgoingRequest(method, target, tuple(lines), body, informed)

    async def _own_headers(self, method: bytes, response: WireResponse) -> list[Line]:
        """Wait until a change can be read here, too; return the mark, and a header that says so if it cannot."""
        if self.reach is None or method in (b"GET", b"HEAD") or response.code >= 400:
            return [*self.mark]
        serial = (response.headers.getRawHeaders("X-Devpi-Serial") or [""])[0]
        if not _SERIAL.fullmatch(serial):
            return [*self.mark]
        if await self.reach(int(serial)):
            return [*self.mark]
        here = self.serial()
        log.warn("An answer at serial {told} was passed on while serial {here} is here.", serial=serial, here=here)
        return [*self.mark, (b"X-Twistpi-Behind", b"serial %d is here, the answer is of %s" % (here, serial.encode("ascii")))]

    def _bare(self, request: Request, raw: bytes) -> bytes:
        return bare_path(raw, outside_prefix(request, self._addresses))
