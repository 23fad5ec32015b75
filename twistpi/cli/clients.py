"""Blocking requests of commands to servers of ours: the one on this server directory, and those that replicate with it."""

from __future__ import annotations

import os
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Final

import attrs
import orjson

from twistpi.auth.tokens import SCHEME, NodeTokens
from twistpi.http.blocking import BlockingClient, BlockingResponse
from twistpi.http.errors import RequestFailed
from twistpi.model.peers import FENCE_PATH, PEER_PATH, TIME_HEADER, FenceNote, Peer, read_peer
from twistpi.model.records import Json
from twistpi.model.server_errors import NotFenced, PrimaryUnreachable, StrangePrimary
from twistpi.server.node import Node, read_running

_LOCAL_TIMEOUT: Final = 120.0
"""Seconds for an answer of this machine's server, which may hash a password or ask an upstream meanwhile."""
_PIECE: Final = 256 * 1024
_PEER_TIMEOUT: Final = 30.0
"""Seconds for an answer of another server."""


def _client(url: str, timeout: float, context: ssl.SSLContext | None) -> tuple[BlockingClient, str]:
    """Return a client for a server at ``http://…``, ``https://…`` or ``unix:/path``, and what precedes paths."""
    if url.startswith("unix:"):
        return BlockingClient(timeout, unix_socket=url.removeprefix("unix:")), "http://localhost"
    return BlockingClient(timeout, context=context), url.rstrip("/")


def _request(
    url: str, method: str, path: str, timeout: float, context: ssl.SSLContext | None, headers: Mapping[str, str], body: Json
) -> BlockingResponse:
    """Send one request to a server; raise ``RequestFailed``."""
    client, base = _client(url, timeout, context)
    fields = {"Connection": "close", **headers}
    if body is not None:
        fields["Content-Type"] = "application/json"
    try:
        return client.request(method, base + path, headers=fields, body=None if body is None else orjson.dumps(body))
    finally:
        client.close()


@attrs.frozen
class LocalClient:
    """Asks the server that runs on a server directory."""

    url: str
    """``http://127.0.0.1:3141/``, ``https://…`` or ``unix:/run/x.sock``."""

    def ask(
        self, method: str, path: str, *, accept: str = "application/json", body: Json = None, user: str = "", token: str = ""
    ) -> BlockingResponse:
        """Send one request, with the login ``token`` of ``user`` if there is one; raise ``OSError``."""
        headers = {"Accept": accept}
        if token:
            headers["X-Devpi-Auth"] = b64encode(f"{user}:{token}".encode()).decode("ascii")
        # The request does not leave this machine, whose loopback address no certificate names.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            return _request(self.url, method, path, _LOCAL_TIMEOUT, context, headers, body)
        except RequestFailed as failed:
            raise OSError(f"{self.url}: {failed.reason}") from failed


def ask_local_server(serverdir: str, node: Node, path: str) -> tuple[LocalClient, BlockingResponse] | None:
    """Ask the server that has the directory, at the first of its addresses where ``node`` itself answers; None without one."""
    running = read_running(serverdir)
    for url in () if running is None else running.addresses:
        client = LocalClient(url)
        try:
            response = client.ask("GET", path)
        except OSError:
            continue
        if response.header("X-Devpi-Uuid") == node.node_id:
            return client, response
    return None


