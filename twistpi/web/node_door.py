"""What the doors for other servers of the house share: nobody else gets in, and refusals are told as servers read them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import orjson
from twisted.logger import Logger
from twisted.web.server import Request

from twistpi.model.errors import TwistpiError
from twistpi.web.doors import Door
from twistpi.web.nodes import Nodes
from twistpi.web.replies import JSON, NO_STORE, Headers, Reply, length_of

_log = Logger()

NodeHandler = Callable[..., Awaitable[bytes | None]]
"""Takes the request, the ``NodeClaim`` of the server that asks, and the variable parts of the path by name."""


@attrs.define(eq=False)
class NodeDoor(Door):
    """A group of handlers for other servers; each is made a route by ``only``."""

    _nodes: Nodes

    def only(self, handler: NodeHandler) -> Callable[..., Awaitable[bytes | None]]:
        """``handler`` as a route that lets in servers of the house only; what it raises is told as they read it."""

        async def guarded(request: Request, **parts: Any) -> bytes | None:
            try:
                return await handler(request, self._nodes.node(request), **parts)
            except TwistpiError as error:
                _log.info("{path} answered {status}: {reason}", path=request.path, status=error.status, reason=str(error))
                return self.put(request, refusal_reply(error))

        return guarded

    def put(self, request: Request, reply: Reply) -> bytes:
        """Make ``reply`` the answer to a server's ``request``."""
        return super().put(request, attrs.evolve(reply, headers=(*reply.headers, *self._nodes.headers())))

    def head(self) -> Headers:
        """The headers with which an answer to a server begins, for one that does not go through ``put``."""
        services = self._services
        return (*services.standing.at(services.clock.seconds()), NO_STORE, *self._nodes.headers())


def node_json(value: object, status: int = 200) -> Reply:
    """``value`` as one server tells it another."""
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return Reply(status, ((b"Content-Type", JSON), length_of(body), NO_STORE), body)


def refusal_reply(error: TwistpiError) -> Reply:
    """``error`` as one server tells it another: its sentence, its name, and its fields, which also stand beside these."""
    fields = {field.name: getattr(error, field.name) for field in attrs.fields(type(error))}
    return node_json({**fields, "error": type(error).__name__, "message": str(error), "fields": fields}, error.status)
