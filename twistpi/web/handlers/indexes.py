"""Indexes shown, created, modified and deleted; ``+api``, where the devpi client finds everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final
from urllib.parse import urlsplit

import attrs
from twisted.logger import Logger
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.model.changes import Change, IndexCreated, IndexModified
from twistpi.model.errors import TwistpiError, unknown_user
from twistpi.model.records import ROOT, Index, Json, Principal
from twistpi.model.urls import is_folder_address
from twistpi.rules.accounts import unknown_names
from twistpi.rules.devpi7 import settings_of_devpi7, speaks_devpi7
from twistpi.rules.exposure import enumerated
from twistpi.rules.indexes import decide_index_created, decide_index_deleted, decide_index_modified, require_local_folder
from twistpi.rules.permissions import Action, is_open
from twistpi.simple.negotiate import Representation
from twistpi.view.read import Reader
from twistpi.web.access import Access, existing_index
from twistpi.web.addresses import Addresses, is_own_host, outside_url, path_parts
from twistpi.web.commits import Commits, Edit
from twistpi.web.handlers.name_lists import NameListHandler
from twistpi.web.handlers.simple import SimpleHandler
from twistpi.web.replies import (
    JSON,
    PRIVATE,
    VARY_CALLER,
    Reply,
    Responder,
    json_reply,
    message_reply,
    result_reply,
)
from twistpi.web.request import JsonSource, ends_with_slash, has_parameter, kept_body, read_json, result_version
from twistpi.web.transport.bodies import PiecesBody
from twistpi.web.transport.send import send_body

_log = Logger()
_NAMES_AT_ONCE: Final = 2_000
"""Names that become one piece of a response."""


@attrs.define(eq=False)
class IndexesHandler:
    """Answers ``/{user}/{index}``."""

    _access: Access
    _commits: Commits
    _addresses: Addresses
    _offload: Offload
    _simple: SimpleHandler
    _name_lists: NameListHandler
    _responder: Responder
    _local_folders: Sequence[str] = ()
    """Folders of this server that mirrors may be of."""

    async def show(self, request: Request, name: str) -> Reply | None:
        """One index; its name list for installers and for clients that accept the JSON of the simple API."""
        negotiated = self._simple.negotiated(request)
        if negotiated.installer or (negotiated.representation is Representation.JSON_V1 and not negotiated.json):
            is_beside = ends_with_slash(request) or negotiated.representation is Representation.JSON_V1  # which has no links
            base = "" if is_beside else f"{name.partition('/')[2]}/"
            return await self._simple.name_list(request, name, negotiated, alias=True, base=base)
        principal = await self._access.principal(request)
        found = existing_index(self._access.reader, name)
        self._access.check(Action.READ, principal, index=found)
        settings = self._settings(found, principal, in_words_of_7=result_version(request) == 2)
        if has_parameter(request, b"no_projects"):
            return result_reply("indexconfig", settings)
        if not found.is_mirror:
            return await self._offload(self._reply_with_projects, name, settings)
        await self._send_mirror(request, found, settings)
        return None

    async def create(self, request: Request, name: str) -> Reply:
        """Make an index."""
        principal, body = await self._access.principal(request), kept_body(request)
        changes = await self.create_index(request, principal, name, lambda: read_json(body))
        return self._settings_reply(request, name, principal, changes)

    async def create_index(self, request: Request, principal: Principal, name: str, body: JsonSource) -> Sequence[Change]:
        """Make an index as ``principal``, with the settings in ``body``; ``request`` tells the addresses of the server."""
        user, _, _ = name.partition("/")

        def decide(view: Reader) -> Sequence[Change]:
            if view.user(user) is None:
                raise unknown_user(user)
            if view.index(name) is not None:
                raise TwistpiError(f"index {name!r} exists", 409)
            self._access.check(Action.CREATE_INDEX, principal, user=user, subject=name)
            changes = decide_index_created(None, name, body(), lambda base: view.index(base) is not None)
            self._check_upstream(request, principal, view, changes[0].config)
            return changes

        return await self._commits.commit(decide, principal)

    async def modify(self, request: Request, name: str) -> Reply:
        """Change the settings of an index."""
        principal, body = await self._access.principal(request), kept_body(request)
        noop = has_parameter(request, b"error_on_noop")
        edit = self.modification(request, principal, name, lambda: read_json(body), error_on_noop=noop)
        return self._settings_reply(request, name, principal, *await self._commits.remove(edit.decide, principal))

    def modification(
        self, request: Request, principal: Principal, name: str, body: JsonSource, *, error_on_noop: bool = False
    ) -> Edit:
        """Return how ``principal`` gives an index the settings in ``body``."""

        def decide(view: Reader) -> Sequence[Change]:
            found = self._access.allowed(Action.MODIFY_INDEX, principal, view, name)
            changes = decide_index_modified(found, body(), lambda base: view.index(base) is not None, error_on_noop=error_on_noop)
            for change in changes:
                self._check_upstream(request, principal, view, change.changed)
            return changes

        return Edit(decide, principal, f"index {name} changed")

    async def delete(self, request: Request, name: str) -> Reply:
        """Delete an index with all that is in it."""
        return message_reply(await self._commits.make(self.deletion(await self._access.principal(request), name)), 201)

    def deletion(self, principal: Principal, name: str) -> Edit:
        """Return how ``principal`` deletes an index with all that is in it."""

        def decide(view: Reader) -> Sequence[Change]:
            return decide_index_deleted(self._access.allowed(Action.DELETE_INDEX, principal, view, name))

        return Edit(decide, principal, f"index {name} deleted")

    def _settings(self, index: Index, principal: Principal, *, in_words_of_7: bool) -> Mapping[str, Json]:
        settings = self._access.settings_of(index, principal)
        return settings_of_devpi7(settings) if in_words_of_7 else settings

    def _check_upstream(self, request: Request, principal: Principal, view: Reader, settings: Mapping[str, Json]) -> None:
        """Raise ``TwistpiError`` for a mirror of what its readers could not read otherwise.

        That is a folder of this server that its settings do not name, or that somebody else than an administrator names; or a
        closed index of this server, whose requests would be refused, too (``forwarding.peers``), by whatever name.
        """
        url = str(settings.get("mirror_url", ""))
        if is_folder_address(url):
            self._access.check(Action.ADMINISTER, principal, user=ROOT, subject="this server, which a mirror of a folder needs")
            require_local_folder(url, self._local_folders)
        if not is_own_host(request, url, self._addresses):
            return
        own = view.index("/".join(path_parts(request, urlsplit(url).path, self._addresses)[:2]))
        if own is not None and not is_open(own):
            raise TwistpiError(
                "mirror_url leads to an index of this server that not everybody may read; no mirror can be of that.", 403
            )

    def _reply_with_projects(self, name: str, settings: Mapping[str, Json]) -> Reply:
        """Called in any thread."""
        projects = sorted(self._access.reader.projects(name))
        return result_reply("indexconfig", {**settings, "projects": projects})

    async def _send_mirror(self, request: Request, index: Index, settings: Mapping[str, Json]) -> None:
        """Send the same of a mirror, whose projects may be all of a public upstream's and are never in memory."""
        names = await self._name_lists.names_of(index)
        body = PiecesBody(_with_projects(settings, names), self._offload)
        try:
            await body.more()  # while nothing was sent, what goes wrong can still be said
            self._responder.put_head(request, 200, ((b"Content-Type", JSON), PRIVATE, VARY_CALLER))
            if request.method != b"HEAD":
                await send_body(request, body, length=None)
        finally:
            body.close()

    def _settings_reply(
        self, request: Request, name: str, principal: Principal, changes: Sequence[Change], exposure: str = ""
    ) -> Reply:
        """Return the settings, in the words of the request, and which of the names that were entered just now are no users."""
        view, messages = self._access.reader, [exposure] if exposure else []
        if unknown := self.unknown_users(name, changes):
            messages.append(unknown)
        in_words_of_7 = result_version(request) == 2 or speaks_devpi7(read_json(kept_body(request)))
        settings = self._settings(existing_index(view, name), principal, in_words_of_7=in_words_of_7)
        return result_reply("indexconfig", settings, message="; ".join(messages) or None)

    def unknown_users(self, name: str, changes: Sequence[Change]) -> str:
        """Return a sentence about names that ``changes`` of an index put into access lists and that are no users; log it."""
        entered = next((one for one in changes if isinstance(one, IndexCreated | IndexModified)), None)
        config = entered.config if isinstance(entered, IndexCreated) else entered.changed if entered else {}
        view = self._access.reader
        unknown = unknown_names(config, lambda user: view.user(user) is not None)
        if not unknown:
            return ""
        _log.warn("Access lists of {index} name users who do not exist: {users}", index=name, users=enumerated(unknown))
        return f"there are no such users, and only an administrator can create them now: {enumerated(unknown)}"


