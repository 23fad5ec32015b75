"""The auth subrequest of a web server in front that sends files from the disk by itself (nginx ``auth_request``)."""

from __future__ import annotations

from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.blobs.address import BlobAddress, blob_address, metadata_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.conditional import http_date
from twistpi.model.errors import TwistpiError
from twistpi.web.access import Access, project_status
from twistpi.web.addresses import Addresses, outside_prefix
from twistpi.web.fast.ready import file_validators
from twistpi.web.paths import RequestRefused, segments_of, without_prefix
from twistpi.web.replies import NO_STORE, Headers, Reply, Responder
from twistpi.web.request import header
from twistpi.web.stage_files import METADATA, stage_file

_REMEMBERED: Final = 10
"""Seconds."""
_FOR_ALL: Final = (b"Cache-Control", b"max-age=%d" % _REMEMBERED)
_NO: Final = Reply(403, ((b"Content-Length", b"0"), NO_STORE))


@attrs.frozen
class _Stored:
    """A file that is here."""

    address: BlobAddress
    sha256: str
    last_modified: str | None


@attrs.define(eq=False)
class AuthSubrequestHandler:
    """Answers ``/+straight``."""

    _access: Access
    _blobs: IBlobs
    _responder: Responder
    _addresses: Addresses

    async def where(self, request: Request) -> bytes:
        """Return the blob that the web server is to send, as headers; 403 in every other case."""
        try:
            name, path = self._asked(request)
            await self._access.index(request, name)
            file = self._stored(name, path)
            reply = _NO if file is None else self._found(name, file)
        except (TwistpiError, RequestRefused, ValueError):
            reply = _NO
        return self._responder.put(request, reply)

    def _asked(self, request: Request) -> tuple[str, str]:
        """Return the index and the path below it that the web server was asked for; raise ``ValueError`` if it is no file's."""
        parts = segments_of(header(request, "x-original-uri") or "")
        user, index, *path = (part.decode() for part in without_prefix(parts, outside_prefix(request, self._addresses)))
        if len(path) not in (3, 4) or path[0] not in ("+f", "+e"):
            raise ValueError(path)
        return f"{user}/{index}", "/".join(path)

    def _stored(self, name: str, path: str) -> _Stored | None:
        """Return the blob at ``path``; None if it is not here or not offered.  Raise what ``stage_file`` raises."""
        view = self._access.reader
        index = view.index(name)
        if index is None:
            return None
        if not index.is_mirror:
            own = stage_file(view, name, path)
            return self._present(own.address, own.sha256, http_date(own.known.link.upload_time))
        found = view.file_by_path(name, path.removesuffix(METADATA))
        if found is None:
            return None
        project, known = found
        if project_status(view, name, project) == "quarantined":
            return None
        digest = known.metadata_blob_sha256 if path.endswith(METADATA) else known.sha256
        kept = known.metadata_sha256 if path.endswith(METADATA) else known.sha256
        if digest is None or kept is None:
            return None
        address = blob_address(digest, known.link.filename)
        lies_at = metadata_address(address) if path.endswith(METADATA) else address
        return self._present(lies_at, kept, http_date(known.link.upload_time))

    def _present(self, address: BlobAddress, sha256: str, last_modified: str | None) -> _Stored | None:
        return None if self._blobs.find(address) is None else _Stored(address, sha256, last_modified)

    def _found(self, name: str, file: _Stored) -> Reply:
        is_open = self._access.is_open(name)
        validators = file_validators(f'"{file.sha256}"', file.last_modified, private=not is_open)
        told: Headers = tuple((b"X-Twistpi-" + field, value) for field, value in validators)
        blob = (b"X-Twistpi-Blob", file.address.relative.encode())
        return Reply(204, (blob, *told, _FOR_ALL if is_open else NO_STORE))
