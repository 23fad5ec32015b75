"""Edits of what is published: yanked files and releases (PEP 592), the status of projects (PEP 792), and removals.

=================================================  ====================  ===================================================
path                                               methods               body
=================================================  ====================  ===================================================
``/{user}/{index}/{project}/{version}/+yank``      ``PUT``, ``DELETE``   ``{"reason": "…"}`` or nothing
``/{user}/{index}/+f/{3}/{13}/{filename}/+yank``   ``PUT``, ``DELETE``   the same
``/{user}/{index}/{project}/+status``              ``GET``, ``PUT``,     ``{"status": "archived", "reason": "…"}``
                                                   ``DELETE``
=================================================  ====================  ===================================================

Callers who may remove something may yank it, and declare a project archived or deprecated.  Quarantine, which blocks every file
of a project, is set and lifted by callers who may change the index.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Concatenate, Final, ParamSpec

import attrs
from twisted.web.server import Request

from twistpi.model.changes import Change
from twistpi.model.errors import UnknownFile, file_gone, no_project, unknown_version
from twistpi.model.names import normalize_project
from twistpi.model.records import Index, Principal
from twistpi.model.releases import Release
from twistpi.rules.permissions import Action
from twistpi.rules.releases import (
    Found,
    check_markable,
    decide_file_removed,
    decide_project_removed,
    decide_release_removed,
    decide_status,
    decide_yank,
    read_status,
    read_yank,
)
from twistpi.view.read import Reader
from twistpi.web.access import Access
from twistpi.web.commits import Commits, Edit
from twistpi.web.replies import Reply, message_reply, result_reply
from twistpi.web.request import JsonSource, has_parameter, kept_body, read_json

_FORCE: Final = b"force"
"""The parameter with which an index that is not volatile lets go, too."""
_QUARANTINED: Final = "quarantined"
_Decide = Callable[[Reader, Index], Sequence[Change]]
_Arguments = ParamSpec("_Arguments")
_Target = tuple[Release, Collection[str] | None]
"""A release, and the names of those of its files that are meant; None for all."""


@attrs.define(eq=False)
class ReleaseEditsHandler:
    """Removes what is in an index; sets and removes yanks and statuses."""

    _access: Access
    _commits: Commits

    async def remove_file(self, request: Request, name: str, path: str) -> Reply:
        """``+f/…``: a distribution with its test results, one test result, or documentation; ``+e/…``: a file of a mirror."""
        return await self._made(request, self.file_removal, name, path, force=has_parameter(request, _FORCE))

    def file_removal(self, principal: Principal, name: str, path: str, *, force: bool) -> Edit:
        """Return how ``principal`` removes what is at ``path`` below the index ``name``."""

        def decide(view: Reader, index: Index) -> Sequence[Change]:
            found = Found(path, view.file_by_path(name, path), view.attachment_by_path(name, path), view.was_removed(name, path))
            return decide_file_removed(index, found, force=force)

        return self._edit(principal, name, decide, f"package '{name}/{path}' deleted")

    async def remove_release(self, request: Request, name: str, project: str, version: str) -> Reply:
        """``/{user}/{index}/{project}/{version}``: a release with all that belongs to it."""
        return await self._made(request, self.release_removal, name, project, version, force=has_parameter(request, _FORCE))

    def release_removal(self, principal: Principal, name: str, project: str, version: str, *, force: bool) -> Edit:
        """Return how ``principal`` removes a release with all that belongs to it."""
        normal = normalize_project(project)

        def decide(view: Reader, index: Index) -> Sequence[Change]:
            release, known = view.release(name, normal, version), view.project(name, normal)
            return decide_release_removed(index, normal, version, release, known, force=force)

        return self._edit(principal, name, decide, f"project {normal!r} version {version!r} deleted")

    async def remove_project(self, request: Request, name: str, project: str) -> Reply:
        """``/{user}/{index}/{project}``: a project with all its releases; of a mirror, all that is known and kept of it."""
        return await self._made(request, self.project_removal, name, project, force=has_parameter(request, _FORCE))

    def project_removal(self, principal: Principal, name: str, project: str, *, force: bool) -> Edit:
        """Return how ``principal`` removes a project with all its releases."""
        normal = normalize_project(project)

        def decide(view: Reader, index: Index) -> Sequence[Change]:
            return decide_project_removed(index, normal, exists=view.has_project(name, normal), force=force)

        return self._edit(principal, name, decide, f"project {normal} deleted from stage {name}")

    async def yank_release(self, request: Request, name: str, project: str, version: str) -> Reply:
        """``PUT``: yank every file of a release; ``DELETE``: not any more."""
        return await self._made(request, self.release_yank, name, project, version, body=_yank_of(request))

    def release_yank(self, principal: Principal, name: str, project: str, version: str, *, body: JsonSource | None) -> Edit:
        """Return how ``principal`` yanks every file of a release for the reason in ``body``; None: undoes that."""
        normal = normalize_project(project)

        def find(view: Reader) -> _Target:
            release = view.release(name, normal, version)
            if release is None:
                raise unknown_version(normal, version) if view.has_project(name, normal) else no_project(normal)
            return release, None

        return self._yank(principal, name, f"release {normal} {version}", find, body)

    async def yank_file(self, request: Request, name: str, path: str) -> Reply:
        """``PUT``: yank one file; ``DELETE``: not any more."""
        return await self._made(request, self.file_yank, name, path, body=_yank_of(request))

    def file_yank(self, principal: Principal, name: str, path: str, *, body: JsonSource | None) -> Edit:
        """Return how ``principal`` yanks one file for the reason in ``body``; None: undoes that."""
        filename = path.rpartition("/")[2]

        def find(view: Reader) -> _Target:
            known = view.file_by_path(name, path)
            release = None if known is None else view.release_of_file(name, known[0], filename)
            if release is None:
                raise file_gone(name, path) if view.was_removed(name, path) else UnknownFile(name, path)
            return release, (filename,)

        return self._yank(principal, name, f"file {filename}", find, body)

    async def show_status(self, request: Request, name: str, project: str) -> Reply:
        """The status of a project and the reason; both null if none was set."""
        normal = normalize_project(project)
        await self._access.index(request, name)
        known = self._access.reader.project(name, normal)
        if known is None:
            raise no_project(normal)
        return result_reply("projectstatus", {"status": known.header.status, "reason": known.header.status_reason})

    async def set_status(self, request: Request, name: str, project: str) -> Reply:
        """``PUT``: a project has this status; ``DELETE``: it has none any more."""
        body = None if request.method == b"DELETE" else _body(request)
        return await self._made(request, self.status_change, name, project, body=body)

    def status_change(self, principal: Principal, name: str, project: str, *, body: JsonSource | None) -> Edit:
        """Return how ``principal`` gives a project the status in ``body``, or none (None)."""
        normal = normalize_project(project)

        def decide(view: Reader, index: Index) -> Sequence[Change]:
            status, reason = (None, None) if body is None else read_status(body())
            known = view.project(name, normal)
            header = None if known is None else known.header
            if _QUARANTINED in (status, None if header is None else header.status):
                self._access.check(Action.MODIFY_INDEX, principal, index=index)
            return decide_status(index, normal, header, status, reason)

        done = "removed" if body is None else "set"
        return self._edit(principal, name, decide, f"status of project {normal} on {name} {done}")

    def _yank(
        self, principal: Principal, name: str, what: str, find: Callable[[Reader], _Target], body: JsonSource | None
    ) -> Edit:
        def decide(view: Reader, index: Index) -> Sequence[Change]:
            check_markable(index)
            yanked = False if body is None else read_yank(body())
            release, filenames = find(view)
            return decide_yank(index, release, filenames, yanked)

        done = "not yanked any more" if body is None else "yanked"
        return self._edit(principal, name, decide, f"{what} on {name} is {done}")

    def _edit(self, principal: Principal, name: str, decide: _Decide, message: str) -> Edit:
        """Return how ``principal``, who may remove something from the index ``name``, makes what ``decide`` returns."""

        def allowed(view: Reader) -> Sequence[Change]:
            return decide(view, self._access.allowed(Action.REMOVE, principal, view, name))

        return Edit(allowed, principal, message)

    async def _made(
        self,
        request: Request,
        edit: Callable[Concatenate[Principal, _Arguments], Edit],
        *arguments: _Arguments.args,
        **named: _Arguments.kwargs,
    ) -> Reply:
        """Make the edit of the caller."""
        principal = await self._access.principal(request)
        return message_reply(await self._commits.make(edit(principal, *arguments, **named)))


def _yank_of(request: Request) -> JsonSource | None:
    return None if request.method == b"DELETE" else _body(request)


def _body(request: Request) -> JsonSource:
    """Return what the body of ``request`` says: JSON, or None without any.  Raise ``BadRequest`` at once if it is broken."""
    body = kept_body(request)
    value = read_json(body) if body.strip() else None
    return lambda: value
