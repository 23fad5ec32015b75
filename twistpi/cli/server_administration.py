"""Changes to a server directory through the server that runs on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import quote

import attrs
import click

from twistpi.auth.tokens import LoginTokens
from twistpi.changelog.compaction import Cut
from twistpi.cli.clients import LocalClient
from twistpi.cli.promotion import Promoted
from twistpi.gc.eviction import Evicted
from twistpi.gc.garbage import Collected
from twistpi.http.blocking import BlockingResponse
from twistpi.model.changes import Change
from twistpi.model.errors import BadRequest, UnknownFile, UnknownIndex, no_project, unknown_user, unknown_version
from twistpi.model.names import normalize_project, project_of_filename
from twistpi.model.records import ROOT, Index, Json
from twistpi.model.releases import Release
from twistpi.rules.releases import Found, check_markable, decide_file_removed, decide_yank
from twistpi.rules.replication import PRIMARY
from twistpi.rules.token_requests import TokenRequest
from twistpi.server.directory import Layout, read_secret
from twistpi.server.settings import Settings
from twistpi.view.read import Reader, Readers

_GC_PATH: Final = "/+gc"
_ADVISORIES_PATH: Final = "/+advisories"
_EVICT_PATH: Final = "/+evict"
_PROMOTE_PATH: Final = "/+promote"
_BETWEEN: Final = 0.2
"""Seconds between two questions how far the server is."""
_ATTEMPTS: Final = 600
_NOTIFIED_WITHIN: Final = 15.0
"""Seconds for which the command waits until the former primary knows of its successor."""


@attrs.frozen
class Yank:
    """Files to yank or to offer again. Methods raise when the index, release or file does not exist or is a mirror's."""

    index: str
    """``user/index``."""
    project: str
    """In any spelling."""
    version: str
    """As it was uploaded."""
    filenames: tuple[str, ...] = ()
    """Empty for every file of the release."""
    yanked: bool | str = True
    """True, the reason, or False to take that back."""

    @property
    def owner(self) -> str:
        """The owner of the index."""
        return self.index.partition("/")[0]

    def decide(self, reader: Reader) -> Sequence[Change]:
        """Return the changes."""
        index, release = self._target(reader)
        return decide_yank(index, release, self.filenames or None, self.yanked)

    def requests(self, reader: Reader) -> Iterator[tuple[str, str, Json]]:
        """Yield method, path and body of requests to a server."""
        _, release = self._target(reader)
        paths = {file.known.link.filename: file.known.path for file in release.files}
        body = {"reason": self.yanked} if isinstance(self.yanked, str) else None
        method = "DELETE" if self.yanked is False else "PUT"
        if not self.filenames:
            yield method, f"/{self.index}/{quote(release.project)}/{quote(release.version, safe='')}/+yank", body
        for filename in self.filenames:
            if filename not in paths:
                raise UnknownFile(self.index, filename)
            yield method, f"/{self.index}/{quote(paths[filename], safe='/+')}/+yank", body

    def _target(self, reader: Reader) -> tuple[Index, Release]:
        index, project = reader.index(self.index), normalize_project(self.project)
        if index is None:
            raise UnknownIndex(self.index)
        check_markable(index)
        release = reader.release(self.index, project, self.version)
        if release is None:
            raise unknown_version(project, self.version) if reader.has_project(self.index, project) else no_project(project)
        return index, release


@attrs.frozen
class MirroredFile:
    """A file of a mirror. Methods raise when the mirror does not list it, or has no bytes of it."""

    index: str
    """``user/index``."""
    name: str
    """Its file name, or its path below the index."""

    @property
    def owner(self) -> str:
        """The owner of the index."""
        return self.index.partition("/")[0]

    def decide(self, reader: Reader) -> Sequence[Change]:
        """Return the change that throws its bytes away."""
        index = reader.index(self.index)
        if index is None:
            raise UnknownIndex(self.index)
        if not index.is_mirror:
            raise BadRequest(f"{self.index} is no mirror: what was uploaded to it cannot be fetched again")
        path = self.path(reader)
        return decide_file_removed(index, Found(path, reader.file_by_path(self.index, path), None, removed=False), force=True)

    def path(self, reader: Reader) -> str:
        """Return its path below the index."""
        if "/" in self.name:
            return self.name
        project = project_of_filename(self.name)
        known = None if project is None else reader.project(self.index, project)
        for file in () if known is None else known.files:
            if file.link.filename == self.name:
                return file.path
        raise UnknownFile(self.index, self.name)


