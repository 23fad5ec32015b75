"""Logins (``+login``), ``+authcheck``, and API tokens (``+tokens``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs
from twisted.web.server import Request
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map

from twistpi.model.account_errors import BadRequest, Forbidden, LoginNeeded
from twistpi.model.changes import Change
from twistpi.model.errors import UnknownUser
from twistpi.rules.api_tokens import decide_token_created, decide_token_revoked, read_token_request, token_facts
from twistpi.rules.permissions import Action, may_read
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, client_address, is_local, outside_prefix
from twistpi.web.commits import Commits
from twistpi.web.paths import RequestRefused, segments_of, without_prefix
from twistpi.web.replies import Responder, message_reply, result_reply
from twistpi.web.request import header, json_body

if TYPE_CHECKING:
    from twistpi.view.read import Reader


_OPEN_END = "/+api"
"""Of an index, this may be asked by everybody: what it answers is decided when it is asked."""


@attrs.define(eq=False)
class LoginHandler:
    """Answers ``/+login`` and ``/+authcheck``."""

    _access: Access
    _responder: Responder
    _addresses: Addresses
    _url_map: Map

    async def login(self, request: Request) -> bytes:
        """A login token; raises ``LoginFailed``, ``LoginOnlyHere``, ``TooManyFailures``, ``TooBusy``, ``BadRequest``."""
        body = json_body(request)
        given: Mapping[str, Any] = body if isinstance(body, dict) else {}
        user, password = given.get("user"), given.get("password")
        if user is None or password is None:
            raise BadRequest("no user/password specified")
        if not isinstance(user, str) or not isinstance(password, str):
            raise BadRequest("user and password have to be strings")
        address, local = client_address(request, self._addresses), is_local(request, self._addresses)
        token, seconds = await self._access.authenticator.login(user, password, address, local=local)
        result = {"password": token, "expiration": seconds}
        return self._responder.put(request, result_reply("proxyauth", result, message="login successful", secret=True))

    async def authcheck(self, request: Request) -> bytes:
        """Whether the request's credentials are good for reading ``X-Original-URI``, or the request's own address.

        Raises ``Forbidden`` when they are not, or nothing is there; ``LoginNeeded`` when others might be.
        """
        original = header(request, "x-original-uri") or request.uri.decode("latin-1")
        route, arguments = self._route(request, original)
        if "index" in arguments and not route.rstrip("/").endswith(_OPEN_END):
            found = self._access.reader.index(f"{arguments['user']}/{arguments['index']}")
            if found is not None:
                await self._check_reading(request, found.name)
        return self._responder.put(request, message_reply(""))

    async def _check_reading(self, request: Request, name: str) -> None:
        principal = await self._access.principal(request)
        try:
            self._access.check(Action.READ, principal, index=self._access.reader.index(name))
        except LoginNeeded:
            if "devpi-client" in (header(request, "user-agent") or ""):
                raise Forbidden(f"read index {name}") from None  # that client understands nothing else
            raise

    def _route(self, request: Request, address: str) -> tuple[str, Mapping[str, Any]]:
        """The route that ``address`` takes here, and its parts; raises ``Forbidden`` when it leads nowhere."""
        try:
            segments = without_prefix(segments_of(address), outside_prefix(request, self._addresses))
            path = "/" + "/".join(segment.decode() for segment in segments)
            routes = self._url_map.bind("localhost")
            try:
                rule, arguments = routes.match(path, method="GET", return_rule=True)
            except MethodNotAllowed as error:
                rule, arguments = routes.match(path, method=next(iter(error.valid_methods or ())), return_rule=True)
        except (NotFound, RequestRefused):
            raise Forbidden(f"look at {address[:200]!r}, which leads nowhere") from None
        return rule.rule, arguments


@attrs.define(eq=False)
class TokensHandler:
    """Answers ``/{user}/+tokens``."""

    _access: Access
    _commits: Commits
    _responder: Responder
    _now: Callable[[], datetime]

    async def list(self, request: Request, user: str) -> bytes:
        """The API tokens of a user, without what makes them work; raises ``Forbidden``, ``UnknownUser``."""
        principal = await self._access.principal(request)
        self._access.check(Action.MANAGE_TOKENS, principal, user=user)
        reader = self._access.reader
        if reader.user(user) is None:
            raise UnknownUser(user)
        return self._responder.put(
            request, result_reply("list:apitoken", [token_facts(token) for token in reader.api_tokens(user)])
        )

    async def create(self, request: Request, user: str) -> bytes:
        """Make an API token, whose text is told in this answer and never again.

        Raises ``Forbidden``, ``UnknownUser``, ``UnknownIndex``, ``BadRequest``, ``InvalidTokenRequest``.
        """
        principal = await self._access.principal(request)
        self._access.check(Action.MANAGE_TOKENS, principal, user=user)
        negotiated = read_token_request(json_body(request))
        text, public, digest = self._access.authenticator.new_api_token()

        def decide(view: Reader) -> Sequence[Change]:
            index = None if negotiated.index is None else view.index(negotiated.index)
            if index is not None and not may_read(principal, index):
                index = None  # nobody learns of an index by asking for a token
            return decide_token_created(view.user(user), user, index, negotiated, public, digest, self._now())

        await self._commits.commit(decide, principal)
        made = self._access.reader.api_token(public)
        facts = {} if made is None else token_facts(made)
        message = "API token created; its password is shown only now"
        return self._responder.put(
            request, result_reply("apitoken", {**facts, "password": text}, 201, message=message, secret=True)
        )

    async def revoke(self, request: Request, user: str, token: str) -> bytes:
        """Make an API token void; ``token`` is its public half.  Raises ``Forbidden``, ``UnknownToken``."""
        principal = await self._access.principal(request)

        def decide(view: Reader) -> Sequence[Change]:
            self._access.check(Action.MANAGE_TOKENS, principal, user=user)
            return decide_token_revoked(view.api_token(token), user, token)

        await self._commits.commit(decide, principal)
        return self._responder.put(request, message_reply(f"API token {token} revoked"))
