"""What matches an expression in the tables of the index: bounded in number and time, the best first.

Only so many rows are looked at, however many match: documents in the order of their ids, where own ones come first, and names in
that of theirs, where short ones do.  Where more documents match than that, those that match in name, summary or keywords are
looked at as well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs
import orjson

from twistpi.search.expressions import BRIEF, accepts, documents_matching, names_matching, shortest_beginning, squash, within
from twistpi.search.query import NEVER, Expression, Term, terms

_MOST_DOCUMENTS: Final = 1_000
_MOST_NAMES: Final = 500
_INSTRUCTIONS: Final = 20_000
"""Steps of SQLite between two looks at the clock: well below a millisecond."""
_WEIGHTS: Final = (0.0, 8.0, 5.0, 5.0, 1.0, 1.5, 1.0, 1.0, 3.0, 0.7, 0.0, 0.0)
"""What a match is worth in each of ``COLUMNS``."""
_FOUND: Final = (
    f"SELECT id, project, document.place AS place, path, is_own, bm25(words, {', '.join(map(str, _WEIGHTS))}) AS worth"
    " FROM words CROSS JOIN document ON document.id = words.rowid"
    f" WHERE words MATCH ?{{}} LIMIT {_MOST_DOCUMENTS}"
)
_NOT_USED: Final = (
    "NOT EXISTS (SELECT 1 FROM document WHERE project = listed.name AND path = '' AND place IN (SELECT value FROM json_each(?)))"
)
INCOMPLETE: Final = frozenset({sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_BUSY})
"""Codes of what ends a search early: it takes too long, or the file is damaged and will be made anew."""

OWN, MIRRORED, LISTED = "own", "mirrored", "listed"
KINDS: Final = (OWN, MIRRORED, LISTED)
"""In the order in which they are shown."""

_Row = tuple[int, str, int, str, int, float]
"""Id, project, place, path, whether it is own, and how well it matches: less is better."""


@attrs.define
class Group:
    """What was found of one project, the best first."""

    project: str
    place: int
    kind: int
    """The place in ``KINDS``."""
    documents: list[tuple[int, str]] = attrs.field(factory=list)
    """Ids, and paths of pages."""


@attrs.define
class Found:
    """All that was found."""

    groups: dict[str, Group] = attrs.field(factory=dict)
    """By project; better ones first among those of a kind."""
    is_complete: bool = True
    """Whether these are all there are."""


Offers = Callable[[str, str], bool]
"""Returns whether an index lets in a project: its name and that of the project."""


def offers_all(_index: str, _project: str) -> bool:
    """Return that it does, where no allow list is."""
    return True


@attrs.frozen
class Reading:
    """One search on one connection."""

    connection: sqlite3.Connection
    places: dict[int, str]
    """Number and name of the indexes that the reader may read."""
    is_everything: bool
    """Whether these are all."""
    mirrors: dict[int, str]
    """The same of the mirrors with lists."""
    is_late: Callable[[], bool]
    """Whether the search has to end."""
    offers: Offers
    """Leaves out what allow lists do not name."""

    def rows(self, columns: str, query: str, *values: str | int) -> list[Any]:
        """Return ``columns`` of the rows of ``query``.

        They come as one, in JSON: Python's lock is given away and waited for with each row that SQLite returns.
        """
        gathered = f"SELECT json_group_array(json_array({columns})) FROM ({query})"
        return list(orjson.loads(self.connection.execute(gathered, values).fetchone()[0]))


def find(reading: Reading, expression: Expression) -> Found:
    """Return what matches in both tables."""
    found = Found()
    reading.connection.set_progress_handler(reading.is_late, _INSTRUCTIONS)
    try:
        _find_documents(reading, expression, found)
        _find_names(reading, expression, found)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in INCOMPLETE:
            raise
        found.is_complete = False
    finally:
        reading.connection.set_progress_handler(None, 0)
    return found


def name_of(wanted: Iterable[Term]) -> str:
    """Return the squashed name that a query is, if it is one."""
    return squash("".join(term.text for term in wanted if term.field in (None, "name")))


def _find_documents(reading: Reading, expression: Expression, found: Found) -> None:
    rows = _matching(reading, documents_matching(expression))
    if len(rows) == _MOST_DOCUMENTS:
        found.is_complete = False
        rows += _matching(reading, documents_matching(expression, BRIEF))
    name = name_of(terms(expression))

    def worth(row: _Row) -> tuple[bool, int, float]:
        """Own ones first, then names that begin with what is looked for, then names that contain it, then better matches."""
        squashed = row[1].replace("-", "")
        return not row[4], 0 if squashed.startswith(name) else 1 if name in squashed else 2, row[5]

    seen = set()
    for row in sorted(rows, key=worth):
        number, project, place, path, is_own, _ = row
        if not reading.offers(reading.places[place], project):
            continue
        group = found.groups.get(project)
        if group is None:
            group = found.groups[project] = Group(project, place, KINDS.index(OWN if is_own else MIRRORED))
        if group.place == place and number not in seen:
            seen.add(number)
            group.documents.append((number, path))


def _matching(reading: Reading, matching: str) -> list[_Row]:
    if not matching or not reading.places:
        return []
    where = "" if reading.is_everything else " AND document.place IN (SELECT value FROM json_each(?))"
    places = [] if reading.is_everything else [orjson.dumps([*reading.places]).decode()]
    return reading.rows("id, project, place, path, is_own, worth", _FOUND.format(where), matching, *places)


def _find_names(reading: Reading, expression: Expression, found: Found) -> None:
    """Add the names of lists: those that begin with what is looked for first, then shorter ones."""
    masks: dict[Expression, int] = {}
    for number, index in reading.mirrors.items():
        left = within(expression, index)
        if left != NEVER:
            masks[left] = masks.get(left, 0) | 1 << number
    for left, mask in masks.items():
        rows = _listed(reading, left, mask)
        found.is_complete = found.is_complete and len(rows) < _MOST_NAMES
        asked = next((term.text for term in terms(left)), "")
        squashed = {name: name.replace("-", "") for name in rows}
        names = [name for name in rows if accepts(left, squashed[name]) and _is_offered(reading, name, rows[name] & mask)]
        for name in sorted(names, key=lambda name: not squashed[name].startswith(asked)):
            if name not in found.groups:
                found.groups[name] = Group(name, 0, KINDS.index(LISTED))


def _is_offered(reading: Reading, project: str, bits: int) -> bool:
    return any(reading.offers(index, project) for number, index in reading.mirrors.items() if bits >> number & 1)


def _listed(reading: Reading, expression: Expression, mask: int) -> dict[str, int]:
    """Return names of lists that may match, with the bits of their mirrors; not those that have documents of their own."""
    mirrors = frozenset(reading.mirrors.values())
    used = orjson.dumps([number for number, name in reading.places.items() if name in mirrors]).decode()
    rest = f"mirrors & ? AND {_NOT_USED} LIMIT {_MOST_NAMES}"
    values: tuple[str | int, ...] = (mask, used)
    matching = names_matching(expression)
    if matching is not None:
        source = "listed_words CROSS JOIN listed ON listed.id = listed_words.rowid WHERE listed_words MATCH ? AND"
        values = (matching, *values)
    elif (beginning := shortest_beginning(expression)) is not None:
        source = "listed WHERE name >= ? AND name < ? AND"
        values = (beginning, f"{beginning}\x7f", *values)
    else:
        source = "listed WHERE"
    columns = "listed.name AS name, listed.mirrors AS mirrors"
    return dict(reading.rows("name, mirrors", f"SELECT {columns} FROM {source} {rest}", *values))
