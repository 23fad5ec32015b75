"""Advisory sets: written from advisories in any order, read one advisory at a time.

The first line names the format.  Each other line is a JSON object of the fields of ``rules.osv.Advisory``, with sorted keys,
without those that are empty.  These lines are sorted by project and id.  Blocking; meant for threads and commands.
"""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import BinaryIO, Final, Protocol

import attrs
import orjson

from twistpi.model.errors import TwistpiError
from twistpi.rules.osv import Advisory, Range

_FIRST_LINE: Final = b'{"format":1}\n'
_LEVEL: Final = 6
_FIELDS: Final = tuple(field.name for field in attrs.fields(Advisory))
_OF_RANGE: Final = tuple(field.name for field in attrs.fields(Range))
_LONGEST_LINE: Final = 4 * 1024 * 1024
"""Bytes."""


def encode(advisory: Advisory) -> bytes:
    """Return ``advisory`` as a line without its line feed."""
    fields = {name: value for name in _FIELDS if (value := getattr(advisory, name))}
    if advisory.ranges:
        fields["ranges"] = [{name: getattr(one, name) for name in _OF_RANGE} for one in advisory.ranges]
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def decode(line: bytes) -> Advisory:
    """Return the advisory of a line; raise ``TwistpiError`` for what ``encode`` does not write."""
    try:
        fields = orjson.loads(line)
        get = fields.get
        return Advisory(  # by position, which takes half of the time
            fields["project"],
            fields["id"],
            tuple(get("aliases", ())),
            get("summary", ""),
            get("severity", ""),
            get("published", ""),
            get("modified", ""),
            tuple(get("versions", ())),
            tuple([Range(one["introduced"], one["fixed"], one["last_affected"]) for one in get("ranges", ())]),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise TwistpiError(f"A line of the advisory set cannot be read: {error}.") from error


class Output(Protocol):
    """What a set is written to."""

    def write(self, data: bytes, /) -> int:
        """Write all of ``data``."""

    def flush(self) -> object:
        """Hand on what was written."""


def write_set(advisories: Iterable[Advisory], file: Output, scratch: str) -> int:
    """Write ``advisories`` to ``file`` as a set, and return their number; of those with one project and id the last counts.

    ``scratch`` is the path of a file to sort in, which does not exist yet and is left behind: memory may not hold all of them.
    """
    with closing(sqlite3.connect(scratch, isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN")
        connection.execute("CREATE TABLE advisory (project TEXT, id TEXT, line BLOB, PRIMARY KEY (project, id)) WITHOUT ROWID")
        rows = ((one.project, one.id, encode(one)) for one in advisories)
        connection.executemany("INSERT OR REPLACE INTO advisory VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
        count = 0
        with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as compressed:
            compressed.write(_FIRST_LINE)
            for (line,) in connection.execute("SELECT line FROM advisory ORDER BY project, id"):
                compressed.write(line + b"\n")
                count += 1
    return count


def read_set(file: BinaryIO) -> Iterator[tuple[Advisory, bytes]]:
    """Yield each advisory of a set with its line; raise ``TwistpiError`` for what is no set."""
    try:
        with gzip.GzipFile(fileobj=file) as lines:
            if lines.readline(_LONGEST_LINE) != _FIRST_LINE:
                raise TwistpiError("It is no advisory set of a format that this version of twistpi knows.")
            while line := lines.readline(_LONGEST_LINE):
                if not line.endswith(b"\n"):
                    raise TwistpiError("A line of the advisory set is too long, or the set is cut off.")
                yield decode(line), line[:-1]
    except (OSError, EOFError) as error:
        raise TwistpiError(f"The advisory set cannot be read: {error}.") from error
