"""The report of an import or export: counts for each kind, and a sentence for every difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import attrs

from twistpi.model.records import Json
from twistpi.model.text import counted, in_words, one_line, without_secrets
from twistpi.transfer.records import Remark

TAKEN, THERE, REFUSED = "taken", "there", "refused"
KINDS: Final = ("users", "indexes", "releases", "files", "test results", "documentation")
_MOST_NOTES: Final = 1000
"""Remarks that are kept beside losses, which are all kept: so much of the report's memory grows with what is wrong alone."""


@attrs.define
class Report:
    """What became of everything that the source has."""

    counts: dict[str, Counter[str]] = attrs.field(factory=lambda: {kind: Counter() for kind in KINDS})
    """By kind: how many were taken, were there already, and were refused.  Removals only where there are any."""
    bytes_taken: int = 0
    remarks: list[Remark] = attrs.field(factory=list)
    unnamed: int = 0
    """Notes that were left out."""

    def count(self, kind: str, outcome: str) -> None:
        """Count one of ``kind``."""
        self.counts.setdefault(kind, Counter())[outcome] += 1

    def remark(self, remark: Remark) -> None:
        """Keep a sentence."""
        if remark.is_loss or len(self.remarks) < _MOST_NOTES:
            self.remarks.append(remark)
        else:
            self.unnamed += 1

    @property
    def is_complete(self) -> bool:
        """Whether nothing was lost."""
        return not any(remark.is_loss for remark in self.remarks)

    def taken(self) -> dict[str, int]:
        """Return how many were taken of each kind of which any were."""
        return {kind: counts[TAKEN] for kind, counts in self.counts.items() if counts[TAKEN]}

    def lines(self) -> Iterator[str]:
        """Yield the report for people."""
        for kind, counts in self.counts.items():
            if total := counts.total():
                parts = [f"{counts[word]:,} {phrase}" for word, phrase in _PHRASES.items() if counts[word]]
                yield f"{kind}: {', '.join(parts)} of {total:,}"
        yield f"bytes: {in_words(self.bytes_taken)}"
        for remark in self.remarks:
            yield f"{'!' if remark.is_loss else 'note:'} {_shown(remark)}"
        if self.unnamed:
            yield f"note: {counted(self.unnamed, 'more note')}"

    def fields(self) -> dict[str, Json]:
        """Return the report as JSON."""
        return {
            "complete": self.is_complete,
            "counts": {kind: {word: counts[word] for word in _PHRASES} for kind, counts in self.counts.items()},
            "bytes": self.bytes_taken,
            "differences": [
                {"subject": remark.subject, "text": without_secrets(remark.text)} for remark in self.remarks if remark.is_loss
            ],
            "notes": [
                {"subject": remark.subject, "text": without_secrets(remark.text)} for remark in self.remarks if not remark.is_loss
            ],
        }


_PHRASES: Final = {TAKEN: "taken", THERE: "there already", REFUSED: "not taken"}


def _shown(remark: Remark) -> str:
    return one_line(without_secrets(f"{remark.subject}: {remark.text}"))
