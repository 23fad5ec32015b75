"""The changes of some rare kinds, by project: found in a log without decoding any line that has none of them.

A log has no index by project.  A search for the names of the kinds takes two seconds for a gigabyte, and what it finds is
remembered, so that a later look reads only what was appended since.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import attrs

from twistpi.changelog.disk import Disk
from twistpi.changelog.format import read_base, read_header
from twistpi.changelog.places import position_at
from twistpi.changelog.reader import find_feed, segment_path
from twistpi.model.changes import Change, Entry
from twistpi.model.codec import decode_content

_MOST_BYTES: Final = 1024**3
"""Of the log's end that are read: two seconds, where the system has them in memory."""
_MOST_CHANGES: Final = 10_000
"""Changes that are remembered, the newest ones."""
_BLOCK: Final = 256 * 1024
"""Bytes that are read at a time, unless a line is longer.  While they are searched, the interpreter does nothing else."""


@attrs.define(eq=False)
class RareChanges:
    """What was found.  ``read`` is for one thread at a time; meanwhile other threads may call ``of``."""

    _directory: str
    """Of the log."""
    _marks: Iterable[bytes]
    """What the JSON of each wanted change has, and that of few other changes."""
    _select: Callable[[Entry], Iterable[tuple[str, Change]]]
    """Returns the wanted changes of an entry, each with the name of its project."""
    _disk: Disk = attrs.field(factory=Disk)
    most_bytes: int = _MOST_BYTES
    most_changes: int = _MOST_CHANGES
    serial: int = attrs.field(default=0, init=False)
    """Up to which the log was read."""
    is_whole: bool = attrs.field(default=True, init=False)
    """Whether nothing older was left out."""
    _end: tuple[int, int] | None = attrs.field(default=None, init=False)
    """The segment, and the offset in it, up to which the log was read."""
    _changes: dict[str, deque[Entry]] = attrs.field(factory=dict, init=False)
    """Each entry has one change; the oldest are first."""
    _order: deque[str] = attrs.field(factory=deque, init=False)
    """The project of each change in ``_changes``, the oldest first."""
    _pattern: re.Pattern[bytes] = attrs.field(init=False)

    @_pattern.default
    def _compile(self) -> re.Pattern[bytes]:
        return re.compile(b"|".join(map(re.escape, self._marks)))

    def of(self, project: str) -> Sequence[Entry]:
        """Return the changes of ``project`` up to ``serial``, the oldest first, as entries of one change each."""
        return tuple(self._changes.get(project, ()))

    def read(self, until: int) -> None:
        """Read on to the line ``until``, which is in the log.  Blocking.  Raise ``OSError``, ``LogDamaged``."""
        end = position_at(self._directory, self._disk, until)
        segments = [segment for segment in read_base(self._directory, self._disk)[1] if segment <= end.segment]
        sizes = {segment: self._disk.size(segment_path(self._directory, segment)) for segment in segments}
        sizes[end.segment] = end.offset
        first, offset = self._end or self._begin(segments, sizes)
        for segment in segments:
            if segment >= first:
                self._scan(segment, offset if segment == first else 0, sizes[segment])
        self.serial = until

    def _begin(self, segments: Sequence[int], sizes: dict[int, int]) -> tuple[int, int]:
        """Return where reading begins: at the log's beginning, or at a line so that not too much is read."""
        left = self.most_bytes
        for segment in reversed(segments):
            if sizes[segment] > left:
                self.is_whole = False
                feed = find_feed(self._disk, segment_path(self._directory, segment), sizes[segment] - left, sizes[segment])
                return segment, sizes[segment] if feed is None else feed + 1
            left -= sizes[segment]
        self.is_whole = not segments or segments[0] == 1
        return (segments[0] if segments else 0), 0

    def _scan(self, segment: int, offset: int, end: int) -> None:
        path, rest = segment_path(self._directory, segment), b""
        while offset < end and (block := self._disk.read(path, offset, min(_BLOCK, end - offset))):
            offset += len(block)
            block = rest + block
            cut = block.rfind(b"\n") + 1
            rest = block[cut:]
            for line in self._lines_in(block[:cut]):
                serial, _chain, body = read_header(line)
                for project, change in self._select(entry := decode_content(body, serial)):
                    self._keep(project, attrs.evolve(entry, changes=(change,)))
            self._end = segment, offset - len(rest)

    def _lines_in(self, block: bytes) -> Iterator[bytes]:
        """Yield those of the whole lines in ``block`` in which something is found."""
        end = 0
        while (found := self._pattern.search(block, end)) is not None:
            begin, end = block.rfind(b"\n", 0, found.start()) + 1, block.index(b"\n", found.end())
            yield block[begin:end]

    def _keep(self, project: str, entry: Entry) -> None:
        self._changes.setdefault(project, deque()).append(entry)
        self._order.append(project)
        if len(self._order) > self.most_changes:
            oldest = self._order.popleft()
            self._changes[oldest].popleft()
            self.is_whole = False
            if not self._changes[oldest]:
                del self._changes[oldest]
