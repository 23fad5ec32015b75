"""Test results and documentation as files of their index, at the paths that version data name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.web.server import Request

from twistpi.blobs.address import BlobAddress
from twistpi.http.conditional import http_date
from twistpi.model.errors import FileBlocked, UnknownFile
from twistpi.model.records import Json
from twistpi.model.releases import Attachment
from twistpi.web.handlers.files import Facts, FileHandler
from twistpi.web.replies import result_reply
from twistpi.web.request import header
from twistpi.web.stage_files import content_type

if TYPE_CHECKING:
    from twistpi.view.read import Reader


@attrs.define(eq=False)
class AttachmentHandler(FileHandler):
    """Answers ``/{user}/{index}/+f/…``, whatever it leads to."""

    async def digest_file(
        self, request: Request, user: str, index: str, three: str, thirteen: str, filename: str
    ) -> bytes | None:
        """``+f/{3}/{13}/{filename}``: a test result, documentation, or what ``FileHandler`` finds."""
        name, path = f"{user}/{index}", f"+f/{three}/{thirteen}/{filename}"
        await self._reading.index(request, name)
        found = self._services.readers.get().attachment_by_path(name, path)
        if found is None:
            return await super().digest_file(request, user, index, three, thirteen, filename)
        project, version, attachment = found
        check_offered(self._services.readers.get(), name, project, path)
        if "application/json" in (header(request, "accept") or ""):
            return self._put(request, result_reply("releasefilemeta", _facts_of(project, version, attachment)))
        private = not self._reading.is_open(name)
        facts = Facts(f'"{attachment.sha256}"', content_type(filename), stored_at(attachment), private)
        try:
            return await self._complete(request, (name, project), address_of(attachment), facts)
        except FileNotFoundError as error:
            coming = self._coming(address_of(attachment))
            if coming is None:
                raise UnknownFile(name, path) from error
        return await self._growing(request, coming, facts)


def check_offered(view: Reader, index: str, project: str, path: str) -> None:
    """Raise ``FileBlocked`` when the project is quarantined."""
    known = view.header(index, project)
    if known is not None and known[0] == "quarantined":
        raise FileBlocked(index, project, path)


def address_of(attachment: Attachment) -> BlobAddress:
    """Where its bytes are; test results lie beside what was tested."""
    _, three, thirteen, filename = attachment.path.split("/")
    return BlobAddress(three + thirteen, filename)


def stored_at(attachment: Attachment) -> str | None:
    """When it was stored here last, as an HTTP date."""
    return http_date(attachment.log[-1].when) if attachment.log else None


def _facts_of(project: str, version: str, attachment: Attachment) -> Json:
    facts: dict[str, Json] = {
        "hash_spec": f"sha256={attachment.sha256}",
        "hashes": {"sha256": attachment.sha256},
        "project": project,
        "version": version,
    }
    modified = stored_at(attachment)
    return facts if modified is None else {"last_modified": modified, **facts}
