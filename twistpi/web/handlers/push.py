"""Pushes: a release goes from an index to another one of this server, or to another server.

Here nothing is copied: when everything about a push is known to be right, one entry says it.  What a mirror has not got yet is
fetched before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import attrs
from twisted.logger import Logger
from twisted.web.server import Request

from twistpi.blobs.address import BlobAddress, blob_address, metadata_address
from twistpi.model.changes import Change
from twistpi.model.errors import (
    FileNotHereYet,
    LoginNeeded,
    NoMetadata,
    PermissionDenied,
    UnknownFile,
    UnknownProject,
    UpstreamFailed,
)
from twistpi.model.records import NOTHING, Index, KnownFile, Principal
from twistpi.model.releases import Release
from twistpi.model.text import one_line
from twistpi.push.releases import TAKEN, Line, Pusher
from twistpi.push.repository import read_repository
from twistpi.rules.permissions import Action, is_allowed
from twistpi.rules.pushes import (
    ActionLog,
    ExternalPush,
    InternalPush,
    PushSource,
    PushTarget,
    Selection,
    checked_release,
    decide_push,
    mirrored_release,
    read_push,
    selected_docs,
    selected_files,
)
from twistpi.rules.uploads import is_volatile
from twistpi.view.read import Reader
from twistpi.web.access import Access, existing_index, project_status
from twistpi.web.commits import Commits, UploadStorage
from twistpi.web.components import MirrorServices
from twistpi.web.policies import Policies
from twistpi.web.replies import Reply, result_reply
from twistpi.web.request import json_body

CoreMetadata = tuple[str, int]
"""SHA-256 and size of core metadata."""

_log = Logger()


@attrs.define(eq=False)
class PushHandler:
    """Answers ``PUSH``, and a ``POST`` that is no upload, at ``/{user}/{index}``."""

    _access: Access
    _commits: Commits
    _storage: UploadStorage
    _mirrors: MirrorServices
    _pusher: Pusher
    _policies: Policies

    async def push(self, request: Request, name: str) -> Reply:
        """Push a release out of an index, whose bases do not count."""
        source = await self._access.index(request, name)
        wanted = read_push(json_body(request))
        principal = await self._access.principal(request)
        if isinstance(wanted, InternalPush):
            return result_reply("actionlog", await self.inside(source, wanted, principal), secret=True)
        lines = await self._outside(source, wanted, principal)
        return result_reply("actionlog", lines, 200 if lines[-1][0] in TAKEN else 502, secret=True)

    async def inside(self, source: Index, wanted: InternalPush, principal: Principal) -> ActionLog:
        """Push a release from ``source``, which ``principal`` may read, to another index of this server."""
        logs: list[ActionLog] = []
        metadata: dict[str, CoreMetadata] = {}

        def decide(view: Reader) -> Sequence[Change]:
            changes, lines = self.decided(view, source.name, wanted, principal, metadata)
            logs.append(lines)
            return changes

        if source.is_mirror:
            await self._learn(source, wanted.selection.project)
            with suppress(FileNotHereYet):  # whatever else speaks against it is said before anything is fetched
                decide(self._access.reader)
            metadata.update(await self._fetch(source, self._release(source, wanted.selection, principal), wanted.selection))
        await self._commits.commit(decide, principal)
        return logs[-1]

    def decided(
        self,
        view: Reader,
        source: str,
        wanted: InternalPush,
        principal: Principal,
        metadata: Mapping[str, CoreMetadata] = NOTHING,
    ) -> tuple[tuple[Change, ...], ActionLog]:
        """Return the changes of a push from the index ``source``, and the lines about them.  In any thread.

        Raise what speaks against it; ``FileNotHereYet`` where nothing does, but that files have to be fetched first.
        """
        found = self._source(view, source, wanted.selection, principal, metadata)
        release = checked_release(found, wanted.selection)
        target = self._target(view, wanted, principal, [file.known.link.filename for file in release.files])
        return decide_push(found, target, wanted.selection)

    async def _outside(self, source: Index, wanted: ExternalPush, principal: Principal) -> list[Line]:
        if principal.user is None:
            raise LoginNeeded("Log in to push to another server: this one asks others for its users only (Unauthorized).")
        if principal.token is not None:
            raise PermissionDenied("push to another server with an API token")
        repository = read_repository(wanted.url, wanted.username, wanted.password)
        selection = wanted.selection
        if source.is_mirror:
            await self._learn(source, selection.project)
            await self._fetch(source, self._release(source, selection, principal), selection)
        release = self._release(source, selection, principal)
        files, docs = selected_files(release, selection), selected_docs(release, selection)

        async def push() -> list[Line]:
            lines = await self._pusher.push(release, files, docs, repository, register=wanted.register_project)
            _log_push(principal, release, repository.host, lines)
            return lines

        # Half a release on the other server is of no use, so this goes on when the client leaves.
        return await self._storage.finish(push)

    async def _learn(self, index: Index, project: str) -> None:
        """Bring what the mirror ``index`` has of ``project``, if anything, into the view."""
        with suppress(UnknownProject):
            await self._mirrors.pages.ensure(index, project)

    def _release(self, source: Index, selection: Selection, principal: Principal) -> Release:
        return checked_release(self._source(self._access.reader, source.name, selection, principal, {}), selection)

    def _source(
        self, view: Reader, name: str, selection: Selection, principal: Principal, metadata: Mapping[str, CoreMetadata]
    ) -> PushSource:
        """Return the source of the release as it is now."""
        index = existing_index(view, name)
        self._access.check(Action.READ, principal, index=index)
        project = selection.project
        if index.is_mirror:
            known = view.project(name, project)
            offered = None if known is None else self._policies.apply(known, self._access.inheritance(name)).known
            release = mirrored_release(offered, selection.version, metadata)
        else:
            own = view.release(name, project, selection.version)
            release = None if own is None else self._policies.apply_to_release(own, self._access.inheritance(name))
        return PushSource(index, release, project_status(view, name, project))

    def _target(self, view: Reader, wanted: InternalPush, principal: Principal, filenames: Sequence[str]) -> PushTarget:
        """Return the target as it is now."""
        name, project = wanted.target, wanted.selection.project
        index = existing_index(view, name)
        if not is_allowed(Action.UPLOAD, principal, self._access.policy, index=index, project=project):
            raise LoginNeeded(f"user {principal.user!r} cannot upload to {name!r}")
        gone = {} if is_volatile(index) else {filename: view.removed_paths(name, filename) for filename in filenames}
        return PushTarget(index, view.releases(name, project), project_status(view, name, project), gone)

    async def _fetch(self, index: Index, release: Release, selection: Selection) -> Mapping[str, CoreMetadata]:
        """Fetch the selected files of ``release``, which ``index`` mirrors.

        Return, by file name, the metadata that was put beside files which the upstream lists without a digest.
        """
        beside: dict[str, CoreMetadata] = {}
        for file in selected_files(release, selection):
            known = await self._file(index, release.project, file.known.path)
            if known is None or not known.link.is_wheel:
                continue
            with suppress(NoMetadata):
                address = await self._mirrors.metadata.metadata(index, release.project, known)
                if known.link.sha256 is None:
                    beside[known.link.filename] = await self._put_beside(known, address)
        return beside

    async def _file(self, index: Index, project: str, path: str) -> KnownFile | None:
        """Return the file at ``path``, and have its bytes here; None if it went away."""
        known = self._known(index, path)
        if known is None:
            return None
        if known.sha256 is not None and await self._storage.is_here(blob_address(known.sha256, known.link.filename)):
            return known
        try:
            await self._mirrors.files.open(index, project, known).finished()
        except UnknownFile as error:
            raise UpstreamFailed(index.name, known.link.filename, "it lists the file, but has it no more") from error
        return self._known(index, path)

    def _known(self, index: Index, path: str) -> KnownFile | None:
        found = self._access.reader.file_by_path(index.name, path)
        return None if found is None else found[1]

    async def _put_beside(self, known: KnownFile, address: BlobAddress) -> CoreMetadata:
        """Copy core metadata beside the file: that of a mirror's file without a digest lies elsewhere."""
        assert known.sha256 is not None, "it was fetched"
        data: bytes = await self._storage.offload(self._read, address)
        return await self._storage.keep_bytes(metadata_address(blob_address(known.sha256, known.link.filename)), data)

    def _read(self, address: BlobAddress) -> bytes:
        with self._storage.blobs.open(address) as file:
            return file.read()


def _log_push(principal: Principal, release: Release, host: str, lines: Sequence[Line]) -> None:
    failed = [line for line in lines if line[0] not in TAKEN]
    reasons = one_line("; ".join(" ".join(map(str, line)) for line in failed))
    _log.info(
        "{by} pushed {project} {version} from {index} to {host}: {taken} of {count} requests succeeded{failed}.",
        by=principal.author,
        project=release.project,
        version=release.version,
        index=release.index,
        host=host,
        taken=len(lines) - len(failed),
        count=len(lines),
        failed=f"; not: {reasons}" if failed else "",
    )