@attrs.define(eq=False)
class PeerClient:
    """Asks another server by signed requests. Every method may raise ``PrimaryUnreachable``."""

    url: str
    """``http://host:port/prefix``, ``https://…`` or ``unix:/path``."""
    node_id: str
    """The id of this server."""
    _tokens: NodeTokens
    ca_file: str | None = None
    """Certificates that are trusted beside the system's."""
    context: ssl.SSLContext | None = None
    """What is trusted instead."""
    _offset: float = attrs.field(default=0.0, init=False)
    """Seconds by which the other clock is ahead."""

    def peer(self) -> Peer:
        """Return what the server says of itself; raise ``StrangePrimary``."""
        return self._peer(self._ask("GET", PEER_PATH))

    def notify(self, note: FenceNote) -> Peer:
        """Tell the server of a promotion; return what it is then. Raise ``NotFenced``, ``StrangePrimary``."""
        response = self._ask("POST", FENCE_PATH, note.to_json())
        if response.status == NotFenced.status:
            raise NotFenced(str(response.json.get("reason", "")))
        return self._peer(response)

    def chain_at(self, serial: int) -> str | None:
        """Return the chain of the server's line ``serial``, None when it has no such line; raise ``StrangePrimary``."""
        response = self._ask("GET", f"/+changelog/position?serial={serial}")
        if response.status == 404:
            return None
        chain = response.json.get("chain")
        if response.status != 200 or not isinstance(chain, str):
            raise self._strange(response)
        return chain

    def beginning(self) -> tuple[int, str]:
        """Return serial and chain of the line before the server's first one; raise ``StrangePrimary``."""
        response = self._ask("GET", "/+changelog/segments")
        match response.json:
            case {"begins_after": {"serial": int(serial), "chain": str(chain)}} if response.status == 200:
                return serial, chain
        raise self._strange(response)

    def download(self, path: str, write: Callable[[bytes], object]) -> None:
        """Hand what is at ``path`` to ``write``, piece by piece; raise ``StrangePrimary`` if it is not all there."""
        self.peer()  # so that the clocks agree
        client, base = _client(self.url, _PEER_TIMEOUT, self._trusted())
        try:
            with client.stream(base + path, {"Connection": "close", **self._signed("GET", path)}) as response:
                if response.status != 200:
                    raise StrangePrimary(self.url, f"it answers {response.status} where a file should be")
                while piece := response.read(_PIECE):
                    write(piece)
                if response.length:
                    raise StrangePrimary(self.url, "it ends in the middle of a file")
        except (RequestFailed, HTTPException, OSError) as error:
            raise PrimaryUnreachable(self.url, str(error)) from None

    def _ask(self, method: str, path: str, body: Json = None) -> BlockingResponse:
        """Send a request, and again when only the clocks differ."""
        response = self._ask_once(method, path, body)
        at = response.header(TIME_HEADER)
        if response.status == 403 and response.json.get("reason") in ("expired", "replayed") and at is not None:
            self._offset = float(at) - time.time()
            response = self._ask_once(method, path, body)
        return response

    def _ask_once(self, method: str, path: str, body: Json) -> BlockingResponse:
        headers = self._signed(method, path)
        try:
            return _request(self.url, method, path, _PEER_TIMEOUT, self._trusted(), headers, body)
        except RequestFailed as failed:
            raise PrimaryUnreachable(self.url, failed.reason) from None

    def _trusted(self) -> ssl.SSLContext:
        context = self.context or ssl.create_default_context()
        if self.ca_file is not None:
            context.load_verify_locations(self.ca_file)
        return context

    def _signed(self, method: str, path: str) -> dict[str, str]:
        token = self._tokens.make(self.node_id, method, path, time.time() + self._offset, os.urandom(16).hex())
        return {"Authorization": f"{SCHEME} {token}", "X-Devpi-Replica-Uuid": self.node_id}

    def _peer(self, response: BlockingResponse) -> Peer:
        if response.status != 200:
            raise self._strange(response)
        try:
            return read_peer(response.json)
        except ValueError as error:
            raise StrangePrimary(self.url, str(error)) from None

    def _strange(self, response: BlockingResponse) -> StrangePrimary:
        if response.status == 403:
            return StrangePrimary(self.url, "it does not know the secret that is here; name a copy of its own with --secretfile")
        message = str(response.json.get("message", "")).rstrip(".")
        return StrangePrimary(self.url, f"status {response.status}: {message}")
