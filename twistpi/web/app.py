"""The routes: which door answers which path.

A request passes ``front.Front`` (what no route may see), klein (these routes), a door, and comes back as a ``replies.Reply`` or
as a body that is sent while it comes.  Whatever a door raises becomes an answer in ``failures``.  Answers that can be had again
from memory are noted in ``tables``, and ``fast`` gives them to the next asker before any of this begins.
"""

from __future__ import annotations

from collections.abc import Callable

from klein import Klein
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request

from twistpi.web.failures import reply_to
from twistpi.web.fast import FastSite
from twistpi.web.files import FileDoor
from twistpi.web.front import Front
from twistpi.web.overview import OverviewDoor
from twistpi.web.pages import Pages
from twistpi.web.replies import put
from twistpi.web.request import header
from twistpi.web.services import Services
from twistpi.web.simple import SimpleDoor

_IDLE_TIMEOUT = 75.0
"""Seconds an idle connection is kept; longer than the proxies and clients in use keep theirs."""


def make_site(services: Services, *, timeout: float = _IDLE_TIMEOUT, access_log: str | None = None) -> FastSite:
    """The factory for HTTP connections; its ``changed`` must be told of every committed entry.

    ``access_log`` is the path of a log in the combined format, None for none.
    """
    pages = Pages(services)
    return FastSite(services, pages, make_resource(services, pages), timeout=timeout, access_log=access_log)


def make_resource(services: Services, pages: Pages) -> IResource:
    """The doors alone, without the fast way."""
    app = Klein()
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.url_map.redirect_defaults = False
    simple = SimpleDoor(services, pages)
    files = FileDoor(services)
    overview = OverviewDoor(services, simple)
    index = "/<user>/<index>"
    routes = (
        ("/", ["GET"], overview.root),
        ("/<user>", ["GET"], overview.user),
        (index, ["GET"], overview.index),
        (f"{index}/<project>", ["GET"], simple.alias),
        (f"{index}/+simple", ["GET"], simple.names),
        (f"{index}/+simple/<project>", ["GET"], simple.project),
        (f"{index}/+simple/<project>/refresh", ["POST"], simple.refresh),
        (f"{index}/+f/<three>/<thirteen>/<filename>", ["GET"], files.digest_file),
        (f"{index}/+e/<folder>/<filename>", ["GET"], files.external_file),
    )
    for path, methods, handler in routes:
        for slash in ("", "/") if path != "/" else ("",):
            app.route(path + slash, methods=methods, endpoint=path + slash)(handler)
    app.handle_errors(Exception)(_fail(services))  # type: ignore[arg-type]
    return Front(services, app)


def _fail(services: Services) -> Callable[[Request, Failure], bytes]:
    def fail(request: Request, failure: Failure) -> bytes:
        wants_json = "application/json" in (header(request, "accept") or "")
        reply = reply_to(failure, wants_json=wants_json, path=request.path.decode("ascii", "replace"))
        return put(request, reply, services.standing.at(services.clock.seconds()))

    return fail
