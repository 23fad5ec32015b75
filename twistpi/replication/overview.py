"""What a primary's log consists of, and whether to begin with a snapshot instead of all of it."""

from __future__ import annotations

import re
from typing import Any, Final

import attrs

from twistpi.model.following_errors import FollowingRefused, PrimaryUnreachable, StrangePrimary
from twistpi.replication.primary import Primary

LARGE_BYTES: Final = 64 * 1024 * 1024
LARGE_ENTRIES: Final = 100_000
"""A log with more than either is not folded from its beginning by a new replica."""

_ID = re.compile(r"[0-9a-f]{32}")
_CHAIN = re.compile(r"[0-9a-f]{64}")


@attrs.frozen
class SegmentFacts:
    """One file of the log."""

    first: int
    """The serial of its first line."""
    size: int
    """Bytes."""
    sealed: bool
    """Whether nothing is added to it any more."""
    before: str
    """The chain of the line before its first one: 64 hexadecimal digits."""


@attrs.frozen
class Overview:
    """What ``/+changelog/segments`` says."""

    log_id: str
    begins_after: int
    """The serial before the first line that the primary has."""
    segments: tuple[SegmentFacts, ...]
    serial: int
    """The primary's last one."""

    @property
    def is_large(self) -> bool:
        """Whether a new replica begins with a snapshot; it has to where the primary has not the whole log itself."""
        size = sum(segment.size for segment in self.segments)
        return self.begins_after > 0 or size > LARGE_BYTES or self.serial > LARGE_ENTRIES

    def segment(self, first: int) -> SegmentFacts | None:
        """The one that begins with the serial ``first``."""
        return next((segment for segment in self.segments if segment.first == first), None)


async def look_over(primary: Primary) -> Overview:
    """Ask ``primary`` for it.  Raises ``PrimaryUnreachable``, ``FollowingRefused``, ``StrangePrimary``."""
    answer = await primary.ask("GET", "/+changelog/segments")
    if answer.status == 403:
        fields = await answer.json()
        reason = fields.get("reason") if isinstance(fields, dict) else None
        raise FollowingRefused(primary.url, f"it does not let this server in ({reason}); start both with the same --secretfile")
    if answer.status in (502, 503, 504):
        answer.discard()
        raise PrimaryUnreachable(primary.url, f"it answers {answer.status}")
    if answer.status != 200:
        answer.discard()
        raise StrangePrimary(primary.url, f"it answers {answer.status} where it should tell of its changelog")
    try:
        return read_overview(await answer.json(), answer.header("X-Devpi-Serial"))
    except (KeyError, TypeError, ValueError):
        raise StrangePrimary(primary.url, "what it tells of its changelog cannot be understood") from None


def read_overview(fields: Any, serial: str | None) -> Overview:
    """An overview out of JSON; ``KeyError``, ``TypeError`` or ``ValueError`` for what is none."""
    segments = tuple(
        SegmentFacts(int(one["first"]), int(one["size"]), one["sealed"] is True, _matching(_CHAIN, one["before"]))
        for one in fields["segments"]
    )
    return Overview(_matching(_ID, fields["log_id"]), int(fields["begins_after"]["serial"]), segments, int(serial or 0))


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text
