"""Dangerous changes in two steps: a page that names what will happen, and the form on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.model.errors import TwistpiError
from twistpi.model.records import NOTHING, Principal
from twistpi.web.access import Access
from twistpi.web.browser.consequences import consequences
from twistpi.web.browser.forms import Forms, Sent
from twistpi.web.browser.frame import Frame
from twistpi.web.browser.rendering import Renderer
from twistpi.web.commits import Commits, Edit
from twistpi.web.replies import NO_STORE, Reply

MakeEdit = Callable[[Principal, Sent | None], Edit]
"""Returns the edit that a form asks for; None for the one that is shown before anything was entered."""


@attrs.frozen(kw_only=True)
class Question:
    """What a page asks before something is changed."""

    title: str
    lead: str
    """What it means, in one or two sentences."""
    button: str
    back: str
    """The path below the root of the page where the reader came from."""
    after: Callable[[Principal], str] | None = None
    """Returns the path below the root of the page for afterwards, for the one who asked; None: ``back``."""
    template: str = "confirm.html"
    """Extends ``confirm.html`` where more than a button is needed."""
    values: Mapping[str, object] = NOTHING
    """What the template needs beside."""
    force: str = ""
    """Why a box has to be ticked first; empty if none."""
    undo: str = ""
    """The label of a second button, which sends the field ``undo``; empty without one."""


@attrs.define(eq=False)
class Confirmations:
    """Asks, and does what was asked for."""

    _access: Access
    _forms: Forms
    _renderer: Renderer
    _offload: Offload
    _commits: Commits

    async def answer(self, request: Request, question: Question, edit: MakeEdit) -> Reply:
        """Ask ``question`` (GET), or commit ``edit`` (POST); ask again, with the reason, if that is refused."""
        if request.method != b"POST":
            frame = await self._forms.frame(request)
            return await self._offload(self._build, frame, question, edit(frame.caller, None), None, None)
        sent = self._forms.sent(request)
        wanted = edit(sent.sender, sent)
        try:
            message = await self._commits.make(wanted)
        except TwistpiError as refusal:
            frame = await self._forms.frame(request)
            return await self._offload(self._build, frame, question, edit(sent.sender, None), sent, refusal)
        after = question.back if question.after is None else question.after(sent.sender)
        return self._forms.done(request, after, f"{message[:1].upper()}{message[1:]}.")

    def _build(self, frame: Frame, question: Question, edit: Edit, sent: Sent | None, refusal: TwistpiError | None) -> Reply:
        """Return the page; raise what speaks against ``edit`` whatever is entered."""
        changes, exposure = self._commits.preview(edit)
        return self._renderer.page(
            frame,
            question.template,
            status=200 if refusal is None else refusal.status,
            headers=(NO_STORE,),
            question=question,
            told=consequences(self._access.reader, changes, edit.principal),
            exposure=exposure,
            error="" if refusal is None else str(refusal),
            entered=Entered(sent),
            **question.values,
        )


@attrs.frozen
class Entered:
    """What was entered before; nothing at first."""

    _sent: Sent | None

    def text(self, name: str, otherwise: str = "") -> str:
        """Return the value of a field, or ``otherwise``."""
        return otherwise if self._sent is None else self._sent.text(name)
