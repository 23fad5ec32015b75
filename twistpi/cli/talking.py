"""Requests to the server that runs on a server directory, as somebody who can read its secret.  Blocking."""

from __future__ import annotations

import ssl
from base64 import b64encode
from typing import Final

import attrs
import orjson

from twistpi.http.blocking import BlockingClient, BlockingResponse
from twistpi.http.errors import RequestFailed
from twistpi.model.records import Json

_PATIENCE: Final = 120.0
"""Seconds; a password is hashed meanwhile, or an upstream asked."""


@attrs.frozen
class Address:
    """Where a server answers: ``http://127.0.0.1:3141/``, ``https://…`` or ``unix:/run/x.sock``."""

    text: str

    def ask(
        self, method: str, path: str, *, accept: str = "application/json", body: Json = None, user: str = "", token: str = ""
    ) -> BlockingResponse:
        """Send one request, with the login ``token`` of ``user`` where it is given.  Raise ``OSError``."""
        headers = {"Accept": accept, "Connection": "close"}
        if token:
            headers["X-Devpi-Auth"] = b64encode(f"{user}:{token}".encode()).decode("ascii")
        content = None
        if body is not None:
            content, headers["Content-Type"] = orjson.dumps(body), "application/json"
        is_unix = self.text.startswith("unix:")
        base = "http://localhost" if is_unix else self.text.rstrip("/")
        socket = self.text.removeprefix("unix:") if is_unix else None
        client = BlockingClient(_PATIENCE, context=_this_machine(), unix_socket=socket)
        try:
            return client.request(method, base + path, headers=headers, body=content)
        except RequestFailed as failed:
            raise OSError(f"{self.text}: {failed.reason}") from failed
        finally:
            client.close()


def _this_machine() -> ssl.SSLContext:
    """Trusts whoever answers: the way does not leave this machine, whose loopback address no certificate names."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
