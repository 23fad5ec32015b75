"""HTTP/1.1 messages on the wire: a request, and a response read strictly (RFC 9112).

Ambiguous responses are errors: two lengths, a length beside chunks, other codings than ``chunked``, line ends that are no CRLF,
folded lines.  httptools (llhttp) finds most of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

import attrs
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.internet.interfaces import IConsumer, ITransport
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from twistpi.http.errors import Cause, RequestFailed

Line = tuple[bytes, bytes]
"""Name and value of a header, as they are on the wire."""

LONGEST_HEAD: Final = 256 * 1024
"""Bytes of a head, and of what comes in a row beside a body: sizes of chunks, trailers."""
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_is_token: Final = lru_cache(1024)(_TOKEN.fullmatch)
_TARGET: Final = re.compile(rb"[!-~]+")
_BODILESS: Final = frozenset({204, 304})
_VERSION: Final = b"HTTP/1."
_EXPECTED_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})
_SENT_BY_US: Final = frozenset({b"content-length", b"transfer-encoding"})


def headers_of(lines: Iterable[Line]) -> Headers:
    """Return headers in Twisted's form."""
    headers = Headers()
    for name, value in lines:
        headers.addRawHeader(name, value)
    return headers


def lines_of(headers: Headers) -> list[Line]:
    """Return headers as they are on the wire."""
    return [(name, value) for name, values in headers.getAllRawHeaders() for value in values]


def request_head(method: bytes, target: bytes, lines: Sequence[Line]) -> bytes:
    """Return the head of a request as it is sent; raise ``ValueError`` for what would not be read as it is meant."""
    if not _is_token(method) or not _TARGET.fullmatch(target):
        raise ValueError(f"{method!r} {target!r} cannot be requested")
    head = b"".join((b"%s %s HTTP/1.1\r\n" % (method, target), *[b"%s: %s\r\n" % line for line in lines], b"\r\n"))
    breaks = len(lines) + 2
    is_clear = head.count(b"\r") == head.count(b"\n") == breaks and b"\0" not in head
    if not is_clear or not all(_is_token(name) for name, _ in lines):
        raise ValueError("a header cannot be sent: its name is none, or there is a line break in its value")
    return head


@attrs.frozen(eq=False)
class Request:
    """A request as it is sent."""

    method: bytes
    target: bytes
    lines: tuple[Line, ...]
    """All headers but those that say how long the body is."""
    body: IBodyProducer | None = None
    informed: Callable[[int, list[Line]], object] | None = None
    """Called with status and headers of each 1xx response."""

    def head(self) -> bytes:
        """Return the head; raise ``ValueError`` for what would not be read as it is meant."""
        lines = [line for line in self.lines if line[0].lower() not in _SENT_BY_US]
        if self.body is None:
            lines += [(b"Content-Length", b"0")] if self.method in _EXPECTED_BODY else []
        elif self.body.length is UNKNOWN_LENGTH:
            lines.append((b"Transfer-Encoding", b"chunked"))
        else:
            lines.append((b"Content-Length", b"%d" % self.body.length))
        return request_head(self.method, self.target, lines)


@implementer(IConsumer)
class RequestBody:
    """The consumer of a request's body: counts and frames it."""

    def __init__(self, transport: ITransport, producer: IBodyProducer) -> None:
        self.producer = producer
        self._transport: ITransport | None = transport
        self._is_chunked = producer.length is UNKNOWN_LENGTH
        self._missing = 0 if self._is_chunked else int(producer.length)

    def write(self, data: bytes) -> None:
        """Send a piece; raise ``ValueError`` for more than was announced."""
        if self._transport is None or not data:
            return
        if self._is_chunked:
            self._transport.writeSequence([b"%x\r\n" % len(data), data, b"\r\n"])
            return
        self._missing -= len(data)
        if self._missing < 0:
            raise ValueError("the body is longer than it was announced")
        self._transport.write(data)

    def finish(self) -> None:
        """End the body; raise ``ValueError`` for less than was announced."""
        if self._missing:
            raise ValueError("the body is shorter than it was announced")
        if self._is_chunked and self._transport is not None:
            self._transport.write(b"0\r\n\r\n")

    def detach(self) -> None:
        """Send nothing more."""
        self._transport = None

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """See ``IConsumer``; the producer is that of the request."""

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""


