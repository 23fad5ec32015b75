"""Changes to a server directory: through the server that runs on it, or directly when none does.

A command that can read the directory's secret could make any login token, so commands do: a running server gets requests with a
token of the user whom the change is about. Without a server the command locks the directory and commits as a server would.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from typing import Final

import attrs

from twistpi.auth import tokens as api_tokens
from twistpi.auth.passwords import hash_password
from twistpi.auth.tokens import NodeTokens
from twistpi.changelog.batch import Batches, Commit
from twistpi.changelog.compaction import BY as COMPACTED_BY
from twistpi.changelog.compaction import Cut, naming
from twistpi.changelog.disk import Disk
from twistpi.cli.clients import PeerClient, ask_local_server
from twistpi.cli.promotion import Promoted, promote_directly
from twistpi.cli.server_administration import MirroredFile, ServerAdministration, Yank
from twistpi.gc.eviction import BY, Evicted, Eviction, decide_evicted, garbage_of
from twistpi.gc.garbage import GRACE, Collected, Collection, collect_alone
from twistpi.model.changes import Change
from twistpi.model.errors import UnknownIndex
from twistpi.model.records import Json, Principal
from twistpi.model.server_errors import ServerdirRefused
from twistpi.rules.accounts import UserRequest, decide_user_modified
from twistpi.rules.eviction import CachedFile
from twistpi.rules.indexes import decide_index_modified
from twistpi.rules.permissions import may_read
from twistpi.rules.token_requests import TokenRequest, decide_token_created, decide_token_revoked
from twistpi.server.budgets import free_bytes, limits_of
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


def catch_up_if_stopped(settings: Settings, now: Callable[[], datetime]) -> None:
    """Bring a view that a killed server left behind its log up to date; a running server does so itself.

    Raise what makes it impossible to open the directory.
    """
    try:
        Storage.open(settings, now, Disk()).close()
    except ServerdirRefused as refusal:
        if not refusal.in_use:
            raise


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
        """Set another password for ``user``."""
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

    def collect_garbage(self, progress: Callable[[Collected], object]) -> Collected:
        """Remove blobs that nothing names; ``progress`` is called with how far that is."""
        serverdir = self._storage.serverdir
        if serverdir.node.is_replica:
            why = "only a running replica knows whether it has all entries of its primary, and so which files are unused"
            raise ServerdirRefused(serverdir.layout.path, f"it is a replica's, and {why}; start it, and run this again")
        return collect_alone(self._storage.blobs, self.reader, self._now().timestamp() - GRACE, progress)

    def evict(self) -> Evicted:
        """Evict cached files that exceed a budget."""
        storage, settings = self._storage, self._settings
        if storage.serverdir.node.is_replica:
            raise ServerdirRefused(storage.serverdir.layout.path, "it is a replica's; start it, and run this again")
        free = free_bytes(settings.serverdir)
        eviction = Eviction.of(storage.blobs, limits_of(settings, self.reader), self._now().timestamp())
        while eviction.weigh(self.reader):
            pass
        if not eviction.choose(settings.min_free - free):
            return eviction.counts
        while (found := eviction.find(self.reader)) is not None:
            if found:
                self._commit(partial(self._decide_evicted, found), BY)
                eviction.count(found)
                collection = Collection(storage.blobs, self._now().timestamp() - GRACE)
                collection.take([garbage for file in found for garbage in garbage_of(file)], self.reader)
                collection.empty()
        return eviction.counts

    def _decide_evicted(self, files: Sequence[CachedFile], reader: Reader) -> Sequence[Change]:
        return decide_evicted(reader, files, limits_of(self._settings, reader))

    def require_ready(self) -> None:
        """Do nothing: this process has the directory, and its view is up to date."""

    def compact(self, cut: Cut, sha256: str) -> int:
        """Make the changelog begin at ``cut`` with the summary that is there; return the bytes that were removed."""
        if not self._storage.serverdir.node.is_replica:
            self._commit(lambda _reader: naming(cut.base, sha256), COMPACTED_BY)
        return self._storage.changelog.compact(cut.serial, sha256)

    def modify_index(self, index: str, change: Json) -> None:
        """Change settings of an index, as its owner: a list of modifications (``pins+=numpy``), or an object of new values."""

        def decide(reader: Reader) -> Sequence[Change]:
            found = reader.index(index)
            if found is None:
                raise UnknownIndex(index)
            return decide_index_modified(found, change, lambda name: reader.index(name) is not None)

        self._commit(decide, index.partition("/")[0])

    def refresh_advisories(self, *, force: bool) -> Mapping[str, Json]:
        """Refuse: a server that runs reads the feed."""
        path = self._storage.serverdir.layout.path
        raise ServerdirRefused(path, "no server runs on it that could read a feed; it does so when it starts")

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
        answer = Batches(storage.log, storage.view, self._now).process([Commit(decide, by)]).answers[0]
        if isinstance(answer, Exception):
            raise answer


Administration = DirectAdministration | ServerAdministration
