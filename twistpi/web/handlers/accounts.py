"""Users, logins (``+login``), ``+authcheck``, and API tokens (``+tokens``)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

import attrs
from twisted.web.server import Request
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map

from twistpi.http.offload import Offload
from twistpi.model.changes import Change, IndexModified
from twistpi.model.errors import BadRequest, LoginNeeded, PermissionDenied, TwistpiError, unknown_user
from twistpi.model.records import ApiToken, Index, Json, Principal, User
from twistpi.rules.accounts import (
    UserRequest,
    check_name,
    decide_user_created,
    decide_user_deleted,
    decide_user_modified,
    needs_full_rights,
    read_new_user,
    read_user_patch,
)
from twistpi.rules.devpi7 import settings_of_devpi7
from twistpi.rules.exposure import enumerated
from twistpi.rules.permissions import Action, is_allowed, may_read
from twistpi.rules.token_requests import decide_token_created, decide_token_revoked, read_token_request, token_facts
from twistpi.view.read import Reader
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, client_address, is_local, path_parts
from twistpi.web.commits import Commits, Edit
from twistpi.web.replies import Reply, message_reply, result_reply
from twistpi.web.request import JsonSource, header, json_body, result_version


@attrs.define(eq=False)
class UsersHandler:
    """Answers ``/`` and ``/{user}``.  Indexes that the caller may not read are not shown."""

    _access: Access
    _commits: Commits
    _addresses: Addresses
    _offload: Offload

    async def list(self, request: Request) -> Reply:
        """Every user with every index; with ``?v=2`` their settings in the words of devpi-server 7, as in ``show``."""
        principal = await self._access.principal(request)
        return await self._offload(self._list_reply, principal, result_version(request))

    async def show(self, request: Request, user: str) -> Reply:
        """One user with every index."""
        principal = await self._access.principal(request)
        reader = self._access.reader
        found = _existing(reader, user)
        indexes = [index for index in reader.indexes_of(user) if may_read(principal, index)]
        return result_reply("userconfig", self._user_facts(found, indexes, principal, result_version(request)))

    async def create(self, request: Request, user: str) -> Reply:
        """Make a user."""
        principal = await self._access.principal(request)
        await self.create_user(principal, user, partial(json_body, request))
        view = self._access.reader
        return result_reply("userconfig", self._user_facts(_existing(view, user), view.indexes_of(user), principal), 201)

    async def create_user(self, principal: Principal, user: str, body: JsonSource) -> None:
        """Make a user as ``principal``, with the settings in ``body``."""
        self._access.check(Action.CREATE_USER, principal, user=user)
        if self._access.reader.user(user) is not None:
            raise TwistpiError("user already exists", 409)
        wanted = read_new_user(body())
        check_name("username", user)
        password_hash = await self._hash(wanted)
        by_administrator = is_allowed(Action.MODIFY_USER, principal, self._access.policy, user=user)

        def decide(view: Reader) -> Sequence[Change]:
            named = view.indexes_naming(user)
            return decide_user_created(view.user(user), user, wanted, password_hash, named, by_administrator=by_administrator)

        await self._commits.commit(decide, principal)

    async def modify(self, request: Request, user: str) -> Reply:
        """Change a user; the response to a new password is a new login token."""
        principal = await self._access.principal(request)
        wanted = read_user_patch(json_body(request))
        await self.modify_user(principal, user, wanted)
        found = self._access.reader.user(user)
        if wanted.password is None or found is None:
            return message_reply("user updated")
        token, seconds = await self._access.authenticator.token_for(found)
        result = {"password": token, "expiration": seconds}
        return result_reply("userpassword", result, message="user updated, new proxy auth", secret=True)

    async def modify_user(self, principal: Principal, user: str, wanted: UserRequest) -> None:
        """Change a user as ``principal``."""
        self._decide_modified(self._access.reader, user, wanted, principal, "" if wanted.password is not None else None)
        password_hash = await self._hash(wanted)
        await self._commits.commit(lambda view: self._decide_modified(view, user, wanted, principal, password_hash), principal)

    async def delete(self, request: Request, user: str) -> Reply:
        """Delete a user with all indexes."""
        edit = self.deletion(await self._access.principal(request), user)
        shown = {one.name for one in self._access.reader.indexes_naming(user) if may_read(edit.principal, one)}
        changes, exposure = await self._commits.remove(edit.decide, edit.principal)
        return message_reply("; ".join(filter(None, (f"{edit.message}{_struck(changes, shown)}", exposure))))

    def deletion(self, principal: Principal, user: str) -> Edit:
        """Return how ``principal`` deletes a user with all indexes."""

        def decide(view: Reader) -> Sequence[Change]:
            self._access.check(Action.DELETE_USER, principal, user=user)
            return decide_user_deleted(view.user(user), user, view.indexes_of(user), view.indexes_naming(user))

        return Edit(decide, principal, f"user {user!r} deleted")

    def _decide_modified(
        self, view: Reader, user: str, wanted: UserRequest, principal: Principal, password_hash: str | None
    ) -> Sequence[Change]:
        found = _existing(view, user)
        action = Action.MODIFY_USER if needs_full_rights(wanted, found) else Action.CHANGE_PASSWORD
        self._access.check(action, principal, user=user)
        return decide_user_modified(found, user, wanted, password_hash)

    async def _hash(self, wanted: UserRequest) -> str | None:
        return None if wanted.password is None else await self._access.authenticator.hash_password(wanted.password)

    def _list_reply(self, principal: Principal, version: int) -> Reply:
        """Called in any thread."""
        reader = self._access.reader
        indexes = [index for index in reader.indexes() if may_read(principal, index)]
        owned: dict[str, list[Index]] = {}
        for index in indexes:
            owned.setdefault(index.name.partition("/")[0], []).append(index)
        users = {user.name: self._user_facts(user, owned.get(user.name, []), principal, version) for user in reader.users()}
        return result_reply("list:userconfig", users)

    def _user_facts(self, user: User, indexes: Sequence[Index], principal: Principal, version: int = 1) -> dict[str, Json]:
        shown = [index for index in indexes if may_read(principal, index)]
        own = {index.name.partition("/")[2]: self._access.settings_of(index, principal) for index in shown}
        if version == 2:
            own = {name: settings_of_devpi7(settings) for name, settings in own.items()}
        modified = {} if user.modified is None else {"modified": user.modified}
        return {**user.config, "username": user.name, "created": user.created, **modified, "indexes": own}


def _struck(changes: Sequence[Change], shown: Collection[str]) -> str:
    """Return where the name of a deleted user was taken out of, as far as the indexes are ``shown``; empty for nowhere."""
    modified = [one for one in changes if isinstance(one, IndexModified) and one.index in shown]
    struck = [f"{key} of {one.index}" for one in modified for key in one.changed]
    return f", and the name taken out of {enumerated(struck)}" if struck else ""


def _existing(view: Reader, user: str) -> User:
    found = view.user(user)
    if found is None:
        raise unknown_user(user)
    return found


_OPEN_END = "/+api"
"""Everybody may request this of an index; its handler checks permissions itself."""


@attrs.define(eq=False)
class LoginHandler:
    """Answers ``/+login`` and ``/+authcheck``."""

    _access: Access
    _addresses: Addresses
    _url_map: Callable[[], Map]
    """All routes, which are known once every handler is there."""

    async def login(self, request: Request) -> Reply:
        """A login token."""
        body = json_body(request)
        given: Mapping[str, Json] = body if isinstance(body, dict) else {}
        user, password = given.get("user"), given.get("password")
        if user is None or password is None:
            raise BadRequest("Bad request: no user/password specified")
        if not isinstance(user, str) or not isinstance(password, str):
            raise BadRequest("Bad request: user and password have to be strings")
        address, local = client_address(request, self._addresses), is_local(request)
        token, seconds = await self._access.authenticator.login(user, password, address, local=local)
        result = {"password": token, "expiration": seconds}
        return result_reply("proxyauth", result, message="login successful", secret=True)

    async def authcheck(self, request: Request) -> Reply:
        """Whether the request's credentials are good for reading ``X-Original-URI``, or the request's own address."""
        original = header(request, "x-original-uri") or request.uri.decode("latin-1")
        route, arguments = self._route(request, original)
        if "index" in arguments and not route.rstrip("/").endswith(_OPEN_END):
            found = self._access.reader.index(f"{arguments['user']}/{arguments['index']}")
            if found is not None:
                await self._check_reading(request, found.name)
        return message_reply("")

    async def _check_reading(self, request: Request, name: str) -> None:
        principal = await self._access.principal(request)
        try:
            self._access.check(Action.READ, principal, index=self._access.reader.index(name))
        except LoginNeeded:
            if "devpi-client" in (header(request, "user-agent") or ""):
                raise PermissionDenied(f"read index {name}") from None  # that client understands nothing else
            raise

    def _route(self, request: Request, address: str) -> tuple[str, Mapping[str, object]]:
        """Return the route of ``address``, and its arguments; raise ``PermissionDenied`` if there is none."""
        try:
            path = "/" + "/".join(path_parts(request, address, self._addresses))
            routes = self._url_map().bind("localhost")
            try:
                rule, arguments = routes.match(path, method="GET", return_rule=True)
            except MethodNotAllowed as error:
                rule, arguments = routes.match(path, method=next(iter(error.valid_methods or ())), return_rule=True)
        except (NotFound, TwistpiError):
            raise PermissionDenied(f"look at {address[:200]!r}, which leads nowhere") from None
        return rule.rule, arguments


@attrs.define(eq=False)
class TokensHandler:
    """Answers ``/{user}/+tokens``."""

    _access: Access
    _commits: Commits
    now: Callable[[], datetime]
    """The time, in UTC."""

    async def list(self, request: Request, user: str) -> Reply:
        """The API tokens of a user, without their secrets."""
        principal = await self._access.principal(request)
        self._access.check(Action.MANAGE_TOKENS, principal, user=user)
        reader = self._access.reader
        _existing(reader, user)
        return result_reply("list:apitoken", [token_facts(token) for token in reader.api_tokens(user)])

    async def create(self, request: Request, user: str) -> Reply:
        """Create an API token, whose text is in this response and never again."""
        principal = await self._access.principal(request)
        text, made = await self.create_token(principal, user, partial(json_body, request))
        facts = {} if made is None else token_facts(made)
        message = "API token created; its password is shown only now"
        return result_reply("apitoken", {**facts, "password": text}, 201, message=message, secret=True)

    async def create_token(self, principal: Principal, user: str, body: JsonSource) -> tuple[str, ApiToken | None]:
        """Create an API token of ``user`` as ``principal``; return its text, and the rest of it unless it is gone already."""
        self._access.check(Action.MANAGE_TOKENS, principal, user=user)
        wanted = read_token_request(body())
        text, public, digest = self._access.authenticator.new_api_token()

        def decide(view: Reader) -> Sequence[Change]:
            index = None if wanted.index is None else view.index(wanted.index)
            if index is not None and not may_read(principal, index):
                index = None  # a token request must not tell which indexes exist
            return decide_token_created(view.user(user), user, index, wanted, public, digest, self.now())

        await self._commits.commit(decide, principal)
        return text, self._access.reader.api_token(public)

    async def revoke(self, request: Request, user: str, token: str) -> Reply:
        """Revoke an API token; ``token`` is its public half."""
        return message_reply(await self._commits.make(self.revocation(await self._access.principal(request), user, token)))

    def revocation(self, principal: Principal, user: str, token: str) -> Edit:
        """Return how ``principal`` revokes an API token."""

        def decide(view: Reader) -> Sequence[Change]:
            self._access.check(Action.MANAGE_TOKENS, principal, user=user)
            return decide_token_revoked(view.api_token(token), user, token)

        return Edit(decide, principal, f"API token {token} revoked")
