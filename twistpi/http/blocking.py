"""The blocking client, for commands and threads: ``http.client`` with proxies, kept connections and unix sockets."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

import attrs
import orjson

from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.routes import Proxy, ProxyRules
from twistpi.http.urls import Origin, origin_of
from twistpi.model.records import Json

SILENT: Final = "nothing came in time"
"""Why a request got no response although the connection stood."""
UNTRUSTED: Final = "its certificate is not accepted"
"""How the reason begins when the server's certificate was refused."""


@attrs.frozen
class BlockingResponse:
    """A response and its body, or the beginning of that."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    """As they were received; a name may be repeated."""
    body: bytes = b""
    is_whole: bool = True
    kept_open: bool = True
    """Whether the server keeps the connection open."""

    def header(self, name: str) -> str | None:
        """Return the first value of a header, None without it."""
        return next((value for found, value in self.headers if found.lower() == name.lower()), None)

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
        """The message in the body of a response of ours, for people; else the status."""
        if message := self.json.get("message"):
            return str(message)
        is_text = (self.header("Content-Type") or "").startswith("text/plain")
        return self.body.decode("utf-8", "replace").strip() if is_text else f"{self.status} {self.reason}"


@attrs.define(eq=False)
class BlockingClient:
    """Sends one request after the other; redirects are not followed.  ``close`` ends it."""

    timeout: float = 60.0
    """The longest time without a byte, in seconds."""
    proxies: ProxyRules = attrs.field(factory=ProxyRules)
    context: ssl.SSLContext | None = None
    """Trusted certificates; the system's authorities when None."""
    unix_socket: str | None = None
    """Path of a socket that replaces every origin."""
    _kept: dict[Origin, HTTPConnection] = attrs.field(factory=dict, init=False)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int | None = None,
    ) -> BlockingResponse:
        """Send a request; return the response with at most ``limit`` bytes of its body.

        When a kept connection turns out to be closed, a request without a body is sent again.  Raise ``RequestFailed``.
        """
        while True:
            is_kept = False
            try:
                origin = origin_of(url)
                is_kept = origin in self._kept
                connection = self._kept[origin] if is_kept else self._kept.setdefault(origin, self.connect(url))
                return self._exchange(connection, method, url, headers or {}, body, limit)
            except (OSError, HTTPException, ValueError) as error:
                self._drop(url)
                if not is_kept or body is not None or isinstance(error, TimeoutError):
                    raise request_failed(error) from error

    def connect(self, url: str, timeout: float | None = None) -> HTTPConnection:
        """Return a new connection for requests to the origin of ``url``; raise ``ValueError`` for what is no address."""
        seconds = self.timeout if timeout is None else timeout
        scheme, host, port = origin_of(url)
        if self.unix_socket is not None:
            return _UnixConnection(self.unix_socket, seconds)
        proxy = self.proxies.proxy_for(url)
        to_host, to_port = (proxy.host, proxy.port) if proxy is not None else (host, port)
        if scheme == "http":
            return HTTPConnection(to_host, to_port, timeout=seconds)
        secured = HTTPSConnection(to_host, to_port, timeout=seconds, context=self.context)
        if proxy is not None:
            secured.set_tunnel(host, port, _proxy_login(proxy))
        return secured

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str]) -> Iterator[HTTPResponse]:
        """Send a GET on a connection of its own, in any thread; the body is read from what this returns.

        Raise ``RequestFailed`` when no response begins.
        """
        try:
            connection = self.connect(url)
            response = self._send(connection, "GET", url, headers, None)
        except (OSError, HTTPException, ValueError) as error:
            raise request_failed(error) from error
        with closing(connection), response:
            yield response

    def certificate_end(self, url: str) -> float | None:
        """Return when the certificate of ``url`` ends, in Unix seconds; None through a proxy, and where none is accepted."""
        scheme, host, port = origin_of(url)
        if scheme != "https" or self.proxies.proxy_for(url) is not None:
            return None
        context = self.context or ssl.create_default_context()
        try:
            plain = socket.create_connection((host, port), self.timeout)
            with plain, context.wrap_socket(plain, server_hostname=host) as secured:
                ends = (secured.getpeercert() or {}).get("notAfter")
                return ssl.cert_time_to_seconds(str(ends)) if ends else None
        except OSError:
            return None

    def close(self) -> None:
        """Close the kept connections."""
        kept, self._kept = self._kept, {}
        for connection in kept.values():
            connection.close()

    def _exchange(
        self,
        connection: HTTPConnection,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        limit: int | None,
    ) -> BlockingResponse:
        response = self._send(connection, method, url, headers, body)
        content = response.read(limit)
        is_whole = limit is None or response.isclosed() or not response.read(1)
        if not is_whole or response.will_close:
            self._drop(url)
        fields = tuple(response.getheaders())
        return BlockingResponse(response.status, response.reason, fields, content, is_whole, not response.will_close)

    def _send(
        self, connection: HTTPConnection, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> HTTPResponse:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        proxy = self.proxies.proxy_for(url)
        if proxy is not None and parts.scheme == "http":
            target, headers = url, {**headers, **_proxy_login(proxy)}
        connection.request(method, target, body, {"Accept-Encoding": "identity", **headers})
        return connection.getresponse()

    def _drop(self, url: str) -> None:
        with suppress(ValueError, KeyError):
            self._kept.pop(origin_of(url)).close()


class _UnixConnection(HTTPConnection):
    """HTTP through a socket in the file system."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def request_failed(error: OSError | HTTPException | ValueError) -> RequestFailed:
    """Return what ``http.client`` raised as a ``RequestFailed``."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return RequestFailed(f"{UNTRUSTED}: {error.verify_message}", Cause.CONNECT)
    if isinstance(error, TimeoutError):
        return RequestFailed(SILENT, Cause.TIMEOUT)
    if isinstance(error, OSError):
        return RequestFailed(str(error.strerror or error) or type(error).__name__, Cause.CONNECT)
    return RequestFailed(f"it does not speak HTTP: {error!r}", Cause.MALFORMED)


def _proxy_login(proxy: Proxy) -> dict[str, str]:
    return {} if proxy.credentials is None else {"Proxy-Authorization": proxy.credentials.authorization}
