"""Releases pushed to other servers: each file is posted by itself, with the core metadata that it contains.

The answer for each file, or the reason why there is none, becomes a line of the result; a failure does not stop the other files.
A user chooses the address, so redirects are not followed, and the client must keep away from forbidden networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO, Final

import attrs

from twistpi.archives.inspect import inspect
from twistpi.blobs.address import BlobAddress, blob_address, path_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.client import HTTPClient
from twistpi.http.errors import Cause, RequestFailed
from twistpi.model.errors import InvalidDistribution
from twistpi.model.records import Json
from twistpi.model.releases import Attachment, Release, UploadedFile
from twistpi.push.repository import Repository, post
from twistpi.rules.upload_checks import shown_metadata
from twistpi.rules.uploads import Fields, encode_form, file_fields, metadata_fields

Line = list[Json]
"""A line of the result as the devpi client shows it: a status (-1 when there is none), an action, and its object."""

TAKEN: Final = (200, 201)
"""The statuses that the devpi client takes for a success; lines tell every other 2xx as 200."""
_REGISTERED: Final = (*TAKEN, 410)
"""The same for a registration, which many servers do not support any more."""
_NO_STATUS: Final = -1


@attrs.define(eq=False)
class Pusher:
    """Pushes releases to other servers.  To be used in the reactor's thread."""

    _client: HTTPClient
    """Keeps away from forbidden networks, and keeps no connections: one may be closed just when it is used again, and uploads are
    not repeated.  Without a time limit of its own.
    """
    _blobs: IBlobs
    _entropy: Callable[[int], bytes]
    """Returns random bytes."""
    _patience: float = attrs.field(default=120.0, kw_only=True)
    """Seconds in which the other server has to take a piece of a file, or to answer once it has all."""

    async def push(
        self,
        release: Release,
        files: Sequence[UploadedFile],
        docs: Attachment | None,
        repository: Repository,
        *,
        register: bool = False,
    ) -> list[Line]:
        """Push ``files`` and ``docs`` of ``release``, whose blobs are here, one after the other; return a line for each.

        With ``register`` the release is registered first; when that is refused, nothing else is sent.
        """
        name, away = str(release.metadata.get("name") or release.project), ""
        described = metadata_fields(shown_metadata({**release.metadata, "name": name, "version": release.version}))

        async def post(fields: Fields, attached: str | None = None, address: BlobAddress | None = None) -> tuple[int, str]:
            nonlocal away
            if away:
                return _NO_STATUS, away
            try:
                status, text = await self._post(repository, fields, attached, address)
            except RequestFailed as error:
                if error.cause is Cause.CONNECT:
                    away = f"not tried, because nobody answers at {repository.host}"
                return _NO_STATUS, error.reason
            if 200 <= status < 300:
                return status if status in TAKEN else 200, ""
            return status, text

        lines: list[Line] = []
        if register:
            status, text = await post((*described, (":action", "submit")))
            lines.append([status, "register", name, release.version, *([text] if text else [])])
        if not register or status in _REGISTERED:
            for file in files:
                filename, digest = file.known.link.filename, file.known.sha256 or ""
                address = blob_address(digest, filename)
                own = None if away else await self._client.offload(self._core_fields, address)
                fields = (*(own or described), *file_fields(filename, digest))
                status, text = await post(fields, filename, address)
                lines.append([status, "upload", f"{release.index}/{file.known.path}", text])
            if docs is not None:
                status, text = await post((*described, (":action", "doc_upload")), f"{name}.zip", path_address(docs.path))
                lines.append([status, "docfile", name, *([text] if text else [])])
        return lines

    def _core_fields(self, address: BlobAddress) -> Fields | None:
        """Return the fields of the core metadata in a file; None when it has none that can be read.  Blocking."""
        try:
            with self._blobs.open(address) as file:
                # What was accepted here is not judged again.
                core = inspect(file, address.filename, file.seek(0, 2), is_strict=False).core
        except (InvalidDistribution, OSError):
            return None
        return None if core is None else metadata_fields(core.fields)

    async def _post(
        self, repository: Repository, fields: Fields, attached: str | None = None, address: BlobAddress | None = None
    ) -> tuple[int, str]:
        """Post ``fields`` and the blob at ``address`` as a file called ``attached``; return the status and the answer's text.

        Raise ``RequestFailed``.
        """
        form = encode_form(fields, self._entropy(16).hex(), attached)
        try:
            file: BinaryIO | None = None if address is None else await self._client.offload(self._blobs.open, address)
        except OSError:
            return _NO_STATUS, "the file is not on this server's disk any more"
        try:
            return await post(repository, form, file, client=self._client, patience=self._patience)
        finally:
            if file is not None:
                file.close()
