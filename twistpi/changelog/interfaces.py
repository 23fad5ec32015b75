"""The interfaces of the changelog, and of the view as far as the changelog uses it."""

# ruff: noqa: N805 -- methods of a zope interface are declared as they are called, without self

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import attrs
from zope.interface import Attribute, Interface

from twistpi.model.changes import Entry
from twistpi.model.peers import Position


class RawLine(NamedTuple):
    """One line of the changelog, its chain checked, its content not yet decoded.

    A named tuple is made in half the time of another frozen record, and there are millions.
    """

    serial: int
    chain: str
    """64 lower-case hexadecimal digits."""
    body: bytes
    """The JSON, without line feed; ``model.codec.decode_content`` reads it."""
    segment: int
    """The first serial of its segment."""
    offset: int
    """Bytes from the start of the segment to the end of the line."""

    @property
    def position(self) -> Position:
        """The end of the line."""
        return Position(self.serial, self.chain, self.segment, self.offset)


@attrs.frozen
class Segment:
    """One file of a log."""

    first: int
    """The serial of its first line."""
    size: int
    """Bytes that are synced."""
    sealed: bool
    """Whether no further line will be added."""
    before: str
    """The chain digest of the line before its first one."""


class IChangelog(Interface):
    """Chained lines in order.  One writer; any number of readers, in any thread."""

    last: Position = Attribute("The end of the newest line that is synced; ``begins_after`` while there is none.")
    begins_after: Position = Attribute("``BEGINNING``, or a later position where the older lines are not here.")

    def append(bodies: Sequence[bytes], expect: int) -> Position:
        """Write ``bodies`` as the lines after serial ``expect``, sync them once, and return the new end.

        Blocking.  Raises ``LogConflict`` when the log does not end at ``expect``, ``StorageFull`` when there is no room (the
        log is as before), ``SyncFailed`` when it is unknown what is on disk: every later append raises it too.
        """

    def receive(lines: Sequence[bytes], expect: int, approve: Callable[[Sequence[bytes]], object] = ...) -> Position:
        """Append ``lines``, without their line feeds, as another log has them after serial ``expect``; return the new end.

        Each is checked against the chain, then ``approve(bodies)`` is called with their JSON, then they are written and synced.
        Blocking.  Raises ``FeedDamaged`` for a line that does not follow and what ``approve`` raises, with nothing written, and
        what ``append`` raises.
        """

    def refresh() -> Position:
        """Get to know the lines that others appended, and return the new end; nothing where nobody else appends.

        Blocking.  Raises ``LogUnreachable``, ``UnknownPosition`` when the log is another than before.
        """

    def position(serial: int) -> Position:
        """The end of the line ``serial``, or ``begins_after`` for its serial; the chain is as the line states it.

        Blocking, for about a millisecond.  Raises ``UnknownSerial``, ``LogDamaged``.
        """

    def segments() -> list[Segment]:
        """The files that hold the lines up to ``last``, in order.  Blocking."""

    def read(after: Position) -> Iterator[RawLine]:
        """The lines after ``after`` up to ``last``, each checked against the chain.

        Blocking.  Raises ``UnknownPosition`` when this log has no line that ends at ``after``, ``LogDamaged`` at a line that is
        not what was written.
        """

    def newest() -> RawLine | None:
        """The line that ends at ``last``, its chain not recomputed, or None while there is none.  Blocking."""

    def close() -> None:
        """Close what is open.  Everything acknowledged is on disk already."""


class View(Protocol):
    """State folded from the entries 1 … ``position.serial``, as far as the changelog must know it; for one thread at a time."""

    position: Position
    """The end of the last entry that is folded in and committed."""

    @property
    def reader(self) -> Any:
        """What ``decide`` functions read; it sees what was applied since ``begin``."""

    def begin(self) -> None:
        """Open a transaction."""

    def apply(self, entry: Entry) -> None:
        """Fold ``entry``, the next one, into the open transaction."""

    def apply_many(self, first: int, bodies: Sequence[bytes]) -> None:
        """The same with the entries from serial ``first`` on, of which ``bodies`` are the JSON."""

    def commit(self, position: Position) -> None:
        """Make the transaction visible to readers, stamped with ``position`` in the same transaction."""

    def rollback(self) -> None:
        """Undo everything since ``begin``; also after a failed ``apply`` or ``commit``."""
