"""``+api``: where the devpi client finds everything, and whether it is logged in."""

from __future__ import annotations

from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.model.accounts import Asker
from twistpi.model.errors import UnknownIndex
from twistpi.model.records import Json
from twistpi.rules.permissions import Action
from twistpi.web.addresses import outside_url
from twistpi.web.doors import Door
from twistpi.web.replies import result_reply

FEATURES: Final = ("push-no-docs", "push-only-docs", "push-register-project", "server-keyvalue-parsing")
"""What the devpi client may ask of this server."""


@attrs.define(eq=False)
class ApiDoor(Door):
    """Answers ``+api`` of the server, of a user and of an index."""

    async def server(self, request: Request, user: str | None = None) -> bytes:
        """``/+api`` and ``/{user}/+api``, which say the same, whether or not there is such a user."""
        asker = await self.asker(request)
        return self.put(request, result_reply("apiconfig", self._facts(outside_url(request, self._services), asker)))

    async def index(self, request: Request, user: str, index: str) -> bytes:
        """``/{user}/{index}/+api``; raises ``UnknownIndex``, ``LoginNeeded``, ``Forbidden``."""
        asker = await self.asker(request)
        found = self.reader.index(f"{user}/{index}")
        if found is None:
            raise UnknownIndex(f"{user}/{index}")
        self.check(Action.READ, asker, index=found)
        root = outside_url(request, self._services)
        facts = self._facts(root, asker)
        facts["index"] = f"{root}/{found.name}"
        facts["simpleindex"] = f"{root}/{found.name}/+simple/"
        if not found.is_mirror:
            facts["pypisubmit"] = f"{root}/{found.name}/"
        return self.put(request, result_reply("apiconfig", facts))

    def _facts(self, root: str, asker: Asker) -> dict[str, Json]:
        status = ["noauth", "", []] if asker.user is None else ["ok", asker.user, list(asker.groups)]
        return {"login": f"{root}/+login", "authstatus": status, "features": list(FEATURES)}
