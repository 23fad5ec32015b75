"""Answers as values, and the one place where an answer's head is written: the slow way and the fast one share it."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import quote

import attrs
import orjson
from twisted.web.http import datetimeToString
from twisted.web.server import Request

from twistpi.model.records import Json

Headers = tuple[tuple[bytes, bytes], ...]
"""Names (spelled as Twisted spells them) and values, in the order they are sent."""

NO_STORE = (b"Cache-Control", b"no-store")
NO_CACHE = (b"Cache-Control", b"no-cache")
VARY = (b"Vary", b"Accept, Accept-Encoding")
VARY_ALIAS = (b"Vary", b"Accept, Accept-Encoding, User-Agent")
HTML = b"text/html; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"
"""Without a charset: the devpi client compares the whole value."""


@attrs.frozen
class Reply:
    """A complete answer."""

    status: int
    headers: Headers
    """Without the standing ones (``Standing``)."""
    body: bytes = b""


@attrs.define
class Standing:
    """The headers every answer begins with; made anew once a second and whenever the serial moves."""

    software: str
    """``twistpi/1.0``; ``Server``."""
    serial: int = 0
    """The last serial announced; ``X-Devpi-Serial``."""
    version: int = 0
    """Another number whenever ``headers`` changed, so that who keeps ready bytes knows."""
    headers: Headers = ()
    _second: int = -1

    def at(self, now: float) -> Headers:
        """The headers at ``now``, in Unix seconds."""
        if int(now) != self._second:
            self._second = int(now)
            self._renew()
        return self.headers

    def moved(self, serial: int) -> None:
        """Say ``serial`` from now on."""
        self.serial = serial
        self._second = -1

    def _renew(self) -> None:
        self.version += 1
        self.headers = (
            (b"Server", self.software.encode("ascii", "replace")),
            (b"Date", datetimeToString(self._second)),  # type: ignore[no-untyped-call]
            (b"X-Devpi-Api-Version", b"2"),
            (b"X-Devpi-Server-Version", self.software.rpartition("/")[2].encode("ascii", "replace")),
            (b"X-Devpi-Serial", b"%d" % self.serial),
        )


def head_bytes(status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Status line and headers as they go over the wire, the empty line included."""
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode("ascii"))]
    lines.extend(b"%s: %s" % header for header in headers)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def put_head(request: Request, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Make ``headers``, standing ones included, those of the answer to ``request``; only ``Connection`` survives from before."""
    request.setResponseCode(status, HTTPStatus(status).phrase.encode("ascii"))
    for name, _values in list(request.responseHeaders.getAllRawHeaders()):
        if name.lower() != b"connection":
            request.responseHeaders.removeHeader(name)
    for name, value in headers:
        request.responseHeaders.setRawHeaders(name, [value])


def put(request: Request, reply: Reply, standing: Headers) -> bytes:
    """Make ``reply`` the answer to ``request``; returns the body for klein to write."""
    put_head(request, reply.status, (*standing, *reply.headers))
    return reply.body


def length_of(body: bytes) -> tuple[bytes, bytes]:
    """The ``Content-Length`` of ``body``."""
    return (b"Content-Length", b"%d" % len(body))


def html_reply(markup: str, *, vary: tuple[bytes, bytes] = VARY) -> Reply:
    """A page for people."""
    body = markup.encode()
    return Reply(200, ((b"Content-Type", HTML), length_of(body), NO_CACHE, vary), body)


def json_reply(value: Json, status: int = 200) -> Reply:
    """A JSON answer as the devpi client reads it: indented, ending with a line feed."""
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return Reply(status, ((b"Content-Type", JSON), length_of(body), NO_CACHE, VARY), body)


def result_reply(kind: str, result: Json) -> Reply:
    """The devpi envelope around ``result``."""
    return json_reply({"type": kind, "result": result})


def redirect_reply(location: str, status: int = 301) -> Reply:
    """A redirect; ``location`` is relative to the request, so it holds under every prefix and behind every proxy."""
    location = quote(location, safe="/:?#[]@!$&'()*+,;=%~")
    body = f"This is at {location}\n".encode("ascii")
    headers = ((b"Location", location.encode("ascii")), (b"Content-Type", TEXT), length_of(body), NO_CACHE, VARY_ALIAS)
    return Reply(status, headers, body)
