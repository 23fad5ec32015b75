"""The headers of forwarded requests and their responses: what is passed on, and what servers tell each other.

A server that forwards a request tells for whom in one header of its own (``PassedOn``), beside the request as it came. The
headers that proxies use cannot say it, because proxies on the way write their own into them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs
from twisted.web.http_headers import Headers

HEADER: Final = "X-Twistpi-Passed-On"
"""Holds ``PassedOn.text``."""
NODE: Final = "X-Twistpi-Node"
"""Holds a node's token for exactly this request, as ``Authorization: Twistpi-Node`` does in a server's own requests: in a
forwarded request, ``Authorization`` is the client's.
"""
REFUSED: Final = "X-Twistpi-Refused"
"""In a response: why the token is not valid; the request was not looked at any further."""
TIME: Final = "X-Twistpi-Time"
"""In a response to another server: the time there, in Unix seconds."""

Line = tuple[bytes, bytes]
"""Name and value of a header."""
_LOCAL, _ELSEWHERE = "local", "elsewhere"
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
"""Headers of one connection, in lower case (RFC 9110, 7.6.1); those that ``Connection`` names belong to it, too."""
_NEVER_HOP_BY_HOP: Final = frozenset({b"content-length", b"authorization", b"x-devpi-auth", b"cookie"})
"""Headers that ``Connection`` cannot name: they tell where a body ends, and who sent the request."""
_FROM_SERVERS: Final = frozenset(name.lower().encode("ascii") for name in (HEADER, NODE))
_REPLACED: Final = _FROM_SERVERS | {b"host", b"content-length", b"forwarded", b"via", b"x-real-ip", b"x-outside-url"}
"""Headers of a request that the forwarding server writes itself, or sums up in ``PassedOn``."""
_TO_SERVERS: Final = frozenset(name.lower().encode("ascii") for name in (REFUSED, TIME))
"""Headers of a response that are not for clients."""


@attrs.frozen
class PassedOn:
    """The client of a forwarded request, as the server knows it that received the request."""

    outside: str
    """The URL by which the client calls that server, without a slash at the end: ``https://pkgs.example/devpi``."""
    address: str
    """The client's IP address, or ``unix``."""
    is_local: bool
    """Whether it is on the same machine as that server."""

    @property
    def text(self) -> str:
        """The value of the header."""
        return f"{self.outside} {self.address} {_LOCAL if self.is_local else _ELSEWHERE}"

    @classmethod
    def read(cls, text: str) -> PassedOn:
        """Parse the value of the header. Raise ``ValueError``."""
        outside, address, place = text.split(" ")
        if not outside.startswith(("http://", "https://")) or place not in (_LOCAL, _ELSEWHERE):
            raise ValueError(text)
        return cls(outside, address, place == _LOCAL)


def request_lines(headers: Headers) -> list[Line]:
    """Return the headers of a client's request that are forwarded."""
    lines = ((line, line[0].lower()) for line in _end_to_end(_lines(headers)))
    return [line for line, name in lines if name not in _REPLACED and not name.startswith(b"x-forwarded")]


def response_lines(lines: Iterable[Line], *, to_servers: bool) -> list[Line]:
    """Return the headers of a response that are passed back; ``to_servers`` says that this may be to another server."""
    return [line for line in _end_to_end(list(lines)) if to_servers or line[0].lower() not in _TO_SERVERS]


def token_lines(headers: Headers) -> list[Line]:
    """Return what another server that forwarded the request told, unchanged."""
    return [line for line in _lines(headers) if line[0].lower() in _FROM_SERVERS]


def _lines(headers: Headers) -> list[Line]:
    return [(name, value) for name, values in headers.getAllRawHeaders() for value in values]


def _end_to_end(lines: list[Line]) -> list[Line]:
    """Return ``lines`` without those that are for one connection alone."""
    options = (value for name, value in lines if name.lower() == b"connection")
    named = {option.strip().lower() for value in options for option in value.split(b",")} - _NEVER_HOP_BY_HOP
    dropped = _HOP_BY_HOP | named
    return [line for line in lines if line[0].lower() not in dropped]
