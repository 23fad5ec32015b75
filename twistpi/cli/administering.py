"""Changing what a server directory holds: through the server that runs on it, or directly when none does.

Whoever can read the directory's secret could make any login token, so the commands do: a running server is asked by HTTP with a
token of the very user it is about.  Without a server the command takes the lock of the directory and commits like a server would.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote

import attrs

from twistpi.auth import tokens as api_tokens
from twistpi.auth.node_tokens import NodeTokens
from twistpi.auth.passwords import hash_password
from twistpi.auth.tokens import LoginTokens
from twistpi.changelog.batch import Batches, Commit
from twistpi.changelog.disk import RealDisk
from twistpi.changelog.interfaces import IView
from twistpi.cli.asking import Asked
from twistpi.cli.garbage import PATH as GC_PATH
from twistpi.cli.garbage import collect_by_server
from twistpi.cli.marking import Yank
from twistpi.cli.promoting import PATH as PROMOTE_PATH
from twistpi.cli.promoting import Promoted, promote_by_server, promote_directly
from twistpi.cli.talking import Address
from twistpi.gc.garbage import GRACE, Collected, collect_alone
from twistpi.http.blocking import BlockingResponse
from twistpi.model.accounts import ROOT, Principal, User
from twistpi.model.changes import Change
from twistpi.model.errors import ServerAnsweredOtherwise, ServerdirInUse, ServerdirRefused, UnknownUser
from twistpi.model.records import Json
from twistpi.rules.accounts import UserRequest, decide_user_modified
from twistpi.rules.api_tokens import TokenRequest, decide_token_created, decide_token_revoked
from twistpi.rules.permissions import may_read
from twistpi.server.directory import Layout
from twistpi.server.node import Node, read_node
from twistpi.server.run_file import read_running
from twistpi.server.secret import read_secret
from twistpi.server.settings import Settings
from twistpi.server.storage import EMPTY, Storage
from twistpi.view.read import Reader, Readers

_BETWEEN = 0.1
"""Seconds between two looks."""
_LOOKS = 100
"""For so long a process that has the directory need not answer: it may be a server that just starts."""
_NOT_WHILE_IT_RESTS = (
    "it is a replica's, and only while that runs does it know whether it has the whole log of its primary, and so which files"
    " have no name; start it, and run this again"
)
_HELD = "another process uses it, and no server answers there"


class Administration(Protocol):
    """A server directory that can be changed, one way or the other."""

    @property
    def reader(self) -> Reader:
        """The view, up to date."""

    def set_password(self, user: str, password: str) -> None:
        """Give ``user`` another password; raises ``UnknownUser``."""

    def create_token(self, user: str, request: TokenRequest) -> str:
        """Make an API token for ``user``; its text, which nobody can find out later.

        Raises ``UnknownUser``, ``UnknownIndex``.
        """

    def revoke_token(self, user: str, public: str) -> None:
        """Make the API token with the public half ``public`` void; raises ``UnknownToken``."""

    def yank(self, negotiated: Yank) -> None:
        """Mark files as ``wish`` says, as their index's owner; raises what ``Yank.decide`` does."""

    def sweep(self, tell: Callable[[Collected], object]) -> Collected:
        """Remove blobs that nothing names; ``tell`` is told how far that is."""

    def promote(self, *, force: bool) -> Promoted:
        """Make a primary of a replica; raises ``NotPromotable`` and, unless by ``force``, ``EntriesOutstanding``."""

    def ask(self, path: str, accept: str) -> BlockingResponse | None:
        """What the running server answers root to a GET of ``path``; None when no server runs."""


def require_made(path: str) -> Node:
    """What the server directory ``path`` is; ``ServerdirRefused`` when it was never made, or is a replica's that has nothing."""
    node = read_node(path)
    if node is not None and node.is_replica and not node.log_id:
        raise ServerdirRefused(path, EMPTY)
    if node is None or not (node.initialised or node.is_replica):
        raise ServerdirRefused(path, "nothing is in it yet; make a server directory of it with twistpi init, or name another one")
    return node


