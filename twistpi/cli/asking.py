"""Asking another server of the house from a command: signed requests, blocking, without a reactor."""

from __future__ import annotations

import os
import ssl
import time
from typing import Any

import attrs
import orjson

from twistpi.auth.node_tokens import SCHEME, NodeTokens
from twistpi.http.blocking import BlockingClient, BlockingResponse
from twistpi.http.errors import RequestFailed
from twistpi.model.following_errors import PrimaryUnreachable, StrangePrimary
from twistpi.model.peers import FenceNote, Peer, read_peer
from twistpi.model.promotion_errors import NotFenced
from twistpi.replication.peers import FENCE_PATH, PEER_PATH
from twistpi.replication.primary import TIME_HEADER

_PATIENCE = 30.0
"""Seconds for an answer."""


@attrs.define(eq=False)
class Asked:
    """Another server of the house, as a command asks it.  Everything blocks and raises ``PrimaryUnreachable``."""

    url: str
    """``http://host:port/prefix``, ``https://…`` or ``unix:/path``."""
    node_id: str
    """Who asks."""
    _tokens: NodeTokens
    ca_file: str | None = None
    """Certificates that are trusted beside the system's."""
    _offset: float = attrs.field(default=0.0, init=False)

    def peer(self) -> Peer:
        """What it says of itself; raises ``StrangePrimary``."""
        return self._peer(*self.ask("GET", PEER_PATH))

    def tell(self, note: FenceNote) -> Peer:
        """Tell it of a promotion; what it is then.  Raises ``NotFenced``, ``StrangePrimary``."""
        status, fields = self.ask("POST", FENCE_PATH, note.to_json())
        if status == NotFenced.status:
            raise NotFenced(str(fields.get("reason", "")))
        return self._peer(status, fields)

    def chain_at(self, serial: int) -> str | None:
        """The chain of its line ``serial``; None when it has no such line.  Raises ``StrangePrimary``."""
        status, fields = self.ask("GET", f"/+changelog/position?serial={serial}")
        if status == 404:
            return None
        if status != 200 or not isinstance(fields.get("chain"), str):
            raise self._strange(status, fields)
        return str(fields["chain"])

    def beginning(self) -> tuple[int, str]:
        """Serial and chain of the line before the first one that it has; raises ``StrangePrimary``."""
        status, fields = self.ask("GET", "/+changelog/segments")
        match fields:
            case {"begins_after": {"serial": int(serial), "chain": str(chain)}} if status == 200:
                return serial, chain
        raise self._strange(status, fields)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one signed request, made anew once when the clocks differ."""
        answer = self._once(method, path, body)
        at = answer.header(TIME_HEADER)
        if answer.status == 403 and answer.json.get("reason") in ("expired", "replayed") and at is not None:
            self._offset = float(at) - time.time()
            answer = self._once(method, path, body)
        return answer.status, answer.json

    def _once(self, method: str, path: str, body: Any) -> BlockingResponse:
        token = self._tokens.make(self.node_id, method, path, time.time() + self._offset, os.urandom(16).hex())
        headers = {"Authorization": f"{SCHEME} {token}", "X-Devpi-Replica-Uuid": self.node_id, "Connection": "close"}
        content = None if body is None else orjson.dumps(body)
        is_unix = self.url.startswith("unix:")
        base = "http://localhost" if is_unix else self.url.rstrip("/")
        client = BlockingClient(
            _PATIENCE, context=self._context(), unix_socket=self.url.removeprefix("unix:") if is_unix else None
        )
        try:
            return client.request(method, base + path, headers=headers, body=content)
        except RequestFailed as failed:
            raise PrimaryUnreachable(self.url, failed.reason) from None
        finally:
            client.close()

    def _context(self) -> ssl.SSLContext | None:
        """Return what is trusted; None stands for the system's authorities."""
        if self.ca_file is None:
            return None
        context = ssl.create_default_context()
        context.load_verify_locations(self.ca_file)
        return context

    def _peer(self, status: int, fields: dict[str, Any]) -> Peer:
        if status != 200:
            raise self._strange(status, fields)
        try:
            return read_peer(fields)
        except ValueError as error:
            raise StrangePrimary(self.url, str(error)) from None

    def _strange(self, status: int, fields: dict[str, Any]) -> StrangePrimary:
        if status == 403:
            return StrangePrimary(self.url, "it does not know the secret that is here; name a copy of its own with --secretfile")
        return StrangePrimary(self.url, f"status {status}: {str(fields.get('message', '')).rstrip('.')}")
