"""The changelog in memory: for tests, and for whoever wants a log that is gone with the process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
from zope.interface import implementer

from twistpi.changelog.interfaces import IChangelog, RawLine
from twistpi.changelog.line import make_line
from twistpi.model.errors import LogConflict, UnknownPosition
from twistpi.model.position import BEGINNING, Position


@implementer(IChangelog)
@attrs.define
class MemoryChangelog:
    """Chained lines in a list, as if in one segment without end."""

    last: Position = attrs.field(default=BEGINNING, init=False)
    _lines: list[RawLine] = attrs.field(factory=list, init=False)

    def append(self, bodies: Sequence[bytes], expect: int) -> Position:
        """See ``IChangelog``; never full, never failing."""
        if expect != self.last.serial:
            raise LogConflict(expect, self.last.serial)
        position = self.last
        for serial, body in enumerate(bodies, expect + 1):
            line, digest = make_line(serial, bytes.fromhex(position.chain), body)
            position = Position(serial, digest.hex(), BEGINNING.segment, position.offset + len(line))
            self._lines.append(RawLine(serial, position.chain, body, position.segment, position.offset))
        self.last = position
        return position

    def read(self, after: Position) -> Iterator[RawLine]:
        """See ``IChangelog``."""
        if after != BEGINNING and (after.serial > self.last.serial or self._lines[after.serial - 1].position != after):
            raise UnknownPosition(after.serial, "memory", after.offset, f"the log ends at serial {self.last.serial}")
        yield from self._lines[after.serial : self.last.serial]

    def newest(self) -> RawLine | None:
        """See ``IChangelog``."""
        return self._lines[self.last.serial - 1] if self._lines else None

    def close(self) -> None:
        """See ``IChangelog``; the lines stay."""