class ResponseParser:
    """Reads one response, without I/O."""

    def __init__(self, is_head: bool = False, informed: Callable[[int, list[Line]], object] | None = None) -> None:
        """``is_head`` says that the request is HEAD; ``informed`` is called with status and headers of each 1xx response."""
        self.status = 0
        self.phrase = b""
        self.version = (1, 1)
        self.lines: list[Line] = []
        self.length: int | None = None
        """Bytes of the body as the response announces them, also where none is sent."""
        self.is_begun = False
        """Whether any byte was received; the next two are about all of the head and all of the body."""
        self.has_head = False
        self.is_complete = False
        self.is_persistent = False
        """Whether another request may follow over the same connection (RFC 9112, 9.3)."""
        self.ends_with_connection = False
        """Whether nothing but the end of the connection tells the end of the body."""
        self._is_head = is_head
        self._informed = informed
        self._start = b""
        """The first bytes, as many as tell the version."""
        self._missing = 0
        """Bytes that are to come of a body of known length."""
        self._is_counted = False
        """Whether the body is read without the parser, because its length is known or does not matter."""
        self._beside = 0
        """Bytes since the last that were of a body."""
        self._pieces: list[bytes] = []
        self._wrong = ""
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def feed(self, data: bytes) -> list[bytes]:
        """Take ``data``; return the pieces of the body in it.  Raise ``RequestFailed``."""
        if self._is_counted:
            return self._count(data)
        self.is_begun = True
        if len(self._start) < len(_VERSION):
            self._check_start(data)
        try:
            assert self._parser is not None
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            # After the end it does not matter what follows, only that something does.
            if not self.is_complete:
                raise _malformed(self._wrong or str(error)) from None
            self.is_persistent = False
        if self._wrong:
            raise _malformed(self._wrong)
        pieces, self._pieces = self._pieces, []
        self._beside = 0 if pieces else self._beside + len(data)
        if self.is_complete:
            self._parser = None  # it refers to this object, too
        elif self._beside > LONGEST_HEAD:
            raise _malformed("its head is too long")
        elif self.ends_with_connection or self._missing:
            self._is_counted, self._parser = True, None
        return pieces

    def close(self, is_clean: bool) -> None:
        """The connection ended, cleanly or not; raise ``RequestFailed`` when the response is not complete."""
        self._parser = None
        if not self.is_complete and not (self.ends_with_connection and is_clean):
            raise RequestFailed("the connection broke before the answer was complete", Cause.BROKEN)
        self.is_complete = True

    def _check_start(self, data: bytes) -> None:
        """Refuse protocols that the parser knows beside HTTP/1.x."""
        more = data if self._start else data.lstrip(b"\r\n")  # an empty line before a response is harmless (RFC 9112, 2.2)
        self._start += more[: len(_VERSION) - len(self._start)]
        if not _VERSION.startswith(self._start):
            raise _malformed(f"it begins with {data[:20]!r}")

    def _count(self, data: bytes) -> list[bytes]:
        if self.ends_with_connection:
            return [data]
        if len(data) > self._missing:
            data, self.is_persistent = data[: self._missing], False
        self._missing -= len(data)
        self.is_complete = not self._missing
        return [data]

    # Called by the parser ----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note another response, to no request, when this one is complete."""
        if self.is_complete:
            self.is_persistent = False

    def on_status(self, phrase: bytes) -> None:
        """Take a part of the reason phrase."""
        if not self.has_head:
            self.phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those after the body are dropped."""
        if not self.has_head:
            self.lines.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Decide how the body ends."""
        if self.has_head or self._wrong:
            return
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 200:
            lines, self.lines, self.phrase = self.lines, [], b""
            if status < 100 or status == 101:
                self._wrong = f"the status {status}"
            elif self._informed is not None:
                self._informed(status, lines)
            return
        self.status, self.has_head = status, True
        codings, options = [], b""
        for name, value in self.lines:
            lowered = name.lower()
            if lowered == b"content-length":
                self.length = int(value)
            elif lowered == b"transfer-encoding":
                codings.append(value.lower())
            elif lowered == b"connection":
                options += b"," + value.lower()
        if codings and codings != [b"chunked"]:
            self._wrong = f"the coding {b', '.join(codings)!r}"
            return
        self.version = (1, int(self._parser.get_http_version()[-1]))
        closes = b"close" in [option.strip() for option in options.split(b",")]
        self.is_persistent = self.version == (1, 1) and not closes
        if self._is_head or status in _BODILESS:
            self.is_complete = True
        elif not codings:
            self.ends_with_connection = self.length is None
            self.is_persistent &= not self.ends_with_connection
            self._missing = self.length or 0

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body; there may be none after HEAD."""
        if self.is_complete:
            self.is_persistent = False
        else:
            self._missing -= len(data) if self._missing else 0
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """Note the end of the body, unless that of a 1xx response."""
        if self.has_head:
            self.is_complete = True


def _malformed(reason: str) -> RequestFailed:
    return RequestFailed(f"it answers with what is no HTTP: {reason}", Cause.MALFORMED)
