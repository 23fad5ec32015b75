"""The changelog in segment files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter

import attrs
from zope.interface import implementer

from twistpi.changelog.disk import IAppendFile, IDisk
from twistpi.changelog.interfaces import IChangelog, RawLine, Segment
from twistpi.changelog.line import BadLine, check_line, check_lines, make_line, read_header
from twistpi.changelog.reader import (
    Extent,
    Progress,
    find_line,
    last_line,
    locate,
    log_bytes,
    next_extent,
    read_lines,
    report_progress,
    segment_path,
    split_lines,
)
from twistpi.changelog.segments import (
    NEW_SUFFIX,
    SEGMENT_LIMIT,
    SegmentPart,
    read_base,
    segment_name,
    segment_start,
    sort_unfinished,
    split_by_segment,
    write_base,
)
from twistpi.changelog.tail import TornTail, find_end
from twistpi.model.errors import LogConflict, LogDamaged, StorageFull, SyncFailed
from twistpi.model.peers import Position
from twistpi.model.replication_errors import FeedDamaged, UnknownSerial

VERIFY_ALL_BELOW = 16 * 1024 * 1024
"""Bytes up to which a log is verified from its beginning at every start; that takes well under a second."""


@attrs.frozen
class _NewSegment:
    """A segment under its temporary name, with its first lines, and the name it gets once they are synced."""

    file: IAppendFile
    temporary: str
    path: str


@implementer(IChangelog)
@attrs.define
class FileChangelog:
    """Chained lines in the segment files of one folder; ``open`` makes one."""

    _directory: str
    _disk: IDisk
    _segment_limit: int
    begins_after: Position
    last: Position
    cut: TornTail | None
    """What was cut off at start, or None."""
    _segment: int
    """The first serial of the segment that grows."""
    _size: int
    """Bytes in it."""
    _file: IAppendFile | None
    """It, or None while there is no segment at all."""
    _dead: SyncFailed | None = None

    @classmethod
    def open(
        cls,
        directory: str,
        disk: IDisk,
        *,
        trusted: Position | None = None,
        segment_limit: int = SEGMENT_LIMIT,
        verify_all_below: int = VERIFY_ALL_BELOW,
    ) -> FileChangelog:
        """The log in ``directory``, which is made when it is missing; blocking.

        Up to ``trusted`` (the place a view is stamped with: it was synced before the stamp was written; None for the log's
        beginning) the chain is taken as verified, unless the whole log is smaller than ``verify_all_below`` bytes; from there on
        every line is checked, and what an interrupted write left at the end is cut off (``cut`` tells).

        Raises ``UnknownPosition`` when ``trusted`` is not in this log: drop the view, and open again without.  Raises
        ``LogDamaged`` for any other damage, and then has changed nothing.
        """
        disk.make_folder(directory)
        base, segments = read_base(directory, disk)
        if trusted is not None:
            find_line(directory, disk, trusted)
        everything = log_bytes(directory, disk) <= verify_all_below
        last, cut = find_end(directory, disk, None if everything else trusted)
        file = disk.append_to(segment_path(directory, segments[-1])) if segments else None
        if file and cut:
            file.truncate(cut.offset)
            file.sync()
        for name in sort_unfinished(disk.names(directory)):
            disk.remove(os.path.join(directory, name))
        segment = segments[-1] if segments else base.segment
        size = last.offset if segment == last.segment else 0
        return cls(directory, disk, segment_limit, base, last, cut, segment, size, file)

    def append(self, bodies: Sequence[bytes], expect: int) -> Position:
        """See ``IChangelog``: one write and one sync, unless a new segment begins within the batch."""
        self._check_end(expect)
        digest = bytes.fromhex(self.last.chain)
        lines = []
        for serial, body in enumerate(bodies, expect + 1):
            line, digest = make_line(serial, digest, body)
            lines.append(line)
        return self._put(lines, digest)

    def receive(
        self, lines: Sequence[bytes], expect: int, approve: Callable[[Sequence[bytes]], object] = lambda _bodies: None
    ) -> Position:
        """See ``IChangelog``: one write and one sync, as for ``append``."""
        self._check_end(expect)
        bodies, digest = check_lines(lines, expect + 1, bytes.fromhex(self.last.chain))
        approve(bodies)
        return self._put([line + b"\n" for line in lines], digest)

    def _check_end(self, expect: int) -> None:
        if self._dead:
            raise SyncFailed(self._dead.path, self._dead.reason)
        if expect != self.last.serial:
            raise LogConflict(expect, self.last.serial)

    def _put(self, lines: Sequence[bytes], digest: bytes) -> Position:
        """Write and sync the next ``lines``, of which the last one has ``digest``."""
        if not lines:
            return self.last
        serial = self.last.serial
        parts = split_by_segment(lines, serial + 1, self._segment, self._size, self._segment_limit)
        created = self._write(parts)
        self._sync(created)
        self._size = len(parts[-1].content) + (0 if created else self._size)
        self._segment = parts[-1].segment
        self.last = Position(serial + len(lines), digest.hex(), self._segment, self._size)
        return self.last

    def prepend(self, first_serial: int, before: str) -> Position:
        """Have the log begin with the segment ``first_serial``, whose file is here by now; see ``prepending.prepend``.  In any
        thread, one at a time.
        """
        self.begins_after = prepend(self._directory, self._disk, first_serial, before, self.begins_after)
        return self.begins_after

    def position(self, serial: int) -> Position:
        """See ``IChangelog``."""
        last, (base, segments) = self.last, read_base(self._directory, self._disk)
        if serial == base.serial:
            return base
        if not base.serial < serial <= last.serial:
            raise UnknownSerial(serial, base.serial + 1, last.serial)
        return locate(self._directory, self._disk, serial, last, segments)

    def segments(self) -> list[Segment]:
        """See ``IChangelog``."""
        last, (base, segments) = self.last, read_base(self._directory, self._disk)
        before, found = base.chain, []
        for first in segments:
            if first > last.serial:  # still being created
                break
            sealed = first < last.segment
            size = self._disk.size(segment_path(self._directory, first)) if sealed else last.offset
            found.append(Segment(first, size, sealed, before))
            if sealed:
                before = self._chain_at_end(first, size)
        return found

    def _chain_at_end(self, segment: int, size: int) -> str:
        line = last_line(self._disk, segment_path(self._directory, segment), size)
        try:
            return read_header(line or b"")[1]
        except BadLine as problem:
            raise LogDamaged(segment, segment_name(segment), size, str(problem)) from None

    def next_extent(self, segment: int, offset: int, until: Position) -> Extent | None:
        """The next lines after ``offset`` of ``segment`` and not beyond ``until``, as a part of a file; see ``next_extent``."""
        return next_extent(self._directory, self._disk, segment, offset, until)

    def segment_path(self, first_serial: int) -> str:
        """Where the segment that begins with ``first_serial`` lies, if there is one."""
        return segment_path(self._directory, first_serial)

    def read(self, after: Position) -> Iterator[RawLine]:
        """See ``IChangelog``."""
        until = self.last
        serial = after.serial
        for line in read_lines(self._directory, self._disk, after, until.serial):
            serial = line.serial
            yield line
        if serial < until.serial:
            raise LogDamaged(serial + 1, segment_name(until.segment), until.offset, "lines that were synced are gone")

    def newest(self) -> RawLine | None:
        """See ``IChangelog``."""
        return find_line(self._directory, self._disk, self.last)

    def verify(self, on_progress: Progress) -> Position:
        """Check the chain from the first line to ``last`` as it is now, and return that place; blocking.

        ``on_progress(bytes done, bytes in all)`` is called about every 256 KiB, which take a few milliseconds of Python: a
        background pass sleeps in it to leave the interpreter to others, and raises from it to end early.  Raises ``LogDamaged``.
        """
        until = self.last
        total = log_bytes(self._directory, self._disk)
        for _line in report_progress(self.read(self.begins_after), total, on_progress):
            pass
        return until

    def close(self) -> None:
        """See ``IChangelog``."""
        if self._file:
            self._file.close()
            self._file = None

    def _write(self, parts: Sequence[SegmentPart]) -> list[_NewSegment]:
        """Write every part, new segments under their temporary names; after an error all is as before, or the log is dead."""
        created: list[_NewSegment] = []
        try:
            for part in filter(attrgetter("content"), parts):
                if part.segment == self._segment and self._file:
                    self._file.write(part.content)
                else:
                    created.append(self._create_segment(part))
        except OSError as error:
            self._undo(created)
            raise StorageFull(self._directory, _reason(error)) from error
        return created

    def _create_segment(self, part: SegmentPart) -> _NewSegment:
        path = segment_path(self._directory, part.segment)
        file = self._disk.create(path + NEW_SUFFIX)
        try:
            file.write(part.content)
        except OSError:
            file.close()
            raise
        return _NewSegment(file, path + NEW_SUFFIX, path)

    def _undo(self, created: Sequence[_NewSegment]) -> None:
        """Take back what was written of a batch, durably: its waiters are told that it did not happen."""
        for new in created:
            new.file.close()
        with contextlib.suppress(OSError):  # what stays is replaced by the next one of its name, and removed at start
            for name in sort_unfinished(self._disk.names(self._directory)):
                self._disk.remove(os.path.join(self._directory, name))
        if self._file:
            try:
                self._file.truncate(self._size)
                self._file.sync()
            except OSError as error:
                raise self._die(error) from error

    def _sync(self, created: Sequence[_NewSegment]) -> None:
        """Sync what was written, in the order of the lines, so that a crash leaves no gap."""
        try:
            if self._file:
                self._file.sync()
            for new in created:
                new.file.sync()
                self._disk.rename(new.temporary, new.path)
                self._disk.sync_folder(self._directory)
                if self._file:
                    self._file.close()
                self._file = new.file
        except OSError as error:
            raise self._die(error) from error

    def _die(self, error: OSError) -> SyncFailed:
        self._dead = SyncFailed(self._directory, _reason(error))
        return self._dead


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def prepend(directory: str, disk: IDisk, first_serial: int, before: str, begins_after: Position) -> Position:
    """Have the log in ``directory``, which begins at ``begins_after``, begin with the segment ``first_serial``; its start.

    The file of the segment is complete and under its final name, but was not checked yet.  ``before`` is the chain digest of the
    line before its first one.  Every line is checked: they must lead to the line after which the log begins.  Durable when this
    returns.  Blocking, about a second for a segment of the usual size.  Raises ``FeedDamaged``, with the log as it was: fetch the
    file anew.
    """
    place = segment_start(first_serial, before)
    path = segment_path(directory, first_serial)
    serial, digest, rest = place.serial, bytes.fromhex(before), b""
    for lines, rest in split_lines(disk, path, 0):  # noqa: B007 -- looked at after the loop
        for line in lines:
            try:
                digest, _body = check_line(line, serial + 1, digest)
            except BadLine as problem:
                raise FeedDamaged(serial + 1, str(problem)) from None
            serial += 1
    if rest:
        raise FeedDamaged(serial + 1, "the line is incomplete")
    if serial != begins_after.serial or digest.hex() != begins_after.chain:
        told = f"the segment {first_serial} ends there and does not lead to serial {begins_after.serial}"
        raise FeedDamaged(serial, f"{told}, after which the log begins")
    file = disk.append_to(path)
    try:
        file.sync()
    finally:
        file.close()
    disk.sync_folder(directory)
    write_base(directory, disk, place)
    return place
