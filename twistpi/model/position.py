"""A place in the changelog: what a view remembers it was folded up to, and where a reader goes on."""

from __future__ import annotations

import attrs


@attrs.frozen
class Position:
    """The end of one line of the changelog."""

    serial: int
    """The line's serial; 0 before the first line."""
    chain: str
    """The line's chain digest, 64 hexadecimal digits."""
    segment: int
    """The first serial of the segment that holds the line."""
    offset: int
    """Bytes from the start of that segment to the end of the line."""


BEGINNING = Position(serial=0, chain="0" * 64, segment=1, offset=0)
"""Before the first line."""
