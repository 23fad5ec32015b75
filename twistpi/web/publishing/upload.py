"""Uploads: distributions, registrations and documentation, as forms whose files came in while they were read.

What is refused is refused as early as it can be: before the body, before the archive is looked into, before anything becomes a
blob; and once more by the writer, for what came in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs
from twisted.web.server import Request

from twistpi.archives.inspect import Inspected, inspect
from twistpi.blobs.address import blob_address, metadata_address, provenance_address
from twistpi.blobs.received import Received
from twistpi.model.account_errors import UnknownAction
from twistpi.model.accounts import Asker
from twistpi.model.changes import Change
from twistpi.model.core_fields import LIST_FIELDS, TEXT_FIELDS
from twistpi.model.distributions import WHEEL
from twistpi.model.names import normalize_project
from twistpi.model.records import Json
from twistpi.model.upload_errors import NoContent
from twistpi.rules.attachments import Docs, decide_docs_uploaded, docs_filename, read_docs
from twistpi.rules.attestations import provenance_of
from twistpi.rules.upload_metadata import compare, merge_metadata, read_metadata, requires_python
from twistpi.rules.upload_names import check_upload_filename
from twistpi.rules.uploads import IDENTICAL, Upload, decide_file_uploaded, decide_registered, is_volatile
from twistpi.web.publishing.admission import Admission
from twistpi.web.publishing.storing import Storing
from twistpi.web.receiving.forms import Form, read_urlencoded
from twistpi.web.receiving.streamed_body import StreamedBody
from twistpi.web.replies import NO_STORE, Reply, length_of
from twistpi.web.request import is_form, kept_body

if TYPE_CHECKING:
    from twistpi.view.read import Reader

_ACTION: Final = ":action"
_ATTESTATIONS: Final = "attestations"
_TEXTS: Final = frozenset({*TEXT_FIELDS, *LIST_FIELDS, _ACTION, "sha256_digest", "md5_digest", "blake2_256_digest"})
"""The fields that say something only when they come as text."""
Push = Callable[[Request, str, str], Awaitable[bytes]]
"""Answers a request with a user and an index."""


@attrs.frozen
class _Distribution:
    """A file that was looked into and found good."""

    upload: Upload
    """What is to be said of it, but for what lies beside it."""
    content: Received
    metadata: bytes | None
    """The core metadata that is served beside it: a wheel's alone, since that of others may change when they are built."""
    provenance: bytes | None
    """The provenance object."""


