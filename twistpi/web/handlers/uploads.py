"""Uploads: distributions, registrations and documentation, as forms whose files came in while they were read.

What is refused is refused as early as it can be: before the body, before the archive is looked into, before anything becomes a
blob; and once more by the writer, for what came in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.web.server import Request

from twistpi.archives.inspect import Inspected, inspect, inspect_docs
from twistpi.blobs.address import blob_address, metadata_address, provenance_address
from twistpi.blobs.received import Received
from twistpi.model.changes import Change
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.model.names import WHEEL, kind_of_filename, normalize_project
from twistpi.model.records import Index, Json, Principal
from twistpi.model.releases import DOCZIP, LIST_FIELDS, TEXT_FIELDS, AttachmentAdded, FileUploaded
from twistpi.rules.attachments import decide_docs_uploaded, docs_filename, read_docs
from twistpi.rules.attestations import provenance_of
from twistpi.rules.permissions import Action
from twistpi.rules.upload_checks import (
    NONE,
    STRICT,
    check_digests,
    check_form,
    check_upload_filename,
    merge_metadata,
    read_metadata,
    requires_python,
    upload_checks_of,
)
from twistpi.rules.uploads import IDENTICAL, decide_file_uploaded, decide_registered, is_volatile, uploaded_path
from twistpi.view.read import Reader
from twistpi.web.access import Access, project_status, stage_index
from twistpi.web.addresses import Addresses, path_parts
from twistpi.web.commits import Commits, UploadStorage
from twistpi.web.handlers.push import PushHandler
from twistpi.web.receiving.forms import Form, read_urlencoded
from twistpi.web.receiving.streamed_body import StreamedBody
from twistpi.web.replies import NO_STORE, Reply, length_of
from twistpi.web.request import is_form, kept_body
from twistpi.web.token_uses import TokenUses

_ACTION: Final = ":action"
_ATTESTATIONS: Final = "attestations"
_TEXTS: Final = frozenset({*TEXT_FIELDS, *LIST_FIELDS, _ACTION, "sha256_digest", "md5_digest", "blake2_256_digest"})
"""The fields that say something only when they come as text."""


def raw_path_parts(request: Request, raw_path: bytes, addresses: Addresses) -> list[str]:
    """Return the segments of a path as sent, without the outside URL's prefix and a slash at the end; raise ``BadRequest``."""
    try:
        parts = path_parts(request, raw_path.decode("latin-1"), addresses)
    except TwistpiError as refusal:
        raise BadRequest(f"Bad request: {refusal}") from None
    if len(parts) > 1 and not parts[-1]:
        parts.pop()
    return parts


@attrs.frozen
class _Distribution:
    """A file that was inspected and is valid."""

    uploaded: FileUploaded
    """What is to be said of it, but for what lies beside it."""
    described: Mapping[str, Json]
    """The metadata of the release, with empty fields."""
    content: Received
    metadata: bytes | None
    """The core metadata that is served beside it: a wheel's alone, since that of others may change when they are built."""
    provenance: bytes | None
    """The provenance object."""


