"""Asking a server from outside, one question after the other, over as few connections as it allows.  Blocking."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

import attrs

from twistpi import __version__
from twistpi.cli.diagnostics.survey import SILENT, UNTRUSTED, Exchange, Question
from twistpi.http.proxies import Proxy, ProxyRules
from twistpi.http.urls import Credentials, origin_of

USER_AGENT = f"twistpi/{__version__}"
_PATIENCE = 60.0
"""Seconds without a byte; a mirror may have to fetch its whole list of projects first."""
_SOON, _AT_ONCE = 2.0, 5.0
"""Seconds in which a server answers that need not wait for a body: to a head, and to the body's beginning."""
_BEGINNING = 128 << 10
"""Bytes of an announced body that are sent: more than proxies collect before they ask the server."""
_AGAIN = 2
"""Tries for one question: a server may close a connection that was kept open just when it is used again."""

_Origin = tuple[str, str]


@attrs.define(eq=False)
class Fetcher:
    """Asks; ``close`` ends it."""

    credentials: Credentials | None = None
    """Sent with every question to their origin that does not forbid it, and to nobody else."""
    proxies: ProxyRules = attrs.field(factory=ProxyRules)
    context: ssl.SSLContext = attrs.field(factory=ssl.create_default_context)
    patience: float = _PATIENCE
    asked: int = 0
    """Questions so far."""
    _connections: dict[_Origin, HTTPConnection] = attrs.field(factory=dict)

    def ask(self, question: Question) -> Exchange:
        """Return what came of a request. Redirects are not followed; when no answer came, ``failure`` says why."""
        self.asked += 1
        if question.announced:
            return self._announce(question)
        for _ in range(_AGAIN):
            parts = urlsplit(question.url)
            origin = parts.scheme, parts.netloc
            fresh = origin not in self._connections
            try:
                connection = self._connections.setdefault(origin, self._connection(question.url))
                return self._exchange(connection, origin, question)
            except (OSError, HTTPException, ValueError) as error:
                self._drop(origin)
                failed = Exchange(question, failure=_reason(error))
                if fresh:
                    break
        return failed

    def _announce(self, question: Question) -> Exchange:
        """Send the head of a request with a body of ``announced`` bytes, and if no answer comes at once, the body's beginning.

        Some proxies ask the server only when their first buffer is full. Those that take in the whole body, and those that pass
        an answer on only after it, stay ``SILENT``.
        """
        parts = urlsplit(question.url)
        try:
            connection = self._connection(question.url, min(self.patience, _SOON))
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
            return Exchange(question, failure=_reason(error))

    def certificate_ends(self, url: str) -> float | None:
        """When the certificate of ``url`` ends, Unix time in seconds; None through a proxy, and where none is accepted."""
        scheme, host, port = origin_of(url)
        if scheme != "https" or self.proxies.proxy_for(url) is not None:
            return None
        try:
            with (
                socket.create_connection((host, port), self.patience) as plain,
                self.context.wrap_socket(plain, server_hostname=host) as secured,
            ):
                ends = (secured.getpeercert() or {}).get("notAfter")
                return ssl.cert_time_to_seconds(str(ends)) if ends else None
        except OSError:
            return None

    def close(self) -> None:
        """Hang up."""
        for origin in list(self._connections):
            self._drop(origin)

    def _exchange(self, connection: HTTPConnection, origin: _Origin, question: Question) -> Exchange:
        parts = urlsplit(question.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **self._login(question), **question.headers}
        proxy = self.proxies.proxy_for(question.url)
        if proxy is not None and parts.scheme == "http":
            target, headers = question.url, {**headers, **_proxy_login(proxy)}
        connection.request(question.method, target, None, headers)
        answer = connection.getresponse()
        body, is_whole = _read(answer, question.most)
        found = Exchange(
            question, answer.status, answer.reason, tuple(answer.getheaders()), body, is_whole, not answer.will_close
        )
        if not is_whole or answer.will_close:
            self._drop(origin)
        return found

    def _login(self, question: Question) -> dict[str, str]:
        if self.credentials is None or question.as_nobody or origin_of(question.url) != self.credentials.origin:
            return {}
        return {"Authorization": self.credentials.authorization}

    def _connection(self, url: str, patience: float | None = None) -> HTTPConnection:
        scheme, host, port = origin_of(url)
        proxy = self.proxies.proxy_for(url)
        to_host, to_port = (proxy.host, proxy.port) if proxy is not None else (host, port)
        patience = self.patience if patience is None else patience
        if scheme == "http":
            return HTTPConnection(to_host, to_port, timeout=patience)
        connection = HTTPSConnection(to_host, to_port, timeout=patience, context=self.context)
        if proxy is not None:
            connection.set_tunnel(host, port, _proxy_login(proxy))
        return connection

    def _drop(self, origin: _Origin) -> None:
        connection = self._connections.pop(origin, None)
        if connection is not None:
            connection.close()


def _proxy_login(proxy: Proxy) -> dict[str, str]:
    return {} if proxy.credentials is None else {"Proxy-Authorization": proxy.credentials.authorization}


def _read(answer: HTTPResponse, most: int) -> tuple[bytes, bool]:
    """At most so many bytes, and whether that was all."""
    body = answer.read(most)
    return body, answer.isclosed() or not answer.read(1)


def _is_readable(connection: socket.socket, patience: float) -> bool:
    """Return whether something comes within so many seconds."""
    pending = connection.pending() if isinstance(connection, ssl.SSLSocket) else 0
    return bool(pending or select.select([connection], [], [], patience)[0])


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{UNTRUSTED}: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return SILENT
    if isinstance(error, OSError):
        return str(error.strerror or error) or type(error).__name__
    return f"it does not speak HTTP: {error!r}"
