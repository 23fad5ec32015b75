"""Changes to a server directory: through the server that runs on it, or directly when none does.

A command that can read the directory's secret could make any login token, so commands do: a running server gets requests with a
token of the user whom the change is about. Without a server the command locks the directory and commits as a server would.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Final

import attrs

from twistpi.auth import tokens as api_tokens
from twistpi.auth.passwords import hash_password
from twistpi.auth.tokens import NodeTokens
from twistpi.changelog.batch import Batches, Commit
from twistpi.changelog.disk import Disk
from twistpi.cli.clients import PeerClient, ask_local_server
from twistpi.cli.promotion import Promoted, promote_directly
from twistpi.cli.server_administration import MirroredFile, ServerAdministration, Yank
from twistpi.gc.garbage import GRACE, Collected, collect_alone
from twistpi.model.changes import Change
from twistpi.model.records import Principal
from twistpi.model.server_errors import ServerdirRefused
from twistpi.rules.accounts import TokenRequest, UserRequest, decide_token_created, decide_token_revoked, decide_user_modified
from twistpi.rules.permissions import may_read
from twistpi.server.directory import read_secret
from twistpi.server.node import Node, not_made, read_node
from twistpi.server.settings import Settings
from twistpi.server.storage import EMPTY, Storage
from twistpi.view.read import Reader

_BETWEEN: Final = 0.1
"""Seconds between two attempts."""
_ATTEMPTS: Final = 100
"""How often a process that has the directory is asked: it may be a server that just starts."""


@contextmanager
def administer(
    settings: Settings, now: Callable[[], datetime], pause: Callable[[float], object] = time.sleep
) -> Iterator[Administration]:
    """Open the server directory of ``settings``. Blocking.

    Raise ``ServerdirRefused`` when nothing is there, or when another process has it and does not answer.
    """
    node = require_made(settings.serverdir)
    for _ in range(_ATTEMPTS):
        try:
            storage = Storage.open(settings, now, Disk())
        except ServerdirRefused as refusal:
            if not refusal.in_use:
                raise
            answered = ask_local_server(settings.serverdir, node, "/+api")
        else:
            with closing(storage):
                yield DirectAdministration(settings, storage, now)
            return
        if answered is not None:
            with closing(ServerAdministration(settings, answered[0], now, pause)) as server:
                yield server
            return
        pause(_BETWEEN)
    held = "another process uses it, and no server answers there; wait until it has started, or stop it"
    raise ServerdirRefused(settings.serverdir, held, in_use=True)


def require_made(path: str) -> Node:
    """Return the node of a server directory; raise ``ServerdirRefused`` when it was never made, or is an empty replica's."""
    node = read_node(path)
    if node is not None and node.is_replica and not node.log_id:
        raise ServerdirRefused(path, EMPTY)
    if node is None or not (node.initialised or node.is_replica):
        raise not_made(path)
    return node


@attrs.define(eq=False)
class DirectAdministration:
    """Changes made by this process, which has the directory. Refusals of the rules are raised."""

    _settings: Settings
    _storage: Storage
    _now: Callable[[], datetime]

    @property
    def reader(self) -> Reader:
        """The view, up to date."""
        return self._storage.view.reader

    def set_password(self, user: str, password: str) -> None:
        """Give ``user`` another password."""
        password_hash = hash_password(password, self._settings.bcrypt_cost)
        request = UserRequest(password=password)
        self._commit(lambda reader: decide_user_modified(reader.user(user), user, request, password_hash), user)

    def create_token(self, user: str, request: TokenRequest) -> str:
        """Make an API token for ``user``; return its text, which is stored nowhere."""
        text, public, digest = api_tokens.make(os.urandom)

        def decide(reader: Reader) -> Sequence[Change]:
            index = None if request.index is None else reader.index(request.index)
            if index is not None and not may_read(Principal(user), index):
                index = None  # the same answer as over HTTP
            return decide_token_created(reader.user(user), user, index, request, public, digest, self._now())

        self._commit(decide, user)
        return text

    def revoke_token(self, user: str, public: str) -> None:
        """Make the API token with the public half ``public`` void."""
        self._commit(lambda reader: decide_token_revoked(reader.api_token(public), user, public), user)

    def yank(self, yank: Yank) -> None:
        """Yank files or take that back, as their index's owner."""
        self._commit(yank.decide, yank.owner)

    def refetch(self, file: MirroredFile) -> None:
        """Throw away the bytes of a mirrored file, as its index's owner."""
        self._commit(file.decide, file.owner)

    def collect_garbage(self, tell: Callable[[Collected], object]) -> Collected:
        """Remove blobs that nothing names; ``tell`` is called with how far that is."""
        serverdir = self._storage.serverdir
        if serverdir.node.is_replica:
            why = "only a running replica knows whether it has all entries of its primary, and so which files are unused"
            raise ServerdirRefused(serverdir.layout.path, f"it is a replica's, and {why}; start it, and run this again")
        return collect_alone(self._storage.blobs, self.reader, self._now().timestamp() - GRACE, tell)

    def promote(self, *, force: bool) -> Promoted:
        """Make a primary of a replica."""
        node, settings = self._storage.serverdir.node, self._settings
        primary = None
        if node.primary_url is not None:
            tokens = NodeTokens(read_secret(settings.serverdir, settings.secretfile))
            primary = PeerClient(node.primary_url, node.node_id, tokens, settings.ca_file)
        return promote_directly(self._storage, primary, self._now, time.sleep, force=force, url=settings.outside_url)

    def ask(self, path: str, accept: str) -> None:
        """Return nothing: no server runs that could be asked."""

    def _commit(self, decide: Callable[[Reader], Sequence[Change]], by: str) -> None:
        storage = self._storage
        answer = Batches(storage.changelog, storage.view, self._now).process([Commit(decide, by)]).answers[0]
        if isinstance(answer, Exception):
            raise answer


Administration = DirectAdministration | ServerAdministration
