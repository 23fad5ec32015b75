"""Answers searches from the file that the first process writes.  The methods block and may be called in any thread.

What is found is bounded (see ``finding``), and a search that takes longer than half a second ends with what it has.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

import attrs

from twistpi.model.records import NOTHING
from twistpi.search.finding import INCOMPLETE, Group, Offers, Reading, find, name_of, offers_all
from twistpi.search.hits import hits_of
from twistpi.search.query import NEVER, Expression, Term, parse, terms
from twistpi.search.results import Hit, SearchPage

DEADLINE: Final = 0.5
"""Seconds that a search may take."""
MOST_HITS: Final = 50
"""Hits on a page."""
_CACHE_KIB: Final = 512
"""SQLite's page cache of one reading connection."""
Readable = Callable[[str], bool]
"""Whether the reader may read the index with this name; false for one that does not exist."""


@attrs.define(eq=False)
class SearchService:
    """Searches the index at ``path``, which need not be there yet."""

    path: str
    _monotonic: Callable[[], float] = time.monotonic
    _local: threading.local = attrs.field(factory=threading.local, init=False)

    def search(self, query: str, readable: Readable, page: int = 1, limit: int = 10, offers: Offers = offers_all) -> SearchPage:
        """Return a page of what ``query`` finds in the indexes that are ``readable``; ``page`` counts from 1.

        Exact names come first, then own projects before mirrored ones and these before names in lists, then the better match.
        """
        expression = parse(query)
        page, limit = max(1, page), max(1, min(limit, MOST_HITS))
        empty = SearchPage(query, page, limit, is_building=self.is_building())
        with self._reading(readable, offers) as reading:
            if reading is None or expression == NEVER:
                return empty
            wanted = [*terms(expression)]
            found, exact = find(reading, expression), name_of(wanted)
            ordered = sorted(found.groups.values(), key=lambda one: (one.project.replace("-", "") != exact, one.kind))
            shown = ordered[(page - 1) * limit : page * limit]
            return attrs.evolve(empty, hits=_hits(reading, shown, wanted), total=len(ordered), is_complete=found.is_complete)

    def find(self, expression: Expression, order: Sequence[str], limit: int, offers: Offers = offers_all) -> list[Hit]:
        """Return up to ``limit`` projects in the indexes ``order``, each as the first of these that has it knows it.

        Names in lists come with an empty version.
        """
        with self._reading(frozenset(order).__contains__, offers) as reading:
            if reading is None:
                return []
            found = find(reading, expression)
            rank = {index: number for number, index in enumerate(order)}
            return [*_hits(reading, [*found.groups.values()][:limit], (), rank)]

    def is_building(self) -> bool:
        """Whether the index is being built, or not there yet, so that searches find less than there is."""
        connection = self._connection()
        if connection is None:
            return True
        try:
            (serial,) = connection.execute("SELECT serial FROM stamp").fetchone()
            return serial == 0 or connection.execute("SELECT 1 FROM mirror WHERE list = ''").fetchone() is not None
        except (sqlite3.Error, TypeError):
            return True

    @contextmanager
    def _reading(self, readable: Readable, offers: Offers) -> Iterator[Reading | None]:
        """Read inside from one snapshot; None without an index."""
        connection = self._connection()
        if connection is None:
            yield None
            return
        end = self._monotonic() + DEADLINE
        try:
            connection.execute("BEGIN")
            yield _reading_of(connection, readable, lambda: self._monotonic() > end, offers)
        finally:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.DatabaseError:  # damaged, and to be made anew
                connection.close()
                del self._local.known

    def _connection(self) -> sqlite3.Connection | None:
        """The calling thread's connection to the file that is there now."""
        try:
            inode = os.stat(self.path).st_ino
        except OSError:
            return None
        known: tuple[int, sqlite3.Connection] | None = getattr(self._local, "known", None)
        if known is not None and known[0] == inode:
            return known[1]
        if known is not None:
            known[1].close()
        try:
            connection = sqlite3.connect(f"file:{quote(self.path)}?mode=ro", uri=True, isolation_level=None)
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        except sqlite3.Error:
            return None
        self._local.known = (inode, connection)
        return connection


def _reading_of(
    connection: sqlite3.Connection, readable: Readable, is_late: Callable[[], bool], offers: Offers
) -> Reading | None:
    try:
        every = connection.execute("SELECT id, name FROM place").fetchall()
        mirrors = connection.execute("SELECT number, name FROM mirror ORDER BY number").fetchall()
    except sqlite3.Error:  # it is being made
        return None
    places = {number: name for number, name in every if readable(name)}
    return Reading(
        connection,
        places,
        len(places) == len(every),
        {number: name for number, name in mirrors if readable(name)},
        is_late,
        offers,
    )


def _hits(
    reading: Reading, groups: Sequence[Group], wanted: Sequence[Term], order: Mapping[str, int] = NOTHING
) -> tuple[Hit, ...]:
    """Return what is shown of ``groups``; nothing if the file turns out to be damaged, which is made anew then."""
    try:
        return hits_of(reading, groups, wanted, order)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in INCOMPLETE:
            raise
        return ()
