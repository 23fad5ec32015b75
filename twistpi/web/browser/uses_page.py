"""``/+uses``: where a project is and what requires it, of what the caller may read; a page in browsers, else JSON."""

from __future__ import annotations

from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.inventory.uses import Uses, find_uses, parse_subject
from twistpi.model.errors import BadRequest
from twistpi.model.records import Principal
from twistpi.rules.requirements import Requirement
from twistpi.statistics.downloads import Downloads
from twistpi.statistics.recorder import Recorder
from twistpi.web.access import Access, readable_indexes
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.browser.rendering import Renderer
from twistpi.web.handlers.search import SearchQueue
from twistpi.web.replies import Reply, result_reply
from twistpi.web.request import parameter

_SHOWN: Final = 200
"""Files of an index, and requirements, that a page lists; JSON has all."""
_NO_PROJECT: Final = "Bad request: name a project: /+uses?project=hello or /+uses?project=hello==1.0"


@attrs.define(eq=False)
class UsesPage:
    """Answers where a project is."""

    _access: Access
    _frames: Frames
    _renderer: Renderer
    _downloads: Downloads
    _offload: SearchQueue
    _recorder: Recorder | None
    """Writes what was counted; None in a worker, and where downloads are not counted."""

    async def show(self, request: Request) -> Reply:
        """The answer for people; a form where no project is named, or where it cannot be read."""
        frame, text = await self._frames.of(request), parameter(request, b"project")
        try:
            requirement = parse_subject(text) if text.strip() else None
        except BadRequest as refusal:
            return self._page(frame, text, None, str(refusal), 400)
        if requirement is None:
            return self._page(frame, text, None)
        await self._flush()
        return await self._offload(self._build, frame, text, requirement)

    async def facts(self, request: Request) -> Reply:
        """The same for programs; raise ``BadRequest``."""
        caller, text = await self._access.principal(request), parameter(request, b"project")
        if not text.strip():
            raise BadRequest(_NO_PROJECT)
        requirement = parse_subject(text)
        await self._flush()
        return await self._offload(lambda: result_reply("uses", self._find(caller, requirement).fields()))

    async def _flush(self) -> None:
        if self._recorder is not None:
            await self._recorder.flush()

    def _build(self, frame: Frame, text: str, requirement: Requirement) -> Reply:
        """Blocking."""
        return self._page(frame, text, self._find(frame.caller, requirement))

    def _find(self, caller: Principal, requirement: Requirement) -> Uses:
        """Blocking."""
        reader = self._access.reader
        return find_uses(reader, self._downloads, requirement, readable_indexes(reader, caller).__contains__)

    def _page(self, frame: Frame, text: str, found: Uses | None, refusal: str = "", status: int = 200) -> Reply:
        return self._renderer.page(frame, "uses.html", status=status, text=text, found=found, refusal=refusal, most=_SHOWN)
