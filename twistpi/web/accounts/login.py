"""``+login``: a password for a token; ``+authcheck``: whether a proxy in front may show something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.web.server import Request
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map

from twistpi.model.account_errors import BadRequest, Forbidden, LoginNeeded
from twistpi.rules.permissions import Action
from twistpi.web.addresses import client_address, is_local, outside_prefix
from twistpi.web.doors import Door
from twistpi.web.paths import RequestRefused, segments_of, without_prefix
from twistpi.web.replies import message_reply, result_reply
from twistpi.web.request import header, json_body

_OPEN_END = "/+api"
"""Of an index, this may be asked by everybody: what it answers is decided when it is asked."""


@attrs.define(eq=False)
class LoginDoor(Door):
    """Answers ``/+login`` and ``/+authcheck``."""

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
        address, local = client_address(request, self._services), is_local(request, self._services)
        token, seconds = await self._services.identify.login(user, password, address, local=local)
        result = {"password": token, "expiration": seconds}
        return self.put(request, result_reply("proxyauth", result, message="login successful", secret=True))

    async def authcheck(self, request: Request) -> bytes:
        """Whether the request's credentials are good for reading ``X-Original-URI``, or the request's own address.

        Raises ``Forbidden`` when they are not, or nothing is there; ``LoginNeeded`` when others might be.
        """
        original = header(request, "x-original-uri") or request.uri.decode("latin-1")
        route, arguments = self._route(request, original)
        if "index" in arguments and not route.rstrip("/").endswith(_OPEN_END):
            found = self.reader.index(f"{arguments['user']}/{arguments['index']}")
            if found is not None:
                await self._check_reading(request, found.name)
        return self.put(request, message_reply(""))

    async def _check_reading(self, request: Request, name: str) -> None:
        asker = await self.asker(request)
        try:
            self.check(Action.READ, asker, index=self.reader.index(name))
        except LoginNeeded:
            if "devpi-client" in (header(request, "user-agent") or ""):
                raise Forbidden(f"read index {name}") from None  # that client understands nothing else
            raise

    def _route(self, request: Request, address: str) -> tuple[str, Mapping[str, Any]]:
        """The route that ``address`` takes here, and its parts; raises ``Forbidden`` when it leads nowhere."""
        try:
            segments = without_prefix(segments_of(address), outside_prefix(request, self._services))
            path = "/" + "/".join(segment.decode() for segment in segments)
            routes = self._url_map.bind("localhost")
            try:
                rule, arguments = routes.match(path, method="GET", return_rule=True)
            except MethodNotAllowed as error:
                rule, arguments = routes.match(path, method=next(iter(error.valid_methods or ())), return_rule=True)
        except (NotFound, RequestRefused):
            raise Forbidden(f"look at {address[:200]!r}, which leads nowhere") from None
        return rule.rule, arguments