@attrs.define(eq=False)
class UploadHandler:
    """Answers ``POST`` and ``PUSH`` at ``/{user}/{index}``."""

    _access: Access
    _addresses: Addresses
    _commits: Commits
    _storage: UploadStorage
    _push: PushHandler
    _uses: TokenUses

    async def admit(self, request: Request, raw_path: bytes) -> Principal:
        """Return the caller that may upload with ``request``, of which only headers and path (as sent, no query) are here."""
        # Nothing of a request for another path may reach the disk, whatever its handler does with it.
        parts = raw_path_parts(request, raw_path, self._addresses)
        if len(parts) != 2 or not all(parts) or any("+" in part for part in parts):
            raise BadRequest("Bad request: only indexes take uploads")
        return (await self._uploader(request, "/".join(parts)))[1]

    async def _uploader(self, request: Request, name: str) -> tuple[Index, Principal]:
        """Return the index ``name``, which has to exist before a login is asked for, and the caller if they may upload to it."""
        index = stage_index(self._access.reader, name)
        principal = await self._access.principal(request)
        # What an API token for one project alone is used for is known only when the form is read.
        project = None if principal.token is None else principal.token.project
        self._access.check(Action.UPLOAD, principal, index=index, project=project)
        return index, principal

    def _open_index(self, view: Reader, name: str, principal: Principal, project: str | None) -> Index:
        """Return the index ``name``, to which ``principal`` may upload ``project`` (normalised); raise what ``admit`` raises."""
        index = stage_index(view, name)
        self._access.check(Action.UPLOAD, principal, index=index, project=project)
        return index

    async def submit(self, request: Request, name: str) -> Reply:
        """Handle a form with an ``:action`` as an upload, everything else as a push."""
        form = await self._form(request)
        action = None if form is None else form.first(_ACTION)
        if form is None or not action:
            return await self._push.push(request, name)
        index, principal = await self._uploader(request, name)
        for field in _TEXTS & form.attached.keys():
            form.all(field)  # refuses it
        if action == "submit":
            return await self._register(name, principal, form)
        if action not in ("file_upload", "doc_upload"):
            raise BadRequest(f"action {action[:100]!r} not supported")
        if form.content is None:
            raise BadRequest("content file field not found")
        upload = self._upload_file if action == "file_upload" else self._upload_docs
        reply = await upload(index, principal, form, form.content)
        self._uses.uploaded(request)
        return reply

    async def _form(self, request: Request) -> Form | None:
        """Return the form in the body of ``request``; None if it is none.  A form with files waits for permission first."""
        if isinstance(request.content, StreamedBody):
            await request.content.admitted()
            return await request.content.form()
        return read_urlencoded(kept_body(request)) if request.method == b"POST" and is_form(request) else None

    async def _register(self, name: str, principal: Principal, form: Form) -> Reply:
        metadata = read_metadata(form.fields)
        project = normalize_project(metadata["name"])

        def decide(view: Reader) -> Sequence[Change]:
            index = self._open_index(view, name, principal, project)
            release = view.release(name, project, metadata["version"])
            return decide_registered(index, release, project, project_status(view, name, project), metadata)

        await self._commits.commit(decide, principal)
        return _accepted()

    async def _upload_file(self, index: Index, principal: Principal, form: Form, content: Received) -> Reply:
        given = read_metadata(form.fields)
        checks = upload_checks_of(index, self._storage.upload_checks)
        check_upload_filename(form.filename, given["name"], given["version"], checks)
        self._access.check(Action.UPLOAD, principal, index=index, project=normalize_project(given["name"]))
        file = await self._distribution(index.name, form, content, given, checks)
        changes = self._decide(principal, file.uploaded, file.described)(self._access.reader)
        if changes:
            changes = await self._storage.finish(lambda: self._store(principal, file))
        return _accepted(None if changes or is_volatile(index) else IDENTICAL)

    async def _distribution(
        self, name: str, form: Form, content: Received, given: Mapping[str, Json], checks: str
    ) -> _Distribution:
        """Return the file of ``form``, inspected as ``checks`` (``UPLOAD_CHECKS``) says."""
        filename = form.filename
        # What was broken on the way is better told so than by what is wrong with the pieces.
        check_digests(form.fields, filename, _digests(content))
        inspected: Inspected = await self._storage.offload(_inspect, content, filename, given, checks)
        found = None if inspected.core is None else inspected.core.fields
        project, requires = normalize_project(given["name"]), requires_python(given, found)
        uploaded = FileUploaded(name, project, given["version"], filename, content.sha256, content.size, requires_python=requires)
        metadata = inspected.metadata if inspected.kind == WHEEL else None
        provenance = provenance_of(form.texts(_ATTESTATIONS), filename, content.sha256)
        return _Distribution(uploaded, merge_metadata(given, found), content, metadata, provenance)

    def _decide(
        self, principal: Principal, upload: FileUploaded, metadata: Mapping[str, Json]
    ) -> Callable[[Reader], Sequence[Change]]:
        name, project = upload.index, upload.project

        def decide(view: Reader) -> Sequence[Change]:
            index = self._open_index(view, name, principal, project)
            gone = () if is_volatile(index) else view.removed_paths(name, upload.filename)
            release, holder = view.release(name, project, upload.version), view.release_of_file(name, project, upload.filename)
            status = project_status(view, name, project)
            return decide_file_uploaded(index, release, status, upload, metadata, holder=holder, gone=gone)

        return decide

    async def _store(self, principal: Principal, file: _Distribution) -> Sequence[Change]:
        """Store the blobs, then commit the entry."""
        filename, beside = file.uploaded.filename, {}
        if file.metadata is not None:
            beside["metadata"] = metadata_address(blob_address(file.uploaded.sha256, filename)), file.metadata
        if file.provenance is not None:
            beside["provenance"] = provenance_address(hashlib.sha256(file.provenance).hexdigest(), filename), file.provenance
        kept = await self._storage.keep(file.content, filename, tuple(beside.values()))
        facts: dict[str, Any] = {}
        for name, (sha256, size) in zip(beside, kept, strict=True):
            facts |= {f"{name}_sha256": sha256, f"{name}_size": size}
        decide = self._decide(principal, attrs.evolve(file.uploaded, **facts), file.described)
        return await self._commits.append(decide, principal)

    async def _upload_docs(self, index: Index, principal: Principal, form: Form, content: Received) -> Reply:
        name = index.name
        spelled = read_metadata({**form.fields, "version": ("0",)})["name"]
        project = normalize_project(spelled)
        _, version = read_docs(form.fields, self._access.reader.releases(name, project))
        filename = docs_filename(project, version)
        path = uploaded_path(filename, content.sha256)
        docs = AttachmentAdded(name, project, version, DOCZIP, filename, content.sha256, content.size, path)

        def decide(view: Reader) -> Sequence[Change]:
            current = self._open_index(view, name, principal, project)
            release, status = view.release(name, project, version), project_status(view, name, project)
            return decide_docs_uploaded(current, release, status, docs, spelled, form.filename)

        async def store() -> None:
            await self._storage.keep(content, filename)
            await self._commits.append(decide, principal)

        if decide(self._access.reader):
            check_digests(form.fields, form.filename, _digests(content))
            checks = upload_checks_of(index, self._storage.upload_checks)
            await self._storage.offload(_inspect_docs, content, form.filename, checks)
            await self._storage.finish(store)
        return _accepted()


def _accepted(reason: str | None = None) -> Reply:
    """Answer with exactly 200: the devpi client takes every other code, also 201 and 204, for a failure."""
    return Reply(200, (length_of(b""), NO_STORE), b"", reason)


def _digests(content: Received) -> Mapping[str, str]:
    return {"md5_digest": content.md5, "sha256_digest": content.sha256, "blake2_256_digest": content.blake2_256}


def _inspect(content: Received, filename: str, given: Mapping[str, Json], checks: str) -> Inspected:
    """Return what is in the file, which has to agree with the form, ``given``; nothing if all is accepted.  Blocking."""
    try:
        with content.open() as file:
            inspected = inspect(file, filename, content.size, is_strict=checks == STRICT)
        if inspected.core is not None:
            check_form(filename, given, inspected.core.fields)
    except TwistpiError:
        if checks != NONE:
            raise
        return Inspected(kind_of_filename(filename), None, None)
    return inspected


def _inspect_docs(content: Received, filename: str, checks: str) -> None:
    """Blocking."""
    if checks != NONE:
        with content.open() as file:
            inspect_docs(file, filename, content.size, is_strict=checks == STRICT)
