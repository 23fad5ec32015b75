"""Responses as values, and the one place where a response's head is written, for the ordinary path and the fast one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from urllib.parse import quote

import attrs
import orjson
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import datetimeToString
from twisted.web.server import Request

from twistpi.model.records import Json
from twistpi.model.text import one_line

Headers = tuple[tuple[bytes, bytes], ...]
"""Names (spelled as Twisted spells them) and values, in the order they are sent."""

SET_COOKIE = b"Set-Cookie"
"""The one header that may occur more than once (RFC 6265, 3)."""
NO_STORE = (b"Cache-Control", b"no-store")
NO_CACHE = (b"Cache-Control", b"no-cache")
VARY = (b"Vary", b"Accept, Accept-Encoding")
VARY_ALIAS = (b"Vary", b"Accept, Accept-Encoding, User-Agent")
HTML = b"text/html; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"
CSV = b"text/csv; charset=utf-8"
PRIVATE = (b"Cache-Control", b"private, no-cache")
"""For what depends on the caller."""
VARY_CALLER = (b"Vary", b"Accept, Accept-Encoding, Authorization, X-Devpi-Auth, Cookie")
"""The same; no credentials are a value, too."""
CROSS_ORIGIN: Headers = (
    (b"Access-Control-Allow-Origin", b"*"),
    (b"Access-Control-Expose-Headers", b"Content-Range, ETag, Retry-After, X-PyPI-Last-Serial"),
)
"""For what pages of any site may read (Fetch standard, "CORS protocol"): ``*`` is for requests without credentials alone."""
BINARY = b"application/octet-stream"
JSON = b"application/json"
"""Without a charset: the devpi client compares the whole value."""
SMALL = 64 * 1024
"""Bytes; up to this size a response is kept and sent in one piece, head and body together."""
_UUID = b"X-Devpi-Uuid"
_PRIMARY_UUIDS = (b"X-Devpi-Master-Uuid", b"X-Devpi-Primary-Uuid")
_LONGEST_REASON = 200
"""Characters; reasons contain file names, which uploaders choose."""


@attrs.frozen
class Reply:
    """A complete response."""

    status: int
    headers: Headers
    """Without the default ones (``DefaultHeaders``)."""
    body: bytes = b""
    reason: str | None = None
    """What the status line says instead of the usual phrase (``phrase_of``): clients that upload show nothing else."""


@attrs.define
class DefaultHeaders:
    """The headers with which every response begins; they change once a second and with the serial."""

    software: str
    """``twistpi/1.0``; ``Server``."""
    uuid: str = ""
    """32 hexadecimal digits that tell this server from others; ``X-Devpi-Uuid``."""
    primary_uuid: Callable[[], str | None] = lambda: None
    """The same of the primary whose log this server follows, once that is known; ``X-Devpi-Primary-Uuid``.  None where this
    server follows no other: then it is its own."""
    cross_origin: Headers = CROSS_ORIGIN
    """What is beside them where pages of any site may read; empty where no other site may read anything."""
    serial: int = 0
    """The last serial announced; ``X-Devpi-Serial``."""
    moved_at: float | None = None
    """When that was, in Unix seconds; None for before this server started."""
    version: int = 0
    """Another number whenever ``headers`` changed, which makes ready bytes out of date."""
    headers: Headers = ()
    _second: int = -1

    def at(self, now: float) -> Headers:
        """The headers at ``now``, in Unix seconds."""
        if int(now) != self._second:
            self._second = int(now)
            self._renew()
        return self.headers

    def moved(self, serial: int, now: float | None = None) -> None:
        """Use ``serial`` from ``now`` on; None at the start."""
        self.serial = serial
        self.moved_at = now
        self._second = -1

    def _renew(self) -> None:
        self.version += 1
        self.headers = (
            (b"Server", self.software.encode("ascii", "replace")),
            (b"Date", datetimeToString(self._second)),
            (b"X-Devpi-Api-Version", b"2"),
            (b"X-Devpi-Server-Version", self.software.rpartition("/")[2].encode("ascii", "replace")),
            (b"X-Devpi-Serial", b"%d" % self.serial),
            *self._ids(),
        )

    def _ids(self) -> Headers:
        if not self.uuid:
            return ()
        primary = (self.primary_uuid() or self.uuid).encode("ascii", "replace")
        return ((_UUID, self.uuid.encode("ascii", "replace")), *((name, primary) for name in _PRIMARY_UUIDS))


def head_bytes(status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Status line and headers as they go over the wire, the empty line included."""
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode("ascii"))]
    lines.extend(b"%s: %s" % header for header in headers)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def put_head(request: Request, status: int, headers: Sequence[tuple[bytes, bytes]], reason: str | None = None) -> None:
    """Make ``headers``, the default ones included, those of the response to ``request``."""
    request.setResponseCode(status, (reason or HTTPStatus(status).phrase).encode("latin-1"))
    forget_headers(request)
    shared = CROSS_ORIGIN if getattr(request, "is_shared", False) else ()
    for name, value in (*headers, *shared):
        if name == SET_COOKIE:
            request.responseHeaders.addRawHeader(name, value)
        else:
            request.responseHeaders.setRawHeaders(name, [value])
    request_id: str = getattr(request, "request_id", "")
    if request_id:
        request.responseHeaders.setRawHeaders(b"X-Request-Id", [request_id.encode("ascii")])


