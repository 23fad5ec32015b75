"""Blobs that failed to come: why, how often, and when they are tried again."""

from __future__ import annotations

from typing import Final

import attrs

from twistpi.blobs.address import BlobAddress
from twistpi.model.records import Json
from twistpi.replication.blob_search import Lack

_FIRST: Final = 0.5
"""Seconds before the second attempt; each further one doubles it."""
_LONGEST: Final = 600.0
_MOST: Final = 10_000
"""Blobs that are remembered; more are found again when the view is walked through."""
_SHOWN: Final = 100
_AT_ONCE: Final = 100
_HIDDEN: Final = "…"

Key = tuple[str, str]


@attrs.define
class Failure:
    """One blob."""

    lack: Lack
    reason: str
    tries: int
    next_at: float
    """Unix seconds."""


@attrs.define(eq=False)
class Failures:
    """All of them."""

    _known: dict[Key, Failure] = attrs.field(factory=dict)

    def note(self, lack: Lack, reason: str, now: float) -> float | None:
        """``lack`` failed at ``now`` (Unix seconds); when to try again, None when it cannot be remembered."""
        before = self._known.get(lack.key)
        if before is None and len(self._known) >= _MOST:
            return None
        tries = 1 if before is None else before.tries + 1
        next_at = now + min(_FIRST * 2.0 ** min(tries - 1, 30), _LONGEST)
        self._known[lack.key] = Failure(lack, reason, tries, next_at)
        return next_at

    def reason(self, key: Key) -> str | None:
        """Why it failed last; None for one that did not."""
        failure = self._known.get(key)
        return None if failure is None else failure.reason

    def put_off(self, key: Key, now: float) -> None:
        """Nobody could be asked: another time, without blame."""
        self._known[key].next_at = now + _FIRST

    def forget(self, key: Key) -> None:
        """It came, or is not wanted any more."""
        self._known.pop(key, None)

    def due(self, now: float) -> list[Lack]:
        """Some of those that are to be tried again at ``now``."""
        return [failure.lack for failure in self._known.values() if failure.next_at <= now][:_AT_ONCE]

    def next_at(self) -> float | None:
        """When the next one is due, in Unix seconds; None without any."""
        return min((failure.next_at for failure in self._known.values()), default=None)

    def facts(self, *, with_names: bool) -> list[Json]:
        """The first of them, for the status: ``path`` below ``+f/``, ``reason``, ``tries`` and ``next-at`` (Unix seconds).

        File names are told only ``with_names``: who may not read an index need not learn what is in it.
        """
        return [_facts(failure, with_names=with_names) for failure in list(self._known.values())[:_SHOWN]]

    def __contains__(self, key: object) -> bool:
        return key in self._known

    def __len__(self) -> int:
        return len(self._known)


def _facts(failure: Failure, *, with_names: bool) -> dict[str, Json]:
    digits, filename = failure.lack.key
    path, reason = BlobAddress(digits, filename).relative, failure.reason
    if not with_names:
        path, reason = path.replace(filename, _HIDDEN), reason.replace(filename, _HIDDEN)
    return {"path": path, "reason": reason, "tries": failure.tries, "next-at": failure.next_at}
