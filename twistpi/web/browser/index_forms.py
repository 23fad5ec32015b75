"""Making, configuring and deleting an index from the pages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.model.changes import Change
from twistpi.model.errors import BadRequest, TwistpiError, unknown_user
from twistpi.model.records import Index, Json, Principal
from twistpi.rules.actions import actions_on
from twistpi.rules.index_config import KEYS, defaults
from twistpi.rules.permissions import Action, may_read
from twistpi.view.read import Reader
from twistpi.web.access import Access, existing_index
from twistpi.web.browser.confirmation import Confirmations, Entered, Question
from twistpi.web.browser.forms import Forms, Sent
from twistpi.web.browser.frame import Frame
from twistpi.web.browser.index_fields import entered_body, entered_items, fields_of, foreign
from twistpi.web.browser.rendering import Renderer, segment
from twistpi.web.commits import Commits, Edit
from twistpi.web.handlers.indexes import IndexesHandler
from twistpi.web.replies import NO_STORE, Reply
from twistpi.web.request import parameter

_STAGE: Final = "stage"
_MOST_OFFERED: Final = 200
"""Indexes that are offered as bases; any other can be typed."""
SHOWN: Final = "was-"
"""What stands before the names of fields that hold what the form showed."""


@attrs.define(eq=False)
class IndexForms:
    """Answers ``/{user}/+new-index``, ``/{user}/{index}/+settings`` and ``/{user}/{index}/+delete``."""

    _access: Access
    _forms: Forms
    _confirmations: Confirmations
    _renderer: Renderer
    _offload: Offload
    _commits: Commits
    _indexes: IndexesHandler

    async def new(self, request: Request, user: str) -> Reply:
        """The form for a new index; with ``?type=mirror`` for a mirror."""
        frame = await self._forms.frame(request)
        return await self._offload(self._build_new, frame, user, _kind(parameter(request, b"type")), None, None)

    async def create(self, request: Request, user: str) -> Reply:
        """Make an index."""
        sent = self._forms.sent(request)
        kind, own_name = _kind(sent.text("type")), sent.text("name")
        name = f"{user}/{own_name}"

        def body() -> Json:
            return entered_body(kind, defaults(kind, user), sent.given)

        try:
            changes = await self._indexes.create_index(request, sent.sender, name, body)
        except TwistpiError as refusal:
            frame = await self._forms.frame(request)
            return await self._offload(self._build_new, frame, user, kind, sent, refusal)
        message = self._with_unknown(name, changes, "The index was created.")
        return self._forms.done(request, f"/{segment(user)}/{segment(own_name)}", message)

    async def settings(self, request: Request, name: str) -> Reply:
        """The settings of an index."""
        frame = await self._forms.frame(request)
        return await self._offload(self._build_settings, frame, name, None, None)

    async def configure(self, request: Request, name: str) -> Reply:
        """Change the settings that were changed in the form; ask first if that leaves names to mirrors."""
        sent = self._forms.sent(request)
        edit = self._modification(request, sent, name)
        try:
            _changes, ahead = await self._offload(self._commits.preview, edit)
            if ahead and not sent.is_set("force"):
                frame = await self._forms.frame(request)
                return await self._offload(self._build_settings, frame, name, sent, None, ahead)
            changes, exposure = await self._commits.remove(edit.decide, sent.sender)
        except TwistpiError as refusal:
            frame = await self._forms.frame(request)
            return await self._offload(self._build_settings, frame, name, sent, refusal)
        message = "The settings were saved." if changes else "Nothing was changed."
        message = self._with_unknown(name, changes, message)
        return self._forms.done(request, f"/{name}", f"{message} Beware: {exposure}." if exposure else message)

    async def delete(self, request: Request, name: str) -> Reply:
        """Delete an index with all that is in it."""
        user = name.partition("/")[0]
        question = Question(
            title=f"Delete the index {name}?",
            lead="What is in it cannot be brought back.",
            button="Delete the index",
            back=f"/{name}",
            after=lambda _sender: f"/{segment(user)}",
        )

        def edit(sender: Principal, _sent: Sent | None) -> Edit:
            return self._indexes.deletion(sender, name)

        return await self._confirmations.answer(request, question, edit)

    def _modification(self, request: Request, sent: Sent, name: str) -> Edit:
        """Return the edit with all that was entered: the API takes what is no text in another form, so it is two in one."""

        def decide(view: Reader) -> Sequence[Change]:
            found = self._access.allowed(Action.MODIFY_INDEX, sent.sender, view, name)
            items, others = entered_items(_kind_of(found), found.config, sent.given, lambda key: sent.given(SHOWN + key))
            bodies: list[Json] = [body for body in (items, others) if body]
            edits = [self._indexes.modification(request, sent.sender, name, partial(_same, body)) for body in bodies]
            return [change for edit in edits for change in edit.decide(view)]

        return Edit(decide, sent.sender, "")

    def _with_unknown(self, name: str, changes: Sequence[Change], message: str) -> str:
        unknown = self._indexes.unknown_users(name, changes)
        return f"{message} {unknown[:1].upper()}{unknown[1:]}." if unknown else message

    def _build_new(self, frame: Frame, user: str, kind: str, sent: Sent | None, refusal: TwistpiError | None) -> Reply:
        view = self._access.reader
        if view.user(user) is None:
            raise unknown_user(user)
        self._access.check(Action.CREATE_INDEX, frame.caller, user=user, subject=f"{user}/…")
        return self._renderer.page(
            frame,
            "index_form.html",
            status=200 if refusal is None else refusal.status,
            headers=(NO_STORE,),
            index=None,
            may_delete=False,
            user=user,
            kind=kind,
            fields=fields_of(kind, defaults(kind, user)),
            foreign=[],
            offered=self._offered(view, frame),
            error="" if refusal is None else str(refusal),
            exposure="",
            entered=Entered(sent),
        )

    def _build_settings(
        self, frame: Frame, name: str, sent: Sent | None, refusal: TwistpiError | None, exposure: str = ""
    ) -> Reply:
        view = self._access.reader
        index = self._access.allowed(Action.MODIFY_INDEX, frame.caller, view, name)
        existing_index(view, name)
        kind = _kind_of(index)
        return self._renderer.page(
            frame,
            "index_form.html",
            status=200 if refusal is None else refusal.status,
            headers=(NO_STORE,),
            index=index,
            may_delete=actions_on(index, frame.caller, self._access.policy).delete,
            user=name.partition("/")[0],
            kind=kind,
            fields=fields_of(kind, index.config),
            foreign=list(foreign(kind, index.config)),
            offered=self._offered(view, frame),
            error="" if refusal is None else str(refusal),
            exposure=exposure,
            entered=Entered(sent),
        )

    def _offered(self, view: Reader, frame: Frame) -> list[str]:
        return sorted(index.name for index in view.indexes() if may_read(frame.caller, index))[:_MOST_OFFERED]


def _same(body: Json) -> Json:
    return body


def _kind(text: str) -> str:
    """Return the type of a new index; raise ``BadRequest`` for one that does not exist."""
    kind = text or _STAGE
    if kind not in KEYS:
        raise BadRequest(f"There is no index of the type {kind[:100]!r}.")
    return kind


def _kind_of(index: Index) -> str:
    return "mirror" if index.is_mirror else _STAGE
