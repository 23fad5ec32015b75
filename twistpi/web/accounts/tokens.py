"""API tokens over HTTP: listed, made, revoked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
from twisted.web.server import Request

from twistpi.model.changes import Change
from twistpi.model.errors import UnknownUser
from twistpi.rules.api_tokens import decide_token_created, decide_token_revoked, read_token_request, token_facts
from twistpi.rules.permissions import Action, may_read
from twistpi.web.doors import Door
from twistpi.web.replies import message_reply, result_reply
from twistpi.web.request import json_body

if TYPE_CHECKING:
    from twistpi.view.read import Reader


@attrs.define(eq=False)
class TokensDoor(Door):
    """Answers ``/{user}/+tokens``."""

    async def list(self, request: Request, user: str) -> bytes:
        """The API tokens of a user, without what makes them work; raises ``Forbidden``, ``UnknownUser``."""
        asker = await self.asker(request)
        self.check(Action.MANAGE_TOKENS, asker, user=user)
        reader = self.reader
        if reader.user(user) is None:
            raise UnknownUser(user)
        return self.put(request, result_reply("list:apitoken", [token_facts(token) for token in reader.api_tokens(user)]))

    async def create(self, request: Request, user: str) -> bytes:
        """Make an API token, whose text is told in this answer and never again.

        Raises ``Forbidden``, ``UnknownUser``, ``UnknownIndex``, ``BadRequest``, ``InvalidTokenRequest``.
        """
        asker = await self.asker(request)
        self.check(Action.MANAGE_TOKENS, asker, user=user)
        wish = read_token_request(json_body(request))
        text, public, digest = self._services.identify.new_api_token()

        def decide(view: Reader) -> Sequence[Change]:
            index = None if wish.index is None else view.index(wish.index)
            if index is not None and not may_read(asker, index):
                index = None  # nobody learns of an index by asking for a token
            return decide_token_created(view.user(user), user, index, wish, public, digest, self._services.now())

        await self.commit(decide, asker)
        made = self.reader.api_token(public)
        facts = {} if made is None else token_facts(made)
        message = "API token created; its password is shown only now"
        return self.put(request, result_reply("apitoken", {**facts, "password": text}, 201, message=message, secret=True))

    async def revoke(self, request: Request, user: str, token: str) -> bytes:
        """Make an API token void; ``token`` is its public half.  Raises ``Forbidden``, ``UnknownToken``."""
        asker = await self.asker(request)

        def decide(view: Reader) -> Sequence[Change]:
            self.check(Action.MANAGE_TOKENS, asker, user=user)
            return decide_token_revoked(view.api_token(token), user, token)

        await self.commit(decide, asker)
        return self.put(request, message_reply(f"API token {token} revoked"))
