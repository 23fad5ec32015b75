"""A primary as the source of a replica's pages: it asks the upstreams, and what it learned comes with the log.

The server hands in the connection (``replication.primary.Primary``).  An error that the primary met is raised as if it had been
met here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol
from urllib.parse import quote

import attrs
import orjson
from twisted.internet.interfaces import IReactorTime

from twistpi.changelog.writer import Writer
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.offload import Offload
from twistpi.mirror.file_transfer import FileResponse
from twistpi.mirror.page_source import LARGEST_PAGE, Kind, Known
from twistpi.mirror.pages import GONE
from twistpi.mirror.remembered_pages import remember_page, remembering
from twistpi.mirror.upstream import UpstreamConfig
from twistpi.model.changes import LinksChanged
from twistpi.model.codec import decode_content, encode_content
from twistpi.model.errors import TwistpiError, UnknownProject
from twistpi.model.records import Freshness, Json, KnownProject, PageHeader, ProjectPage
from twistpi.model.server_errors import MalformedChange, PrimaryUnreachable, StorageFull, carried
from twistpi.view.read import Readers

PAGE: Final = "/+relay/page"
METADATA: Final = "/+relay/metadata"
_LARGEST_JSON: Final = 1024 * 1024
"""Bytes of a response in JSON."""
WaitFor = Callable[[int], Awaitable[object]]
"""Returns once the view of this server has the entry with that serial; raises a ``TwistpiError`` when that takes too long."""


class PrimaryResponse(FileResponse, Protocol):
    """A response of a primary."""

    async def read(self, limit: int) -> bytes:
        """Return the whole body."""


class PrimaryConnection(Protocol):
    """What ``replication.primary.Primary`` offers."""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        patience: float | None = None,
    ) -> PrimaryResponse:
        """Return the response to one signed request; raise ``PrimaryUnreachable``."""


@attrs.define(eq=False)
class PrimaryClient:
    """Requests to the primary."""

    _primary: PrimaryConnection
    clock: IReactorTime
    offload: Offload
    call_in_reactor: Callable[[Callable[[], object]], object]
    silence: float
    """Seconds the primary may be silent: until the head of a response, and in the middle of a body."""

    async def get(
        self,
        path: str,
        headers: Mapping[str, str],
        *,
        timeout: float | None = None,
    ) -> PrimaryResponse:
        """GET ``path``.  ``timeout`` is in seconds.

        Raise ``RequestFailed`` when the primary cannot be reached, and the error that it met.
        """
        fields = {"Accept-Encoding": "identity", **headers}
        try:
            response = await self._primary.ask("GET", path, headers=fields, patience=timeout or self.silence)
            if response.status >= 400:
                raise _refusal(response.status, await response.read(_LARGEST_JSON))
        except PrimaryUnreachable as gone:
            raise _unreachable(gone) from gone
        return response

    async def post(
        self, path: str, question: Json, *, timeout: float | None = None, limit: int = _LARGEST_JSON
    ) -> dict[str, Json]:
        """POST ``question`` as JSON; return the JSON object in the response, of ``limit`` bytes at most.  Raise as ``get``."""
        headers = {"Content-Type": "application/json"}
        try:
            response = await self._primary.ask("POST", path, headers=headers, body=orjson.dumps(question), patience=timeout)
            content = await response.read(limit)
        except PrimaryUnreachable as gone:
            raise _unreachable(gone) from gone
        if response.status >= 400:
            raise _refusal(response.status, content)
        answer = _json(content)
        if not isinstance(answer, dict):
            raise RequestFailed("the primary answered something that is no answer", Cause.UNUSABLE)
        return answer


def file_path(index: str, path: str) -> str:
    """Return where the primary has the file at ``path`` below the mirror ``index``."""
    return f"/+relay/file/{quote(index)}/{quote(path)}"


def blob_path(relative: str) -> str:
    """Return where the primary has the blob with the address ``relative``."""
    return f"/+blob/{quote(relative)}"


def names_path(index: str) -> str:
    """Return where the primary has the name list of the mirror ``index``."""
    return f"/+relay/names/{quote(index)}"


def reason_of(error: TwistpiError) -> str:
    """Return why the primary failed."""
    return str(getattr(error, "reason", error))


@attrs.define(eq=False)
class PrimaryPages:
    """Project pages as the primary has them; a ``PageSource``.

    When a page was last confirmed is remembered here, as on any server, so that a fresh page costs no request.

    What the log cannot bring, because the disk of either server is full, comes with the answer, and is kept in memory.
    """

    _client: PrimaryClient
    _readers: Readers
    _writer: Writer
    """Keeps what is local."""
    _wait_for: WaitFor
    _timeout: float
    """Seconds until the primary has to answer."""
    minds_force: bool = attrs.field(default=True, init=False)

    async def refresh(
        self, config: UpstreamConfig, project: str, known: Known, *, force: bool, responding: Callable[[], None]
    ) -> tuple[Kind, Freshness]:
        """See ``PageSource``."""
        full = self._writer.failure
        asks_for_page = isinstance(full, StorageFull)
        question: Json = {"index": config.index, "project": project, "force": force, "unrecorded": True, "whole": asks_for_page}
        try:
            answer = await self._client.post(PAGE, question, timeout=self._timeout, limit=LARGEST_PAGE)
            responding()
            if answer.get("page") is None:
                await self._wait_for(int(answer["serial"]))
        except UnknownProject:
            raise
        except TwistpiError as error:
            # The primary is there; that it cannot reach the upstream may be a matter of this page.
            is_silent = error.status in (503, 504) and error.retry_after is None
            cause = Cause.TIMEOUT if is_silent else Cause.UNUSABLE
            raise RequestFailed(reason_of(error), cause, error.retry_after) from error
        config.require_current(self._readers.get().index(config.index))
        if answer["kind"] == "stale":
            raise RequestFailed(str(answer["reason"]), Cause.UNUSABLE)
        checked_at = self._client.clock.seconds() - float(answer["age"])
        learned = Freshness(checked_at, missing=answer["reason"] == GONE, source=config.source)
        kind: Kind = answer["kind"]
        if answer.get("page") is not None:
            page = await self._client.offload(read_project, answer["page"])
            reason = full if isinstance(full, StorageFull) else StorageFull("the primary", str(answer["reason"]))
            return kind, remember_page(self._readers, config, page, learned, reason)
        try:
            await self._writer.keep(remembering(config, project, learned))
            self._readers.unrecorded.forget(config.index, project)
        except StorageFull as error:
            self._readers.unrecorded.learn(config.index, project, learned, error.reason)
        return kind, learned


def written_project(known: KnownProject) -> str:
    """Return a project as ``read_project`` reads it: as the change that would list it."""
    links = tuple(file.link for file in known.offered if not file.vanished)
    change = LinksChanged(known.index, known.project, added=links, versions_added=known.versions, header=known.header)
    return encode_content("", "", (change,)).decode()


def read_project(written: str) -> ProjectPage:
    """Return a project as an upstream lists it; raise ``RequestFailed``."""
    try:
        (change,) = decode_content(written.encode()).changes
    except (MalformedChange, ValueError) as error:
        raise RequestFailed(f"the primary answered a page that is none: {error}", Cause.UNUSABLE) from error
    if not isinstance(change, LinksChanged):
        raise RequestFailed("the primary answered a page that is none", Cause.UNUSABLE)
    return ProjectPage(change.project, change.added, change.versions_added, change.header or PageHeader())


def _unreachable(gone: PrimaryUnreachable) -> RequestFailed:
    return RequestFailed(f"the primary cannot be reached: {gone.reason}", Cause.CONNECT)


def _refusal(status: int, content: bytes) -> TwistpiError | RequestFailed:
    """Return the error that a response of the primary stands for."""
    told = _json(content)
    error = carried(told)
    if error is not None:
        return error
    message = told.get("message") if isinstance(told, dict) else None
    reason = f"the primary answered {status}" + (f": {message}" if isinstance(message, str) else "")
    return RequestFailed(reason, Cause.UNUSABLE)


def _json(content: bytes) -> Json:
    try:
        value: Json = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return value
