"""The changelog of a cluster: lines in a table, and a copy of them in segment files that is what is read here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Final, LiteralString
from uuid import UUID, uuid4

import attrs
import psycopg
from psycopg import errors
from zope.interface import implementer

from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import SEGMENT_LIMIT, check_lines, make_line
from twistpi.changelog.interfaces import IChangelog, RawLine, Segment
from twistpi.cluster.database import ConnectionLost, Database, first_line
from twistpi.model.peers import NO_CHAIN, Position
from twistpi.model.server_errors import FeedDamaged, LogConflict, LogUnreachable, StorageFull, UnknownPosition, WrittenNotShown

_BUNCH: Final = 1024 * 1024
"""Bytes of lines that go into the copy at once."""

_APPEND: Final[LiteralString] = """
WITH head AS (
    UPDATE twistpi_head SET serial = %(last)s, chain = %(chain)s WHERE serial = %(expect)s AND chain = %(before)s RETURNING serial
), written AS (
    INSERT INTO twistpi_lines (serial, chain, segment, segment_end, body, batch)
    SELECT line.*, %(batch)s FROM head, unnest(
        %(serials)s::bigint[], %(chains)s::text[], %(segments)s::bigint[], %(ends)s::bigint[], %(bodies)s::bytea[]
    ) AS line
    RETURNING serial
)
SELECT count(*), CASE WHEN count(*) > 0 THEN pg_notify('twistpi', max(serial) || ' ' || %(node)s) END FROM written
"""
"""One statement, hence one transaction and one round trip.  A node that appends at the same time waits for the row of the head,
finds another serial there, and changes nothing.  Nodes that listen to ``twistpi`` get the serial and the node's id."""
_LINES: Final[LiteralString] = """
SELECT serial, chain, CASE WHEN serial > %(last)s THEN body END FROM twistpi_lines WHERE serial >= %(last)s ORDER BY serial
"""
"""The last line that is known, to see that it is the same one, and those after it."""


@attrs.frozen
class _Rows:
    """The columns of lines that are to be appended."""

    serials: list[int]
    chains: list[str]
    segments: list[int]
    ends: list[int]


