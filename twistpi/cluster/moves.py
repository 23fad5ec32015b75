"""A log on its way into a database, or out of it.

Meanwhile ``twistpi_move`` has a row, and no node starts; the head has no chain, so that a node which still runs appends nothing.
A log that arrives is complete when both are as for every cluster, which they become in one transaction.  Of a log that left, the
row says where it went; it may come back, and then only what is new has to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final, LiteralString
from uuid import UUID, uuid4

import attrs
import psycopg

from twistpi.changelog.interfaces import RawLine
from twistpi.cluster.beginning import FIND_BEGINNING, Beginning, beginning_of
from twistpi.cluster.database import Row, open_connection
from twistpi.cluster.presence import FIND_NODES, SeenNode, seen_nodes
from twistpi.cluster.schema import (
    VERSION,
    ClusterFacts,
    bring_up_to_date,
    check_server,
    explaining,
    read_facts,
    refusal,
    schema_version,
)
from twistpi.model.peers import BEGINNING, Position

_LOCK: Final = 7310_8406
"""The key of the advisory lock that allows one move at a time."""
_AT_ONCE: Final = 20_000
"""Lines of a transaction."""
_TYPES: Final = ("int8", "text", "int8", "int8", "uuid", "bytea")
_ARRIVING: Final[LiteralString] = """
INSERT INTO twistpi_move (is_leaving, place) VALUES (false, %s)
ON CONFLICT (single) DO UPDATE SET is_leaving = false, place = EXCLUDED.place
"""


@attrs.frozen
class Move:
    """A move that was begun."""

    is_leaving: bool
    """True if the log leaves the database, false if it moves into it."""
    place: str
    """Where the log goes to, or comes from."""
    files: str
    """What is known of the files; see ``move/files_note.py``."""


@attrs.frozen
class StoredLog:
    """A log in a database."""

    facts: ClusterFacts
    end: Position
    """Of its last line, or its beginning while it has none."""
    beginning: Beginning | None
    """None for a log that begins with its first entry."""
    move: Move | None
    """None for the log of a cluster."""


@attrs.define(eq=False)
class MovingLog:
    """The log in the database at a URL, for one move.  Blocking; errors are ``TwistpiError``, and nothing is half done then."""

    _url: str = attrs.field(repr=False)
    _connection: psycopg.Connection[Row] = attrs.field(repr=False)
    _make_uuid: Callable[[], UUID] = uuid4

    def find(self) -> StoredLog | None:
        """Return what is there; None when there is no log."""
        with self._doing() as connection:
            version = schema_version(connection)
            if version is None:
                return None
            if version != VERSION:
                reason = f"its schema has the version {version}, and this twistpi knows {VERSION}"
                raise refusal(self._url, f"{reason}; install the version of its nodes, or have one of this version upgrade it")
            return _read(connection)

    def has(self, position: Position) -> bool:
        """Return whether a line ends at ``position``."""
        with self._doing() as connection:
            statement = "SELECT FROM twistpi_lines WHERE serial = %s AND chain = %s"
            return connection.execute(statement, (position.serial, position.chain)).rowcount > 0

    def arrive(self, facts: ClusterFacts, place: str, beginning: Beginning | None, summary: Iterable[bytes]) -> StoredLog:
        """Begin to move the log at ``place``, whose cluster has ``facts``, into this database; return what it has of that log.

        ``beginning`` and the content of its ``summary`` are for a log that does not begin with its first entry.
        """
        with self._doing() as connection:
            bring_up_to_date(self._url, connection, lambda: facts)
            connection.execute(_ARRIVING, (place,))
            connection.execute("UPDATE twistpi_head SET chain = ''")
            connection.execute("UPDATE twistpi_cluster SET secret = %s", (facts.secret,))
            if beginning is not None and _read(connection).end == BEGINNING:
                _write_beginning(connection, beginning, summary)
            return _read(connection)

    def add(self, lines: Iterable[RawLine]) -> Position | None:
        """Append ``lines``, which follow what is there; return where the last one ends.

        What was added before something went wrong stays.
        """
        iterator, end = iter(lines), None
        while bunch := list(islice(iterator, _AT_ONCE)):
            batch = self._make_uuid()
            with self._doing() as connection, connection.cursor() as cursor:
                columns = "serial, chain, segment, segment_end, batch, body"
                with cursor.copy(f"COPY twistpi_lines ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(_TYPES)
                    for line in bunch:
                        copy.write_row((line.serial, line.chain, line.segment, line.offset, batch, line.body))
            end = bunch[-1].position
        return end

    def note_files(self, noted: str) -> None:
        """Store a note about the files until the move is complete."""
        with self._doing() as connection:
            connection.execute("UPDATE twistpi_move SET files = %s", (noted,))

    def complete(self) -> None:
        """Make the log that arrived that of a cluster."""
        with self._doing() as connection:
            end = _read(connection).end
            connection.execute("UPDATE twistpi_head SET serial = %s, chain = %s", (end.serial, end.chain))
            connection.execute("DELETE FROM twistpi_move")

    def leave(self, place: str) -> None:
        """Keep nodes from appending from now on, because the log goes to ``place``."""
        with self._doing() as connection:
            connection.execute("INSERT INTO twistpi_move (is_leaving, place) VALUES (true, %s) ON CONFLICT DO NOTHING", (place,))
            connection.execute("UPDATE twistpi_head SET chain = ''")

    def living_nodes(self) -> list[SeenNode]:
        """Return the nodes that run."""
        with self._doing() as connection:
            return seen_nodes(connection.execute(FIND_NODES).fetchall())

    @contextmanager
    def _doing(self) -> Iterator[psycopg.Connection[Row]]:
        with explaining(self._url), self._connection.transaction():
            yield self._connection


@contextmanager
def open_move(url: str, now: Callable[[], float]) -> Iterator[MovingLog]:
    """Open the database at ``url``, for one move at a time; ``now`` is the time in Unix seconds.

    Raise ``TwistpiError`` when it cannot be used, or another move is under way.
    """
    with explaining(url), open_connection(url) as connection:
        check_server(url, connection, now)
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
        if row is None or not row[0]:
            raise refusal(url, "another twistpi move uses it; wait until that is done")
        yield MovingLog(url, connection)


def _read(connection: psycopg.Connection[Row]) -> StoredLog:
    moving = connection.execute("SELECT is_leaving, place, files FROM twistpi_move").fetchone()
    newest = "SELECT serial, chain, segment, segment_end FROM twistpi_lines ORDER BY serial DESC LIMIT 1"
    row = connection.execute(newest).fetchone()
    found = connection.execute(FIND_BEGINNING).fetchall()
    beginning = beginning_of(found)
    begins = BEGINNING if beginning is None else beginning.position
    move = None if moving is None else Move(bool(moving[0]), str(moving[1]), str(moving[2]))
    return StoredLog(read_facts(connection), begins if row is None else Position(*row), beginning, move)


def _write_beginning(connection: psycopg.Connection[Row], beginning: Beginning, summary: Iterable[bytes]) -> None:
    position = beginning.position
    values = (position.serial, position.chain, beginning.summary)
    connection.execute("INSERT INTO twistpi_beginning (serial, chain, summary) VALUES (%s, %s, %s)", values)
    for number, part in enumerate(summary):
        connection.execute("INSERT INTO twistpi_summary (number, content) VALUES (%s, %s)", (number, part))
