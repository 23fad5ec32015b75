"""The routes: which handler answers which path.

A request passes ``front.Front``, klein, and a handler, which returns a ``replies.Reply`` or sends a body.  Errors become
responses in ``errors``.  Responses that can be repeated from memory are noted in ``ReadyAnswers``, and ``fast`` sends them before
any of this begins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from twisted.python.failure import Failure
from twisted.web.server import Request

from twistpi.model.errors import AskFirst, FileLost, FileRefused, TwistpiError
from twistpi.model.records import Principal
from twistpi.web.access_log import AccessLog
from twistpi.web.addresses import client_address
from twistpi.web.browser.assets import Assets
from twistpi.web.browser.error_page import ErrorPage
from twistpi.web.browser.form_routes import ApiHandlers, form_routes
from twistpi.web.browser.frame import Frames, wants_page
from twistpi.web.browser.home_page import HomePage
from twistpi.web.browser.index_page import IndexPage
from twistpi.web.browser.kept_pages import KeptPages
from twistpi.web.browser.operation_routes import operation_routes
from twistpi.web.browser.package_pages import make_package_pages
from twistpi.web.browser.rendering import Renderer
from twistpi.web.browser.routing import Handler, Route, for_people
from twistpi.web.browser.search_page import SearchResultsPage
from twistpi.web.commits import Commits
from twistpi.web.components import Components
from twistpi.web.errors import failure_reply, log, log_refusal
from twistpi.web.fast.ready import large_body
from twistpi.web.fast.site import FastSite
from twistpi.web.file_sender import FileSender
from twistpi.web.front import Front
from twistpi.web.handlers.accounts import LoginHandler, TokensHandler, UsersHandler
from twistpi.web.handlers.auth_subrequest import AuthSubrequestHandler
from twistpi.web.handlers.docs import DocsHandler
from twistpi.web.handlers.files import FileHandler
from twistpi.web.handlers.indexes import ApiHandler, IndexesHandler
from twistpi.web.handlers.name_lists import NameListHandler
from twistpi.web.handlers.own_metadata import OwnMetadata
from twistpi.web.handlers.preflight import PreflightHandler
from twistpi.web.handlers.projects import ProjectsHandler
from twistpi.web.handlers.push import PushHandler
from twistpi.web.handlers.release_edits import ReleaseEditsHandler
from twistpi.web.handlers.search import SearchHandler, SearchQueue
from twistpi.web.handlers.simple import SimpleHandler
from twistpi.web.handlers.toxresults import ToxresultsHandler
from twistpi.web.handlers.uploads import UploadHandler
from twistpi.web.pages import Pages
from twistpi.web.project_sources import ProjectSources
from twistpi.web.receiving.streamed_body import is_result_path
from twistpi.web.replication.routes import node_routes
from twistpi.web.replies import Reply, Responder
from twistpi.web.request import speaks_json
from twistpi.web.router import Answer, Answers, Endpoint, routed
from twistpi.web.serials import SerialReader
from twistpi.web.token_uses import TokenUses
from twistpi.web.tool_routes import package_json_routes, publisher_routes
from twistpi.web.transport.send import send_body

_IDLE_TIMEOUT = 75.0
"""Seconds an idle connection is kept; longer than the proxies and clients in use keep theirs."""
_ANY = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PUSH"]
_INDEX = "/<name:user>/<name:index>"
_RELEASE = f"{_INDEX}/<name:project>/<version>"
_FILE = f"{_INDEX}/+f/<three>/<thirteen>/<filename>"


_OF_PROGRAMS = re.compile(r"/\+(?:simple|f|e|api|authcheck|tokens)(?:/(?!.*/\+(?:delete|yank)/?\Z)|\Z)")
"""Paths that programs ask for, whose errors are the same for everybody."""


_SHARED = re.compile(r"/\+(?:simple|[ef])(?:/|\Z)|/json\Z")
"""The paths whose content pages of other sites may read, if everybody may."""


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
        self._sources = ProjectSources(access, parts.mirrors, parts.ready, parts.clock)
        self._pages = Pages(
            access,
            self._sources,
            parts.ready,
            parts.offload,
            parts.traffic,
            parts.clock,
            parts.policies,
            parts.mirrors.offline,
        )
        self._name_lists = NameListHandler(access, parts.mirrors, parts.offload, responder)
        self._simple = SimpleHandler(access, self._pages, self._name_lists, responder, addresses, parts.lenient_accept)
        self._commits = Commits(access.readers, parts.writer)
        commits, offload = self._commits, parts.offload
        self._api = ApiHandlers(
            LoginHandler(access, addresses, lambda: self._app.url_map),
            UsersHandler(access, commits, addresses, offload),
            TokensHandler(access, commits, parts.now),
            IndexesHandler(access, commits, addresses, offload, self._simple, self._name_lists, responder, parts.local_folders),
            ReleaseEditsHandler(access, commits),
            PushHandler(access, commits, storage, parts.mirrors, parts.pusher, parts.policies),
        )
        self._uses = uses = TokenUses(access.authenticator, parts.traffic, parts.downloads.tally)
        self._uploads = UploadHandler(access, addresses, commits, storage, self._api.push, uses)
        self._searches = SearchQueue(parts.offload)
        self._search = SearchHandler(access, addresses, parts.search, self._searches, self._uploads)
        self._toxresults = ToxresultsHandler(access, addresses, self._commits, storage, parts.now)
        self._sender = FileSender(storage.blobs, parts.ready, responder, parts.access_times, uses, parts.delivery)
        self._frames = Frames(access, addresses)
        self._assets = Assets(parts.theme)
        self._renderer = Renderer(self._assets, parts.theme)
        self._docs = DocsHandler(
            access, self._sender, responder, storage.blobs, parts.mirrors.blobs, parts.offload, parts.policies
        )
        self._package_pages = make_package_pages(parts, self._sources, self._docs, self._frames, self._renderer)
        self._error_page = ErrorPage(access, addresses, self._frames, self._renderer, parts.offload)

    def site(self, timeout: float, access_log: AccessLog | None) -> FastSite:
        """Return the site that answers on these routes."""
        parts = self._parts

        async def fail(request: Request, failure: Failure) -> bytes | None:
            """Answer ``request`` with what went wrong, or have another server answer it that knows more."""
            if site.forwarder is not None and failure.check(AskFirst, FileLost):
                try:
                    await site.forwarder.ask_first(request)
                except TwistpiError:
                    failure = Failure()
                else:
                    return None
            known = parts.access.authenticator.known(request)
            log_refusal(request, failure.value, known, client_address(request, parts.addresses))
            return parts.responder.put(request, await self._failure_reply(request, failure))

        self._app = routed(Answers(self._answers(), fail))
        front = Front(self._app, parts.responder, parts.addresses, parts.trusted_peers)
        site = FastSite(parts, self._pages, front, self._admit, timeout=timeout, access_log=access_log)
        return site

    async def _failure_reply(self, request: Request, failure: Failure) -> Reply:
        """Return the response to ``request``, which failed: a page for browsers, except where installers are at home."""
        is_of_programs = _OF_PROGRAMS.search(request.path.decode("latin-1")) and not failure.check(FileRefused)
        if wants_page(request) and not is_of_programs:
            try:
                return await self._error_page.show(request, failure)
            except Exception:  # of the template of a theme, above all
                log.failure("The page of an error cannot be made")
        return failure_reply(request, failure, wants_json=speaks_json(request))

    async def _admit(self, request: Request, raw_path: bytes) -> Principal:
        return await (self._toxresults if is_result_path(raw_path) else self._uploads).admit(request, raw_path)

    def _answers(self) -> dict[Endpoint, Answer]:
        """Return what answers at which endpoint."""
        routes = (
            *self._of_accounts(),
            *operation_routes(self._parts, self._frames, self._renderer),
            *self._of_projects(),
            *package_json_routes(self._parts, self._pages),
            *self._of_changes(),
            *publisher_routes(self._parts, self._commits),
            *self._of_attachments(),
            *form_routes(self._parts, self._api, self._commits, self._sources, self._frames, self._renderer),
            *node_routes(self._parts, self._sender),
        )
        parts = self._parts
        kept = KeptPages(parts.responder, parts.addresses)
        serials = SerialReader(parts.reach, parts.responder.default_headers, parts.clock)
        preflight = _answering(PreflightHandler(parts.access, parts.json_index).answer, parts.responder, kept, serials)
        answers: dict[Endpoint, Answer] = {}
        for path, methods, handler in routes:
            answers[path, tuple(methods)] = _answering(handler, parts.responder, kept, serials)
            if "GET" in methods and _SHARED.search(path):
                answers[path, ("OPTIONS",)] = preflight
        return answers

    def _of_accounts(self) -> Sequence[Route]:
        """The server, its users and its indexes."""
        parts, access = self._parts, self._parts.access
        api = ApiHandler(access, parts.addresses)
        users, tokens, indexes, login = self._api.users, self._api.tokens, self._api.indexes, self._api.login
        frames, renderer = self._frames, self._renderer
        home = HomePage(access, frames, renderer, parts.offload, parts.checking, parts.downloads)
        index = IndexPage(access, frames, renderer, parts.offload, parts.mirrors.pages)
        results = SearchResultsPage(access, frames, renderer, parts.search, self._searches)
        return (
            ("/", ["GET"], for_people(home.home, users.list)),
            ("/+static/<digest>/<name>", ["GET"], self._assets.show),
            ("/+api", ["GET", "POST"], api.server),
            ("/+authcheck", _ANY, login.authcheck),
            ("/<name:user>", ["GET"], for_people(home.user, users.show)),
            ("/<name:user>", ["PUT"], users.create),
            ("/<name:user>", ["PATCH"], users.modify),
            ("/<name:user>", ["DELETE"], users.delete),
            ("/<name:user>/+api", ["GET", "POST"], api.server),
            ("/<name:user>/+tokens", ["GET"], tokens.list),
            ("/<name:user>/+tokens", ["POST"], tokens.create),
            ("/<name:user>/+tokens/<name:token>", ["DELETE"], tokens.revoke),
            (_INDEX, ["GET"], for_people(index.show, indexes.show)),
            (_INDEX, ["PUT"], indexes.create),
            (_INDEX, ["PATCH"], indexes.modify),
            (_INDEX, ["DELETE"], indexes.delete),
            (f"{_INDEX}/+api", ["GET", "POST"], api.index),
            ("/+search", ["GET"], for_people(results.show, results.nothing)),
            ("/+search.json", ["GET"], self._search.json),
            ("/+searchhelp", ["GET"], for_people(results.help, results.nothing)),
        )

    def _of_projects(self) -> Sequence[Route]:
        """Reading an index."""
        parts, simple = self._parts, self._simple
        access, responder, addresses = parts.access, parts.responder, parts.addresses
        files = FileHandler(access, parts.mirrors, self._sender, parts.policies)
        own = OwnMetadata(parts.storage.blobs)
        projects = ProjectsHandler(
            access, self._sources, simple, responder, addresses, parts.offload, self._commits, own, parts.policies
        )
        pages = self._package_pages
        subrequest = AuthSubrequestHandler(access, parts.storage.blobs, addresses, parts.access_times, parts.policies, self._uses)
        return (
            (f"{_INDEX}/<name:project>", ["GET"], for_people(pages.project.show, projects.project)),
            (f"{_INDEX}/<name:project>", ["PATCH"], projects.modify),
            (f"{_INDEX}/<name:project>/<version>", ["GET"], for_people(pages.release.show, projects.version)),
            (f"{_INDEX}/+simple", ["GET"], simple.names),
            (f"{_INDEX}/+simple/<project>", ["GET"], simple.project),
            (f"{_INDEX}/+simple/<project>/refresh", ["POST"], simple.refresh),
            (_FILE, ["GET"], files.file),
            (f"{_INDEX}/+e/<folder>/<filename>", ["GET"], files.file),
            ("/+straight", ["GET"], subrequest.where),
        )

    def _of_attachments(self) -> Sequence[Route]:
        """Test results and documentation."""
        docs = self._docs
        return (
            (_FILE, ["POST"], self._toxresults.post),
            (f"{_RELEASE}/+doc", ["GET"], docs.first),
            (f"{_RELEASE}/+doc/<path:path>", ["GET"], docs.file),
            (f"{_RELEASE}/+doc-for/<token>/<path:path>", ["GET"], docs.file_with_token),
            (f"{_RELEASE}/+d", ["GET"], docs.first),
            *self._package_pages.routes(),
        )

    def _of_changes(self) -> Sequence[Route]:
        """Changing the content of an index."""
        edits = self._api.edits
        return (
            (_INDEX, ["POST", "PUSH"], self._search.submit),
            (f"{_INDEX}/<name:project>", ["DELETE"], edits.remove_project),
            (_RELEASE, ["DELETE"], edits.remove_release),
            (_FILE, ["DELETE"], edits.remove_file),
            (f"{_INDEX}/+e/<folder>/<filename>", ["DELETE"], edits.remove_file),
            (f"{_FILE}/+yank", ["PUT", "DELETE"], edits.yank_file),
            (f"{_RELEASE}/+yank", ["PUT", "DELETE"], edits.yank_release),
            (f"{_INDEX}/<name:project>/+status", ["PUT", "DELETE"], edits.set_status),
        )


def _answering(handler: Handler, responder: Responder, kept: KeptPages, serials: SerialReader) -> Answer:
    """Return a function for klein that has ``handler`` answer, or repeats a page that is ``kept``.

    Handlers take an index by its full name, ``name``, and a file by its ``path`` below the index.
    """

    async def answer(request: Request, **parts: str) -> bytes | None:
        await serials.wait_for(request)
        key, serial = kept.key_of(request), responder.serial
        if key is not None and (page := kept.find(key)) is not None:
            return responder.put(request, page)
        if "index" in parts:
            parts["name"] = f"{parts.pop('user')}/{parts.pop('index')}"
        if "three" in parts:
            parts["path"] = f"+f/{parts.pop('three')}/{parts.pop('thirteen')}/{parts.pop('filename')}"
        elif "folder" in parts:
            parts["path"] = f"+e/{parts.pop('folder')}/{parts.pop('filename')}"
        reply = await handler(request, **parts)
        if not isinstance(reply, Reply):
            return reply
        reply = serials.note(request, reply)
        if key is not None:
            kept.keep(key, serial, reply)
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
