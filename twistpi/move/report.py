"""What a run of a move did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from twistpi.backup.manifest import MissingFile
from twistpi.model.errors import TwistpiError

_MOST_NAMED: Final = 10


@attrs.frozen
class Moved:
    """What a run copied."""

    serial: int
    """Of the last entry there."""
    entries: int
    """How many this run copied."""
    files: int
    bytes: int
    missing: tuple[MissingFile, ...]
    is_complete: bool
    """Whether the move is complete."""
    nodes: tuple[str, ...] = ()
    """The nodes that run, for which it is not."""


def require_complete(place: str, missing: Sequence[MissingFile], accept_missing: bool, remedy: str) -> None:
    """Raise ``TwistpiError`` if uploaded files are ``missing`` at ``place``, unless that is accepted."""
    private = [f"{one.filename} ({one.digits})" for one in missing if one.is_private]
    if not private or accept_missing:
        return
    more = f" and {len(private) - _MOST_NAMED} more" if len(private) > _MOST_NAMED else ""
    names = f"{', '.join(private[:_MOST_NAMED])}{more}"
    raise TwistpiError(
        f"{place} lacks uploaded files, or has them damaged: {names}. The move is not complete: {remedy}; or run this again with"
        " --accept-missing to go on without them."
    )