Send = Callable[[], BlockingResponse]
Pause = Callable[[float], object]


@attrs.define(eq=False)
class ServerAdministration:
    """Requests to the running server. What it refuses is raised as ``ClickException``, with its words."""

    _settings: Settings
    _client: LocalClient
    _now: Callable[[], datetime]
    _pause: Pause
    _readers: Readers = attrs.field(init=False)
    _tokens: LoginTokens = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        secret = read_secret(self._settings.serverdir, self._settings.secretfile)
        self._readers = Readers(Layout(self._settings.serverdir).view)
        self._tokens = LoginTokens(secret, int(self._settings.login_hours * 3600))

    @property
    def reader(self) -> Reader:
        """The view, up to date."""
        return self._readers.get()

    def close(self) -> None:
        """Close the view."""
        self._readers.close()

    def set_password(self, user: str, password: str) -> None:
        """Set another password for ``user``."""
        self._request(user, "PATCH", f"/{quote(user)}", {"password": password})

    def create_token(self, user: str, request: TokenRequest) -> str:
        """Make an API token for ``user``; return its text, which is stored nowhere."""
        fields: dict[str, Json] = {**attrs.asdict(request), "may": list(request.may)}
        response = self._request(user, "POST", f"/{quote(user)}/+tokens", fields)
        return str(result_of(self._settings.serverdir, response)["password"])

    def revoke_token(self, user: str, public: str) -> None:
        """Make the API token with the public half ``public`` void."""
        self._request(user, "DELETE", f"/{quote(user)}/+tokens/{quote(public)}")

    def yank(self, yank: Yank) -> None:
        """Yank files or take that back, as their index's owner."""
        for method, path, body in list(yank.requests(self.reader)):
            self._request(yank.owner, method, path, body)

    def refetch(self, file: MirroredFile) -> None:
        """Throw away the bytes of a mirrored file, as its index's owner."""
        file.decide(self.reader)  # for its refusals
        self._request(file.owner, "DELETE", f"/{file.index}/{quote(file.path(self.reader), safe='/+')}?force")

    def collect_garbage(self, progress: Callable[[Collected], object]) -> Collected:
        """Remove blobs that nothing names; ``progress`` is called with how far that is."""
        begin, look = partial(self._request, ROOT, "POST", _GC_PATH), partial(self.ask, _GC_PATH)
        return collect_by_server(self._settings.serverdir, begin, look, self._pause, progress)

    def evict(self) -> Evicted:
        """Evict cached files that exceed a budget."""
        begin, look = partial(self._request, ROOT, "POST", _EVICT_PATH), partial(self.ask, _EVICT_PATH)
        read = partial(_read, Evicted)
        return _wait(self._settings.serverdir, begin, look, self._pause, lambda report: read(report["evicted"]))

    def require_ready(self) -> None:
        """Raise ``ClickException`` unless the server answers requests, and takes those of this command."""
        self._require_answer(ROOT)

    def compact(self, cut: Cut, sha256: str) -> int:
        """Make the changelog begin at ``cut`` with the summary that is there; return the bytes that were removed."""
        response = self._request(ROOT, "POST", "/+compact", {"after": cut.serial, "sha256": sha256})
        return int(result_of(self._settings.serverdir, response)["bytes"])

    def modify_index(self, index: str, change: Json) -> None:
        """Change settings of an index, as its owner: a list of modifications (``pins+=numpy``), or an object of new values."""
        self._request(index.partition("/")[0], "PATCH", f"/{quote(index)}", change)

    def refresh_advisories(self, *, force: bool) -> Mapping[str, Json]:
        """Let the server read its feed of advisories, and wait for the end; return their state then."""
        number = result_of(self._settings.serverdir, self._request(ROOT, "POST", _ADVISORIES_PATH, {"force": force}))["number"]
        while True:
            facts = result_of(self._settings.serverdir, self.ask(_ADVISORIES_PATH))
            feed = facts["refresh"]
            if feed["runs"] >= number and not feed["running"]:
                if feed["failure"]:
                    raise _refused(self._settings.serverdir, feed["failure"])
                return facts
            self._pause(_BETWEEN)

    def promote(self, *, force: bool) -> Promoted:
        """Make a primary of a replica."""
        begin = partial(self._request, ROOT, "POST", _PROMOTE_PATH, {"force": force})
        return promote_by_server(self._settings.serverdir, begin, partial(self.ask, _PROMOTE_PATH), self._pause)

    def ask(self, path: str, accept: str = "application/json") -> BlockingResponse:
        """Return what the server answers root to a GET of ``path``."""
        return self._client.ask("GET", path, accept=accept, user=ROOT, token=self._token_of(ROOT))

    def _request(self, user: str, method: str, path: str, body: Json = None) -> BlockingResponse:
        """Send a request as ``user``."""
        token = self._require_answer(user)
        response = self._client.ask(method, path, body=body, user=user, token=token)
        if response.status >= 400:
            raise _refused(self._settings.serverdir, response.message)
        return response

    def _require_answer(self, user: str) -> str:
        """Return a token of ``user``, which the server accepts."""
        token, serverdir = self._token_of(user), self._settings.serverdir
        known = self._client.ask("GET", "/+api", user=user, token=token)
        match known.json:
            case {"result": {"authstatus": ["ok", *_]}}:
                pass
            case _ if known.status == HTTPStatus.SERVICE_UNAVAILABLE:  # it answers nobody yet
                raise _refused(serverdir, known.message)
            case _:
                advice = "give this command the settings that the server has, above all --config or TWISTPI_SECRETFILE"
                raise _refused(serverdir, f"it has another secret than this command found; {advice}.")
        return token

    def _token_of(self, user: str) -> str:
        found = self.reader.user(user)
        if found is None:
            raise unknown_user(user)
        return self._tokens.make(found, self._now().timestamp())


