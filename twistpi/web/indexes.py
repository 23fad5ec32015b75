"""Indexes: shown, made, changed, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
from twisted.web.server import Request

from twistpi.model.account_errors import IndexExists
from twistpi.model.accounts import Asker
from twistpi.model.changes import Change
from twistpi.model.errors import UnknownUser
from twistpi.model.records import Index
from twistpi.rules.indexes import decide_index_created, decide_index_deleted, decide_index_modified
from twistpi.rules.permissions import Action
from twistpi.simple.negotiate import Representation
from twistpi.web.addresses import outside_url
from twistpi.web.doors import Door
from twistpi.web.overview import listing
from twistpi.web.replies import Reply, html_reply, message_reply, redirect_reply, result_reply
from twistpi.web.request import (
    ends_with_slash,
    has_parameter,
    kept_body,
    query_of,
    read_json,
    wants_html,
    wish_of,
)
from twistpi.web.simple import SimpleDoor

if TYPE_CHECKING:
    from twistpi.view.read import Reader


@attrs.define(eq=False)
class IndexesDoor(Door):
    """Answers ``/{user}/{index}``."""

    _simple: SimpleDoor

    async def show(self, request: Request, user: str, index: str) -> bytes | None:
        """One index; to installers, and to who asks for the simple API's JSON, its name list.

        Raises ``UnknownIndex``, ``LoginNeeded``, ``Forbidden``.
        """
        wish = wish_of(request, lenient=self._services.lenient_accept)
        name = f"{user}/{index}"
        if wish.installer or (wish.representation is Representation.JSON_V1 and not wish.json):
            # Names link to what stands beside them, so HTML is shown where that is right.
            if wish.representation is not Representation.JSON_V1 and not ends_with_slash(request):
                return self.put(request, redirect_reply(f"{index}/{query_of(request)}", 302))
            return await self._simple.name_list(request, name, wish, alias=True)
        asker = await self.asker(request)
        found = self.existing(self.reader, name)
        self.check(Action.READ, asker, index=found)
        if wants_html(request):
            up = "../../" if ends_with_slash(request) else "../"
            return self.put(request, html_reply(listing(name, [found], outside_url(request, self._services), up)))
        if has_parameter(request, b"no_projects"):
            return self.put(request, result_reply("indexconfig", self.facts(found, asker)))
        return self.put(request, await self._services.offload(self._reply_with_projects, found, asker))

    async def create(self, request: Request, user: str, index: str) -> bytes:
        """Make an index; raises ``UnknownUser``, ``IndexExists``, ``Forbidden``, and what ``decide_index_created`` raises."""
        asker = await self.asker(request)
        name, body = f"{user}/{index}", kept_body(request)

        def decide(view: Reader) -> Sequence[Change]:
            if view.user(user) is None:
                raise UnknownUser(user)
            if view.index(name) is not None:
                raise IndexExists(name)
            self.check(Action.CREATE_INDEX, asker, user=user, subject=name)
            return decide_index_created(None, name, read_json(body), lambda base: view.index(base) is not None)

        await self.commit(decide, asker)
        return self._put_settings(request, name, asker)

    async def modify(self, request: Request, user: str, index: str) -> bytes:
        """Change the settings of an index; raises ``Forbidden``, and what ``decide_index_modified`` raises."""
        asker = await self.asker(request)
        name, body = f"{user}/{index}", kept_body(request)
        error_on_noop = has_parameter(request, b"error_on_noop")

        def decide(view: Reader) -> Sequence[Change]:
            found = self.allowed(Action.MODIFY_INDEX, asker, view, name)
            return decide_index_modified(
                found, read_json(body), lambda base: view.index(base) is not None, error_on_noop=error_on_noop
            )

        await self.commit(decide, asker)
        return self._put_settings(request, name, asker)

    async def delete(self, request: Request, user: str, index: str) -> bytes:
        """Delete an index with all that is in it; raises ``Forbidden``, ``IndexKept``."""
        asker = await self.asker(request)
        name = f"{user}/{index}"
        await self.commit(lambda view: decide_index_deleted(self.allowed(Action.DELETE_INDEX, asker, view, name)), asker)
        return self.put(request, message_reply(f"index {name} deleted", 201))

    def _reply_with_projects(self, index: Index, asker: Asker) -> Reply:
        """Runs in whatever thread."""
        return result_reply("indexconfig", {**self.facts(index, asker), "projects": sorted(self.reader.projects(index.name))})

    def _put_settings(self, request: Request, name: str, asker: Asker) -> bytes:
        found = self.existing(self.reader, name)
        return self.put(request, result_reply("indexconfig", self.facts(found, asker)))
