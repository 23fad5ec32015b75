"""Releases pushed to other servers: each file is posted by itself.

The answer for each file, or the reason why there is none, becomes a line of the result; a failure does not stop the other files.
A user chooses the address, so redirects are not followed, and the client must keep away from forbidden networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO, Final

import attrs
from twisted.logger import Logger

from twistpi.blobs.address import BlobAddress, blob_address, path_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.client import HTTPClient
from twistpi.model.records import Json
from twistpi.model.releases import Attachment, Release, UploadedFile
from twistpi.push.repository import NoAnswer, Repository, post
from twistpi.rules.uploads import Fields, encode_form, file_fields, metadata_fields

Line = list[Json]
"""A line of the result as the devpi client shows it: a status (-1 when there is none), an action, and its object."""

TAKEN: Final = (200, 201)
"""The statuses that mean success."""
_REGISTERED: Final = (*TAKEN, 410)
"""The same for a registration, which many servers do not support any more."""
_NO_STATUS: Final = -1

_log = Logger()


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
        one = _Push(self, release, repository)
        lines = await one.register() if register else []
        if not lines or lines[-1][0] in _REGISTERED:
            lines += [await one.file(file) for file in files]
            lines += [] if docs is None else [await one.docs(docs)]
        for line in lines:
            _log.info("pushed to {host}: {line}", host=repository.host, line=" ".join(str(part) for part in line))
        return lines

    async def post(
        self, repository: Repository, fields: Fields, attached: str | None = None, address: BlobAddress | None = None
    ) -> tuple[int, str]:
        """Post ``fields`` and the blob at ``address`` as a file called ``attached``; return the status and the answer's text.

        Raise ``NoAnswer``.
        """
        form = encode_form(fields, self._entropy(16).hex(), attached)
        try:
            file: BinaryIO | None = None if address is None else await self._client.offload(self._blobs.open, address)
        except OSError as error:
            raise NoAnswer("the file is not on this server's disk any more", is_away=False) from error
        try:
            return await post(repository, form, file, client=self._client, patience=self._patience)
        finally:
            if file is not None:
                file.close()


class _Push:
    """One release on its way to one repository."""

    def __init__(self, pusher: Pusher, release: Release, repository: Repository) -> None:
        self._pusher = pusher
        self._release = release
        self._repository = repository
        self._name = str(release.metadata.get("name") or release.project)
        self._described = metadata_fields({**release.metadata, "name": self._name, "version": release.version})
        self._away = ""
        """Why nothing more is tried; empty while it is."""

    async def register(self) -> list[Line]:
        status, text = await self._ask(((":action", "submit"),))
        return [[status, "register", self._name, self._release.version, *([text] if text else [])]]

    async def file(self, file: UploadedFile) -> Line:
        filename, digest = file.known.link.filename, file.known.sha256 or ""
        address = blob_address(digest, filename)
        status, text = await self._ask(file_fields(filename, digest), filename, address)
        return [status, "upload", f"{self._release.index}/{file.known.path}", text]

    async def docs(self, docs: Attachment) -> Line:
        status, text = await self._ask(((":action", "doc_upload"),), f"{self._name}.zip", path_address(docs.path))
        return [status, "docfile", self._name, *([text] if text else [])]

    async def _ask(self, fields: Fields, attached: str | None = None, address: BlobAddress | None = None) -> tuple[int, str]:
        if self._away:
            return _NO_STATUS, self._away
        try:
            status, text = await self._pusher.post(self._repository, (*self._described, *fields), attached, address)
        except NoAnswer as error:
            if error.is_away:
                self._away = f"not tried, because nobody answers at {self._repository.host}"
            return _NO_STATUS, error.reason
        return status, "" if status in TAKEN else text
