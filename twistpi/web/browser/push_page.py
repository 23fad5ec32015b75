"""Pushing a release to another index of this server: which one, what will be there, and then the push."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.model.changes import Change
from twistpi.model.errors import FileNotHereYet, TwistpiError
from twistpi.model.names import normalize_project
from twistpi.model.records import Index, Principal
from twistpi.model.text import counted
from twistpi.rules.actions import push_targets
from twistpi.rules.pushes import InternalPush, read_push
from twistpi.web.access import Access
from twistpi.web.browser.consequences import consequences
from twistpi.web.browser.forms import Forms
from twistpi.web.browser.frame import Frame
from twistpi.web.browser.rendering import Renderer, segment
from twistpi.web.handlers.push import PushHandler
from twistpi.web.replies import NO_STORE, Reply
from twistpi.web.request import parameter

_STORED = "store_releasefile"
"""The line of a push about one file."""


@attrs.frozen
class _Asked:
    """What is to be pushed, and where to."""

    source: Index
    project: str
    version: str
    target: str = ""
    no_docs: bool = False

    def push(self) -> InternalPush:
        """Return it as the API reads it.  Raise ``BadRequest``."""
        body = {"name": self.project, "version": self.version, "targetindex": self.target, "no_docs": self.no_docs}
        wanted = read_push(body)
        assert isinstance(wanted, InternalPush), "it has a target"
        return wanted


@attrs.define(eq=False)
class PushPage:
    """Makes ``/{user}/{index}/{project}/{version}/+push``, and answers its form."""

    _access: Access
    _forms: Forms
    _renderer: Renderer
    _offload: Offload
    _push: PushHandler

    async def show(self, request: Request, name: str, project: str, version: str) -> Reply:
        """The choice of a target; with ``?target=`` what the push will do there."""
        frame = await self._forms.frame(request)
        source = await self._access.index(request, name)
        asked = _Asked(source, project, version, parameter(request, b"target"), bool(parameter(request, b"no_docs")))
        return await self._offload(self._build, frame, asked, None)

    async def push(self, request: Request, name: str, project: str, version: str) -> Reply:
        """Push."""
        sent = self._forms.sent(request)
        source = await self._access.index(request, name)
        asked = _Asked(source, project, version, sent.text("target"), sent.is_set("no_docs"))
        try:
            wanted = asked.push()
            lines = await self._push.inside(source, wanted, sent.sender)
        except TwistpiError as refusal:
            frame = await self._forms.frame(request)
            return await self._offload(self._build, frame, asked, refusal)
        files = counted(sum(line[1] == _STORED for line in lines), "file")
        there = f"/{wanted.target}/{segment(wanted.selection.project)}/{segment(version)}"
        return self._forms.done(request, there, f"{project} {version} was pushed here from {name}: {files}.")

    def _build(self, frame: Frame, asked: _Asked, refusal: TwistpiError | None) -> Reply:
        view, policy = self._access.reader, self._access.policy
        targets = push_targets(view.indexes(), asked.source.name, normalize_project(asked.project), frame.caller, policy)
        changes: Sequence[Change] = ()
        is_fetched = False
        if asked.target and refusal is None:
            try:
                changes, is_fetched = self._preview(asked, frame.caller)
            except TwistpiError as error:
                refusal = error
        return self._renderer.page(
            frame,
            "push.html",
            status=200 if refusal is None else refusal.status,
            headers=(NO_STORE,),
            asked=asked,
            targets=targets,
            told=consequences(view, changes, frame.caller),
            is_fetched=is_fetched,
            is_decided=bool(asked.target) and refusal is None,
            error="" if refusal is None else str(refusal),
        )

    def _preview(self, asked: _Asked, caller: Principal) -> tuple[Sequence[Change], bool]:
        """Return the changes of the push, or that files have to be fetched first."""
        try:
            return self._push.decided(self._access.reader, asked.source.name, asked.push(), caller)[0], False
        except FileNotHereYet:
            return (), True
