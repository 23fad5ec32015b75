"""``+promote``: have this replica become the primary, and see how far that is."""

from __future__ import annotations

from typing import Protocol

import attrs
from twisted.web.server import Request

from twistpi.model.accounts import ROOT
from twistpi.model.records import Json
from twistpi.rules.permissions import Action
from twistpi.web.doors import Door
from twistpi.web.replies import result_reply
from twistpi.web.request import json_body


class Promoting(Protocol):
    """What makes a primary of the server."""

    def begin(self, *, force: bool) -> None:
        """Begin, unless that is under way; raises ``NotPromotable``."""

    def facts(self) -> dict[str, Json]:
        """How far it is."""


@attrs.define(eq=False)
class PromoteDoor(Door):
    """Answers ``/+promote``, for who administers the server."""

    _promoting: Promoting

    async def show(self, request: Request) -> bytes:
        """The promotion under way or the last one; raises ``Forbidden``."""
        await self._check(request)
        return self.put(request, result_reply("promotion", self._promoting.facts()))

    async def promote(self, request: Request) -> bytes:
        """Begin to become the primary: with ``{"force": true}`` without what is outstanding.

        Raises ``Forbidden``, ``NotPromotable``.  What comes of it is told by ``show``.
        """
        await self._check(request)
        body = json_body(request)
        self._promoting.begin(force=isinstance(body, dict) and body.get("force") is True)
        return self.put(request, result_reply("promotion", self._promoting.facts(), 202))

    async def _check(self, request: Request) -> None:
        self.check(Action.ADMINISTER, await self.asker(request), user=ROOT, subject="this server")
