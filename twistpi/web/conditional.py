"""Conditional requests and byte ranges as pure functions (RFC 9110, sections 8.8, 13 and 14)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

import attrs

_TAG = re.compile(r'(?:W/)?("[^"]*")')
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*\Z", re.IGNORECASE | re.ASCII)
ANY_TAG = "*"


def parse_tags(if_none_match: str) -> frozenset[str]:
    """The opaque tags, quotes included, an ``If-None-Match`` names; ``W/`` is dropped, because its comparison is the weak one.

    ``*`` stands in the result as ``ANY_TAG``.
    """
    if if_none_match.strip() == "*":
        return frozenset((ANY_TAG,))
    return frozenset(_TAG.findall(if_none_match))


def tags_match(tags: frozenset[str], etag: str) -> bool:
    """Whether the asker already has what ``etag`` (strong, quotes included) names."""
    return etag in tags or ANY_TAG in tags


def http_date(upload_time: str | None) -> str | None:
    """``2026-11-22T17:00:00.123456Z`` as an HTTP date, which has whole seconds; None when it is no such time."""
    if upload_time is None:
        return None
    try:
        moment = datetime.fromisoformat(upload_time)
        if moment.tzinfo is None:
            return None
        return format_datetime(moment.astimezone(UTC).replace(microsecond=0), usegmt=True)
    except (ValueError, OverflowError):
        return None


def not_modified_since(if_modified_since: str, last_modified: str | None) -> bool:
    """Whether nothing changed since the date the asker names; False when either date is missing or unreadable."""
    if last_modified is None:
        return False
    try:
        return parsedate_to_datetime(last_modified) <= parsedate_to_datetime(if_modified_since)
    except (ValueError, TypeError, OverflowError):
        return False


@attrs.frozen
class Span:
    """The bytes ``start`` up to, not including, ``end``."""

    start: int
    end: int


@attrs.frozen
class Unsatisfiable:
    """A well-formed range that lies outside the file."""


def parse_range(header: str, size: int) -> Span | Unsatisfiable | None:
    """What a ``Range`` asks of a file of ``size`` bytes; None for everything that is answered with the whole file.

    That is: several ranges, other units, and whatever is malformed.
    """
    match = _RANGE.match(header)
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        return _suffix(int(last), size) if last else None
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        return Unsatisfiable()
    return Span(start, min(int(last) + 1, size) if last else size)


def _suffix(length: int, size: int) -> Span | Unsatisfiable:
    if length == 0 or size == 0:
        return Unsatisfiable()
    return Span(max(0, size - length), size)


def if_range_holds(header: str, etag: str | None, last_modified: str | None) -> bool:
    """Whether the asker's earlier part is of this very file: a strong tag or the exact date (RFC 9110, 13.1.5)."""
    validator = header.strip()
    if validator.startswith('"'):
        return etag is not None and validator == etag
    if validator.startswith("W/") or last_modified is None:
        return False
    return validator == last_modified
