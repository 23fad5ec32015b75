"""Which segments of a log a summary may replace, and the switch to it in a server that runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import attrs

from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import read_base, segment_start
from twistpi.changelog.places import position_at
from twistpi.changelog.reader import segment_path
from twistpi.changelog.summary import lines_digest, summary_path
from twistpi.changelog.writer import Writer
from twistpi.http.offload import Offload
from twistpi.model.changes import Change, HistoryCompacted
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import Position
from twistpi.model.server_errors import UnknownSerial

BY = "+compact"
"""The author of the entry that names a summary."""


@attrs.frozen
class Cut:
    """A place between two segments, and those before it."""

    base: Position
    """Where the log is to begin."""
    after: int
    """The serial after which it begins now."""
    segments: Sequence[int]
    """The first serials of the segments before the cut."""
    size: int
    """Their bytes."""

    @property
    def serial(self) -> int:
        """That of the last entry before the cut."""
        return self.base.serial

    @property
    def entries(self) -> int:
        """How many entries those segments have."""
        return self.serial - self.after


def find_cut(directory: str, disk: Disk, before: int) -> Cut | None:
    """The last cut at which every entry from the serial ``before`` on stays; None where no whole segment is before that.

    The segment that grows always stays.  Blocking, for a millisecond.  Raises ``LogDamaged``.
    """
    base, segments = read_base(directory, disk)
    place = bisect_right(segments, before) - 1
    if place < 1:
        return None
    first, gone = segments[place], segments[:place]
    end = position_at(directory, disk, first - 1)
    size = sum(disk.size(segment_path(directory, one)) for one in gone)
    return Cut(segment_start(first, end.chain), base.serial, gone, size)


def naming(base: Position, sha256: str) -> Sequence[Change]:
    """The entry that names the summary, with the SHA-256 ``sha256``, of what is before ``base``."""
    return (HistoryCompacted(base.serial, base.chain, sha256),)


@attrs.define(eq=False)
class Compactor:
    """Has the log of a running server begin with a summary that another process made.  For the reactor's thread."""

    _folder: str
    """That of the changelog."""
    _changelog: FileChangelog
    _writer: Writer
    _offload: Offload
    _is_replica: bool
    """Whether the log is another server's, so that no entry names the summary."""
    _behind: Callable[[int], str | None]
    """Returns which follower still needs the entries up to a serial; None without one."""
    _is_busy: bool = attrs.field(default=False, init=False)

    async def compact(self, serial: int, sha256: str) -> int:
        """Make the log begin after ``serial``, where a segment ends; return the bytes of the segments that were removed.

        The summary is beside the segments, durable, with ``sha256`` of its lines.  Raises ``TwistpiError`` where that is not so,
        or a follower is not that far, and then has changed nothing.
        """
        if self._is_busy:
            raise TwistpiError("The changelog is being compacted already; wait until that is done.", 409)
        self._is_busy = True
        try:
            return await self._compact(serial, sha256)
        finally:
            self._is_busy = False

    async def _compact(self, serial: int, sha256: str) -> int:
        found = await self._offload(lines_digest, summary_path(self._folder, serial))
        if found != sha256:
            raise TwistpiError(f"The summary that is to replace the entries up to {serial} is another one: {found}.", 409)
        cut = await self._offload(find_cut, self._folder, Disk(), serial + 1)
        if cut is None or cut.serial != serial:
            raise UnknownSerial(serial, self._changelog.begins_after.serial + 1, self._changelog.last.serial)
        follower = self._behind(serial)
        if follower is not None:
            text = f"{follower}; wait until it has the entries up to {serial}, or name an earlier --before"
            raise TwistpiError(f"The changelog cannot be compacted now: {text}.", 409)
        if not self._is_replica:
            await self._writer.commit(lambda _view: naming(cut.base, sha256), BY)
        size: int = await self._offload(self._changelog.compact, serial, sha256)
        return size
