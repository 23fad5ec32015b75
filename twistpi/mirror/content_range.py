"""The ``Content-Range`` header (RFC 9110, 14.4).  Pure."""

from __future__ import annotations

import re
from typing import Final

import attrs

_PATTERN: Final = re.compile(r"bytes\s+(\d{1,18})-(\d{1,18})/(?:(\d{1,18})|\*)\Z", re.ASCII)


@attrs.frozen
class ContentRange:
    """Which bytes of a file an answer holds."""

    first: int
    last: int
    """Offset of the last byte, that byte included."""
    total: int | None
    """Bytes of the whole file, None when the answer does not say."""


def parse_content_range(header: str | None) -> ContentRange | None:
    """What ``bytes 0-99/1000`` says; None for anything that says nothing clear."""
    match = _PATTERN.match((header or "").strip())
    if match is None or int(match[2]) < int(match[1]):
        return None
    return ContentRange(int(match[1]), int(match[2]), None if match[3] is None else int(match[3]))
