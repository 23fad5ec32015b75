"""Counters of responses, as plain integers: anything more would take longer than a page from memory.

Responses of the fast path are counted by incrementing attributes; they take well under a millisecond, so their time is not
measured.  All others are counted when they are complete, with their time.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, TypedDict

import attrs

BUCKETS: Final[Sequence[float]] = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds; one more bucket has what took longer."""
MOST_LABELS: Final = 200
"""Labels of tokens that are counted, so that those who make tokens cannot fill the memory of a monitor."""
OTHER_LABELS: Final = "other"
"""Stands for all further ones."""
ABANDONED: Final = 499
"""The status under which a response counts for which the client did not wait."""
_NAMES = re.compile(rb"/\+simple/?\Z")
_DOCS = re.compile(rb"/\+(?:d|doc)(?:/|\Z)")
_NUMBERS: Final = ("ready_pages", "unchanged_pages", "ready_files", "ready_metadata", "unchanged_files", "sent")
"""The attributes of ``Traffic`` that are nothing but numbers."""
_WATCHED = (b"/+status", b"/+health", b"/+ready", b"/+metrics")


def kind_of(method: bytes, path: bytes) -> str:
    """Return the kind of a request: ``page``, ``names``, ``file``, ``metadata``, ``docs``, ``watching``,
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


class Counts(TypedDict):
    """What a process counted for another one, to be sent as JSON."""

    numbers: dict[str, int]
    pages: dict[str, int]
    tokens: list[tuple[str, str, int]]
    answered: list[tuple[str, int, int]]
    buckets: list[int]
    seconds: float


@attrs.define(eq=False)
class Traffic:
    """The counters of one process."""

    ready_pages: int = 0
    """Ready pages that were sent."""
    unchanged_pages: int = 0
    """304 responses for ready pages."""
    ready_files: int = 0
    """Ready files of which sending began."""
    ready_metadata: int = 0
    """Ready core metadata files that were sent."""
    unchanged_files: int = 0
    """304 responses for ready files and metadata."""
    sent: int = 0
    """Bytes of bodies."""
    tokens: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    """What API tokens were used for: ``download`` or ``upload``, and the label of the token."""
    pages: Counter[str] = attrs.field(factory=Counter)
    """All other pages, by their origin: ``memory``, ``hit``, ``miss``, ``revalidated``, ``stale``."""
    _answered: Counter[tuple[str, int]] = attrs.field(factory=Counter)
    """By kind and status."""
    _buckets: list[int] = attrs.field(factory=lambda: [0] * (len(BUCKETS) + 1))
    _seconds: float = 0.0

    def count(self, method: bytes, path: bytes, status: int, seconds: float, sent: int) -> None:
        """Count a response of ``sent`` bytes, complete ``seconds`` after its request was read."""
        self._answered[kind_of(method, path), status] += 1
        self._buckets[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds
        self.sent += sent

    def count_token(self, use: str, label: str, number: int = 1) -> None:
        """Count that a token was used for a ``download`` or an ``upload``."""
        if (use, label) not in self.tokens and len(self.tokens) >= MOST_LABELS:
            label = OTHER_LABELS
        self.tokens[use, label] += number

    def take(self) -> Counts:
        """Return what was counted since the last call, for ``add`` in another process."""
        counts = Counts(
            numbers={name: getattr(self, name) for name in _NUMBERS},
            pages=dict(self.pages),
            tokens=[(use, label, number) for (use, label), number in self.tokens.items()],
            answered=[(kind, status, number) for (kind, status), number in self._answered.items()],
            buckets=self._buckets,
            seconds=self._seconds,
        )
        for name in _NUMBERS:
            setattr(self, name, 0)
        self.pages.clear()
        self.tokens.clear()
        self._answered.clear()
        self._buckets, self._seconds = [0] * (len(BUCKETS) + 1), 0.0
        return counts

    def add(self, counts: Counts) -> None:
        """Add what ``take`` returned in another process."""
        for name, number in counts["numbers"].items():
            setattr(self, name, getattr(self, name) + number)
        self.pages.update(counts["pages"])
        for use, label, number in counts["tokens"]:
            self.count_token(use, label, number)
        for kind, status, number in counts["answered"]:
            self._answered[kind, status] += number
        self._buckets = [mine + theirs for mine, theirs in zip(self._buckets, counts["buckets"], strict=True)]
        self._seconds += counts["seconds"]

    @property
    def answered(self) -> Iterator[tuple[str, int, int]]:
        """Kind, status and number of all responses."""
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
        """The number of responses in each bucket, ready ones in the first, and the seconds of all others together."""
        fast = self.ready_pages + self.unchanged_pages + self.ready_files + self.ready_metadata + self.unchanged_files
        return [self._buckets[0] + fast, *self._buckets[1:]], self._seconds

    @property
    def pages_by_origin(self) -> dict[str, int]:
        """The same as ``pages``, with the ready ones."""
        fast = self.ready_pages + self.unchanged_pages
        return {**self.pages, "memory": self.pages["memory"] + fast}
