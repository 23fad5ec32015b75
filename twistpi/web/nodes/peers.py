"""``+peer`` and ``+fence``: what this server tells others of its epoch, and what they tell it."""

from __future__ import annotations

import attrs
from twisted.web.server import Request

from twistpi.auth.node_tokens import NodeClaim
from twistpi.model.account_errors import BadRequest
from twistpi.model.peers import read_fence_note
from twistpi.replication.fencing import Fencing
from twistpi.web.nodes.door import NodeDoor, node_json
from twistpi.web.request import json_body


@attrs.define(eq=False)
class PeerDoor(NodeDoor):
    """Answers ``/+peer`` and ``/+fence``, for servers of the house."""

    _fencing: Fencing

    async def peer(self, request: Request, claim: NodeClaim) -> bytes:
        """What this server is: its log, its role, its newest serial and epoch, and whether it takes writes."""
        return self.put(request, node_json((await self._fencing.peer()).to_json()))

    async def fence(self, request: Request, claim: NodeClaim) -> bytes:
        """Heed that another server was or is to be promoted; answered with what this one is then.

        Raises ``NotFenced`` when it knows a later epoch, ``BadRequest``.
        """
        try:
            note = read_fence_note(json_body(request))
        except ValueError as error:
            raise BadRequest(f"this tells of no promotion: {error}") from None
        return self.put(request, node_json((await self._fencing.note(note)).to_json()))
