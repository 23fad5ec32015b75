"""``/+policy``: which machines asked for files that policies refuse, for administrators; a page in browsers, else JSON."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
from twisted.web.server import Request

from twistpi.model.records import ROOT, Json, Principal
from twistpi.rules.permissions import Action
from twistpi.web.access import Access
from twistpi.web.browser.frame import Frames
from twistpi.web.browser.rendering import Renderer
from twistpi.web.refused_requests import RefusedRequests
from twistpi.web.replies import NO_STORE, Reply, result_reply


@attrs.define(eq=False)
class PolicyPage:
    """Lists refused requests."""

    _access: Access
    _frames: Frames
    _renderer: Renderer
    _refused: RefusedRequests

    async def show(self, request: Request) -> Reply:
        """The machines, for people."""
        frame = await self._frames.of(request)
        self._check(frame.caller)
        groups = [(datetime.fromtimestamp(one.newest.at, UTC), one) for one in self._refused.groups()]
        return self._renderer.page(frame, "policy.html", headers=(NO_STORE,), groups=groups)

    async def facts(self, request: Request) -> Reply:
        """The same for programs."""
        self._check(await self._access.principal(request))
        refused: list[Json] = [one.fields() for one in self._refused.groups()]
        return result_reply("policy", {"refused": refused})

    def _check(self, caller: Principal) -> None:
        self._access.check(Action.ADMINISTER, caller, user=ROOT, subject="this server")