def _with_projects(settings: Mapping[str, Json], names: Iterator[str]) -> Iterator[bytes]:
    """Yield the JSON of an index with its projects, as ``result_reply`` writes it."""
    head = json_reply({"type": "indexconfig", "result": {**settings, "projects": []}}).body
    before, after = head.rsplit(b"[]", 1)
    separator = before + b"[\n      "
    while batch := list(islice(names, _NAMES_AT_ONCE)):
        yield separator + b",\n      ".join(b'"%s"' % name.encode("ascii") for name in batch)
        separator = b",\n      "
    yield head if separator.startswith(before) else b"\n    ]" + after


FEATURES: Final = ("projectconfig-v2", "push-no-docs", "push-only-docs", "push-register-project", "server-keyvalue-parsing")
"""What the devpi client may ask of this server."""


@attrs.define(eq=False)
class ApiHandler:
    """Answers ``+api`` of the server, of a user and of an index."""

    _access: Access
    _addresses: Addresses

    async def server(self, request: Request, user: str | None = None) -> Reply:
        """``/+api`` and ``/{user}/+api``, which say the same, whether or not there is such a user."""
        principal = await self._access.principal(request)
        return result_reply("apiconfig", self._facts(outside_url(request, self._addresses), principal))

    async def index(self, request: Request, name: str) -> Reply:
        """``/{user}/{index}/+api``."""
        principal = await self._access.principal(request)
        found = existing_index(self._access.reader, name)
        self._access.check(Action.READ, principal, index=found)
        root = outside_url(request, self._addresses)
        facts = self._facts(root, principal)
        facts["index"] = f"{root}/{found.name}"
        facts["simpleindex"] = f"{root}/{found.name}/+simple/"
        if not found.is_mirror:
            facts["pypisubmit"] = f"{root}/{found.name}/"
        return result_reply("apiconfig", facts)

    def _facts(self, root: str, principal: Principal) -> dict[str, Json]:
        status = ["noauth", "", []] if principal.user is None else ["ok", principal.user, list(principal.groups)]
        return {"login": f"{root}/+login", "authstatus": status, "features": list(FEATURES)}
