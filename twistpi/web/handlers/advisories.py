"""``/+advisories``: which set of advisories counts and how its feed is, for administrators; and reading the feed now."""

from __future__ import annotations

import attrs
from twisted.web.server import Request

from twistpi.advisories.service import Advisories
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.model.records import ROOT
from twistpi.rules.permissions import Action
from twistpi.web.access import Access
from twistpi.web.replies import Reply, result_reply
from twistpi.web.request import json_body, kept_body


@attrs.define(eq=False)
class AdvisoriesHandler:
    """Answers ``/+advisories``."""

    _access: Access
    _advisories: Advisories

    async def show(self, request: Request) -> Reply:
        """The set that counts, and what is known of the feed."""
        await self._check(request)
        return result_reply("advisories", self._advisories.facts())

    async def refresh(self, request: Request) -> Reply:
        """Begin to read the feed; with ``{"force": true}`` what it has is accepted also if it looks broken.

        ``number`` is the run to wait for.
        """
        await self._check(request)
        body = json_body(request) if kept_body(request) else {}
        if not isinstance(body, dict):
            raise BadRequest('Bad request: an object is needed, such as {"force": true}')
        if self._advisories.refresh is None:
            raise TwistpiError("This server reads no feed: only a primary with the setting advisories does.", 409)
        number = self._advisories.refresh.ask(force=body.get("force") is True)
        return result_reply("advisories", {**self._advisories.facts(), "number": number}, 202)

    async def _check(self, request: Request) -> None:
        self._access.check(Action.ADMINISTER, await self._access.principal(request), user=ROOT, subject="this server")