@contextmanager
def administer(
    settings: Settings, now: Callable[[], datetime], pause: Callable[[float], object] = time.sleep
) -> Iterator[Administration]:
    """The server directory of ``settings``, by whichever way is open; blocking.

    Raises ``ServerdirRefused`` when neither is: nothing is there, or somebody has it who does not answer.
    """
    node = require_made(settings.serverdir)
    for _ in range(_LOOKS):
        try:
            storage = Storage.open(settings, now, RealDisk())
        except ServerdirInUse:
            server = _find_server(settings, node, now, pause)
        else:
            with closing(storage):
                yield _Directly(settings, storage, now)
            return
        if server is not None:
            with closing(server):
                yield server
            return
        pause(_BETWEEN)
    raise ServerdirInUse(settings.serverdir, f"{_HELD}; wait until it has started, or stop it")


def _find_server(
    settings: Settings, node: Node, now: Callable[[], datetime], pause: Callable[[float], object]
) -> _ByServer | None:
    """The server that has the directory; None when nobody who is that server answers where it said."""
    running = read_running(settings.serverdir)
    for text in () if running is None else running.addresses:
        address = Address(text)
        try:
            told = address.ask("GET", "/+api")
        except OSError:
            continue
        if told.header("X-Devpi-Uuid") == node.node_id:
            return _ByServer(settings, address, now, pause)
    return None


@attrs.define(eq=False)
class _Directly:
    """No server has the directory: this process does."""

    _settings: Settings
    _storage: Storage
    _now: Callable[[], datetime]

    @property
    def reader(self) -> Reader:
        """See ``Administration``."""
        return self._storage.view.reader

    def set_password(self, user: str, password: str) -> None:
        """See ``Administration``."""
        password_hash = hash_password(password, self._settings.bcrypt_cost)
        request = UserRequest(password=password)
        self._commit(lambda reader: decide_user_modified(reader.user(user), user, request, password_hash), user)

    def create_token(self, user: str, request: TokenRequest) -> str:
        """See ``Administration``."""
        text, public, digest = api_tokens.make(os.urandom)

        def decide(reader: Reader) -> Sequence[Change]:
            index = None if request.index is None else reader.index(request.index)
            if index is not None and not may_read(Principal(user), index):
                index = None  # the same answer as over HTTP
            return decide_token_created(reader.user(user), user, index, request, public, digest, self._now())

        self._commit(decide, user)
        return text

    def revoke_token(self, user: str, public: str) -> None:
        """See ``Administration``."""
        self._commit(lambda reader: decide_token_revoked(reader.api_token(public), user, public), user)

    def yank(self, negotiated: Yank) -> None:
        """See ``Administration``."""
        self._commit(negotiated.decide, negotiated.owner)

    def sweep(self, tell: Callable[[Collected], object]) -> Collected:
        """See ``Administration``."""
        serverdir = self._storage.serverdir
        if serverdir.node.is_replica:
            raise ServerdirRefused(serverdir.layout.path, _NOT_WHILE_IT_RESTS)
        return collect_alone(self._storage.blobs, self.reader, self._now().timestamp() - GRACE, tell)

    def promote(self, *, force: bool) -> Promoted:
        """See ``Administration``."""
        node, settings = self._storage.serverdir.node, self._settings
        primary = None
        if node.primary_url is not None:
            tokens = NodeTokens(read_secret(settings.serverdir, settings.secretfile))
            primary = Asked(node.primary_url, node.node_id, tokens, settings.ca_file)
        return promote_directly(self._storage, primary, self._now, force=force, url=settings.outside_url)

    def ask(self, path: str, accept: str) -> BlockingResponse | None:
        """See ``Administration``."""

    def _commit(self, decide: Callable[[Any], Sequence[Change]], by: str) -> None:
        storage = self._storage
        outcome = Batches(storage.changelog, IView(storage.view), self._now).process([Commit(decide, by)])
        answer = outcome.answers[0]
        if isinstance(answer, Exception):
            raise answer