@implementer(IChangelog)
@attrs.define(eq=False)
class PostgresChangelog:
    """Appends to the table, and reads the copy.

    The copy has the same lines in the same files as the log of one machine would have.  It need not be durable.
    """

    _database: Database
    copy: FileChangelog
    """Changed by this object alone."""
    _node_id: str = ""
    """Sent with notifications, so that this node ignores its own."""
    _segment_limit: int = SEGMENT_LIMIT
    """The same as the copy's."""
    _make_uuid: Callable[[], UUID] = uuid4
    _pulled: Callable[[int], object] = attrs.field(default=lambda _serial: None, kw_only=True)
    """Called with how far the copy is, while much is brought into it."""

    @property
    def last(self) -> Position:
        """See ``IChangelog``: the end of what is known here."""
        return self.copy.last

    @property
    def begins_after(self) -> Position:
        """See ``IChangelog``: where the copy begins."""
        return self.copy.begins_after

    def append(self, bodies: Sequence[bytes], expect: int) -> Position:
        """See ``IChangelog``; before ``LogConflict`` is raised, what others appended is in the copy.

        Raises ``LogUnreachable`` when the database is gone for longer than waiters should wait; its text tells whether the lines
        may have been written.  Raises ``WrittenNotShown`` when the database has them, but the copy has no room.
        """
        self._check_end(expect)
        digest = bytes.fromhex(self.last.chain)
        lines = []
        for serial, body in enumerate(bodies, expect + 1):
            line, digest = make_line(serial, digest, body)
            lines.append(line[:-1])
        return self._put(lines, bodies)

    def receive(
        self, lines: Sequence[bytes], expect: int, approve: Callable[[Sequence[bytes]], object] = lambda _bodies: None
    ) -> Position:
        """See ``IChangelog``; what ``append`` raises, too."""
        self._check_end(expect)
        bodies, _digest = check_lines(lines, expect + 1, bytes.fromhex(self.last.chain))
        approve(bodies)
        return self._put(lines, bodies)

    def refresh(self) -> Position:
        """See ``IChangelog``: bring what others appended into the copy.

        Raises ``LogUnreachable``; ``UnknownPosition`` when the database has not the lines that the copy has; ``StorageFull``.
        """
        while True:
            try:
                return self._pull()
            except ConnectionLost:
                continue

    def _pull(self) -> Position:
        last = self.last
        found = (0, NO_CHAIN)
        bunch: list[bytes] = []
        size = 0
        with closing(self._database.stream(_LINES, {"last": last.serial})) as rows:
            for serial, chain, body in rows:
                if body is None:
                    found = (serial, chain)
                    continue
                bunch.append(b"%d %b %b" % (serial, chain.encode(), body))
                size += len(body)
                if size >= _BUNCH:
                    self._receive(bunch)
                    bunch, size = [], 0
        is_first = last == self.copy.begins_after and found[0] == 0  # a summary may stand for what is before it
        if found != (last.serial, last.chain) and not is_first:
            raise self._set_back(f"it has not the line {last.serial} that was read from it before")
        if bunch:
            self._receive(bunch)
        return self.last

    def _receive(self, lines: Sequence[bytes]) -> None:
        try:
            self._pulled(self.copy.receive(lines, self.last.serial).serial)
        except FeedDamaged as error:
            raise self._set_back(f"serial {error.serial} does not follow what was read from it before") from error

    def position(self, serial: int) -> Position:
        """See ``IChangelog``."""
        return self.copy.position(serial)

    def segments(self) -> list[Segment]:
        """See ``IChangelog``."""
        return self.copy.segments()

    def read(self, after: Position) -> Iterator[RawLine]:
        """See ``IChangelog``."""
        return self.copy.read(after)

    def newest(self) -> RawLine | None:
        """See ``IChangelog``."""
        return self.copy.newest()

    def close(self) -> None:
        """See ``IChangelog``."""
        self.copy.close()
        self._database.close()

    def _check_end(self, expect: int) -> None:
        if expect != self.last.serial:
            raise LogConflict(expect, self.last.serial)

    def _put(self, lines: Sequence[bytes], bodies: Sequence[bytes]) -> Position:
        """Write ``lines``, without line feeds, after ``last``."""
        if not lines:
            return self.last
        before = self.last
        if not self._write(self._rows(lines), bodies):
            if self.refresh() == before:
                raise self._set_back("its head is not the end of its lines")
            raise LogConflict(before.serial, self.last.serial)
        try:
            return self.copy.receive(lines, before.serial)
        except StorageFull as error:
            raise WrittenNotShown(error.path, error.reason, before.serial + len(lines)) from error

    def _rows(self, lines: Sequence[bytes]) -> _Rows:
        serial, segment, offset = self.last.serial, self.last.segment, self.last.offset
        rows = _Rows([], [], [], [])
        for line in lines:
            serial += 1
            if offset >= self._segment_limit:
                segment, offset = serial, 0
            offset += len(line) + 1
            rows.serials.append(serial)
            rows.chains.append(line.split(b" ", 2)[1].decode())
            rows.segments.append(segment)
            rows.ends.append(offset)
        return rows

    def _write(self, rows: _Rows, bodies: Sequence[bytes]) -> bool:
        """Write a batch into the table; whether the log ended where it had to.

        A connection that is lost leaves open whether the batch was written, so the same one is sent again: written twice it
        cannot be, and what is found instead of it is it, or another node's.
        """
        batch = self._make_uuid()
        arguments = {
            **attrs.asdict(rows),
            "bodies": list(bodies),
            "batch": batch,
            "node": self._node_id,
            "expect": self.last.serial,
            "before": self.last.chain,
            "last": rows.serials[-1],
            "chain": rows.chains[-1],
        }
        in_doubt = False
        try:
            while True:
                try:
                    [(count, _)] = self._database.execute(_APPEND, arguments)
                    return count > 0 or (in_doubt and self._is_written(rows.serials[0], batch))
                except ConnectionLost:
                    in_doubt = True
        except LogUnreachable as error:
            if in_doubt:
                raise LogUnreachable(error.database, f"{error.reason}. {_IN_DOUBT}") from None
            raise
        except errors.UniqueViolation:
            return False
        except (errors.DiskFull, errors.InsufficientPrivilege, errors.QueryCanceled) as error:
            raise LogUnreachable(self._database.name, f"it does not take the entry, {first_line(error)}") from None
        except psycopg.Error as error:
            raise LogUnreachable(self._database.name, first_line(error)) from error

    def _is_written(self, serial: int, batch: UUID) -> bool:
        return bool(self._database.ask("SELECT 1 FROM twistpi_lines WHERE serial = %s AND batch = %s", (serial, batch)))

    def _set_back(self, reason: str) -> UnknownPosition:
        last = self.last
        told = (
            f"the database at {self._database.name} was replaced or set back, {reason}; start this node again, and it begins anew"
        )
        return UnknownPosition(last.serial, str(last.segment), last.offset, told)


_IN_DOUBT: Final = "That was while an entry was written: whether it is in the log is unknown, so look before you try again"
