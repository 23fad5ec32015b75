"""Uploads: distributions, registrations and documentation, as forms whose files came in while they were read.

What is refused is refused as early as it can be: before the body, before the archive is looked into, before anything becomes a
blob; and once more by the writer, for what came in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs
from twisted.web.server import Request

from twistpi.archives.inspect import Inspected, inspect
from twistpi.blobs.address import blob_address, metadata_address, provenance_address
from twistpi.blobs.received import Received
from twistpi.model.changes import Change
from twistpi.model.errors import BadRequest
from twistpi.model.names import WHEEL, normalize_project
from twistpi.model.records import Index, Json, Principal
from twistpi.model.releases import LIST_FIELDS, TEXT_FIELDS
from twistpi.rules.attachments import Docs, decide_docs_uploaded, docs_filename, read_docs
from twistpi.rules.attestations import provenance_of
from twistpi.rules.permissions import Action
from twistpi.rules.upload_checks import check_upload_filename, compare, merge_metadata, read_metadata, requires_python
from twistpi.rules.uploads import IDENTICAL, Upload, decide_file_uploaded, decide_registered, is_volatile
from twistpi.web.access import Access, project_status, stage_index
from twistpi.web.addresses import Addresses, outside_prefix
from twistpi.web.commits import Commits, UploadStorage
from twistpi.web.handlers.push import PushHandler
from twistpi.web.paths import RequestRefused, segments_of, without_prefix
from twistpi.web.receiving.forms import Form, read_urlencoded
from twistpi.web.receiving.streamed_body import StreamedBody
from twistpi.web.replies import NO_STORE, Reply, length_of
from twistpi.web.request import is_form, kept_body

if TYPE_CHECKING:
    from twistpi.view.read import Reader


@attrs.define(eq=False)
class Admission:
    """Checks who may upload, in the order of the devpi protocol: the index has to exist before a login is asked for."""

    _access: Access
    _addresses: Addresses

    async def admit(self, request: Request, raw_path: bytes) -> Principal:
        """Return the caller that may upload with ``request``, of which only headers and path (as sent, without query) are here.

        Raises ``UnknownIndex``, ``NotFound``, ``LoginNeeded``, ``PermissionDenied``, and ``BadRequest`` for what is no path of
        an index: nothing of such a request may reach the disk, whatever its handler does with it.
        """
        parts = self.parts(request, raw_path)
        if len(parts) != 2 or not all(parts) or any("+" in part for part in parts):
            raise BadRequest("Bad request: only indexes take uploads")
        return await self.uploader(request, "/".join(parts))

    def parts(self, request: Request, raw_path: bytes) -> list[str]:
        """Return the segments of a path as sent, without the prefix of the outside URL and a slash at the end; ``BadRequest``."""
        try:
            segments = segments_of(raw_path.decode("latin-1"))
        except RequestRefused as refusal:
            raise BadRequest(f"Bad request: {refusal.reason}") from None
        parts = [part.decode() for part in without_prefix(segments, outside_prefix(request, self._addresses))]
        if len(parts) > 1 and not parts[-1]:
            parts.pop()
        return parts

    async def uploader(self, request: Request, name: str) -> Principal:
        """Return the caller if they may upload to the index ``name``; raise what ``admit`` raises."""
        stage_index(self._access.reader, name)
        principal = await self._access.principal(request)
        # What an API token for one project alone is used for is known only when the form is read.
        self.may_upload(
            principal, stage_index(self._access.reader, name), None if principal.token is None else principal.token.project
        )
        return principal

    def may_upload(self, principal: Principal, index: Index, project: str | None) -> None:
        """Raise ``LoginNeeded`` or ``PermissionDenied`` when ``principal`` may not upload to this ``project`` (normalised)."""
        self._access.check(Action.UPLOAD, principal, index=index, project=project)


_ACTION: Final = ":action"
_ATTESTATIONS: Final = "attestations"
_TEXTS: Final = frozenset({*TEXT_FIELDS, *LIST_FIELDS, _ACTION, "sha256_digest", "md5_digest", "blake2_256_digest"})
"""The fields that say something only when they come as text."""


@attrs.frozen
class _Distribution:
    """A file that was inspected and is valid."""

    upload: Upload
    """What is to be said of it, but for what lies beside it."""
    content: Received
    metadata: bytes | None
    """The core metadata that is served beside it: a wheel's alone, since that of others may change when they are built."""
    provenance: bytes | None
    """The provenance object."""


