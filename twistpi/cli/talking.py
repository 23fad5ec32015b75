"""Talking to the server that runs on a server directory, as somebody who can read its secret."""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import attrs
import orjson

from twistpi.model.records import Json

_PATIENCE = 120.0
"""Seconds; a password is hashed meanwhile, or an upstream asked."""


@attrs.frozen
class Told:
    """An answer."""

    status: int
    reason: str
    headers: Any
    """As of ``http.client``: a mapping whose keys have no case."""
    body: bytes

    @property
    def json(self) -> dict[str, Json]:
        """The body as a JSON object; empty when it is none."""
        try:
            content = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return content if isinstance(content, dict) else {}

    @property
    def message(self) -> str:
        """What the server has to say about it, for people."""
        if message := self.json.get("message"):
            return str(message)
        is_text = str(self.headers.get("Content-Type", "")).startswith("text/plain")
        return self.body.decode("utf-8", "replace").strip() if is_text else f"{self.status} {self.reason}"


@attrs.frozen
class Address:
    """Where a server answers: ``http://127.0.0.1:3141/``, ``https://…`` or ``unix:/run/x.sock``."""

    text: str

    def ask(
        self, method: str, path: str, *, accept: str = "application/json", body: Json = None, user: str = "", token: str = ""
    ) -> Told:
        """One request, with the login ``token`` of ``user`` where it is given; blocking.  Raises ``OSError``."""
        headers = {"Accept": accept, "Connection": "close"}
        if token:
            headers["X-Devpi-Auth"] = b64encode(f"{user}:{token}".encode()).decode("ascii")
        content = None
        if body is not None:
            content, headers["Content-Type"] = orjson.dumps(body), "application/json"
        connection = self._connection()
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return Told(answer.status, answer.reason, answer.headers, answer.read())
        except HTTPException as error:
            raise OSError(f"{self.text} does not speak HTTP: {error!r}") from error
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        if self.text.startswith("unix:"):
            return UnixConnection(self.text.removeprefix("unix:"))
        parts = urlsplit(self.text)
        host = parts.hostname or ""
        if parts.scheme == "https":
            return HTTPSConnection(host, parts.port, timeout=_PATIENCE, context=_this_machine())
        return HTTPConnection(host, parts.port, timeout=_PATIENCE)


def _this_machine() -> ssl.SSLContext:
    """Trusts whoever answers: the way does not leave this machine, whose loopback address no certificate names."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class UnixConnection(HTTPConnection):
    """HTTP through a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)
