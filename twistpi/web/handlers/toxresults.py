"""Test results: posted to the file that was tested, and kept beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import attrs
from twisted.web.server import Request

from twistpi.blobs.address import BlobAddress, path_address
from twistpi.blobs.received import Received
from twistpi.model.changes import Change
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.model.records import NOBODY, Index, Principal
from twistpi.model.releases import TOXRESULT, AttachmentAdded, Release
from twistpi.rules.attachments import decide_toxresult, toxresult_filename, toxresults_of
from twistpi.rules.permissions import Action, is_allowed
from twistpi.view.read import Reader
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses
from twistpi.web.commits import Commits, UploadStorage
from twistpi.web.handlers.uploads import raw_path_parts
from twistpi.web.receiving.streamed_body import StreamedBody
from twistpi.web.replies import Reply, result_reply


@attrs.define(eq=False)
class ToxresultsHandler:
    """Answers ``POST`` at ``/{user}/{index}/+f/…``."""

    _access: Access
    _addresses: Addresses
    _commits: Commits
    _storage: UploadStorage
    _now: Callable[[], datetime]
    _reserved: set[BlobAddress] = attrs.field(init=False, factory=set)
    """Where results are about to be kept: two of one second must not have one name."""

    async def admit(self, request: Request, raw_path: bytes) -> Principal:
        """Return the caller that may post a test result with ``request``, of which only headers and path are here."""
        parts = raw_path_parts(request, raw_path, self._addresses)
        if len(parts) < 3:
            raise BadRequest("Bad request: only files take test results")
        principal = await self._access.principal(request)
        index, release = self._find(self._access.reader, "/".join(parts[:2]), "/".join(parts[2:]), principal)
        # Everybody can make a user, so that a login alone does not matter.
        if not is_allowed(Action.UPLOAD, principal, self._access.policy, index=index, project=release.project):
            size, most = await self._storage.offload(self._size_of_results, index.name), self._storage.anonymous_results
            if size >= most:
                raise TwistpiError(
                    f"The test results of {index.name} take {size} bytes; beyond {most} (the server's setting anonymous-results) "
                    "further ones are accepted only from users who may upload to it.",
                    403,
                )
        return principal

    def _size_of_results(self, name: str) -> int:
        """Called in any thread."""
        return self._access.reader.toxresults_size(name)

    async def post(self, request: Request, name: str, path: str) -> Reply:
        """Store a test result."""
        body = request.content
        assert isinstance(body, StreamedBody), "chosen by the path"
        principal = await body.admitted()
        content = await body.result()
        result = await self._storage.finish(lambda: self._store(name, path, content, principal))
        return result_reply("toxresultpath", f"{name}/{result.path}#sha256={result.sha256}", secret=True)

    async def _store(self, name: str, path: str, content: Received, principal: Principal) -> AttachmentAdded:
        _, release = self._find(self._access.reader, name, path, principal)
        async with self._place(release, path, content) as result:
            await self._storage.keep_at(content, path_address(result.path))

            def decide(view: Reader) -> Sequence[Change]:
                index, release = self._find(view, name, path, principal)
                return decide_toxresult(index, release, result)

            await self._commits.commit(decide, principal)
            return result

    @asynccontextmanager
    async def _place(self, release: Release, path: str, content: Received) -> AsyncIterator[AttachmentAdded]:
        """Reserve a file name for a result."""
        filename = path.rpartition("/")[2]
        number = len(toxresults_of(release, filename))
        while True:
            name = toxresult_filename(filename, self._now(), number)
            at = f"{path.rpartition('/')[0]}/{name}"
            result = AttachmentAdded(
                release.index, release.project, release.version, TOXRESULT, name, content.sha256, content.size, at, filename
            )
            address = path_address(result.path)
            if address not in self._reserved:
                self._reserved.add(address)
                try:
                    if not await self._storage.is_here(address):
                        yield result
                        return
                finally:
                    self._reserved.discard(address)
            number += 1

    def _find(self, view: Reader, name: str, path: str, principal: Principal) -> tuple[Index, Release]:
        """Return the index and the release of the tested file."""
        index = view.index(name)
        if index is not None:
            self._access.check(Action.READ, principal, index=index)
        # A caller with an API token may do what anybody may.
        if index is None or not any(
            is_allowed(Action.UPLOAD_TOXRESULT, one, self._access.policy, index=index) for one in (principal, NOBODY)
        ):
            raise TwistpiError(
                "No permission to upload tox results. You can use the devpi test --no-upload option to skip the upload.", 403
            )
        found = None if index.is_mirror else view.file_by_path(name, path)
        release = None if found is None else view.release_of_file(name, found[0], path.rpartition("/")[2])
        if found is None or release is None:
            raise TwistpiError(f"no release file found at {name}/{path}", 404)
        return index, release