def _refused(serverdir: str, reason: str) -> click.ClickException:
    return click.ClickException(f"The server that runs on {serverdir} refused: {reason}")


def result_of(serverdir: str, response: BlockingResponse) -> Mapping[str, Json]:
    """Return the ``result`` of an answer; raise ``ClickException`` for a refusal."""
    result = response.json.get("result")
    if response.status >= 400 or not isinstance(result, dict):
        raise _refused(serverdir, response.message)
    return result


def collect_by_server(
    serverdir: str, begin: Send, look: Send, pause: Pause, progress: Callable[[Collected], object]
) -> Collected:
    """Let the server on ``serverdir`` collect garbage, and wait for the end. ``begin`` asks it to, ``look`` how far it is."""
    return _wait(serverdir, begin, look, pause, lambda report: _read(Collected, report["swept"]), progress)


_Counts = TypeVar("_Counts", Collected, Evicted)


def _read(kind: type[_Counts], facts: Mapping[str, Json]) -> _Counts:
    return kind(**{field.name: facts[field.name] for field in attrs.fields(kind)})


def _wait(
    serverdir: str,
    begin: Send,
    look: Send,
    pause: Pause,
    read: Callable[[Mapping[str, Json]], _Counts],
    progress: Callable[[_Counts], object] = lambda counts: None,
) -> _Counts:
    """Begin a pass of the server, wait for its end, and return what ``read`` finds in its report."""
    number = result_of(serverdir, begin()).get("number")
    while True:
        result = result_of(serverdir, look())
        for report in (result[key] for key in ("last", "running") if isinstance(result.get(key), dict)):
            counts = read(report)
            if report["ended"] and report["number"] >= number:
                if report["failure"] is not None:
                    raise _refused(serverdir, report["failure"])
                return counts
            if report["number"] == number:
                progress(counts)
        pause(_BETWEEN)


def promote_by_server(serverdir: str, begin: Send, look: Send, pause: Pause) -> Promoted:
    """Make the server on ``serverdir`` the primary, and wait until it is, and the former primary knows.

    ``begin`` asks it to, ``look`` how far it is. For the former primary it waits fifteen seconds at most.
    """
    notes: Sequence[str] = ()
    facts = result_of(serverdir, begin())
    tried = 0.0
    for _ in range(_ATTEMPTS):
        if facts.get("role") == PRIMARY:
            unaware = facts.get("former")
            if unaware is None or tried >= _NOTIFIED_WITHIN:
                return Promoted(int(facts["epoch"]), int(facts["serial"]), unaware, tuple(notes), tried if unaware else 0.0)
            tried += _BETWEEN
        if facts.get("state") == "failed":
            raise _refused(serverdir, str(facts.get("failure")))
        notes = facts.get("told") or notes
        pause(_BETWEEN)
        with contextlib.suppress(OSError):  # the server restarts as the primary
            facts = result_of(serverdir, look())
    raise _refused(serverdir, "the promotion takes longer than expected; twistpi status shows its result")
