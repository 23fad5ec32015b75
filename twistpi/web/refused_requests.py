"""Requests for files that a policy refused, or would have refused: counted, and the last of them kept for administrators.

A list of machines that ask for malware is a list of machines to look at: they have it in a requirements file, or in a lock file.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs

from twistpi.model.monitoring import Measure
from twistpi.model.records import Json
from twistpi.rules.file_policy import ADVISORIES, QUARANTINED

_MOST: Final = 2_000
"""Requests that are kept; the oldest leave first."""
_LONGEST: Final = 300
"""Characters of what clients send, and of a reason."""
_MOST_FILES: Final = 3
"""Files that are named in a group."""
_GRAVE: Final = (ADVISORIES, QUARANTINED)
"""The rules whose groups come first."""
_HELP: Final = "Requests for files that a policy refused, or would have refused"


def _shortened(text: str) -> str:
    return text[:_LONGEST]


@attrs.frozen
class RefusedRequest:
    """A request for a file that is not offered."""

    at: float
    """Unix seconds."""
    address: str
    """Of the client."""
    agent: str = attrs.field(converter=_shortened)
    """Its ``User-Agent``; empty without one."""
    index: str
    """The requested index."""
    project: str
    """The normalised name."""
    filename: str = attrs.field(converter=_shortened)
    rule: str
    policy: str
    """The index that has the rule."""
    reason: str = attrs.field(converter=_shortened)
    is_enforced: bool
    """False where the file was sent all the same, because the policy only reports."""


@attrs.frozen
class Asked:
    """What one client asked for of one project, against one rule."""

    newest: RefusedRequest
    count: int
    first_at: float
    """Unix seconds."""
    filenames: tuple[str, ...]
    """Some of the files, the newest requests first."""

    def fields(self) -> dict[str, Json]:
        """Return it for programs."""
        facts: dict[str, Json] = attrs.asdict(self.newest)
        return {**facts, "count": self.count, "first_at": self.first_at, "filenames": list(self.filenames)}


@attrs.define(eq=False)
class RefusedRequests:
    """Counts them all, and keeps the last."""

    _kept: deque[RefusedRequest] = attrs.field(factory=lambda: deque(maxlen=_MOST), init=False)
    _counts: Counter[tuple[str, str, bool]] = attrs.field(factory=Counter, init=False)
    """By the index that has the rule, the rule, and whether the policy is enforced."""

    def add(self, refused: RefusedRequest) -> None:
        """Count and keep a request."""
        self._kept.append(refused)
        self._counts[refused.policy, refused.rule, refused.is_enforced] += 1

    def add_rows(self, rows: Iterable[Sequence[Json]]) -> None:
        """Add what another process gave away with ``take``."""
        for row in rows:
            self.add(RefusedRequest(*row))

    def take(self, most: int) -> list[Sequence[Json]]:
        """Give away the oldest requests, at most so many, as rows of JSON."""
        return [attrs.astuple(self._kept.popleft()) for _ in range(min(most, len(self._kept)))]

    def groups(self) -> list[Asked]:
        """Return the kept requests by client, project and rule: malware and quarantine first, then the newest first."""
        groups: dict[tuple[str, ...], list[RefusedRequest]] = {}
        for one in reversed(self._kept):
            groups.setdefault((one.address, one.agent, one.index, one.project, one.rule, one.policy), []).append(one)
        found = [
            Asked(ones[0], len(ones), ones[-1].at, tuple(dict.fromkeys(one.filename for one in ones))[:_MOST_FILES])
            for ones in groups.values()
        ]
        return sorted(found, key=lambda one: one.newest.rule not in _GRAVE)

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        for (index, rule, is_enforced), count in sorted(self._counts.items()):
            labels = {"index": index, "rule": rule, "mode": "enforce" if is_enforced else "report"}
            yield Measure("twistpi_policy_refusals_total", "counter", _HELP, count, tuple(labels.items()))
