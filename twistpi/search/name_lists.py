"""The names in the lists of mirrors: merged, list by list and in small steps, into one table of names.

A list is a file with a name in each line, in order.  730,000 names take about ten seconds; memory is bounded by one step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from twistpi.search.database import SearchDatabase
from twistpi.search.expressions import squash

_NAMES_AT_ONCE: Final = 2_000
"""Names that are compared in one step."""
_FILLED_AT_ONCE: Final = 10_000
"""Names that SQLite adds to its full-text table in one step, without the interpreter."""
MOST_MIRRORS: Final = 62
"""Mirrors whose lists are searched; the bits of an integer."""
_FIRST: Final = ""
_LAST: Final = "\x7f"
"""What is greater than any name, which is ASCII."""


def read_list(database: SearchDatabase, index: str, identity: str, path: str | None) -> Iterator[None]:
    """Make the names in the file ``path`` those of the mirror ``index``; None for no list any more.

    ``identity`` differs from that of any other list.  Each step is a transaction; what was read before a step fails stays.  Raise
    ``OSError`` when the file is gone, ``StorageFull``.
    """
    execute = database.connection.execute
    known = execute("SELECT number, list FROM mirror WHERE name = ?", (index,)).fetchone()
    if (known is None and path is None) or (known is not None and known[1] == identity and path is not None):
        return
    with database.transaction():
        number = _begin(database, index, None if known is None else int(known[0]))
    if number is None:
        return
    if path is None:
        yield from _merge(database, 1 << number, iter(()))
    else:
        with open(path, encoding="ascii") as file:
            yield from _merge(database, 1 << number, (line.rstrip("\n") for line in file))
    yield from _fill(database)
    with database.transaction():
        if path is None:
            execute("DELETE FROM mirror WHERE number = ?", (number,))
        else:
            execute("UPDATE mirror SET list = ? WHERE number = ?", (identity, number))


def listed_mirrors(database: SearchDatabase) -> dict[str, str]:
    """Return the mirrors whose lists are here, with which list that is."""
    return dict(database.connection.execute("SELECT name, list FROM mirror").fetchall())


def _begin(database: SearchDatabase, index: str, number: int | None) -> int | None:
    """Return the number of the mirror ``index``, whose list is incomplete from now on; None if there are too many."""
    execute = database.connection.execute
    if number is None:
        taken = {taken for (taken,) in execute("SELECT number FROM mirror")}
        number = next((free for free in range(MOST_MIRRORS) if free not in taken), None)
        if number is None:
            return None
    execute("INSERT OR REPLACE INTO mirror VALUES (?, ?, '')", (number, index))
    (is_due,) = execute("SELECT is_due FROM filling").fetchone()
    if is_due or execute("SELECT 1 FROM listed LIMIT 1").fetchone() is None:
        execute("INSERT INTO listed_words (listed_words) VALUES ('delete-all')")
        execute("UPDATE filling SET is_due = 1, last_id = 0")
    return number


def _merge(database: SearchDatabase, bit: int, names: Iterator[str]) -> Iterator[None]:
    """Set ``bit`` for exactly ``names``."""
    after, waiting = _FIRST, list[str]()
    while after != _LAST:
        waiting += islice(names, _NAMES_AT_ONCE - len(waiting))
        until = waiting[-1] if len(waiting) == _NAMES_AT_ONCE else _LAST
        with database.transaction():
            rows = database.connection.execute(
                "SELECT name, id, mirrors FROM listed WHERE name > ? AND name <= ? ORDER BY name LIMIT ?",
                (after, until, _NAMES_AT_ONCE),
            ).fetchall()
            if len(rows) == _NAMES_AT_ONCE:
                until = rows[-1][0]
            some = [name for name in waiting if name <= until]
            _change(database, bit, some, {name: (number, mirrors) for name, number, mirrors in rows})
        after, waiting = until, waiting[len(some) :]
        yield


def _change(database: SearchDatabase, bit: int, names: Sequence[str], known: Mapping[str, tuple[int, int]]) -> None:
    """Set ``bit`` for exactly ``names`` among those of a range; ``known`` are those that are here: id, and bits."""
    connection, kept = database.connection, frozenset(names)
    carrying = {name for name, (_, mirrors) in known.items() if mirrors & bit}
    bits = [(mirrors ^ bit, number, name) for name, (number, mirrors) in known.items() if (name in carrying) != (name in kept)]
    connection.executemany("UPDATE listed SET mirrors = ? WHERE id = ?", [(mirrors, number) for mirrors, number, _ in bits])
    gone = [(number, name) for mirrors, number, name in bits if not mirrors]
    connection.executemany("DELETE FROM listed WHERE id = ?", [(number,) for number, _ in gone])
    is_due, start = connection.execute("SELECT is_due, next FROM filling").fetchone()
    new = [name for name in names if name not in known]
    # In the order of ids: SQLite's full-text table writes a segment whenever one is smaller than the one before.
    added = sorted((len(name) << 32 | number, name, bit) for number, name in enumerate(new, start))
    connection.executemany("INSERT INTO listed VALUES (?, ?, ?)", added)
    connection.execute("UPDATE filling SET next = ?", (start + len(new),))
    if not is_due:
        delete = "INSERT INTO listed_words (listed_words, rowid, name) VALUES ('delete', ?, ?)"
        connection.executemany(delete, [(number, squash(name)) for number, name in gone])
        insert = "INSERT INTO listed_words (rowid, name) VALUES (?, ?)"
        connection.executemany(insert, [(number, squash(name)) for number, name, _ in added])


def _fill(database: SearchDatabase) -> Iterator[None]:
    """Fill the full-text table in the order of ids, which is much faster than in that of names, if that is due."""
    execute = database.connection.execute
    while True:
        is_due, last = execute("SELECT is_due, last_id FROM filling").fetchone()
        if not is_due:
            return
        with database.transaction():
            bunch = "SELECT id, name FROM listed WHERE id > ? ORDER BY id LIMIT ?"
            (end,) = execute(f"SELECT max(id) FROM ({bunch})", (last, _FILLED_AT_ONCE)).fetchone()
            if end is None:
                execute("UPDATE filling SET is_due = 0")
            else:
                squashed = "SELECT id, replace(name, '-', '') FROM listed WHERE id > ? AND id <= ? ORDER BY id"
                execute(f"INSERT INTO listed_words (rowid, name) {squashed}", (last, end))
                execute("UPDATE filling SET last_id = ?", (end,))
        yield
