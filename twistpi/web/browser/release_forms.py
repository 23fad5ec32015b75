"""Changing what is published, from the pages: removals, yanks, the status of projects, and asking an upstream now."""

from __future__ import annotations

from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.model.names import normalize_project
from twistpi.model.records import Index, Json, Principal
from twistpi.rules.releases import STATUSES
from twistpi.rules.uploads import is_volatile
from twistpi.view.read import Reader
from twistpi.web.access import Access
from twistpi.web.browser.confirmation import Confirmations, Question
from twistpi.web.browser.forms import Forms, Sent
from twistpi.web.browser.rendering import segment
from twistpi.web.commits import Edit
from twistpi.web.handlers.release_edits import ReleaseEditsHandler
from twistpi.web.project_sources import ProjectSources
from twistpi.web.replies import Reply
from twistpi.web.request import JsonSource

_NOT_VOLATILE: Final = "This index keeps what was published (it is not volatile). Remove it all the same."
_STATUS_WORDS: Final = {
    "active": "It is maintained; the same as no status.",
    "archived": "Nothing more will come. It can be installed, but nothing can be uploaded.",
    "deprecated": "Something else is to be used instead.",
    "quarantined": "It is thought to be unsafe: no file of it can be had.",
}


@attrs.define(eq=False)
class ReleaseForms:
    """Answers ``+delete``, ``+yank``, ``+status`` and ``+refresh`` below projects, releases and files."""

    _access: Access
    _forms: Forms
    _confirmations: Confirmations
    _edits: ReleaseEditsHandler
    _sources: ProjectSources

    async def remove_project(self, request: Request, name: str, project: str) -> Reply:
        """Remove a project with all its releases."""
        index = await self._index(request, name)
        removed = f"Remove {project} from {name}?"
        question = Question(
            title=f"Forget what is stored of {project}?" if index.is_mirror else removed,
            lead="It comes again from the upstream." if index.is_mirror else "Files that were published cannot be brought back.",
            button="Forget it" if index.is_mirror else "Remove the project",
            back=_path(name, project),
            after=lambda _: _path(name),
            force=_force(index),
        )

        def edit(sender: Principal, sent: Sent | None) -> Edit:
            return self._edits.project_removal(sender, name, project, force=_is_forced(sent))

        return await self._confirmations.answer(request, question, edit)

    async def remove_release(self, request: Request, name: str, project: str, version: str) -> Reply:
        """Remove a release with all that belongs to it."""
        index = await self._index(request, name)
        question = Question(
            title=f"Fetch the files of {project} {version} again?" if index.is_mirror else f"Remove {project} {version}?",
            lead="What is stored is thrown away." if index.is_mirror else f"It is on {name}. It cannot be brought back.",
            button="Fetch again" if index.is_mirror else "Remove the release",
            back=_path(name, project, version),
            after=lambda _: _path(name, project, version) if index.is_mirror else self._left(name, project),
            force=_force(index),
        )

        def edit(sender: Principal, sent: Sent | None) -> Edit:
            return self._edits.release_removal(sender, name, project, version, force=_is_forced(sent))

        return await self._confirmations.answer(request, question, edit)

    async def remove_file(self, request: Request, name: str, path: str) -> Reply:
        """Remove a file, or the stored bytes of a mirrored one."""
        index = await self._index(request, name)
        back, project = self._page_of(self._access.reader, name, path)
        filename = path.rpartition("/")[2]
        question = Question(
            title=f"Fetch {filename} again?" if index.is_mirror else f"Remove {filename}?",
            lead="What is stored is thrown away." if index.is_mirror else f"It is on {name}. It cannot be brought back.",
            button="Fetch again" if index.is_mirror else "Remove the file",
            back=back,
            after=lambda _: back if project is None or index.is_mirror else self._left(name, project),
            force=_force(index),
        )

        def edit(sender: Principal, sent: Sent | None) -> Edit:
            return self._edits.file_removal(sender, name, path, force=_is_forced(sent))

        return await self._confirmations.answer(request, question, edit)

    async def yank_release(self, request: Request, name: str, project: str, version: str) -> Reply:
        """Yank every file of a release, change the reason, or undo that."""
        await self._index(request, name)
        release = self._access.reader.release(name, normalize_project(project), version)
        marks = [] if release is None else [file.known.link.yanked for file in release.files]

        question = _yank_question(f"{project} {version}", _path(name, project, version), marks)

        def edit(sender: Principal, sent: Sent | None) -> Edit:
            return self._edits.release_yank(sender, name, project, version, body=_reason(sent, question))

        return await self._confirmations.answer(request, question, edit)

    async def yank_file(self, request: Request, name: str, path: str) -> Reply:
        """Yank one file, change the reason, or undo that."""
        await self._index(request, name)
        found = self._access.reader.file_by_path(name, path)
        back, _project = self._page_of(self._access.reader, name, path)

        question = _yank_question(path.rpartition("/")[2], back, [] if found is None else [found[1].link.yanked])

        def edit(sender: Principal, sent: Sent | None) -> Edit:
            return self._edits.file_yank(sender, name, path, body=_reason(sent, question))

        return await self._confirmations.answer(request, question, edit)

    async def set_status(self, request: Request, name: str, project: str) -> Reply:
        """Give a project a status, or take it away."""
        index = await self._index(request, name)
        known = self._access.reader.project(name, normalize_project(project))
        header = None if known is None else known.header
        question = Question(
            title=f"Status of {project}",
            lead="Installers and pages show it (PEP 792).",
            button="Set the status",
            back=_path(name, project),
            template="status_form.html",
            values={
                "statuses": [(status, _STATUS_WORDS[status]) for status in STATUSES],
                "present": "" if header is None else header.status or "",
                "reason": "" if header is None else header.status_reason or "",
            },
        )

        def edit(sender: Principal, sent: Sent | None) -> Edit:
            if sent is None:  # nothing is decided before something is entered, but that it may be
                return self._edits.status_change(
                    sender, index.name, project, body=lambda: _present(self._access.reader, name, project)
                )
            return self._edits.status_change(sender, name, project, body=_status(sent))

        return await self._confirmations.answer(request, question, edit)

    async def refresh(self, request: Request, name: str, project: str) -> Reply:
        """Ask the upstream for a project now."""
        self._forms.sent(request)
        normal = normalize_project(project)
        await self._sources.refresh(await self._access.visibility(request, name), normal)
        return self._forms.done(request, _path(name, normal), "The upstream was asked just now.")

    async def _index(self, request: Request, name: str) -> Index:
        """Return the index ``name``; raise what keeps the reader, or the sender of the form, from reading it."""
        if request.method == b"POST":
            self._forms.sent(request)
        return await self._access.index(request, name)

    def _left(self, name: str, project: str) -> str:
        """Return the page of what a removal left of a project: the project, or only the index."""
        has_project = self._access.reader.has_project(name, normalize_project(project))
        return _path(name, project) if has_project else _path(name)

    def _page_of(self, view: Reader, name: str, path: str) -> tuple[str, str | None]:
        """Return the page with the file at ``path``, and its project; None if there is none."""
        found = view.file_by_path(name, path)
        if found is None:
            return _path(name), None
        release = view.release_of_file(name, found[0], found[1].link.filename)
        return _path(name, found[0]) if release is None else _path(name, found[0], release.version), found[0]


