"""Indexes shown, created, modified and deleted; ``+api``, where the devpi client finds everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import attrs
from twisted.web.server import Request

from twistpi.model.account_errors import IndexExists
from twistpi.model.accounts import Principal
from twistpi.model.changes import Change
from twistpi.model.errors import UnknownIndex, UnknownUser
from twistpi.model.records import Index, Json
from twistpi.rules.indexes import decide_index_created, decide_index_deleted, decide_index_modified
from twistpi.rules.permissions import Action
from twistpi.simple.negotiate import Representation
from twistpi.web.addresses import outside_url
from twistpi.web.handlers.base import Handler
from twistpi.web.handlers.simple import SimpleHandler
from twistpi.web.listing import listing
from twistpi.web.replies import Reply, html_reply, message_reply, redirect_reply, result_reply
from twistpi.web.request import (
    ends_with_slash,
    has_parameter,
    kept_body,
    negotiated_of,
    query_of,
    read_json,
    wants_html,
)

if TYPE_CHECKING:
    from twistpi.view.read import Reader


@attrs.define(eq=False)
class IndexesHandler(Handler):
    """Answers ``/{user}/{index}``."""

    _simple: SimpleHandler

    async def show(self, request: Request, user: str, index: str) -> bytes | None:
        """One index; to installers, and to who asks for the simple API's JSON, its name list.

        Raises ``UnknownIndex``, ``LoginNeeded``, ``Forbidden``.
        """
        negotiated = negotiated_of(request, lenient=self._services.lenient_accept)
        name = f"{user}/{index}"
        if negotiated.installer or (negotiated.representation is Representation.JSON_V1 and not negotiated.json):
            # Names link to what stands beside them, so HTML is shown where that is right.
            if negotiated.representation is not Representation.JSON_V1 and not ends_with_slash(request):
                return self.put(request, redirect_reply(f"{index}/{query_of(request)}", 302))
            return await self._simple.name_list(request, name, negotiated, alias=True)
        principal = await self.principal(request)
        found = self.existing(self.reader, name)
        self.check(Action.READ, principal, index=found)
        if wants_html(request):
            up = "../../" if ends_with_slash(request) else "../"
            return self.put(request, html_reply(listing(name, [found], outside_url(request, self._services), up)))
        if has_parameter(request, b"no_projects"):
            return self.put(request, result_reply("indexconfig", self.facts(found, principal)))
        return self.put(request, await self._services.offload(self._reply_with_projects, found, principal))

    async def create(self, request: Request, user: str, index: str) -> bytes:
        """Make an index; raises ``UnknownUser``, ``IndexExists``, ``Forbidden``, and what ``decide_index_created`` raises."""
        principal = await self.principal(request)
        name, body = f"{user}/{index}", kept_body(request)

        def decide(view: Reader) -> Sequence[Change]:
            if view.user(user) is None:
                raise UnknownUser(user)
            if view.index(name) is not None:
                raise IndexExists(name)
            self.check(Action.CREATE_INDEX, principal, user=user, subject=name)
            return decide_index_created(None, name, read_json(body), lambda base: view.index(base) is not None)

        await self.commit(decide, principal)
        return self._put_settings(request, name, principal)

    async def modify(self, request: Request, user: str, index: str) -> bytes:
        """Change the settings of an index; raises ``Forbidden``, and what ``decide_index_modified`` raises."""
        principal = await self.principal(request)
        name, body = f"{user}/{index}", kept_body(request)
        error_on_noop = has_parameter(request, b"error_on_noop")

        def decide(view: Reader) -> Sequence[Change]:
            found = self.allowed(Action.MODIFY_INDEX, principal, view, name)
            return decide_index_modified(
                found, read_json(body), lambda base: view.index(base) is not None, error_on_noop=error_on_noop
            )

        await self.commit(decide, principal)
        return self._put_settings(request, name, principal)

    async def delete(self, request: Request, user: str, index: str) -> bytes:
        """Delete an index with all that is in it; raises ``Forbidden``, ``IndexKept``."""
        principal = await self.principal(request)
        name = f"{user}/{index}"
        await self.commit(lambda view: decide_index_deleted(self.allowed(Action.DELETE_INDEX, principal, view, name)), principal)
        return self.put(request, message_reply(f"index {name} deleted", 201))

    def _reply_with_projects(self, index: Index, principal: Principal) -> Reply:
        """Runs in whatever thread."""
        return result_reply("indexconfig", {**self.facts(index, principal), "projects": sorted(self.reader.projects(index.name))})

    def _put_settings(self, request: Request, name: str, principal: Principal) -> bytes:
        found = self.existing(self.reader, name)
        return self.put(request, result_reply("indexconfig", self.facts(found, principal)))


FEATURES: Final = ("push-no-docs", "push-only-docs", "push-register-project", "server-keyvalue-parsing")
"""What the devpi client may ask of this server."""


@attrs.define(eq=False)
class ApiHandler(Handler):
    """Answers ``+api`` of the server, of a user and of an index."""

    async def server(self, request: Request, user: str | None = None) -> bytes:
        """``/+api`` and ``/{user}/+api``, which say the same, whether or not there is such a user."""
        principal = await self.principal(request)
        return self.put(request, result_reply("apiconfig", self._facts(outside_url(request, self._services), principal)))

    async def index(self, request: Request, user: str, index: str) -> bytes:
        """``/{user}/{index}/+api``; raises ``UnknownIndex``, ``LoginNeeded``, ``Forbidden``."""
        principal = await self.principal(request)
        found = self.reader.index(f"{user}/{index}")
        if found is None:
            raise UnknownIndex(f"{user}/{index}")
        self.check(Action.READ, principal, index=found)
        root = outside_url(request, self._services)
        facts = self._facts(root, principal)
        facts["index"] = f"{root}/{found.name}"
        facts["simpleindex"] = f"{root}/{found.name}/+simple/"
        if not found.is_mirror:
            facts["pypisubmit"] = f"{root}/{found.name}/"
        return self.put(request, result_reply("apiconfig", facts))

    def _facts(self, root: str, principal: Principal) -> dict[str, Json]:
        status = ["noauth", "", []] if principal.user is None else ["ok", principal.user, list(principal.groups)]
        return {"login": f"{root}/+login", "authstatus": status, "features": list(FEATURES)}