@attrs.define(eq=False)
class UploadHandler(Admission):
    """Answers ``POST`` and ``PUSH`` at ``/{user}/{index}``."""

    _commits: Commits
    _storage: UploadStorage
    _push: PushHandler

    async def submit(self, request: Request, name: str) -> Reply:
        """Handle a form with an ``:action`` as an upload, everything else as a push.

        Raises ``UnknownIndex``, ``NotFound``, ``LoginNeeded``, ``PermissionDenied``, ``BadRequest``, the refusals of forms,
        and those of each action.
        """
        form = await self._form(request)
        action = None if form is None else form.first(_ACTION)
        if form is None or not action:
            return await self._push.push(request, name)
        principal = await self.uploader(request, name)
        for field in _TEXTS & form.attached.keys():
            form.all(field)  # refuses it
        if action == "submit":
            return await self._register(request, name, principal, form)
        if action not in ("file_upload", "doc_upload"):
            raise BadRequest(f"action {action[:100]!r} not supported")
        if form.content is None:
            raise BadRequest("content file field not found")
        upload = self._upload_file if action == "file_upload" else self._upload_docs
        return await upload(request, name, principal, form, form.content)

    async def _form(self, request: Request) -> Form | None:
        """Return the form in the body of ``request``; None if it is none.  A form with files waits for permission first."""
        if isinstance(request.content, StreamedBody):
            await request.content.admitted()
            return await request.content.form()
        return read_urlencoded(kept_body(request)) if request.method == b"POST" and is_form(request) else None

    async def _register(self, request: Request, name: str, principal: Principal, form: Form) -> Reply:
        metadata = read_metadata(form.fields)
        project = normalize_project(metadata["name"])

        def decide(view: Reader) -> Sequence[Change]:
            index = stage_index(view, name)
            self.may_upload(principal, index, project)
            release = view.release(name, project, metadata["version"])
            return decide_registered(index, release, project, project_status(view, name, project), metadata)

        await self._commits.commit(decide, principal)
        return self._accept(request)

    async def _upload_file(self, request: Request, name: str, principal: Principal, form: Form, content: Received) -> Reply:
        given = read_metadata(form.fields)
        check_upload_filename(form.filename, given["name"], given["version"])
        self.may_upload(principal, stage_index(self._access.reader, name), normalize_project(given["name"]))
        file = await self._distribution(form, content, given)
        changes = self._decide(name, principal, file.upload)(self._access.reader)
        if changes:
            changes = await self._storage.finish(lambda: self._store(name, principal, file))
        is_same = not changes and not is_volatile(stage_index(self._access.reader, name))
        return self._accept(request, IDENTICAL if is_same else None)

    async def _distribution(self, form: Form, content: Received, given: Mapping[str, Json]) -> _Distribution:
        """Return the file of ``form``, inspected."""
        filename = form.filename
        # What was broken on the way is better told so than by what is wrong with the pieces.
        compare(form.fields, filename, content, None)
        inspected: Inspected = await self._storage.offload(_inspect, content, filename)
        found = None if inspected.core is None else inspected.core.fields
        compare(form.fields, filename, content, found)
        upload = Upload(
            normalize_project(given["name"]),
            given["version"],
            filename,
            content.sha256,
            content.size,
            merge_metadata(given, found),
            requires_python=requires_python(given, found),
        )
        metadata = inspected.metadata if inspected.kind == WHEEL else None
        return _Distribution(upload, content, metadata, provenance_of(form.texts(_ATTESTATIONS), filename, content.sha256))

    def _decide(self, name: str, principal: Principal, upload: Upload) -> Callable[[Reader], Sequence[Change]]:
        def decide(view: Reader) -> Sequence[Change]:
            index = stage_index(view, name)
            self.may_upload(principal, index, upload.project)
            gone = () if is_volatile(index) else view.removed_paths(name, upload.filename)
            release = view.release(name, upload.project, upload.version)
            holder = view.release_of_file(name, upload.project, upload.filename)
            return decide_file_uploaded(
                index, release, project_status(view, name, upload.project), upload, holder=holder, gone=gone
            )

        return decide

    async def _store(self, name: str, principal: Principal, file: _Distribution) -> Sequence[Change]:
        """Store the blobs, then commit the entry."""
        upload, filename = file.upload, file.upload.filename
        await self._storage.keep(file.content, filename)
        if file.metadata is not None:
            address = metadata_address(blob_address(upload.sha256, filename))
            kept = await self._storage.keep_bytes(address, file.metadata)
            upload = attrs.evolve(upload, metadata_sha256=kept.sha256, metadata_size=kept.size)
        if file.provenance is not None:
            address = provenance_address(hashlib.sha256(file.provenance).hexdigest(), filename)
            kept = await self._storage.keep_bytes(address, file.provenance)
            upload = attrs.evolve(upload, provenance_sha256=kept.sha256, provenance_size=kept.size)
        return await self._commits.commit(self._decide(name, principal, upload), principal)

    async def _upload_docs(self, request: Request, name: str, principal: Principal, form: Form, content: Received) -> Reply:
        spelled = read_metadata({**form.fields, "version": ("0",)})["name"]
        project = normalize_project(spelled)
        _, version = read_docs(form.fields, self._access.reader.releases(name, project))
        filename = docs_filename(project, version)
        docs = Docs(spelled, version, form.filename, content.sha256, content.size)

        def decide(view: Reader) -> Sequence[Change]:
            index = stage_index(view, name)
            self.may_upload(principal, index, project)
            release = view.release(name, project, version)
            return decide_docs_uploaded(index, release, project_status(view, name, project), docs)

        async def store() -> None:
            await self._storage.keep(content, filename)
            await self._commits.commit(decide, principal)

        if decide(self._access.reader):
            await self._storage.finish(store)
        return self._accept(request)

    def _accept(self, request: Request, reason: str | None = None) -> Reply:
        """Answer with exactly 200: the devpi client takes every other code, also 201 and 204, for a failure."""
        return Reply(200, (length_of(b""), NO_STORE), b"", reason)


def _inspect(content: Received, filename: str) -> Inspected:
    """Blocking."""
    with content.open() as file:
        return inspect(file, filename, content.size)
