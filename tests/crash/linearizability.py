"""Whether what clients were told by a cluster could have been told by one server that does one thing at a time.

A history is a list of operations on one project, each with the times at which its client asked and was answered.  It is
linearizable when the operations can be put into an order in which nobody's answer is wrong, and in which each operation that was
answered comes before those that were asked for later.  An operation without an answer happened at any time after it was asked
for, or never.  A read that does not say how far its client is may show any state there ever was, but none that was never.

This follows the search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the memory of Lowe's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Final

import attrs

_STATES: Final = 200_000
"""Different situations after which a search is given up."""

File = tuple[str, str, str]
"""Index, name, SHA-256."""
State = frozenset[File]
"""The files of a project, on all indexes."""
EMPTY: Final[State] = frozenset()


class Outcome(Enum):
    """What a client knows of a change."""

    DONE = "done"
    REFUSED = "refused"
    """It said so: nothing was changed."""
    UNKNOWN = "unknown"
    """No answer, or one that does not say."""


@attrs.frozen
class Upload:
    """Put a file on an index; ``is_volatile`` when that may replace another one of its name."""

    file: File
    is_volatile: bool

    def allowed(self, state: State) -> bool:
        """Whether a server in ``state`` would do it."""
        return self.is_volatile or not any(_is_other(file, self.file) for file in state)

    def apply(self, state: State) -> State:
        """The state after it was done."""
        return frozenset(file for file in state if file[:2] != self.file[:2]) | {self.file}


@attrs.frozen
class Remove:
    """Remove a release, whose files have these names."""

    index: str
    names: frozenset[str]

    def allowed(self, state: State) -> bool:
        """See ``Upload``."""
        return any(file[0] == self.index and file[1] in self.names for file in state)

    def apply(self, state: State) -> State:
        """See ``Upload``."""
        return frozenset(file for file in state if file[0] != self.index or file[1] not in self.names)


@attrs.frozen
class Push:
    """Copy a release, whose files have these names, from one index to another one, which is not volatile."""

    source: str
    target: str
    names: frozenset[str]

    def _copied(self, state: State) -> State:
        return frozenset(
            (self.target, name, digest) for index, name, digest in state if index == self.source and name in self.names
        )

    def allowed(self, state: State) -> bool:
        """See ``Upload``."""
        copied = {name for _index, name, _digest in self._copied(state)}
        return bool(copied) and not any(file[0] == self.target and file[1] in copied for file in state)

    def apply(self, state: State) -> State:
        """See ``Upload``."""
        return state | self._copied(state)


@attrs.frozen
class Read:
    """Read what an index has of the project."""

    index: str
    files: frozenset[File]

    def matches(self, state: State) -> bool:
        """Whether a server in ``state`` would say this."""
        return self.files == {file for file in state if file[0] == self.index}


def _is_other(file: File, uploaded: File) -> bool:
    return file[:2] == uploaded[:2] and file != uploaded


@attrs.frozen
class Operation:
    """One request of a client."""

    client: str
    action: Upload | Remove | Push | Read
    began: float
    """When it was asked; the beginning of time for a read that may show what was true once."""
    ended: float = math.inf
    """When it was answered."""
    outcome: Outcome = Outcome.DONE

    def follow(self, state: State) -> State | None:
        """The state after it, in ``state``; None when it could not have been answered like this there."""
        action = self.action
        if isinstance(action, Read):
            return state if action.matches(state) else None
        allowed = action.allowed(state)
        if self.outcome is Outcome.UNKNOWN:
            return action.apply(state) if allowed else state
        if allowed is not (self.outcome is Outcome.DONE):
            return None
        return action.apply(state) if allowed else state


def pending(operation: Operation) -> Operation:
    """The operation, if nobody knows whether it happened: it may still happen at any time."""
    return attrs.evolve(operation, ended=math.inf) if operation.outcome is Outcome.UNKNOWN else operation


class TooMuch(Exception):
    """The history has too many operations at the same time to be judged."""


def violation(history: Sequence[Operation]) -> Operation | None:
    """Return the operation that no order explains, the first by its answer; None for a history that is linearizable.

    Raise ``TooMuch``.
    """
    operations = sorted(map(pending, history), key=lambda one: (one.began, one.ended))
    search = _Search(operations)
    return None if search.run() else search.stuck_at


@attrs.define(eq=False)
class _Search:
    """Looks for an order."""

    operations: list[Operation]
    stuck_at: Operation | None = None
    """What could not be explained on the way that went farthest."""
    _farthest: int = -1
    _seen: set[tuple[int, State]] = attrs.field(factory=set)

    def run(self) -> bool:
        waiting = [(0, EMPTY)]
        while waiting:
            placed, state = waiting.pop()
            placed = self._with_reads(placed, state)
            if (placed, state) in self._seen:
                continue
            self._seen.add((placed, state))
            if len(self._seen) > _STATES:
                raise TooMuch(f"{len(self.operations)} operations")
            left = self._left(placed)
            if all(math.isinf(self.operations[number].ended) for number in left):
                return True
            self._note(placed, left)
            for number in reversed(self._candidates(placed)):
                after = None if self._is_read(number) else self.operations[number].follow(state)
                if after is not None:
                    waiting.append((placed | 1 << number, after))
        return False

    def _with_reads(self, placed: int, state: State) -> int:
        """The same with the reads that fit: they change nothing, so where one fits it can be placed at once."""
        while True:
            before = placed
            for number in self._candidates(placed):
                if self._is_read(number) and self.operations[number].follow(state) is not None:
                    placed |= 1 << number
            if placed == before:
                return placed

    def _left(self, placed: int) -> list[int]:
        return [number for number in range(len(self.operations)) if not placed >> number & 1]

    def _is_read(self, number: int) -> bool:
        return isinstance(self.operations[number].action, Read)

    def _candidates(self, placed: int) -> list[int]:
        """The operations that may come next: those that were asked for before the first answer to one that is not placed."""
        left = self._left(placed)
        first_answer = min((self.operations[number].ended for number in left), default=math.inf)
        return [number for number in left if self.operations[number].began <= first_answer]

    def _note(self, placed: int, left: list[int]) -> None:
        if (count := placed.bit_count()) > self._farthest:
            self._farthest = count
            self.stuck_at = min((self.operations[number] for number in left), key=lambda one: one.ended)


def entered_twice(log: Sequence[tuple[str, File]]) -> list[File]:
    """Return the files that were ``added`` while they were there already, in a log of ``added`` and ``removed`` files."""
    there: dict[tuple[str, str], str] = {}
    twice = []
    for what, (index, name, digest) in log:
        if what == "added" and there.get((index, name)) == digest:
            twice.append((index, name, digest))
        if what == "added":
            there[index, name] = digest
        else:
            there.pop((index, name), None)
    return twice
