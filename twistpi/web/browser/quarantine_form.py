"""Quarantine by clicking: ``+quarantine`` below a project or a release asks, and changes the key of the index."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.web.server import Request

from twistpi.model.changes import Change
from twistpi.model.names import normalize_project, parsed_version
from twistpi.model.records import Json, Principal
from twistpi.rules.permissions import Action
from twistpi.rules.quarantine import held, parse_quarantined, to_quarantine, to_release
from twistpi.rules.requirements import Requirement
from twistpi.view.read import Reader
from twistpi.web.access import Access
from twistpi.web.browser.confirmation import Confirmations, Question
from twistpi.web.browser.forms import Sent
from twistpi.web.browser.rendering import segment
from twistpi.web.commits import Edit
from twistpi.web.handlers.indexes import IndexesHandler
from twistpi.web.replies import Reply


@attrs.define(eq=False)
class QuarantineForm:
    """Puts projects and versions into quarantine, and takes them out of it."""

    _access: Access
    _confirmations: Confirmations
    _indexes: IndexesHandler

    async def project(self, request: Request, name: str, project: str) -> Reply:
        """All versions of a project."""
        normal = normalize_project(project)
        return await self._answer(request, name, Requirement(normal), f"/{name}/{segment(normal)}")

    async def release(self, request: Request, name: str, project: str, version: str) -> Reply:
        """One version of a project."""
        normal = normalize_project(project)
        parsed = parsed_version(version)
        requirement = parse_quarantined(f"{normal}==={version}" if parsed is None else f"{normal}=={parsed}")
        return await self._answer(request, name, requirement, f"/{name}/{segment(normal)}/{segment(version)}")

    async def _answer(self, request: Request, name: str, requirement: Requirement, back: str) -> Reply:
        index = await self._access.index(request, name)
        items = held(index, requirement)
        question = Question(
            title=f"Quarantine of {requirement}",
            lead=f"On {name} and on all indexes that inherit from it; of mirrors as well as uploads.",
            button="Change the reason" if items else "Put into quarantine",
            back=back,
            template="yank_form.html",
            values={"reason": items[0].partition(" ")[2] if items else ""},
            undo="Release it" if items else "",
        )

        def edit(sender: Principal, sent: Sent | None) -> Edit:
            is_release = sent is not None and sent.is_set("undo")

            def decide(view: Reader) -> Sequence[Change]:
                found = self._access.allowed(Action.MODIFY_INDEX, sender, view, name)
                reason = "" if sent is None else sent.text("reason")
                body: Json = to_release(found, requirement) if is_release else to_quarantine(found, requirement, reason)
                return self._indexes.modification(request, sender, name, lambda: body).decide(view)

            done = "is not in quarantine any more" if is_release else "is in quarantine"
            return Edit(decide, sender, f"{requirement} {done}")

        return await self._confirmations.answer(request, question, edit)
