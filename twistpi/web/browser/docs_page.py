"""Documentation in a frame, below the header of the site.

The frame keeps what was uploaded away from the server: it has no origin, so its scripts see no more than those of other sites.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.model.names import normalize_project
from twistpi.rules.attachments import age_of
from twistpi.web.access import Access
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.browser.rendering import Renderer
from twistpi.web.handlers.docs import SANDBOX, DocsFile, DocsHandler, asked_path, choose_version, to_normalized
from twistpi.web.replies import Reply
from twistpi.web.request import query_of

_WORDS: Final = ("latest", "stable")


@attrs.define(eq=False)
class DocsPage:
    """Makes ``/{user}/{index}/{project}/{version}/+d/{path}``."""

    _access: Access
    _docs: DocsHandler
    _frames: Frames
    _renderer: Renderer
    _offload: Offload

    async def show(self, request: Request, name: str, project: str, version: str, path: str) -> Reply:
        """The file at ``path`` of the documentation, in a frame.  Raises what ``DocsHandler.find`` raises."""
        elsewhere = to_normalized(request, project, version, "+d", path)
        if elsewhere is not None:
            return elsewhere
        frame, normal = await self._frames.of(request), normalize_project(project)
        found = await self._docs.find(request, name, normal, version, asked_path(request, path))
        return await self._offload(self._build, frame, name, normal, version, found, query_of(request))

    def _build(self, frame: Frame, name: str, project: str, asked: str, found: DocsFile, query: str) -> Reply:
        chosen = [(word, choose_version(found.versions, word)) for word in _WORDS]
        token = self._docs.token_for(frame.caller, name, project, found.version)
        return self._renderer.page(
            frame,
            "docs.html",
            folder="+doc" if token is None else f"+doc-for/{token}",
            index=name,
            project=project,
            version=found.version,
            path=found.path,
            query=query,
            others=[(word, other) for word, other in chosen if other not in (None, found.version)],
            is_outdated=asked in _WORDS and self._is_outdated(name, project, asked, found.version),
            sandbox=SANDBOX,
        )

    def _is_outdated(self, name: str, project: str, asked: str, version: str) -> bool:
        """Whether there is a release that is newer than the documentation which ``latest`` or ``stable`` stands for."""
        releases = [release.version for release in self._access.reader.releases(name, project)]
        newest = choose_version(releases, asked)
        return newest is not None and age_of(newest) != age_of(version)
