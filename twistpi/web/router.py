"""The router: which endpoint answers which path.

For each path werkzeug compiles code, which takes longer than making everything else of a site.  It depends on the paths alone, so
the sites of a process share one router, and klein binds its functions to the ``Answers`` of a site.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache

import attrs
from klein import Klein, KleinRouteHandler
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.server import Request
from werkzeug.routing import BaseConverter

Endpoint = tuple[str, tuple[str, ...]]
"""A path as werkzeug writes it, without a slash at its end, and methods."""
Answer = Callable[..., Awaitable[bytes | None]]


@attrs.define(eq=False)
class Answers:
    """What answers the requests of one site."""

    by_endpoint: Mapping[Endpoint, Answer]
    failed: Callable[[Request, Failure], Awaitable[bytes | None]]
    """Answers a request whose answer failed, or that leads to no endpoint."""


class _NameConverter(BaseConverter):
    """A segment that may be a name: one with a ``+`` is an endpoint, or nothing."""

    regex = "[^+/]+"
    part_isolating = True


def routed(answers: Answers) -> Klein:
    """Return the application of a site with these answers."""
    return _router(tuple(answers.by_endpoint)).__get__(answers, Answers)


@cache
def _router(endpoints: tuple[Endpoint, ...]) -> Klein:
    app = Klein()
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.url_map.redirect_defaults = False
    app.url_map.converters["name"] = _NameConverter
    for endpoint in endpoints:
        path, methods = endpoint
        for slash in ("", "/") if path != "/" else ("",):
            name = f"{' '.join(methods)} {path}{slash}"
            app.route(path + slash, methods=list(methods), endpoint=name)(_answering(endpoint))

    @app.handle_errors(Exception)
    async def fail(self: Answers, request: IRequest, failure: Failure) -> bytes | None:
        assert isinstance(request, Request)
        return await self.failed(request, failure)

    return app


def _answering(endpoint: Endpoint) -> KleinRouteHandler:
    def answer(answers: Answers, request: Request, **parts: str) -> Awaitable[bytes | None]:
        return answers.by_endpoint[endpoint](request, **parts)

    return answer
