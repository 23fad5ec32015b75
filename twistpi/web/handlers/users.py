"""Users: listed, shown, made, changed, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
from twisted.web.server import Request

from twistpi.model.account_errors import UserExists
from twistpi.model.accounts import Principal, User
from twistpi.model.changes import Change
from twistpi.model.errors import UnknownUser
from twistpi.model.records import Index, Json
from twistpi.rules.accounts import (
    UserRequest,
    check_user_name,
    decide_user_created,
    decide_user_deleted,
    decide_user_modified,
    needs_full_rights,
    read_new_user,
    read_user_patch,
)
from twistpi.rules.permissions import Action, may_read
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, outside_url
from twistpi.web.commits import Commits
from twistpi.web.listing import listing
from twistpi.web.replies import Reply, Responder, html_reply, message_reply, result_reply
from twistpi.web.request import ends_with_slash, json_body, wants_html
from twistpi.web.services import Offload

if TYPE_CHECKING:
    from twistpi.view.read import Reader


@attrs.define(eq=False)
class UsersHandler:
    """Answers ``/`` and ``/{user}``.  Indexes that the caller may not read are not shown."""

    _access: Access
    _commits: Commits
    _responder: Responder
    _addresses: Addresses
    _offload: Offload

    async def list(self, request: Request) -> bytes:
        """Every user with every index."""
        principal = await self._access.principal(request)
        root = outside_url(request, self._addresses) if wants_html(request) else None
        return self._responder.put(request, await self._offload(self._list_reply, principal, root))

    async def show(self, request: Request, user: str) -> bytes:
        """One user with every index; raises ``UnknownUser``."""
        principal = await self._access.principal(request)
        reader = self._access.reader
        found = reader.user(user)
        if found is None:
            raise UnknownUser(user)
        indexes = [index for index in reader.indexes_of(user) if may_read(principal, index)]
        if wants_html(request):
            up = "../" if ends_with_slash(request) else ""
            return self._responder.put(
                request, html_reply(listing(f"Indexes of {user}", indexes, outside_url(request, self._addresses), up))
            )
        return self._responder.put(request, result_reply("userconfig", self._user_facts(found, indexes, principal)))

    async def create(self, request: Request, user: str) -> bytes:
        """Make a user; raises ``Forbidden``, ``UserExists``, and what ``read_new_user`` and ``decide_user_created`` raise."""
        principal = await self._access.principal(request)
        self._access.check(Action.CREATE_USER, principal, user=user)
        if self._access.reader.user(user) is not None:
            raise UserExists(user)
        negotiated = read_new_user(json_body(request))
        check_user_name(user)
        password_hash = await self._hash(negotiated)
        await self._commits.commit(lambda view: decide_user_created(view.user(user), user, negotiated, password_hash), principal)
        return self._responder.put(request, result_reply("userconfig", self._now(user, principal), 201))

    async def modify(self, request: Request, user: str) -> bytes:
        """Change what is kept of a user; a new password is answered with a new login token.

        Raises ``UnknownUser``, ``Forbidden``, and what ``read_user_patch`` raises.
        """
        principal = await self._access.principal(request)
        negotiated = read_user_patch(json_body(request))
        self._decide_modified(self._access.reader, user, negotiated, principal, "" if negotiated.password is not None else None)
        password_hash = await self._hash(negotiated)
        await self._commits.commit(
            lambda view: self._decide_modified(view, user, negotiated, principal, password_hash), principal
        )
        found = self._access.reader.user(user)
        if negotiated.password is None or found is None:
            return self._responder.put(request, message_reply("user updated"))
        token, seconds = await self._access.authenticator.token_for(found)
        result = {"password": token, "expiration": seconds}
        return self._responder.put(
            request, result_reply("userpassword", result, message="user updated, new proxy auth", secret=True)
        )

    async def delete(self, request: Request, user: str) -> bytes:
        """Delete a user with all indexes; raises ``Forbidden``, ``UnknownUser``, ``UserKept``."""
        principal = await self._access.principal(request)

        def decide(view: Reader) -> Sequence[Change]:
            self._access.check(Action.DELETE_USER, principal, user=user)
            return decide_user_deleted(view.user(user), user, view.indexes_of(user))

        await self._commits.commit(decide, principal)
        return self._responder.put(request, message_reply(f"user {user!r} deleted"))

    def _decide_modified(
        self, view: Reader, user: str, negotiated: UserRequest, principal: Principal, password_hash: str | None
    ) -> Sequence[Change]:
        found = view.user(user)
        if found is None:
            raise UnknownUser(user)
        action = Action.MODIFY_USER if needs_full_rights(negotiated, found) else Action.CHANGE_PASSWORD
        self._access.check(action, principal, user=user)
        return decide_user_modified(found, user, negotiated, password_hash)

    async def _hash(self, negotiated: UserRequest) -> str | None:
        return None if negotiated.password is None else await self._access.authenticator.hash_password(negotiated.password)

    def _now(self, user: str, principal: Principal) -> dict[str, Json]:
        reader = self._access.reader
        found = reader.user(user)
        if found is None:
            raise UnknownUser(user)  # deleted at once
        return self._user_facts(found, [index for index in reader.indexes_of(user) if may_read(principal, index)], principal)

    def _list_reply(self, principal: Principal, root: str | None) -> Reply:
        """Runs in whatever thread; ``root`` is the server's address for a page, None for JSON."""
        reader = self._access.reader
        indexes = [index for index in reader.indexes() if may_read(principal, index)]
        if root is not None:
            return html_reply(listing("Python package indexes", indexes, root, ""))
        owned: dict[str, list[Index]] = {}
        for index in indexes:
            owned.setdefault(index.name.partition("/")[0], []).append(index)
        users = {user.name: self._user_facts(user, owned.get(user.name, []), principal) for user in reader.users()}
        return result_reply("list:userconfig", users)

    def _user_facts(self, user: User, indexes: Sequence[Index], principal: Principal) -> dict[str, Json]:
        own = {index.name.partition("/")[2]: self._access.settings_of(index, principal) for index in indexes}
        modified = {} if user.modified is None else {"modified": user.modified}
        return {**user.config, "username": user.name, "created": user.created, **modified, "indexes": own}
