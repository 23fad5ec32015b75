"""Changes to a server directory through the server that runs on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final
from urllib.parse import quote

import attrs

from twistpi.auth.tokens import LoginTokens
from twistpi.cli.clients import LocalClient
from twistpi.cli.errors import CommandRefused
from twistpi.cli.promotion import Promoted
from twistpi.cli.yank import Yank
from twistpi.gc.garbage import Collected
from twistpi.http.blocking import BlockingResponse
from twistpi.model.errors import unknown_user
from twistpi.model.records import ROOT, Json
from twistpi.rules.accounts import TokenRequest
from twistpi.rules.replication import PRIMARY
from twistpi.server.directory import Layout
from twistpi.server.secret import read_secret
from twistpi.server.settings import Settings
from twistpi.view.read import Reader, Readers

_GC_PATH: Final = "/+gc"
_PROMOTE_PATH: Final = "/+promote"
_BETWEEN: Final = 0.2
"""Seconds between two questions how far the server is."""
_ATTEMPTS: Final = 600
Send = Callable[[], BlockingResponse]
Pause = Callable[[float], object]


@attrs.define(eq=False)
class ServerAdministration:
    """Requests to the running server. What it refuses is raised as ``CommandRefused``, with its words."""

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
        """Give ``user`` another password."""
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

    def collect_garbage(self, tell: Callable[[Collected], object]) -> Collected:
        """Remove blobs that nothing names; ``tell`` is called with how far that is."""
        begin, look = partial(self._request, ROOT, "POST", _GC_PATH), partial(self.ask, _GC_PATH)
        return collect_by_server(self._settings.serverdir, begin, look, self._pause, tell)

    def promote(self, *, force: bool) -> Promoted:
        """Make a primary of a replica."""
        begin = partial(self._request, ROOT, "POST", _PROMOTE_PATH, {"force": force})
        return promote_by_server(self._settings.serverdir, begin, partial(self.ask, _PROMOTE_PATH), self._pause)

    def ask(self, path: str, accept: str = "application/json") -> BlockingResponse:
        """Return what the server answers root to a GET of ``path``."""
        return self._client.ask("GET", path, accept=accept, user=ROOT, token=self._token_of(ROOT))

    def _request(self, user: str, method: str, path: str, body: Json = None) -> BlockingResponse:
        """Send a request as ``user``."""
        token, serverdir = self._token_of(user), self._settings.serverdir
        match self._client.ask("GET", "/+api", user=user, token=token).json:
            case {"result": {"authstatus": ["ok", *_]}}:
                pass
            case _:
                advice = "give this command the settings that the server has, above all --config or TWISTPI_SECRETFILE"
                raise _refused(serverdir, f"it has another secret than this command found; {advice}.")
        response = self._client.ask(method, path, body=body, user=user, token=token)
        if response.status >= 400:
            raise _refused(serverdir, response.message)
        return response

    def _token_of(self, user: str) -> str:
        found = self.reader.user(user)
        if found is None:
            raise unknown_user(user)
        return self._tokens.make(found, self._now().timestamp())


def _refused(serverdir: str, reason: str) -> CommandRefused:
    return CommandRefused(f"The server that runs on {serverdir} refused: {reason}")


def result_of(serverdir: str, response: BlockingResponse) -> Mapping[str, Json]:
    """Return the ``result`` of an answer; raise ``CommandRefused`` for a refusal."""
    result = response.json.get("result")
    if response.status >= 400 or not isinstance(result, dict):
        raise _refused(serverdir, response.message)
    return result


def collect_by_server(serverdir: str, begin: Send, look: Send, pause: Pause, tell: Callable[[Collected], object]) -> Collected:
    """Have the server on ``serverdir`` collect garbage, and wait for the end. ``begin`` asks it to, ``look`` how far it is."""
    number = result_of(serverdir, begin()).get("number")
    while True:
        result = result_of(serverdir, look())
        for report in (result[key] for key in ("last", "running") if isinstance(result.get(key), dict)):
            collected = Collected(**{field.name: report["swept"][field.name] for field in attrs.fields(Collected)})
            if report["ended"] and report["number"] >= number:
                if report["failure"] is not None:
                    raise _refused(serverdir, report["failure"])
                return collected
            if report["number"] == number:
                tell(collected)
        pause(_BETWEEN)


def promote_by_server(serverdir: str, begin: Send, look: Send, pause: Pause) -> Promoted:
    """Have the server on ``serverdir`` become the primary, and wait until it is. ``begin`` asks it to, ``look`` how far it is."""
    told: Sequence[str] = ()
    facts = result_of(serverdir, begin())
    for _ in range(_ATTEMPTS):
        if facts.get("role") == PRIMARY:
            return Promoted(int(facts["epoch"]), int(facts["serial"]), facts.get("former"), tuple(told))
        if facts.get("state") == "failed":
            raise _refused(serverdir, str(facts.get("failure")))
        told = facts.get("told") or told
        pause(_BETWEEN)
        with contextlib.suppress(OSError):  # the server restarts as the primary
            facts = result_of(serverdir, look())
    raise _refused(serverdir, "it is still at it; twistpi status tells what becomes of it")