def _path(name: str, *parts: str) -> str:
    return "/" + "/".join((name, *map(segment, parts)))


def _force(index: Index) -> str:
    return "" if is_volatile(index) else _NOT_VOLATILE


def _is_forced(sent: Sent | None) -> bool:
    return sent is None or sent.is_set("force")


def _reason(sent: Sent | None, question: Question) -> JsonSource | None:
    if sent is not None and sent.is_set("undo"):
        return None
    body: Json = {"reason": question.values["reason"] if sent is None else sent.text("reason")}
    return lambda: body


def _yank_question(what: str, back: str, marks: list[bool | str]) -> Question:
    is_yanked = any(mark is not False for mark in marks)
    return Question(
        title=f"{'The yank of' if is_yanked else 'Yank'} {what}",
        lead="Installers do not choose a yanked file unless exactly its version is asked for (PEP 592). It stays where it is.",
        button="Change the reason" if is_yanked else "Yank",
        back=back,
        template="yank_form.html",
        values={"reason": next((mark for mark in marks if isinstance(mark, str)), "")},
        undo="Undo the yank" if is_yanked else "",
    )


def _status(sent: Sent) -> JsonSource | None:
    status = sent.text("status")
    body: Json = {"status": status, "reason": sent.text("reason")}
    return (lambda: body) if status else None


def _present(view: Reader, name: str, project: str) -> Json:
    known = view.project(name, normalize_project(project))
    return {} if known is None else {"status": known.header.status, "reason": known.header.status_reason}
