"""Conditional requests and byte ranges as pure functions (RFC 9110, sections 8.8, 13 and 14)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import attrs
from werkzeug import http

_TAG = re.compile(r'(?:W/)?("[^"]*")')
_OF_FILTER: Final = re.compile(r'(?:--?|;)(?:gzip|br|zstd|deflate)"')
"""What servers in between add to the tag of what they compress."""
ANY_TAG = "*"


def conditions(etag: str | None, last_modified: str | None) -> dict[str, str]:
    """Return the headers that ask for a response only if it is another than the one with these validators."""
    given = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    return {name: value for name, value in given.items() if value is not None}


def parse_tags(if_none_match: str) -> frozenset[str]:
    """Return the opaque tags, quotes included, that an ``If-None-Match`` names; ``W/`` is dropped: comparison is weak.

    ``*`` stands in the result as ``ANY_TAG``.  A tag that a compressing server in between made longer (``"…-gzip"``) stands in it
    without that, too.
    """
    if if_none_match.strip() == ANY_TAG:
        return frozenset((ANY_TAG,))
    tags = _TAG.findall(if_none_match)
    if _OF_FILTER.search(if_none_match):
        tags += [_OF_FILTER.sub('"', tag) for tag in tags]
    return frozenset(tags)


def tags_match(tags: frozenset[str], etag: str) -> bool:
    """Whether the client already has what ``etag`` (strong, quotes included) names."""
    return etag in tags or ANY_TAG in tags


def http_date(upload_time: str | None) -> str | None:
    """Return ``2026-11-22T17:00:00.123456Z`` as an HTTP date, which has whole seconds; None when it is no such time."""
    try:
        moment = datetime.fromisoformat(upload_time or "")
        return None if moment.tzinfo is None else http.http_date(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def not_modified_since(if_modified_since: str, last_modified: str | None) -> bool:
    """Whether nothing changed since the date that the client names; False when either date is missing or unreadable."""
    try:  # werkzeug would take a date without a zone for one of GMT
        return last_modified is not None and parsedate_to_datetime(last_modified) <= parsedate_to_datetime(if_modified_since)
    except (ValueError, TypeError, OverflowError):
        return False


def if_range_holds(header: str, etag: str | None, last_modified: str | None) -> bool:
    """Whether the part that the client has is of this very file: a strong tag or the exact date (RFC 9110, 13.1.5)."""
    validator = header.strip()
    return validator == (etag if validator.startswith('"') else last_modified)


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
