"""Garbage collection by clicking: ``/+gc`` in a browser says what a pass would remove, and starts one."""

from __future__ import annotations

from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.gc.collector import GarbageCollector
from twistpi.gc.garbage import FOLDERS
from twistpi.model.records import ROOT, Principal
from twistpi.rules.permissions import Action
from twistpi.web.access import Access
from twistpi.web.browser.forms import Forms
from twistpi.web.browser.rendering import Renderer
from twistpi.web.replies import NO_STORE, Reply

_PATIENCE: Final = 2.0
"""Seconds for which a page counts what a pass would remove."""


@attrs.define(eq=False)
class GarbagePage:
    """Makes the page, and answers its form."""

    _access: Access
    _forms: Forms
    _renderer: Renderer
    _collector: GarbageCollector

    async def show(self, request: Request) -> Reply:
        """The pass under way and the last one; unless one is under way, what the next one would remove."""
        frame = await self._forms.frame(request)
        self._check(frame.caller)
        collector = self._collector
        found = None if collector.running else await collector.preview(_PATIENCE)
        return self._renderer.page(
            frame,
            "garbage.html",
            headers=(NO_STORE,),
            running=collector.running,
            last=collector.last,
            found=found,
            folders=FOLDERS,
        )

    async def collect(self, request: Request) -> Reply:
        """Begin a pass."""
        self._check(self._forms.sent(request).sender)
        self._collector.ask()
        return self._forms.done(request, "/+gc", "The collection has begun.")

    def _check(self, caller: Principal) -> None:
        self._access.check(Action.ADMINISTER, caller, user=ROOT, subject="this server")
