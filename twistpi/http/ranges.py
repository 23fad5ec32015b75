"""Byte ranges as pure functions (RFC 9110, section 14): ``Range`` and ``Content-Range``."""

from __future__ import annotations

import re
from typing import Final

import attrs

_RANGE: Final = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*\Z", re.IGNORECASE | re.ASCII)
_CONTENT_RANGE: Final = re.compile(r"bytes\s+(\d{1,18})-(\d{1,18})/(?:(\d{1,18})|\*)\Z", re.ASCII)


@attrs.frozen
class Span:
    """The bytes ``start`` up to, not including, ``end``."""

    start: int
    end: int


@attrs.frozen
class Unsatisfiable:
    """A well-formed range that lies outside the file."""


def parse_range(header: str, size: int) -> Span | Unsatisfiable | None:
    """Return what a ``Range`` asks of a file of ``size`` bytes.

    None means the whole file: for several ranges, other units and malformed headers.
    """
    match = _RANGE.match(header)
    if match is None:
        return None
    first, last = match.groups()
    if (first and last and int(last) < int(first)) or not (first or last):
        return None
    start = int(first) if first else max(0, size - int(last))
    if start >= size:
        return Unsatisfiable()
    return Span(start, min(int(last) + 1, size) if first and last else size)


@attrs.frozen
class ContentRange:
    """Which bytes of a file a response holds."""

    first: int
    last: int
    """Offset of the last byte, that byte included."""
    total: int | None
    """Bytes of the whole file, None when the response does not say."""


def parse_content_range(header: str | None) -> ContentRange | None:
    """Return what ``bytes 0-99/1000`` says; None for anything that says nothing clear."""
    match = _CONTENT_RANGE.match((header or "").strip())
    if match is None or int(match[2]) < int(match[1]):
        return None
    return ContentRange(int(match[1]), int(match[2]), None if match[3] is None else int(match[3]))
