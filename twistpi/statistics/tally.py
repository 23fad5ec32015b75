"""Downloads that are counted in memory until they are written, or sent to another process.

Counting is one operation on a dictionary, because it happens for every file that is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import attrs

from twistpi.statistics.agents import Agent, parse_agent

MOST: Final = 20_000
"""Pairs of a file and an installer that are held; about 8 MB at the most."""
_LONGEST: Final = 300
"""Characters of a text in a row; names of files have at most 255 bytes."""

_COLUMNS: Final = 7
Row = Sequence[str | int]
"""Index, project, file name, installer, its version, the version of Python, and the number of downloads, as JSON has it."""


@attrs.frozen
class CountedFile:
    """A distribution whose downloads are counted."""

    index: str
    """The index that has it: ``user/name``."""
    project: str
    """The normalised name."""
    filename: str
    key: str = attrs.field(init=False, eq=False, repr=False)
    """All of it in one word, as that of an ``Agent``."""

    @key.default
    def _make_key(self) -> str:
        return "\0".join((self.index, self.project, self.filename))


@attrs.define(eq=False)
class Tally:
    """Numbers of downloads; for one thread."""

    full: Callable[[], object] = lambda: None
    """Called when there is no room: to have ``take`` called."""
    most: int = MOST
    """Pairs that are held."""
    missed: int = 0
    """Downloads that were not counted, because nothing was taken for too long."""
    _numbers: dict[tuple[str, str], int] = attrs.field(factory=dict)
    """By the keys of file and agent."""

    def __len__(self) -> int:
        """Return the pairs of a file and an installer that are held."""
        return len(self._numbers)

    def count(self, file: CountedFile, agent: Agent, number: int = 1) -> None:
        """Count downloads of ``file`` by ``agent``."""
        key = (file.key, agent.key)
        try:
            self._numbers[key] += number
        except KeyError:
            self._begin(key, number)

    def _begin(self, key: tuple[str, str], number: int) -> None:
        held = len(self._numbers)
        if held >= self.most:
            self.missed += number
            return
        self._numbers[key] = number
        if held + 1 == self.most // 2:
            self.full()

    def count_request(self, file: CountedFile, user_agent: str | None) -> None:
        """Count a download of ``file`` by a client with this ``User-Agent``."""
        self.count(file, parse_agent(user_agent))

    def take(self, most: int = MOST) -> list[Row]:
        """Return up to ``most`` rows, and forget them."""
        numbers = self._numbers
        if len(numbers) <= most:
            self._numbers = {}
        else:
            kept = list(numbers.items())
            numbers, self._numbers = dict(kept[:most]), dict(kept[most:])
        return [(*file.split("\0"), *agent.split("\0"), number) for (file, agent), number in numbers.items()]

    def add(self, rows: Iterable[Row]) -> None:
        """Count what ``take`` returned, here or in another process."""
        for index, project, filename, installer, version, python, number in rows:
            file = CountedFile(str(index), str(project), str(filename))
            self.count(file, Agent(str(installer), str(version), str(python)), int(number))


def read_rows(raw: object) -> list[Row]:
    """Return the rows in ``raw``, which another server sent as JSON; raise ``ValueError`` for anything else."""
    if not isinstance(raw, list) or len(raw) > MOST:
        raise ValueError(f"a list of at most {MOST} rows is needed")
    for row in raw:
        if not isinstance(row, list) or len(row) != _COLUMNS:
            raise ValueError("a row has another form")
        *texts, number = row
        if not all(isinstance(text, str) and len(text) <= _LONGEST and "\0" not in text for text in texts):
            raise ValueError("a row has something that is no short text")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**40:
            raise ValueError("a row has a number that is none")
    return raw
