"""A view that is a list of entries: just enough of one for the writer, and it can fail."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from twistpi.changelog.catch_up import decode_body
from twistpi.model.changes import Entry
from twistpi.model.peers import BEGINNING, Position


@attrs.define(eq=False)
class ListView:
    """Remembers entries; what is in the open transaction is apart until ``commit``."""

    position: Position = BEGINNING
    entries: list[Entry] = attrs.field(factory=list)
    """Committed."""
    pending: list[Entry] = attrs.field(factory=list)
    facts: list[str] = attrs.field(factory=list)
    """Local facts, committed."""
    pending_facts: list[str] = attrs.field(factory=list)
    begun: bool = False
    commits: int = 0
    fail_apply: dict[str, Exception] = attrs.field(factory=dict)
    """By author: what ``apply`` raises, after it did its work by half."""
    fail_commit: list[Exception] = attrs.field(factory=list)
    """What the next commits raise."""
    fail_rollback: list[Exception] = attrs.field(factory=list)
    """What the next rollbacks raise."""

    @property
    def reader(self) -> ListView:
        return self

    @property
    def seen(self) -> list[Entry]:
        """What a decision sees."""
        return self.entries + self.pending

    def begin(self) -> None:
        assert not self.begun, "two transactions at once"
        self.begun = True

    def apply(self, entry: Entry) -> None:
        assert self.begun
        assert entry.serial == (self.seen[-1].serial if self.seen else 0) + 1
        self.pending.append(entry)
        if entry.by in self.fail_apply:
            raise self.fail_apply[entry.by]

    def apply_many(self, first: int, bodies: Sequence[bytes]) -> None:
        for serial, body in enumerate(bodies, first):
            self.apply(decode_body(serial, body))

    def remember(self, fact: str) -> None:
        """A local fact."""
        assert self.begun
        self.pending_facts.append(fact)

    def commit(self, position: Position) -> None:
        assert self.begun
        if self.fail_commit:
            raise self.fail_commit.pop(0)
        assert position.serial == (self.seen[-1].serial if self.seen else 0)
        self.entries += self.pending
        self.facts += self.pending_facts
        self.pending, self.pending_facts = [], []
        self.position = position
        self.begun = False
        self.commits += 1

    def rollback(self) -> None:
        self.pending, self.pending_facts = [], []
        self.begun = False
        if self.fail_rollback:
            raise self.fail_rollback.pop(0)
