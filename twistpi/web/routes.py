"""The routes: which door answers which path.

A request passes ``front.Front`` (what no route may see), klein (these routes), a door, and comes back as a ``replies.Reply`` or
as a body that is sent while it comes.  Whatever a door raises becomes an answer in ``failures``.  Answers that can be had again
from memory are noted in ``tables``, and ``fast`` gives them to the next asker before any of this begins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from klein import Klein
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request
from werkzeug.routing import BaseConverter

from twistpi.model.accounts import Principal
from twistpi.model.errors import FileLost, TwistpiError
from twistpi.model.forwarding_errors import AskFirst
from twistpi.web.access_log import AccessLog
from twistpi.web.errors import failure_reply
from twistpi.web.fast.site import FastSite
from twistpi.web.front import Front
from twistpi.web.handlers.attachments import AttachmentHandler
from twistpi.web.handlers.auth_subrequest import AuthSubrequestHandler
from twistpi.web.handlers.docs import DocsHandler
from twistpi.web.handlers.indexes import ApiHandler, IndexesHandler
from twistpi.web.handlers.login import LoginHandler, TokensHandler
from twistpi.web.handlers.metrics import MetricsHandler
from twistpi.web.handlers.operations import GarbageHandler, HealthHandler, PromoteHandler
from twistpi.web.handlers.projects import ProjectsHandler
from twistpi.web.handlers.push import PushHandler
from twistpi.web.handlers.removals import RemovalHandler
from twistpi.web.handlers.simple import SimpleHandler
from twistpi.web.handlers.status import StatusHandler
from twistpi.web.handlers.toxresults import ToxresultsHandler
from twistpi.web.handlers.upload_storage import Storing
from twistpi.web.handlers.uploads import UploadHandler
from twistpi.web.handlers.users import UsersHandler
from twistpi.web.handlers.yanks import YankHandler
from twistpi.web.pages import Pages
from twistpi.web.receiving.result_reader import is_result_path
from twistpi.web.replication.routes import Route, node_routes
from twistpi.web.replies import put
from twistpi.web.request import speaks_json
from twistpi.web.services import Services

_IDLE_TIMEOUT = 75.0
"""Seconds an idle connection is kept; longer than the proxies and clients in use keep theirs."""
_ANY = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PUSH"]
_INDEX = "/<name:user>/<name:index>"


class _NameConverter(BaseConverter):
    """A part of a path that can be a name: what holds a ``+`` is an endpoint, or nothing."""

    regex = "[^+/]+"
    part_isolating = True


def make_site(services: Services, *, timeout: float = _IDLE_TIMEOUT, access_log: AccessLog | None = None) -> FastSite:
    """The factory for HTTP connections; its ``changed`` must be told of every committed entry.

    ``access_log`` is told of every answer.
    """
    pages, storing = Pages(services), Storing(services)
    uploads = UploadHandler(services, storing, PushHandler(services, pages.reading, storing).push)
    toxresults = ToxresultsHandler(services, storing)

    async def admit(request: Request, raw_path: bytes) -> Principal:
        door = toxresults if is_result_path(raw_path) else uploads
        return await door.admit(request, raw_path)

    resource = make_resource(services, pages, uploads, toxresults)
    return FastSite(services, pages, resource, admit, timeout=timeout, access_log=access_log)


def make_resource(services: Services, pages: Pages, uploads: UploadHandler, toxresults: ToxresultsHandler) -> IResource:
    """The doors alone, without the fast way."""
    app = Klein()
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.url_map.redirect_defaults = False
    app.url_map.converters["name"] = _NameConverter
    simple = SimpleHandler(services, pages)
    routes = (
        *_server_routes(app, services, simple),
        *_project_routes(services, pages, simple),
        *_writing_routes(services, pages, uploads),
        *_attachment_routes(services, pages, toxresults),
        *node_routes(services, pages.reading),
    )
    for path, methods, handler in routes:
        for slash in ("", "/") if path != "/" else ("",):
            endpoint = f"{' '.join(methods)} {path}{slash}"
            app.route(path + slash, methods=list(methods), endpoint=endpoint)(handler)
    app.handle_errors(Exception)(_fail(services))  # type: ignore[arg-type]
    return Front(services, app)


def _server_routes(app: Klein, services: Services, simple: SimpleHandler) -> Sequence[Route]:
    """The server, its users and its indexes."""
    api, login, tokens = ApiHandler(services), LoginHandler(services, app.url_map), TokensHandler(services)
    users, indexes = UsersHandler(services), IndexesHandler(services, simple)
    return (
        ("/", ["GET"], users.list),
        ("/+api", ["GET", "POST"], api.server),
        ("/+login", ["POST"], login.login),
        ("/+authcheck", _ANY, login.authcheck),
        *_watching_routes(services),
        *_gc_routes(services),
        *_promotion_routes(services),
        ("/<name:user>", ["GET"], users.show),
        ("/<name:user>", ["PUT"], users.create),
        ("/<name:user>", ["PATCH"], users.modify),
        ("/<name:user>", ["DELETE"], users.delete),
        ("/<name:user>/+api", ["GET", "POST"], api.server),
        ("/<name:user>/+tokens", ["GET"], tokens.list),
        ("/<name:user>/+tokens", ["POST"], tokens.create),
        ("/<name:user>/+tokens/<name:token>", ["DELETE"], tokens.revoke),
        (_INDEX, ["GET"], indexes.show),
        (_INDEX, ["PUT"], indexes.create),
        (_INDEX, ["PATCH"], indexes.modify),
        (_INDEX, ["DELETE"], indexes.delete),
        (f"{_INDEX}/+api", ["GET", "POST"], api.index),
    )


def _watching_routes(services: Services) -> Sequence[Route]:
    """How the server is."""
    health = HealthHandler(services)
    return (
        ("/+status", ["GET"], StatusHandler(services).status),
        ("/+health", ["GET"], health.health),
        ("/+ready", ["GET"], health.ready),
        ("/+metrics", ["GET"], MetricsHandler(services).metrics),
    )


def _gc_routes(services: Services) -> Sequence[Route]:
    if services.collector is None:
        return ()
    garbage = GarbageHandler(services, services.collector)
    return ("/+gc", ["GET"], garbage.show), ("/+gc", ["POST"], garbage.sweep)


def _promotion_routes(services: Services) -> Sequence[Route]:
    if services.promoting is None:
        return ()
    promote = PromoteHandler(services, services.promoting)
    return ("/+promote", ["GET"], promote.show), ("/+promote", ["POST"], promote.promote)


def _project_routes(services: Services, pages: Pages, simple: SimpleHandler) -> Sequence[Route]:
    """What is in an index."""
    files, projects = AttachmentHandler(services, pages.reading), ProjectsHandler(services, pages, simple)
    return (
        (f"{_INDEX}/<name:project>", ["GET"], projects.project),
        (f"{_INDEX}/<name:project>/<version>", ["GET"], projects.version),
        (f"{_INDEX}/+simple", ["GET"], simple.names),
        (f"{_INDEX}/+simple/<project>", ["GET"], simple.project),
        (f"{_INDEX}/+simple/<project>/refresh", ["POST"], simple.refresh),
        (f"{_INDEX}/+f/<three>/<thirteen>/<filename>", ["GET"], files.digest_file),
        (f"{_INDEX}/+e/<folder>/<filename>", ["GET"], files.external_file),
        ("/+straight", ["GET"], AuthSubrequestHandler(services, pages.reading).where),
    )


def _attachment_routes(services: Services, pages: Pages, toxresults: ToxresultsHandler) -> Sequence[Route]:
    """Test results and documentation."""
    docs, release = DocsHandler(services, pages.reading), f"{_INDEX}/<name:project>/<version>"
    return (
        (f"{_INDEX}/+f/<three>/<thirteen>/<filename>", ["POST"], toxresults.post),
        (f"{release}/+doc", ["GET"], docs.first),
        (f"{release}/+doc/<path:path>", ["GET"], docs.file),
        (f"{release}/+d", ["GET"], docs.first),
        (f"{release}/+d/<path:path>", ["GET"], docs.frame),
    )


def _writing_routes(services: Services, pages: Pages, uploads: UploadHandler) -> Sequence[Route]:
    """What changes what is in an index."""
    removal, marks = RemovalHandler(services), YankHandler(services, pages.reading)
    file = f"{_INDEX}/+f/<three>/<thirteen>/<filename>"
    return (
        (_INDEX, ["POST", "PUSH"], uploads.submit),
        (f"{_INDEX}/<name:project>", ["DELETE"], removal.project),
        (f"{_INDEX}/<name:project>/<version>", ["DELETE"], removal.release),
        (file, ["DELETE"], removal.digest_file),
        (f"{_INDEX}/+e/<folder>/<filename>", ["DELETE"], removal.external_file),
        (f"{file}/+yank", ["PUT", "DELETE"], marks.yank_file),
        (f"{_INDEX}/<name:project>/<version>/+yank", ["PUT", "DELETE"], marks.yank_release),
        (f"{_INDEX}/<name:project>/+status", ["GET"], marks.show_status),
        (f"{_INDEX}/<name:project>/+status", ["PUT", "DELETE"], marks.set_status),
    )


def _fail(services: Services) -> Callable[[Request, Failure], Awaitable[bytes | None]]:
    async def fail(request: Request, failure: Failure) -> bytes | None:
        if services.forward is not None and failure.check(AskFirst, FileLost):  # type: ignore[no-untyped-call]
            try:
                await services.forward.ask_first(request)
            except TwistpiError:
                failure = Failure()  # type: ignore[no-untyped-call]
            else:
                return None
        reply = failure_reply(request, failure, wants_json=speaks_json(request))
        return put(request, reply, services.standing.at(services.clock.seconds()))

    return fail
