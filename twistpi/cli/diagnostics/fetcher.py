"""Requests from outside, one after the other, over as few connections as the server allows.  Blocking."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from http.client import HTTPException
from typing import Final
from urllib.parse import urlsplit

import attrs

from twistpi.cli.diagnostics.survey import Exchange, Question
from twistpi.http.blocking import BlockingClient, request_failed
from twistpi.http.client import USER_AGENT
from twistpi.http.errors import RequestFailed
from twistpi.http.proxies import ProxyRules
from twistpi.http.urls import Credentials, origin_of

_PATIENCE: Final = 60.0
"""Seconds without a byte; a mirror may have to fetch its whole list of projects first."""
_SOON, _AT_ONCE = 2.0, 5.0
"""Seconds in which a server answers that need not wait for a body: to a head, and to the body's beginning."""
_BEGINNING: Final = 128 << 10
"""Bytes of an announced body that are sent: more than proxies collect before they ask the server."""


@attrs.define(eq=False)
class Fetcher:
    """Sends the requests of a survey; ``close`` ends it."""

    credentials: Credentials | None = None
    """Sent with every request to their origin that does not forbid it, and to no other origin."""
    proxies: ProxyRules = attrs.field(factory=ProxyRules)
    context: ssl.SSLContext | None = None
    patience: float = _PATIENCE
    asked: int = attrs.field(default=0, init=False)
    """Requests so far."""
    _client: BlockingClient = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._client = BlockingClient(self.patience, self.proxies, self.context)

    def ask(self, question: Question) -> Exchange:
        """Return what came of a request.  Redirects are not followed; when no answer came, ``failure`` says why."""
        self.asked += 1
        if question.announced:
            return self._announce(question)
        try:
            headers = {"User-Agent": USER_AGENT, **self._login(question), **question.headers}
            got = self._client.request(question.method, question.url, headers=headers, limit=question.most)
        except (RequestFailed, ValueError) as failed:
            return Exchange(question, failure=str(failed))
        return Exchange(question, got.status, got.reason, got.headers, got.body, got.is_whole, got.kept_open)

    def certificate_days(self, url: str, now: float) -> float | None:
        """Return how long the certificate of ``url`` is good at ``now`` (Unix seconds); None where none is seen and accepted."""
        end = self._client.certificate_end(url)
        return None if end is None else (end - now) / 86400

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _announce(self, question: Question) -> Exchange:
        """Send the head of a request with a body of ``announced`` bytes, and if no answer comes at once, the body's beginning.

        Some proxies ask the server only when their first buffer is full. Those that take in the whole body, and those that pass
        an answer on only after it, stay ``SILENT``.
        """
        parts = urlsplit(question.url)
        try:
            connection = self._client.connect(question.url, min(self.patience, _SOON))
            with contextlib.closing(connection):
                connection.putrequest(question.method, parts.path or "/", skip_accept_encoding=True)
                announced = {"Content-Length": str(question.announced), "User-Agent": USER_AGENT}
                for name, value in {**announced, **self._login(question), **question.headers}.items():
                    connection.putheader(name, value)
                connection.endheaders()
                if not _is_readable(connection.sock, min(self.patience, _SOON)):
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        connection.send(bytes(min(question.announced - 1, _BEGINNING)))
                connection.sock.settimeout(min(self.patience, _AT_ONCE))
                answer = connection.getresponse()
                headers = tuple(answer.getheaders())
                return Exchange(question, answer.status, answer.reason, headers, is_whole=False, kept_open=False)
        except (OSError, HTTPException, ValueError) as error:
            return Exchange(question, failure=request_failed(error).reason)

    def _login(self, question: Question) -> dict[str, str]:
        if self.credentials is None or question.as_nobody or origin_of(question.url) != self.credentials.origin:
            return {}
        return {"Authorization": self.credentials.authorization}


def _is_readable(connection: socket.socket, patience: float) -> bool:
    """Return whether something comes within so many seconds."""
    pending = connection.pending() if isinstance(connection, ssl.SSLSocket) else 0
    return bool(pending or select.select([connection], [], [], patience)[0])
