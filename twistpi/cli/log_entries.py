"""What ``twistpi log`` prints: which entries of the changelog are selected, and how one is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final, get_args

import attrs
import orjson

from twistpi.changelog.disk import Disk
from twistpi.changelog.format import read_base, read_summary_digest
from twistpi.changelog.interfaces import RawLine
from twistpi.changelog.places import find_last, position_at, position_before, position_before_newest
from twistpi.changelog.reader import read_lines
from twistpi.model.changes import Change, LinksChanged
from twistpi.model.codec import decode_content, encode_change
from twistpi.model.peers import Position
from twistpi.model.records import Json
from twistpi.model.text import without_secrets

KINDS: Final = tuple(sorted(kind.__name__ for kind in get_args(Change)))
"""The kinds of changes."""
_LONGEST_VALUE = 100
"""Characters of one value that are shown to people."""
_UNSHOWN = "password_hash"
"""A field that is not shown: screens get photographed."""


@attrs.frozen
class Wanted:
    """Which entries are wanted, of all that are read: an empty set stands for everything."""

    users: frozenset[str] = frozenset()
    """Authors of entries; ``+mirror`` and the like, too."""
    indexes: frozenset[str] = frozenset()
    projects: frozenset[str] = frozenset()
    """Normalised names."""
    kinds: frozenset[str] = frozenset()

    @property
    def is_everything(self) -> bool:
        """Whether every entry is wanted."""
        return self == Wanted()

    def matches(self, body: bytes) -> bool:
        """Return whether the entry with the JSON ``body`` is wanted: its author is, and one of its changes is in all respects."""
        if self.is_everything:
            return True
        fields = orjson.loads(body)
        return (not self.users or fields["by"] in self.users) and any(map(self._matches_change, fields["changes"]))

    def _matches_change(self, change: dict[str, Json]) -> bool:
        wanted = (("index", self.indexes), ("project", self.projects), ("kind", self.kinds))
        return all(not names or change.get(field) in names for field, names in wanted)


def read_moment(text: str) -> str:
    """Return a date or time in ISO 8601 as entries write it; UTC unless it says its zone.  Raise ``ValueError``."""
    moment = datetime.fromisoformat(text)
    try:
        there = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is no time in UTC") from None
    return there.isoformat(timespec="microseconds").replace("+00:00", "Z")


@attrs.frozen
class Start:
    """From where the log is read: the latest of these places."""

    after: int | None = None
    """A serial."""
    since: str | None = None
    """A time as entries write it."""
    newest: int | None = None
    """How many of the entries that are wanted are left at the end; at least 1."""

    def find(self, directory: str, wanted: Wanted, *, follow: bool = False) -> Position:
        """Return the place in the log in ``directory``; raise ``LogDamaged``.  Slow only for the newest of some kind.

        If all fields are None, that is the log's end to ``follow`` it, else its beginning.
        """
        disk = Disk()
        if follow and self == Start():
            return find_last(directory, disk)
        begin = position_at(directory, disk, self.after or 0)
        if self.since is not None:
            begin = max(begin, position_before(directory, disk, self.since), key=lambda position: position.serial)
        if self.newest is None:
            return begin
        return position_before_newest(directory, disk, begin, self.newest, None if wanted.is_everything else wanted.matches)


def entries(directory: str, begin: Position | None = None, wait: Callable[[], object] | None = None) -> Iterator[RawLine]:
    """Yield the lines of the log in ``directory`` after ``begin``, or from its beginning; the chain is verified from there.

    With ``wait``, which is called when there is nothing new, this never ends. The newest lines of a running server may not be
    acknowledged yet. Raise ``LogDamaged``.
    """
    position = begin
    while True:
        for line in read_lines(directory, Disk(), position):
            position = line.position
            yield line
        if wait is None:
            return
        wait()


def missing_before(directory: str, begin: Position, after: int) -> str | None:
    """Return a sentence about lines after serial ``after`` that the log has not; None when there are none.

    ``begin`` is where it is read from.
    """
    disk = Disk()
    base, _segments = read_base(directory, disk)
    if begin.serial > base.serial or after >= base.serial:
        return None
    is_compacted = read_summary_digest(directory, disk) is not None
    where = "the older entries were compacted" if is_compacted else "the primary has the older entries"
    return f"This log begins after serial {base.serial} ({base.chain}); {where}."


def as_json(line: RawLine) -> str:
    """Return one line of JSON: the entry as in the log, after its serial and chain."""
    return f'{{"serial":{line.serial},"chain":"{line.chain}",{line.body[1:].decode()}'


def as_text(line: RawLine) -> str:
    """Return the entry for people: a line with serial, time and author, and one for each change; without logins in URLs."""
    entry = decode_content(line.body, line.serial)
    return without_secrets(
        "\n".join([f"{entry.serial}  {entry.at}  {entry.by}", *(f"    {describe(one)}" for one in entry.changes)])
    )


def describe(change: Change) -> str:
    """Return a change in one line."""
    if isinstance(change, LinksChanged):
        return _describe_links(change)
    fields = encode_change(change)
    kind = fields.pop("kind")
    return " ".join([kind, *(f"{name}={_short(value, name)}" for name, value in fields.items())])


def _describe_links(change: LinksChanged) -> str:
    counts = {name: len(getattr(change, name)) for name in ("added", "changed", "removed", "versions_added", "versions_removed")}
    counted = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count]
    if change.header is not None:
        counted.append("header " + _short(attrs.asdict(change.header)))
    return f"LinksChanged index={change.index} project={change.project}: {', '.join(counted) or 'nothing'}"


def _short(value: object, name: str = "") -> str:
    if name == _UNSHOWN and value:
        return "…"
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
