"""Who may upload: looked at before the first byte of an upload is taken, and again when it is stored."""

from __future__ import annotations

import attrs
from twisted.web.server import Request

from twistpi.model.account_errors import BadRequest
from twistpi.model.accounts import Asker
from twistpi.model.records import Index
from twistpi.rules.permissions import Action
from twistpi.web.addresses import outside_prefix
from twistpi.web.doors import Door
from twistpi.web.paths import RequestRefused, segments_of, without_prefix


@attrs.define(eq=False)
class Admission(Door):
    """Tells who may upload; in the devpi protocol's order, which looks for the index before it asks for a login."""

    async def admit(self, request: Request, raw_path: bytes) -> Asker:
        """Who wants to upload with ``request``, of which only headers and path (as it came, without query) are here.

        Raises ``UnknownIndex``, ``NoUploadToMirror``, ``LoginNeeded``, ``Forbidden``, and ``BadRequest`` for what is no path of
        an index: nothing of such a request may reach the disk, whatever else the door at that path does with it.
        """
        parts = self.parts(request, raw_path)
        if len(parts) != 2 or not all(parts) or any("+" in part for part in parts):
            raise BadRequest("only indexes take uploads")
        return await self.uploader(request, "/".join(parts))

    def parts(self, request: Request, raw_path: bytes) -> list[str]:
        """The parts of a path as it came, without the prefix of the outside URL and a slash at the end; ``BadRequest``."""
        try:
            segments = segments_of(raw_path.decode("latin-1"))
        except RequestRefused as refusal:
            raise BadRequest(refusal.reason) from None
        parts = [part.decode() for part in without_prefix(segments, outside_prefix(request, self._services))]
        if len(parts) > 1 and not parts[-1]:
            parts.pop()
        return parts

    async def uploader(self, request: Request, name: str) -> Asker:
        """Who wants to upload something to the index ``name``; raises what ``admit`` raises."""
        self.stage(self.reader, name)
        asker = await self.asker(request)
        # What an API token for one project alone is used for is known only when the form is read.
        self.may_upload(asker, self.stage(self.reader, name), None if asker.token is None else asker.token.project)
        return asker

    def may_upload(self, asker: Asker, index: Index, project: str | None) -> None:
        """Refuse uploads of ``asker`` to ``project`` (the normalised name) of ``index``: ``LoginNeeded``, ``Forbidden``."""
        self.check(Action.UPLOAD, asker, index=index, project=project)
