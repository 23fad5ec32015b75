"""Whether what a mirror knows of a project may be served without asking the upstream.  Pure."""

from __future__ import annotations

import enum

from twistpi.model.records import Freshness


class Standing(enum.Enum):
    """How far what is known can be trusted."""

    FRESH = enum.auto()
    """Confirmed by this upstream within the expiry."""
    STALE = enum.auto()
    """Known, but to be confirmed."""
    UNKNOWN = enum.auto()
    """Nothing is known; only the upstream can tell."""


def standing(freshness: Freshness | None, known: bool, source: str, expiry: float, now: float) -> Standing:
    """The standing of a project.

    ``known`` says whether anything of it is kept, ``source`` which upstream is asked today; ``expiry`` is in seconds, ``now``
    Unix time.  A clock that was set back makes pages stale, not fresh for ever.
    """
    if not known:
        return Standing.UNKNOWN
    if freshness is None or freshness.source != source:
        return Standing.STALE
    return Standing.FRESH if 0 <= now - freshness.checked_at < expiry else Standing.STALE


def validators(freshness: Freshness | None, known: bool, source: str) -> tuple[str | None, str | None]:
    """ETag and Last-Modified to ask with; none when what they stood for is not here, or was another upstream's."""
    if freshness is None or not known or freshness.missing or freshness.source != source:
        return None, None
    return freshness.etag, freshness.last_modified
