"""The heads of requests that are passed on, and of their answers: what goes through, what is for one connection alone (RFC 9110,
7.6.1), and what a server that passes on says itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from twisted.web.http_headers import Headers

from twistpi.web.forwarding.passed_on import HEADER, NODE, REFUSED, TIME, PassedOn

Line = tuple[bytes, bytes]

_OF_ONE_CONNECTION: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
_OF_PROXIES: Final = frozenset({b"forwarded", b"via", b"x-real-ip", b"x-outside-url"})
"""What the asker's side said of addresses is summed up in ``PassedOn``."""
_OURS: Final = frozenset(name.lower().encode("ascii") for name in (HEADER, NODE))
_NOT_FOR_ASKERS: Final = frozenset(name.lower().encode("ascii") for name in (REFUSED, TIME))


def request_head(
    method: bytes,
    target: bytes,
    headers: Headers,
    *,
    host: bytes,
    length: int | None,
    body: bool,
    last: bool,
    extra: Iterable[Line],
) -> bytes:
    """The head of the request for ``target`` as it goes over the wire.

    ``body`` says whether one follows, of ``length`` bytes, or in chunks when that is None; ``last`` whether the connection
    ends with its answer.  ``extra`` are lines of our own.
    """
    lines = [b"%s %s HTTP/1.1" % (method, target), b"Host: " + host]
    lines += [b"%s: %s" % line for line in _passing(headers) if not _is_replaced(line[0].lower())]
    if body:
        lines.append(b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length)
    lines += [b"%s: %s" % line for line in extra]
    if last:
        lines.append(b"Connection: close")
    return b"\r\n".join([*lines, b"", b""])


def passed_on_line(passed_on: PassedOn) -> Line:
    """The header that says for whom a request is passed on."""
    return HEADER.encode("ascii"), passed_on.text.encode("latin-1", "replace")


def token_lines(headers: Headers) -> tuple[Line, ...]:
    """What a server that passed the request on told, as it came."""
    return tuple((name.encode("ascii"), value) for name in (NODE, HEADER) for value in headers.getRawHeaders(name.encode()) or ())


def answer_lines(lines: Iterable[Line], *, tokens_pass: bool) -> list[Line]:
    """The headers of an answer that are for the asker; ``tokens_pass`` says that this may be another server."""
    given = list(lines)
    named = _named(value for name, value in given if name.lower() == b"connection")
    dropped = _OF_ONE_CONNECTION | named | (frozenset() if tokens_pass else _NOT_FOR_ASKERS)
    return [line for line in given if line[0].lower() not in dropped]


def _passing(headers: Headers) -> Iterator[Line]:
    """The headers of a request that are not for its connection alone."""
    named = _named(headers.getRawHeaders(b"connection") or ())
    for name, values in headers.getAllRawHeaders():
        if name.lower() not in _OF_ONE_CONNECTION | named:
            for value in values:
                yield name, value


def _is_replaced(name: bytes) -> bool:
    if name in (b"host", b"content-length") or name.startswith(b"x-forwarded"):
        return True
    return name in _OF_PROXIES or name in _OURS


def _named(values: Iterable[Any]) -> frozenset[bytes]:
    """What the values of ``Connection`` name; never what tells where a body ends, or who asks."""
    names = {name.strip().lower() for value in values for name in value.split(b",")}
    return frozenset(names - {b"content-length", b"authorization", b"x-devpi-auth"})
