"""The advisories of the set that was accepted last, found by project."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import BinaryIO, Final
from urllib.parse import quote

import attrs
from twisted.logger import Logger

from twistpi.advisories.advisory_set import decode, read_set
from twistpi.model.errors import TwistpiError
from twistpi.rules.osv import Advisory

_FORMAT: Final = 1
"""Of the file; one of another format is made anew."""
_MOST: Final = 2_000
"""Projects whose advisories are in memory."""
_CACHE_KIB: Final = 1024
_MOST_CHANGED: Final = 1_000
"""Changed projects that are named when a set replaces another; beyond, all count as changed."""
_DIFFERENT: Final = """
SELECT one.project FROM {one}.advisory AS one LEFT JOIN {other}.advisory AS other
ON other.project = one.project AND other.id = one.id WHERE other.line IS NOT one.line
"""
_log = Logger()


@attrs.define(eq=False)
class AdvisoryStore:
    """Looks advisories up in the file at ``path``, which may be missing: then nothing is known.  In any thread."""

    path: str = ""
    digest: str = attrs.field(default="", init=False)
    """The SHA-256 of the set it was made from; empty without any."""
    count: int = attrs.field(default=0, init=False)
    """How many advisories are in it."""
    damaged: Callable[[], object] = attrs.field(default=lambda: None, init=False)
    """Called, in any thread, when the file turns out to be damaged."""
    _connection: sqlite3.Connection | None = attrs.field(default=None, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _kept: OrderedDict[str, tuple[Advisory, ...]] = attrs.field(factory=OrderedDict, init=False)

    def open(self) -> None:
        """Open the file that is there now, in place of the former; one that cannot be used counts as missing."""
        try:
            connection = sqlite3.connect(f"file:{quote(self.path)}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        except sqlite3.Error:
            self._use(None)
            return
        try:
            connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            form, digest, count = connection.execute("SELECT form, digest, count FROM about").fetchone()
        except (sqlite3.Error, TypeError, ValueError):
            form, digest, count = 0, "", 0
        if form == _FORMAT:
            self._use(connection, digest, count)
        else:
            connection.close()
            self._use(None)

    def close(self) -> None:
        """Close the file; no advisory is known any more."""
        self._use(None)

    def load(self, file: BinaryIO, digest: str) -> frozenset[str] | None:
        """Make the file anew from a set whose SHA-256 is ``digest``, and open it; blocking, for seconds.

        Return the projects of which other advisories are known now; None for perhaps all.  Raise ``TwistpiError`` for what is no
        set, with everything as it was.
        """
        made = f"{self.path}.new"
        with suppress(FileNotFoundError):
            os.remove(made)
        try:
            with closing(sqlite3.connect(f"file:{quote(made)}", uri=True, isolation_level=None)) as connection:
                _fill(connection, file, digest)
                changed = _changed_since(connection, self.path) if self.digest else None
            os.replace(made, self.path)
        except (TwistpiError, sqlite3.Error, OSError) as error:
            with suppress(FileNotFoundError):
                os.remove(made)
            raise error if isinstance(error, TwistpiError) else TwistpiError(f"Advisories cannot be kept: {error}.") from error
        self.open()
        return changed

    def of(self, project: str) -> Sequence[Advisory]:
        """Return the advisories about ``project`` (normalised), by their ids."""
        with self._lock:
            found = self._kept.get(project)
            if found is not None:
                self._kept.move_to_end(project)
                return found
            if self._connection is None:
                return ()
            try:
                rows = self._connection.execute("SELECT line FROM advisory WHERE project = ? ORDER BY id", (project,)).fetchall()
                found = tuple(decode(line) for (line,) in rows)
            except (sqlite3.Error, TwistpiError) as error:
                self._spoilt(error)
                return ()
            self._kept[project] = found
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)
            return found

    def has(self, project: str) -> bool:
        """Return whether an advisory is about ``project`` (normalised); for many projects, of which most have none."""
        with self._lock:
            if self._connection is None:
                return False
            try:
                row = self._connection.execute("SELECT 1 FROM advisory WHERE project = ? LIMIT 1", (project,)).fetchone()
            except sqlite3.Error as error:
                self._spoilt(error)
                return False
            return row is not None

    def projects(self) -> Iterator[str]:
        """Yield every project that an advisory is about, in order."""
        last = ""
        while True:
            with self._lock:
                if self._connection is None:
                    return
                statement = "SELECT min(project) FROM advisory WHERE project > ?"
                (found,) = self._connection.execute(statement, (last,)).fetchone()
            if found is None:
                return
            yield found
            last = found

    def _use(self, connection: sqlite3.Connection | None, digest: str = "", count: int = 0) -> None:
        """Look up through ``connection`` from now on; nobody sees a moment without any."""
        with self._lock:
            former, self._connection = self._connection, connection
            self.digest, self.count = digest, count
            self._kept.clear()
        if former is not None:
            former.close()

    def _spoilt(self, error: Exception) -> None:
        """Treat the damaged file as missing until the set is loaded again: installs go on."""
        _log.error("{path} is damaged, and made again: {reason}", path=self.path, reason=str(error))
        if self._connection is not None:
            self._connection.close()
        self._connection, self.digest, self.count = None, "", 0
        self.damaged()


def _changed_since(connection: sqlite3.Connection, former: str) -> frozenset[str] | None:
    """Return the projects of which the file at ``former`` has other advisories; None for too many, or where it has no answer."""
    try:
        connection.execute("ATTACH ? AS former", (f"file:{quote(former)}?mode=ro&immutable=1",))
        pairs = (("main", "former"), ("former", "main"))
        both = " UNION ".join(_DIFFERENT.format(one=one, other=other) for one, other in pairs)
        rows = connection.execute(f"{both} LIMIT {_MOST_CHANGED + 1}").fetchall()
    except sqlite3.Error:
        return None
    return None if len(rows) > _MOST_CHANGED else frozenset(project for (project,) in rows)


def _fill(connection: sqlite3.Connection, file: BinaryIO, digest: str) -> None:
    connection.executescript(
        "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN;"
        "CREATE TABLE about (form INTEGER, digest TEXT, count INTEGER);"
        "CREATE TABLE advisory (project TEXT, id TEXT, line BLOB, PRIMARY KEY (project, id)) WITHOUT ROWID;"
    )
    count = 0
    for advisory, line in read_set(file):
        connection.execute("INSERT OR REPLACE INTO advisory VALUES (?, ?, ?)", (advisory.project, advisory.id, line))
        count += 1
    connection.execute("INSERT INTO about VALUES (?, ?, ?)", (_FORMAT, digest, count))
    connection.execute("COMMIT")
