"""What was answered, counted with plain integers: a page out of memory takes less time than a clever counter.

What is sent before a request object exists (``fast``) is counted by incrementing attributes, and takes well under a millisecond,
so its time is not taken.  Everything else is counted when it is finished, with its time.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

BUCKETS: Final[Sequence[float]] = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds; one more bucket has what took longer."""
ABANDONED: Final = 499
"""The status under which an answer counts that its asker did not wait for."""
_NAMES = re.compile(rb"/\+simple/?\Z")
_DOCS = re.compile(rb"/\+(?:d|doc)(?:/|\Z)")
_NUMBERS: Final = ("ready_pages", "unchanged_pages", "ready_files", "ready_metadata", "unchanged_files", "sent")
"""The attributes of ``Traffic`` that are nothing but numbers."""
_WATCHED = (b"/+status", b"/+health", b"/+ready", b"/+metrics")


def kind_of(method: bytes, path: bytes) -> str:
    """What a request is about, in one of a few words: ``page``, ``names``, ``file``, ``metadata``, ``docs``, ``watching``,
    ``login``, ``reading`` for whatever else is read, ``writing``.
    """
    if path.endswith(b"/+login"):
        return "login"
    if method not in (b"GET", b"HEAD", b"OPTIONS"):
        return "writing"
    if b"/+f/" in path or b"/+e/" in path:
        return "metadata" if path.endswith(b".metadata") else "file"
    if b"/+simple" in path:
        return "names" if _NAMES.search(path) else "page"
    if _DOCS.search(path):
        return "docs"
    return "watching" if path.endswith(_WATCHED) else "reading"


@attrs.define(eq=False)
class Traffic:
    """The counters of one process."""

    ready_pages: int = 0
    """Pages sent the fast way."""
    unchanged_pages: int = 0
    """Askers told the fast way that they have the page already."""
    ready_files: int = 0
    """Files begun the fast way."""
    ready_metadata: int = 0
    """Metadata of files sent the fast way."""
    unchanged_files: int = 0
    """Askers told the fast way that they have a file, or its metadata, already."""
    sent: int = 0
    """Bytes of bodies."""
    pages: Counter[str] = attrs.field(factory=Counter)
    """Pages sent the ordinary way, by how they came about: ``memory``, ``hit``, ``miss``, ``revalidated``, ``stale``."""
    _answered: Counter[tuple[str, int]] = attrs.field(factory=Counter)
    """By kind and status."""
    _buckets: list[int] = attrs.field(factory=lambda: [0] * (len(BUCKETS) + 1))
    _seconds: float = 0.0

    def count(self, method: bytes, path: bytes, status: int, seconds: float, sent: int) -> None:
        """An answer of ``sent`` bytes is finished, ``seconds`` after its request was read."""
        self._answered[kind_of(method, path), status] += 1
        self._buckets[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds
        self.sent += sent

    def take(self) -> dict[str, Any]:
        """What was counted since this was called last, for ``add`` of another process; counting begins anew."""
        told: dict[str, Any] = {name: getattr(self, name) for name in _NUMBERS}
        told |= {"pages": dict(self.pages), "buckets": self._buckets, "seconds": self._seconds}
        told["answered"] = [[kind, status, number] for (kind, status), number in self._answered.items()]
        for name in _NUMBERS:
            setattr(self, name, 0)
        self.pages.clear()
        self._answered.clear()
        self._buckets, self._seconds = [0] * (len(BUCKETS) + 1), 0.0
        return told

    def add(self, told: Mapping[str, Any]) -> None:
        """Count what another process counted, and told by ``take``."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + told[name])
        self.pages.update(told["pages"])
        for kind, status, number in told["answered"]:
            self._answered[kind, status] += number
        self._buckets = [mine + theirs for mine, theirs in zip(self._buckets, told["buckets"], strict=True)]
        self._seconds += told["seconds"]

    @property
    def answered(self) -> Iterator[tuple[str, int, int]]:
        """Kind, status and number of all that was answered, whichever way."""
        counts = self._answered.copy()
        counts["page", 200] += self.ready_pages
        counts["page", 304] += self.unchanged_pages
        counts["file", 200] += self.ready_files
        counts["metadata", 200] += self.ready_metadata
        counts["file", 304] += self.unchanged_files
        for (kind, status), number in sorted(counts.items()):
            if number:
                yield kind, status, number

    @property
    def durations(self) -> tuple[Sequence[int], float]:
        """How many answers fell into each bucket, the fast ones into the first, and the seconds of all others together."""
        fast = self.ready_pages + self.unchanged_pages + self.ready_files + self.ready_metadata + self.unchanged_files
        return [self._buckets[0] + fast, *self._buckets[1:]], self._seconds

    @property
    def pages_by_origin(self) -> dict[str, int]:
        """As ``pages``, with those sent the fast way."""
        fast = self.ready_pages + self.unchanged_pages
        return {**self.pages, "memory": self.pages["memory"] + fast}
