"""The changelog in memory: for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs
from zope.interface import implementer

from twistpi.changelog.format import check_lines, make_line
from twistpi.changelog.interfaces import IChangelog, RawLine, Segment
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import LogConflict, LogUnreachable, StorageFull, UnknownPosition, UnknownSerial


@implementer(IChangelog)
@attrs.define
class MemoryChangelog:
    """Chained lines in a list, as if in one segment without end."""

    begins_after: Position = BEGINNING
    summary: str | None = None
    last: Position = attrs.field(init=False)
    is_full: bool = attrs.field(default=False, init=False)
    """Whether there is no room for a further line."""
    is_gone: bool = attrs.field(default=False, init=False)
    """Whether it takes no line, as a database that does not answer."""
    _lines: list[RawLine] = attrs.field(factory=list, init=False)

    @last.default
    def _last(self) -> Position:
        return self.begins_after

    def append(self, bodies: Sequence[bytes], expect: int) -> Position:
        """See ``IChangelog``; never failing."""
        if expect != self.last.serial:
            raise LogConflict(expect, self.last.serial)
        self._require_room()
        for body in bodies:
            self._put(body)
        return self.last

    def receive(
        self, lines: Sequence[bytes], expect: int, approve: Callable[[Sequence[bytes]], object] = lambda _bodies: None
    ) -> Position:
        """See ``IChangelog``; never failing."""
        if expect != self.last.serial:
            raise LogConflict(expect, self.last.serial)
        self._require_room()
        bodies, _digest = check_lines(lines, expect + 1, bytes.fromhex(self.last.chain))
        approve(bodies)
        for body in bodies:
            self._put(body)
        return self.last

    def refresh(self) -> Position:
        """See ``IChangelog``; nobody else has it."""
        return self.last

    def _require_room(self) -> None:
        if self.is_full:
            raise StorageFull("changelog", "No space left on device")
        if self.is_gone:
            raise LogUnreachable("db.example", "it does not answer")

    def _put(self, body: bytes) -> None:
        before = self.last
        line, digest = make_line(before.serial + 1, bytes.fromhex(before.chain), body)
        self.last = after = Position(before.serial + 1, digest.hex(), before.segment, before.offset + len(line))
        self._lines.append(RawLine(after.serial, after.chain, body, after.segment, after.offset))

    def position(self, serial: int) -> Position:
        """See ``IChangelog``."""
        base = self.begins_after
        if serial == base.serial:
            return base
        if not base.serial < serial <= self.last.serial:
            raise UnknownSerial(serial, base.serial + 1, self.last.serial)
        return self._lines[serial - base.serial - 1].position

    def segments(self) -> list[Segment]:
        """See ``IChangelog``."""
        base = self.begins_after
        return [Segment(base.segment, self.last.offset, sealed=False, before=base.chain)] if self._lines else []

    def read(self, after: Position) -> Iterator[RawLine]:
        """See ``IChangelog``."""
        base = self.begins_after.serial
        if not base <= after.serial <= self.last.serial or self.position(after.serial) != after:
            raise UnknownPosition(after.serial, "memory", after.offset, f"the log ends at serial {self.last.serial}")
        yield from self._lines[after.serial - base : self.last.serial - base]

    def newest(self) -> RawLine | None:
        """See ``IChangelog``."""
        return self._lines[-1] if self._lines else None

    def close(self) -> None:
        """See ``IChangelog``; the lines stay."""
