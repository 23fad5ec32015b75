"""The auth subrequest of a web server in front that sends files from the disk by itself (nginx ``auth_request``)."""

from __future__ import annotations

from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.blobs.address import METADATA, PROVENANCE, BlobAddress, blob_address, metadata_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.gc.access_times import AccessTimes
from twistpi.http.conditional import http_date
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Index
from twistpi.statistics.tally import CountedFile
from twistpi.view.read import Reader
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, path_parts
from twistpi.web.file_sender import FileFacts
from twistpi.web.handlers.files import check_offered, stage_file
from twistpi.web.policies import Policies
from twistpi.web.replies import BINARY, CROSS_ORIGIN, NO_STORE, Headers, Reply
from twistpi.web.request import header
from twistpi.web.token_uses import TokenUses

_FOR_ALL: Final = (b"Cache-Control", b"max-age=10")
"""How long the web server remembers a subrequest that needs no credentials."""
_NO: Final = Reply(403, ((b"Content-Length", b"0"), NO_STORE))


@attrs.define(eq=False)
class AuthSubrequestHandler:
    """Answers ``/+straight``."""

    _access: Access
    _blobs: IBlobs
    _addresses: Addresses
    _access_times: AccessTimes
    _policies: Policies
    _uses: TokenUses

    async def where(self, request: Request) -> Reply:
        """Return the blob that the web server is to send, as headers; 403 in every other case."""
        try:
            user, index, *rest = path_parts(request, header(request, "x-original-uri") or "", self._addresses)
            if len(rest) not in (3, 4) or rest[0] not in ("+f", "+e"):
                return _NO
            found, path = await self._access.index(request, f"{user}/{index}"), "/".join(rest)
            blob = _blob_at(self._access.reader, found, path)
            self._check_policies(request, found, path)
        except (TwistpiError, ValueError):
            return _NO
        if blob is None or self._blobs.find(blob[0]) is None:
            return _NO
        address, sha256, modified, counted = blob
        self._access_times.note(self._blobs.path(address))
        if counted is not None and _is_download(request):
            self._uses.downloaded(request, counted)
        is_open = self._access.is_open(found.name)
        validators = FileFacts(f'"{sha256}"', BINARY, modified, private=not is_open).validators
        shared = CROSS_ORIGIN if self._access.is_shared(found.name) else ()
        headers: Headers = tuple((b"X-Twistpi-" + field, value) for field, value in (*validators, *shared))
        return Reply(204, ((b"X-Twistpi-Blob", address.relative.encode()), *headers, _FOR_ALL if is_open else NO_STORE))

    def _check_policies(self, request: Request, index: Index, path: str) -> None:
        """Raise ``FileRefused`` for a file that the policy of its index does not offer."""
        policies = self._access.inheritance(index.name).policies.get(index.name, ())
        plain = path.removesuffix(METADATA).removesuffix(PROVENANCE)
        if policies and (found := self._access.reader.file_by_path(index.name, plain)) is not None:
            project, known = found
            reported = self._policies.check(request, index.name, project, known, policies)
            if reported is not None:
                self._policies.note(request, index.name, project, known.link.filename, reported)


def _is_download(request: Request) -> bool:
    """Return whether the web server in front is asked for a file from its beginning."""
    asked = header(request, "x-original-range") or "bytes=0-"
    return header(request, "x-original-method") != "HEAD" and asked.startswith("bytes=0-")


def _blob_at(view: Reader, index: Index, path: str) -> tuple[BlobAddress, str, str | None, CountedFile | None] | None:
    """Return address, SHA-256 and date of the blob at ``path``, and whose download it is, if it is one.

    None if it is not offered.  Raise what ``stage_file`` raises.
    """
    if not index.is_mirror:
        file = stage_file(view, index.name, path)
        counted = CountedFile(index.name, file.project, file.known.link.filename) if path == file.known.path else None
        return file.address, file.sha256, http_date(file.known.link.upload_time), counted
    found = view.file_by_path(index.name, path.removesuffix(METADATA))
    if found is None:
        return None
    project, known = found
    check_offered(view, index.name, project, path)
    modified, filename = http_date(known.link.upload_time), known.link.filename
    if not path.endswith(METADATA):
        counted = CountedFile(index.name, project, filename)
        return None if known.sha256 is None else (blob_address(known.sha256, filename), known.sha256, modified, counted)
    if known.metadata_blob_sha256 is None or known.metadata_sha256 is None:
        return None
    return metadata_address(blob_address(known.metadata_blob_sha256, filename)), known.metadata_sha256, modified, None
