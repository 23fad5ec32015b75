"""``twistpi log``: the changelog's entries for people, or as JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import orjson

from twistpi.changelog.disk import Disk
from twistpi.changelog.interfaces import RawLine
from twistpi.changelog.reader import read_lines
from twistpi.changelog.segments import read_base
from twistpi.model.changes import Change, LinksChanged
from twistpi.model.codec import decode_content, encode_change
from twistpi.model.peers import Position
from twistpi.model.text import without_secrets

_LONGEST_VALUE = 100
"""Characters of one value that are shown to people."""
_UNSHOWN = "password_hash"
"""A field that is not shown: screens get photographed."""


def entries(directory: str, after: int, wait: Callable[[], object] | None = None) -> Iterator[RawLine]:
    """Yield the lines of the log in ``directory`` after serial ``after``; the chain is verified from the log's beginning.

    With ``wait``, which is called when there is nothing new, this never ends. The newest lines of a running server may not be
    acknowledged yet. Raise ``LogDamaged``.
    """
    disk = Disk()
    position: Position | None = None
    while True:
        for line in read_lines(directory, disk, position):
            position = line.position
            if line.serial > after:
                yield line
        if wait is None:
            return
        wait()


def missing_before(directory: str, after: int) -> str | None:
    """Return a sentence about lines after serial ``after`` that the log in ``directory`` never had; None when there are none."""
    base, _segments = read_base(directory, Disk())
    if after >= base.serial:
        return None
    return f"This log begins after serial {base.serial} ({base.chain}); the primary has the older entries."


def as_json(line: RawLine) -> str:
    """Return one line of JSON: the entry as in the log, after its serial and chain."""
    return f'{{"serial":{line.serial},"chain":"{line.chain}",{line.body[1:].decode()}'


def as_text(line: RawLine) -> str:
    """Return the entry for people: a line with serial, time and author, and one for each change; without logins in URLs."""
    entry = decode_content(line.body).entry(line.serial)
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
    told = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count]
    if change.header is not None:
        told.append("header " + _short(attrs.asdict(change.header)))
    return f"LinksChanged index={change.index} project={change.project}: {', '.join(told) or 'nothing'}"


def _short(value: object, name: str = "") -> str:
    if name == _UNSHOWN and value:
        return "…"
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
