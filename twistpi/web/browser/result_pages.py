"""The pages of test results: all of a file, and a single one with what its commands printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.blobs.address import path_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.offload import Offload
from twistpi.mirror.files import FileService
from twistpi.model.errors import TwistpiError, UnknownFile, unknown_version
from twistpi.model.names import normalize_project
from twistpi.model.releases import TOXRESULT, Attachment, Release
from twistpi.rules.attachments import toxresults_of
from twistpi.rules.tox_results import LARGEST, ToxResult, parse_tox_result
from twistpi.view.read import KeptBlob
from twistpi.web.access import Access, project_status
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.browser.rendering import Renderer
from twistpi.web.policies import Attached, Policies
from twistpi.web.replies import Reply

_MOST: Final = 20
"""Results that one page reads: the newest."""

Results = list[tuple[Attachment, ToxResult | None]]
"""Results with what is in them, None for what cannot be read; the oldest first."""


@attrs.define(eq=False)
class ResultReader:
    """Reads test results."""

    _blobs: IBlobs
    _remote_blobs: FileService | None
    """Fetches results that another server has; None on a primary."""
    _offload: Offload

    async def of_release(self, release: Release) -> Results:
        """Return the newest results of all files of ``release``."""
        return await self.read([one for one in release.attachments if one.kind == TOXRESULT][-_MOST:])

    async def read(self, attachments: Sequence[Attachment]) -> Results:
        """Return ``attachments`` with what is in them."""
        for attachment in attachments:
            address = path_address(attachment.path)
            if self._remote_blobs is not None and await self._offload(self._blobs.find, address) is None:
                await self._remote_blobs.bring(KeptBlob(address.digits, address.filename, attachment.sha256, attachment.size))
        return await self._offload(self._read, attachments)

    def _read(self, attachments: Sequence[Attachment]) -> Results:
        return [(attachment, self._parsed(attachment)) for attachment in attachments]

    def _parsed(self, attachment: Attachment) -> ToxResult | None:
        if attachment.size > LARGEST:
            return None
        try:
            with self._blobs.open(path_address(attachment.path)) as file:
                return parse_tox_result(file.read())
        except FileNotFoundError:
            return None


@attrs.define(eq=False)
class ResultPages:
    """Makes ``…/+toxresults/{file}`` and ``…/+toxresults/{file}/{result}``."""

    _access: Access
    _frames: Frames
    _results: ResultReader
    _renderer: Renderer
    _offload: Offload
    _policies: Policies

    async def of_file(self, request: Request, name: str, project: str, version: str, filename: str) -> Reply:
        """All results of a file.  Raises what keeps the caller from reading the index, and ``TwistpiError``."""
        frame = await self._frames.of(request)
        release, attachments = await self._find(request, name, project, version, filename)
        results = await self._results.read(attachments[-_MOST:])
        older = len(attachments) - len(results)
        return await self._offload(self._page, frame, release, filename, results[::-1], older)

    async def single(self, request: Request, name: str, project: str, version: str, filename: str, result: str) -> Reply:
        """One result.  Raises the same."""
        frame = await self._frames.of(request)
        release, attachments = await self._find(request, name, project, version, filename)
        found = [one for one in attachments if one.filename == result]
        if not found:
            raise TwistpiError(f"{filename} of {name} has no test result {result}.", 404)
        results = await self._results.read(found)
        return await self._offload(self._single_page, frame, release, filename, results[0])

    async def _find(
        self, request: Request, name: str, project: str, version: str, filename: str
    ) -> tuple[Release, tuple[Attachment, ...]]:
        await self._access.index(request, name)
        normal, view = normalize_project(project), self._access.reader
        release = view.release(name, normal, version)
        if release is None or project_status(view, name, normal) == "quarantined":
            raise unknown_version(normal, version)
        if all(file.known.link.filename != filename for file in release.files):
            raise UnknownFile(name, filename)
        policies = self._access.inheritance(name).policies.get(name, ())
        self._policies.check_attachment(request, Attached(name, normal, release.version, filename), policies)
        return release, toxresults_of(release, filename)

    def _page(self, frame: Frame, release: Release, filename: str, results: Results, older: int) -> Reply:
        return self._renderer.page(frame, "toxresults.html", release=release, filename=filename, results=results, older=older)

    def _single_page(self, frame: Frame, release: Release, filename: str, found: tuple[Attachment, ToxResult | None]) -> Reply:
        attachment, result = found
        return self._renderer.page(
            frame, "toxresult.html", release=release, filename=filename, attachment=attachment, result=result
        )
