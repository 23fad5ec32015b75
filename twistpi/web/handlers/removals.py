"""Removals: files, releases and projects that leave an index, and test results and documentation with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
from twisted.web.server import Request

from twistpi.model.changes import Change
from twistpi.model.names import normalize_project
from twistpi.rules.permissions import Action
from twistpi.rules.releases import (
    Found,
    decide_file_removed,
    decide_project_removed,
    decide_release_removed,
    file_removed_message,
    project_removed_message,
    release_removed_message,
)
from twistpi.web.access import Access
from twistpi.web.commits import Commits
from twistpi.web.replies import Responder, message_reply
from twistpi.web.request import has_parameter

if TYPE_CHECKING:
    from twistpi.view.read import Reader

_FORCE = b"force"
"""The parameter with which an index that is not volatile lets go, too."""


@attrs.define(eq=False)
class RemovalHandler:
    """Answers ``DELETE`` of what is in an index.

    Every method raises ``Forbidden``, and what the rule of its kind raises.
    """

    _access: Access
    _commits: Commits
    _responder: Responder

    async def digest_file(self, request: Request, user: str, index: str, three: str, thirteen: str, filename: str) -> bytes:
        """``+f/{3}/{13}/{filename}``: a distribution with its test results, one test result, or documentation."""
        return await self._file(request, f"{user}/{index}", f"+f/{three}/{thirteen}/{filename}")

    async def external_file(self, request: Request, user: str, index: str, folder: str, filename: str) -> bytes:
        """``+e/{folder}/{filename}``: a file of a mirror."""
        return await self._file(request, f"{user}/{index}", f"+e/{folder}/{filename}")

    async def release(self, request: Request, user: str, index: str, project: str, version: str) -> bytes:
        """``/{user}/{index}/{project}/{version}``: a release with all that belongs to it."""
        principal = await self._access.principal(request)
        name, normal = f"{user}/{index}", normalize_project(project)
        force = has_parameter(request, _FORCE)

        def decide(view: Reader) -> Sequence[Change]:
            found = self._access.allowed(Action.REMOVE, principal, view, name)
            release = view.release(name, normal, version)
            return decide_release_removed(found, normal, version, release, view.project(name, normal), force=force)

        await self._commits.commit(decide, principal)
        return self._responder.put(request, message_reply(release_removed_message(normal, version)))

    async def project(self, request: Request, user: str, index: str, project: str) -> bytes:
        """``/{user}/{index}/{project}``: a project with all its releases; of a mirror, all that is known and kept of it."""
        principal = await self._access.principal(request)
        name, normal = f"{user}/{index}", normalize_project(project)
        force = has_parameter(request, _FORCE)

        def decide(view: Reader) -> Sequence[Change]:
            found = self._access.allowed(Action.REMOVE, principal, view, name)
            return decide_project_removed(found, normal, exists=view.has_project(name, normal), force=force)

        await self._commits.commit(decide, principal)
        return self._responder.put(request, message_reply(project_removed_message(name, normal)))

    async def _file(self, request: Request, name: str, path: str) -> bytes:
        principal = await self._access.principal(request)
        force = has_parameter(request, _FORCE)

        def decide(view: Reader) -> Sequence[Change]:
            index = self._access.allowed(Action.REMOVE, principal, view, name)
            found = Found(path, view.file_by_path(name, path), view.attachment_by_path(name, path), view.was_removed(name, path))
            return decide_file_removed(index, found, force=force)

        await self._commits.commit(decide, principal)
        return self._responder.put(request, message_reply(file_removed_message(name, path)))