@attrs.define(eq=False)
class _ByServer:
    """A server has the directory, and does what it is asked to."""

    _settings: Settings
    _address: Address
    _now: Callable[[], datetime]
    _pause: Callable[[float], object]
    _readers: Readers = attrs.field(init=False)
    _tokens: LoginTokens = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        secret = read_secret(self._settings.serverdir, self._settings.secretfile)
        self._readers = Readers(Layout(self._settings.serverdir).view)
        self._tokens = LoginTokens(secret, int(self._settings.login_hours * 3600))

    @property
    def reader(self) -> Reader:
        """See ``Administration``."""
        return self._readers.get()

    def close(self) -> None:
        """Let go of the view."""
        self._readers.close()

    def set_password(self, user: str, password: str) -> None:
        """See ``Administration``."""
        self._ask_as(user, "PATCH", f"/{quote(user)}", {"password": password})

    def create_token(self, user: str, request: TokenRequest) -> str:
        """See ``Administration``."""
        asked: dict[str, Json] = {**attrs.asdict(request), "may": list(request.may)}
        told = self._ask_as(user, "POST", f"/{quote(user)}/+tokens", asked)
        return str(told.json["result"]["password"])

    def revoke_token(self, user: str, public: str) -> None:
        """See ``Administration``."""
        self._ask_as(user, "DELETE", f"/{quote(user)}/+tokens/{quote(public)}")

    def yank(self, negotiated: Yank) -> None:
        """See ``Administration``."""
        for method, path, body in list(negotiated.requests(self.reader)):
            self._ask_as(negotiated.owner, method, path, body)

    def sweep(self, tell: Callable[[Collected], object]) -> Collected:
        """See ``Administration``."""
        begin = partial(self._ask_as, ROOT, "POST", GC_PATH)
        return collect_by_server(
            self._settings.serverdir, begin, lambda: self.ask(GC_PATH, "application/json"), self._pause, tell
        )

    def promote(self, *, force: bool) -> Promoted:
        """See ``Administration``."""
        begin = partial(self._ask_as, ROOT, "POST", PROMOTE_PATH, {"force": force})
        look = partial(self.ask, PROMOTE_PATH, "application/json")
        return promote_by_server(self._settings.serverdir, begin, look, self._pause)

    def ask(self, path: str, accept: str) -> BlockingResponse:
        """See ``Administration``."""
        return self._address.ask("GET", path, accept=accept, user=ROOT, token=self._token_of(ROOT))

    def _ask_as(self, user: str, method: str, path: str, body: Json = None) -> BlockingResponse:
        """Have the server do something as ``user``; raises ``ServerAnsweredOtherwise`` with its words."""
        token = self._token_of(user)
        self._require_trust(user, token)
        told = self._address.ask(method, path, body=body, user=user, token=token)
        if told.status >= 400:
            raise ServerAnsweredOtherwise(self._settings.serverdir, told.message)
        return told

    def _token_of(self, user: str) -> str:
        found: User | None = self.reader.user(user)
        if found is None:
            raise UnknownUser(user)
        return self._tokens.make(found, self._now().timestamp())

    def _require_trust(self, user: str, token: str) -> None:
        """Raise ``ServerAnsweredOtherwise`` when the server does not believe who asks."""
        status = self._address.ask("GET", "/+api", user=user, token=token).json.get("result", {}).get("authstatus", [])
        if status[:1] != ["ok"]:
            advice = "give this command the settings that the server has, above all --config or TWISTPI_SECRETFILE"
            raise ServerAnsweredOtherwise(self._settings.serverdir, f"it has another secret than this command found; {advice}.")