@attrs.define(eq=False)
class UploadDoor(Admission):
    """Answers ``POST`` and ``PUSH`` at ``/{user}/{index}``."""

    _storing: Storing
    _push: Push

    async def submit(self, request: Request, user: str, index: str) -> bytes:
        """A form with an ``:action`` is an upload, everything else a push.

        Raises ``UnknownIndex``, ``NoUploadToMirror``, ``LoginNeeded``, ``Forbidden``, ``UnknownAction``, the refusals of forms,
        and those of each action.
        """
        form = await self._form(request)
        action = None if form is None else form.first(_ACTION)
        if form is None or not action:
            return await self._push(request, user, index)
        name = f"{user}/{index}"
        asker = await self.uploader(request, name)
        for field in _TEXTS & form.attached.keys():
            form.all(field)  # refuses it
        if action == "submit":
            return await self._register(request, name, asker, form)
        if action not in ("file_upload", "doc_upload"):
            raise UnknownAction(action[:100])
        if form.content is None:
            raise NoContent
        upload = self._upload_file if action == "file_upload" else self._upload_docs
        return await upload(request, name, asker, form, form.content)

    async def _form(self, request: Request) -> Form | None:
        """The form in the body of ``request``; None when that is none.  A form with files waits for leave to upload first."""
        if isinstance(request.content, StreamedBody):
            await request.content.admitted()
            return await request.content.form()
        return read_urlencoded(kept_body(request)) if request.method == b"POST" and is_form(request) else None

    async def _register(self, request: Request, name: str, asker: Asker, form: Form) -> bytes:
        metadata = read_metadata(form.fields)
        project = normalize_project(metadata["name"])

        def decide(view: Reader) -> Sequence[Change]:
            index = self.stage(view, name)
            self.may_upload(asker, index, project)
            release = view.release(name, project, metadata["version"])
            return decide_registered(index, release, project, _status(view, name, project), metadata)

        await self.commit(decide, asker)
        return self._accept(request)

    async def _upload_file(self, request: Request, name: str, asker: Asker, form: Form, content: Received) -> bytes:
        given = read_metadata(form.fields)
        check_upload_filename(form.filename, given["name"], given["version"])
        self.may_upload(asker, self.stage(self.reader, name), normalize_project(given["name"]))
        file = await self._distribution(form, content, given)
        changes = self._decide(name, asker, file.upload)(self.reader)
        if changes:
            changes = await self._storing.finish(lambda: self._store(name, asker, file))
        is_same = not changes and not is_volatile(self.stage(self.reader, name))
        return self._accept(request, IDENTICAL if is_same else None)

    async def _distribution(self, form: Form, content: Received, given: Mapping[str, Json]) -> _Distribution:
        """The file of ``form``, once it was looked into."""
        filename = form.filename
        # What was broken on the way is better told so than by what is wrong with the pieces.
        compare(form.fields, filename, content, None)
        inspected: Inspected = await self._services.offload(_inspect, content, filename)
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

    def _decide(self, name: str, asker: Asker, upload: Upload) -> Callable[[Reader], Sequence[Change]]:
        def decide(view: Reader) -> Sequence[Change]:
            index = self.stage(view, name)
            self.may_upload(asker, index, upload.project)
            gone = () if is_volatile(index) else view.removed_paths(name, upload.filename)
            release = view.release(name, upload.project, upload.version)
            holder = view.release_of_file(name, upload.project, upload.filename)
            return decide_file_uploaded(index, release, _status(view, name, upload.project), upload, holder=holder, gone=gone)

        return decide

    async def _store(self, name: str, asker: Asker, file: _Distribution) -> Sequence[Change]:
        """Keep everything, then say so."""
        upload, filename = file.upload, file.upload.filename
        await self._storing.keep(file.content, filename)
        if file.metadata is not None:
            address = metadata_address(blob_address(upload.sha256, filename))
            kept = await self._storing.keep_bytes(address, file.metadata)
            upload = attrs.evolve(upload, metadata_sha256=kept.sha256, metadata_size=kept.size)
        if file.provenance is not None:
            address = provenance_address(hashlib.sha256(file.provenance).hexdigest(), filename)
            kept = await self._storing.keep_bytes(address, file.provenance)
            upload = attrs.evolve(upload, provenance_sha256=kept.sha256, provenance_size=kept.size)
        return await self.commit(self._decide(name, asker, upload), asker)

    async def _upload_docs(self, request: Request, name: str, asker: Asker, form: Form, content: Received) -> bytes:
        spelled = read_metadata({**form.fields, "version": ("0",)})["name"]
        project = normalize_project(spelled)
        _, version = read_docs(form.fields, self.reader.releases(name, project))
        filename = docs_filename(project, version)
        docs = Docs(spelled, version, form.filename, content.sha256, content.size)

        def decide(view: Reader) -> Sequence[Change]:
            index = self.stage(view, name)
            self.may_upload(asker, index, project)
            release = view.release(name, project, version)
            return decide_docs_uploaded(index, release, _status(view, name, project), docs)

        async def store() -> None:
            await self._storing.keep(content, filename)
            await self.commit(decide, asker)

        if decide(self.reader):
            await self._storing.finish(store)
        return self._accept(request)

    def _accept(self, request: Request, reason: str | None = None) -> bytes:
        """Exactly 200: the devpi client takes every other code, 201 and 204 as well, for a failure."""
        return self.put(request, Reply(200, (length_of(b""), NO_STORE), b"", reason))


def _inspect(content: Received, filename: str) -> Inspected:
    """Blocking."""
    with content.open() as file:
        return inspect(file, filename, content.size)


def _status(view: Reader, index: str, project: str) -> str | None:
    header = view.header(index, project)
    return None if header is None else header[0]