def forget_headers(request: Request) -> None:
    """Drop the headers of the response to ``request``, except ``Connection``, which belongs to the connection."""
    for name, _values in list(request.responseHeaders.getAllRawHeaders()):
        if name.lower() != b"connection":
            request.responseHeaders.removeHeader(name)


def phrase_of(text: str) -> str:
    """``text`` as it may stand in a status line: one line of Latin-1, not endless."""
    line = one_line(text.encode("latin-1", "replace").decode("latin-1"))
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 3]}..."


def put(request: Request, reply: Reply, default_headers: Headers) -> bytes:
    """Make ``reply`` the response to ``request``; return the body, which klein writes."""
    put_head(request, reply.status, (*default_headers, *reply.headers), reply.reason)
    return reply.body


@attrs.define(eq=False)
class Responder:
    """Gives every response the default headers of the moment."""

    default_headers: DefaultHeaders
    clock: IReactorTime

    @property
    def serial(self) -> int:
        """The last serial that was announced."""
        return self.default_headers.serial

    def now(self) -> float:
        """Return the time in Unix seconds."""
        return self.clock.seconds()

    def headers(self) -> Headers:
        """Return the default headers of this moment."""
        return self.default_headers.at(self.clock.seconds())

    def put(self, request: Request, reply: Reply) -> bytes:
        """Make ``reply`` the response to ``request``; return the body, which klein writes."""
        return put(request, reply, self.headers())

    def put_head(self, request: Request, status: int, headers: Headers) -> None:
        """Begin the response to ``request``, whose body is sent by the caller."""
        put_head(request, status, (*self.headers(), *headers))


def length_of(body: bytes) -> tuple[bytes, bytes]:
    """The ``Content-Length`` of ``body``."""
    return (b"Content-Length", b"%d" % len(body))


def json_reply(value: Json, status: int = 200, *, caching: tuple[bytes, bytes] = PRIVATE) -> Reply:
    """Return a JSON response as the devpi client reads it: indented, ending with a line feed, ASCII only."""
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if not body.isascii():
        body = f"{json.dumps(value, indent=2)}\n".encode("ascii")
    return Reply(status, ((b"Content-Type", JSON), length_of(body), caching, VARY_CALLER), body)


def message_reply(message: str, status: int = 200) -> Reply:
    """Return a devpi message without a result."""
    return json_reply({"message": message}, status, caching=NO_STORE)


def result_reply(kind: str, result: Json, status: int = 200, *, message: str | None = None, secret: bool = False) -> Reply:
    """Return ``result`` in the devpi envelope; no cache may store a ``secret`` one."""
    extra = {} if message is None else {"message": message}
    return json_reply({"type": kind, **extra, "result": result}, status, caching=NO_STORE if secret else PRIVATE)


def redirect_reply(location: str, status: int = 301) -> Reply:
    """Return a redirect; ``location`` is relative to the request, so it holds under every prefix and behind every proxy."""
    location = quote(location, safe="/:?#[]@!$&'()*+,;=%~")
    body = f"This is at {location}\n".encode("ascii")
    headers = ((b"Location", location.encode("ascii")), (b"Content-Type", TEXT), length_of(body), NO_CACHE, VARY_ALIAS)
    return Reply(status, headers, body)
