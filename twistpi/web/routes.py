"""The routes: which handler answers which path.

A request passes ``front.Front``, klein, and a handler, which returns a ``replies.Reply`` or sends a body.  Errors become
responses in ``errors``.  Responses that can be repeated from memory are noted in ``ReadyAnswers``, and ``fast`` sends them before
any of this begins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from klein import Klein, KleinRouteHandler
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Request
from werkzeug.routing import BaseConverter

from twistpi.model.errors import AskFirst, FileLost, TwistpiError
from twistpi.model.records import Principal
from twistpi.web.access_log import AccessLog
from twistpi.web.addresses import client_address
from twistpi.web.commits import Commits
from twistpi.web.components import Components
from twistpi.web.errors import failure_reply, log_refusal
from twistpi.web.fast.ready import large_body
from twistpi.web.fast.site import FastSite
from twistpi.web.file_sender import FileSender
from twistpi.web.front import Front
from twistpi.web.handlers.accounts import LoginHandler, TokensHandler, UsersHandler
from twistpi.web.handlers.docs import DocsHandler
from twistpi.web.handlers.files import AuthSubrequestHandler, FileHandler
from twistpi.web.handlers.indexes import ApiHandler, IndexesHandler
from twistpi.web.handlers.operations import GarbageHandler, HealthHandler, MetricsHandler, PromoteHandler
from twistpi.web.handlers.projects import ProjectsHandler
from twistpi.web.handlers.push import PushHandler
from twistpi.web.handlers.release_edits import ReleaseEditsHandler
from twistpi.web.handlers.simple import NameListHandler, SimpleHandler
from twistpi.web.handlers.status import StatusHandler
from twistpi.web.handlers.toxresults import ToxresultsHandler
from twistpi.web.handlers.uploads import UploadHandler
from twistpi.web.pages import Pages
from twistpi.web.project_sources import ProjectSources
from twistpi.web.receiving.streamed_body import is_result_path
from twistpi.web.replication.authentication import NodeResponder
from twistpi.web.replication.blobs import BlobFeedHandler, NodeFiles
from twistpi.web.replication.feed import FeedHandler, SnapshotHandler
from twistpi.web.replication.upstream_questions import AttemptsHandler, PeerHandler, UpstreamQuestionHandler
from twistpi.web.replies import Reply, Responder
from twistpi.web.request import speaks_json
from twistpi.web.transport.send import send_body

Handler = Callable[..., Awaitable[Reply | bytes | None]]
Route = tuple[str, Sequence[str], Handler]
"""Path, methods and handler."""


def node_routes(parts: Components, sender: FileSender) -> Iterator[Route]:
    """Return the routes for which ``parts`` has what they need."""
    replication, access, offload = parts.replication, parts.access, parts.offload
    if replication.nodes is None:
        return
    node = NodeResponder(parts.responder, replication.nodes)
    files = NodeFiles(sender, replication.nodes)
    if replication.feeds is not None:
        feed = FeedHandler(node, files, replication.feeds, access, replication, offload)
        yield "/+changelog", ["GET"], node.only(feed.changelog)
        yield "/+changelog/position", ["GET"], node.only(feed.position)
        yield "/+changelog/segments", ["GET"], node.only(feed.segments)
        yield "/+changelog/segments/<first>", ["GET"], node.only(feed.segment)
    if replication.snapshots is not None:
        snapshots = SnapshotHandler(node, files, replication.snapshots)
        yield "/+snapshot", ["POST"], node.only(snapshots.make)
        yield "/+snapshot/<name>", ["GET"], node.only(snapshots.read)
    blobs = BlobFeedHandler(node, files, access, parts.mirrors, parts.storage.blobs, offload)
    relay = UpstreamQuestionHandler(node, files, access, parts.mirrors, parts.storage.blobs, offload)
    yield "/+blob/<three>/<thirteen>/<filename>", ["GET"], node.only(blobs.blob)
    yield "/+blobs", ["POST"], node.only(blobs.blobs)
    yield "/+relay/page", ["POST"], node.only(relay.page)
    yield "/+relay/metadata", ["POST"], node.only(relay.metadata)
    yield "/+relay/file/<name:user>/<name:index>/<path:path>", ["GET"], node.only(relay.file)
    yield "/+relay/names/<name:user>/<name:index>", ["GET"], node.only(relay.names)
    yield "/+attempts", ["POST"], node.only(AttemptsHandler(node, access.authenticator).count)
    if replication.fencing is not None:
        peers = PeerHandler(node, replication.fencing)
        yield "/+peer", ["GET"], node.only(peers.peer)
        yield "/+fence", ["POST"], node.only(peers.fence)


_IDLE_TIMEOUT = 75.0
"""Seconds an idle connection is kept; longer than the proxies and clients in use keep theirs."""
_ANY = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PUSH"]
_INDEX = "/<name:user>/<name:index>"
_RELEASE = f"{_INDEX}/<name:project>/<version>"
_FILE = f"{_INDEX}/+f/<three>/<thirteen>/<filename>"


class _NameConverter(BaseConverter):
    """A segment that may be a name: one with a ``+`` is an endpoint, or nothing."""

    regex = "[^+/]+"
    part_isolating = True


def make_site(components: Components, *, timeout: float = _IDLE_TIMEOUT, access_log: AccessLog | None = None) -> FastSite:
    """Return the factory for HTTP connections; its ``changed`` must be called for every committed entry.

    ``access_log`` gets a line for every response.
    """
    return _Routes(components).site(timeout, access_log)


class _Routes:
    """Builds the handlers, and maps paths to them."""

    def __init__(self, parts: Components) -> None:
        """Build what several routes share."""
        access, responder, addresses, storage = parts.access, parts.responder, parts.addresses, parts.storage
        self._parts = parts
        self._app = Klein()
        self._sources = ProjectSources(access, parts.mirrors, parts.ready, parts.clock)
        self._pages = Pages(access, self._sources, parts.ready, parts.offload, parts.traffic, parts.clock, parts.mirrors.offline)
        self._name_lists = NameListHandler(access, parts.mirrors, parts.offload, responder)
        self._simple = SimpleHandler(access, self._pages, self._name_lists, responder, addresses, parts.lenient_accept)
        self._commits = Commits(access.readers, parts.writer)
        push = PushHandler(access, self._commits, storage, parts.mirrors, parts.pusher)
        self._uploads = UploadHandler(access, addresses, self._commits, storage, push)
        self._toxresults = ToxresultsHandler(access, addresses, self._commits, storage, parts.now)
        self._sender = FileSender(storage.blobs, parts.ready, responder)

    def site(self, timeout: float, access_log: AccessLog | None) -> FastSite:
        """Return the site that answers on these routes."""
        site = FastSite(self._parts, self._pages, self._resource(), self._admit, timeout=timeout, access_log=access_log)

        @self._app.handle_errors(Exception)
        async def fail(request: IRequest, failure: Failure) -> bytes | None:
            """Answer ``request`` with what went wrong, or have another server answer it that knows more."""
            assert isinstance(request, Request)
            if site.forwarder is not None and failure.check(AskFirst, FileLost):
                try:
                    await site.forwarder.ask_first(request)
                except TwistpiError:
                    failure = Failure()
                else:
                    return None
            known = self._parts.access.authenticator.known(request)
            log_refusal(request, failure.value, known, client_address(request, self._parts.addresses))
            return self._parts.responder.put(request, failure_reply(request, failure, wants_json=speaks_json(request)))

        return site

    async def _admit(self, request: Request, raw_path: bytes) -> Principal:
        return await (self._toxresults if is_result_path(raw_path) else self._uploads).admit(request, raw_path)

    def _resource(self) -> IResource:
        app = self._app
        app.url_map.merge_slashes = False
        app.url_map.strict_slashes = False
        app.url_map.redirect_defaults = False
        app.url_map.converters["name"] = _NameConverter
        routes = (
            *self._of_accounts(),
            *self._of_operations(),
            *self._of_projects(),
            *self._of_changes(),
            *self._of_attachments(),
            *node_routes(self._parts, self._sender),
        )
        for path, methods, handler in routes:
            answer = _answering(handler, self._parts.responder)
            for slash in ("", "/") if path != "/" else ("",):
                endpoint = f"{' '.join(methods)} {path}{slash}"
                app.route(path + slash, methods=list(methods), endpoint=endpoint)(answer)
        parts = self._parts
        return Front(app, parts.responder, parts.addresses, parts.trusted_peers)

    def _of_accounts(self) -> Sequence[Route]:
        """The server, its users and its indexes."""
        parts, commits = self._parts, self._commits
        access, addresses = parts.access, parts.addresses
        api, login = ApiHandler(access, addresses), LoginHandler(access, addresses, self._app.url_map)
        tokens = TokensHandler(access, commits, parts.now)
        users = UsersHandler(access, commits, addresses, parts.offload)
        indexes = IndexesHandler(access, commits, addresses, parts.offload, self._simple, self._name_lists, parts.responder)
        return (
            ("/", ["GET"], users.list),
            ("/+api", ["GET", "POST"], api.server),
            ("/+login", ["POST"], login.login),
            ("/+authcheck", _ANY, login.authcheck),
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

    def _of_operations(self) -> Iterator[Route]:
        """Monitoring, garbage collection and promotion."""
        parts = self._parts
        access, addresses, responder, node, ready = parts.access, parts.addresses, parts.responder, parts.node, parts.ready
        software, traffic = parts.software, parts.traffic
        health = HealthHandler(parts.checking)
        status = StatusHandler(access, responder, addresses, node, software, parts.replication, ready)
        near = parts.metrics_from
        metrics = MetricsHandler(access, addresses, near, node, software, traffic, ready, responder, parts.measuring)
        yield "/+status", ["GET"], status.status
        yield "/+health", ["GET"], health.health
        yield "/+ready", ["GET"], health.ready
        yield "/+metrics", ["GET"], metrics.metrics
        if parts.collector is not None:
            garbage = GarbageHandler(access, parts.collector)
            yield "/+gc", ["GET"], garbage.show
            yield "/+gc", ["POST"], garbage.sweep
        if parts.replication.promoting is not None:
            promote = PromoteHandler(access, parts.replication.promoting)
            yield "/+promote", ["GET"], promote.show
            yield "/+promote", ["POST"], promote.promote

    def _of_projects(self) -> Sequence[Route]:
        """Reading an index."""
        parts, simple = self._parts, self._simple
        access, responder, addresses = parts.access, parts.responder, parts.addresses
        files = FileHandler(access, parts.mirrors, self._sender)
        projects = ProjectsHandler(access, self._sources, simple, responder, addresses, parts.offload, self._commits)
        subrequest = AuthSubrequestHandler(access, parts.storage.blobs, addresses)
        return (
            (f"{_INDEX}/<name:project>", ["GET"], projects.project),
            (f"{_INDEX}/<name:project>", ["PATCH"], projects.modify),
            (f"{_INDEX}/<name:project>/<version>", ["GET"], projects.version),
            (f"{_INDEX}/+simple", ["GET"], simple.names),
            (f"{_INDEX}/+simple/<project>", ["GET"], simple.project),
            (f"{_INDEX}/+simple/<project>/refresh", ["POST"], simple.refresh),
            (_FILE, ["GET"], files.file),
            (f"{_INDEX}/+e/<folder>/<filename>", ["GET"], files.file),
            ("/+straight", ["GET"], subrequest.where),
        )

    def _of_attachments(self) -> Sequence[Route]:
        """Test results and documentation."""
        parts = self._parts
        docs = DocsHandler(parts.access, self._sender, parts.responder, parts.storage.blobs, parts.mirrors.blobs, parts.offload)
        return (
            (_FILE, ["POST"], self._toxresults.post),
            (f"{_RELEASE}/+doc", ["GET"], docs.first),
            (f"{_RELEASE}/+doc/<path:path>", ["GET"], docs.file),
            (f"{_RELEASE}/+d", ["GET"], docs.first),
            (f"{_RELEASE}/+d/<path:path>", ["GET"], docs.frame),
        )

    def _of_changes(self) -> Sequence[Route]:
        """Changing the content of an index."""
        edits = ReleaseEditsHandler(self._parts.access, self._commits)
        return (
            (_INDEX, ["POST", "PUSH"], self._uploads.submit),
            (f"{_INDEX}/<name:project>", ["DELETE"], edits.remove_project),
            (_RELEASE, ["DELETE"], edits.remove_release),
            (_FILE, ["DELETE"], edits.remove_file),
            (f"{_INDEX}/+e/<folder>/<filename>", ["DELETE"], edits.remove_file),
            (f"{_FILE}/+yank", ["PUT", "DELETE"], edits.yank_file),
            (f"{_RELEASE}/+yank", ["PUT", "DELETE"], edits.yank_release),
            (f"{_INDEX}/<name:project>/+status", ["GET"], edits.show_status),
            (f"{_INDEX}/<name:project>/+status", ["PUT", "DELETE"], edits.set_status),
        )


def _answering(handler: Handler, responder: Responder) -> KleinRouteHandler:
    """Return a function for klein that has ``handler`` answer.

    Handlers take an index by its full name, ``name``, and a file by its ``path`` below the index.
    """

    async def answer(request: Request, **parts: str) -> bytes | None:
        if "index" in parts:
            parts["name"] = f"{parts.pop('user')}/{parts.pop('index')}"
        if "three" in parts:
            parts["path"] = f"+f/{parts.pop('three')}/{parts.pop('thirteen')}/{parts.pop('filename')}"
        elif "folder" in parts:
            parts["path"] = f"+e/{parts.pop('folder')}/{parts.pop('filename')}"
        reply = await handler(request, **parts)
        if not isinstance(reply, Reply):
            return reply
        body = None if request.method == b"HEAD" else large_body(reply)
        small = responder.put(request, reply)
        if body is None:
            return small
        try:
            await send_body(request, body, length=body.ready)
        finally:
            body.close()
        return None

    return answer
