"""Downloads that followers counted, for the sums of this server."""

from __future__ import annotations

import sqlite3

import attrs
from twisted.web.server import Request

from twistpi.auth.tokens import NodeClaim
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.statistics.delivery import read_batch
from twistpi.statistics.recorder import Recorder
from twistpi.web.replication.authentication import NodeResponder, node_json
from twistpi.web.request import json_body


@attrs.define(eq=False)
class DownloadsFeedHandler:
    """Answers ``POST /+relay/downloads``."""

    _respond: NodeResponder
    _recorder: Recorder

    async def receive(self, request: Request, claim: NodeClaim) -> bytes:
        """Count a batch, once however often it is sent; raise ``BadRequest``, and ``TwistpiError`` where it cannot be stored."""
        try:
            batch, rows = read_batch(json_body(request))
        except ValueError as error:
            raise BadRequest(f"Bad request: these are no downloads: {error}") from None
        try:
            await self._recorder.receive(claim.node, batch, rows)
        except (sqlite3.Error, OSError) as error:
            raise TwistpiError(f"The downloads cannot be stored: {error}", 503) from error
        return self._respond.put(request, node_json({"sequence": batch.sequence}))
