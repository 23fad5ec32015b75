"""What the endpoints for other servers share: who may use them, and how errors are reported there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import orjson
from twisted.logger import Logger
from twisted.web.server import Request

from twistpi.http.conditional import if_range_holds
from twistpi.http.ranges import Span, Unsatisfiable, parse_range
from twistpi.model.errors import TwistpiError, fields_of
from twistpi.web.replication.authentication import NodeAuthenticator
from twistpi.web.replies import BINARY, JSON, NO_STORE, Headers, Reply, Responder, length_of, put_head
from twistpi.web.request import header
from twistpi.web.transport.bodies import FileBody
from twistpi.web.transport.send import send_body

_log = Logger()

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

        async def guarded(request: Request, **parts: Any) -> Reply | bytes | None:
            try:
                return await handler(request, self._nodes.node(request), **parts)
            except TwistpiError as error:
                path = request.path.decode("latin-1")
                _log.info("{path} answered {status}: {reason}", path=path, status=error.status, reason=str(error))
                return self.put(request, refusal_reply(error))

        return guarded

    async def send_file(self, request: Request, body: FileBody, etag: str | None = None) -> bytes | None:
        """Send the file ``body``, or the requested range; close it.

        ``etag``, with its quotes, is for files that never change: only with it does ``If-Range`` hold.
        """
        size = body.end
        try:
            span = _span(request, size, etag)
            if isinstance(span, Unsatisfiable):
                refusal = node_json({"message": f"The file has {size} bytes."}, 416)
                headers = (*refusal.headers, (b"Content-Range", b"bytes */%d" % size))
                return self.put(request, attrs.evolve(refusal, headers=headers))
            status, length = 200, size
            headers = (*self.head(), (b"Content-Type", BINARY), (b"Accept-Ranges", b"bytes"))
            if etag is not None:
                headers = (*headers, (b"ETag", etag.encode("ascii")))
            if span is not None:
                status, length = 206, span.end - span.start
                headers = (*headers, (b"Content-Range", b"bytes %d-%d/%d" % (span.start, span.end - 1, size)))
                body.offset, body.end = span.start, span.end
            put_head(request, status, (*headers, (b"Content-Length", b"%d" % length)))
            if request.method != b"HEAD" and length:
                await send_body(request, body, length=length)
            return None
        finally:
            body.close()

    def put(self, request: Request, reply: Reply) -> bytes:
        """Make ``reply`` the response to another server's ``request``."""
        return self._responder.put(request, attrs.evolve(reply, headers=(*reply.headers, *self._nodes.headers())))

    def head(self) -> Headers:
        """Return the headers with which a response to another server begins, for one that does not go through ``put``."""
        return (*self._responder.headers(), NO_STORE, *self._nodes.headers())


def node_json(value: object, status: int = 200) -> Reply:
    """``value`` as one server tells it another."""
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return Reply(status, ((b"Content-Type", JSON), length_of(body), NO_STORE), body)


def refusal_reply(error: TwistpiError) -> Reply:
    """``error`` as one server tells it another: its sentence, its name, and its fields, which also stand beside these."""
    fields = fields_of(error)
    return node_json({**fields, "error": type(error).__name__, "message": str(error), "fields": fields}, error.status)


def _span(request: Request, size: int, etag: str | None) -> Span | Unsatisfiable | None:
    asked = header(request, "range")
    if asked is None or request.method != b"GET":
        return None
    condition = header(request, "if-range")
    if condition is not None and not if_range_holds(condition, etag, None):
        return None
    return parse_range(asked, size)
