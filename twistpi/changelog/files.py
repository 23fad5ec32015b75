"""The changelog in segment files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

import attrs
from zope.interface import implementer

from twistpi.changelog.beginning import prepend_segment
from twistpi.changelog.disk import AppendFile, Disk
from twistpi.changelog.format import (
    NEW_SUFFIX,
    SEGMENT_LIMIT,
    BadLine,
    SegmentPart,
    check_lines,
    make_line,
    read_base,
    read_header,
    read_summary_digest,
    segment_name,
    segment_start,
    sort_unfinished,
    split_by_segment,
    write_base,
)
from twistpi.changelog.interfaces import IChangelog, RawLine, Segment
from twistpi.changelog.places import locate
from twistpi.changelog.reader import (
    Extent,
    Progress,
    find_line,
    last_line,
    log_bytes,
    next_extent,
    read_lines,
    report_progress,
    segment_path,
)
from twistpi.changelog.summary import remove_compacted, summary_path
from twistpi.changelog.tail import TornTail, find_end
from twistpi.model.peers import Position
from twistpi.model.server_errors import (
    LogConflict,
    LogDamaged,
    StorageFull,
    SyncFailed,
    UnknownPosition,
    UnknownSerial,
)

VERIFY_ALL_BELOW = 16 * 1024 * 1024
"""Bytes up to which a log is verified from its beginning at every start; that takes well under a second."""


@implementer(IChangelog)
@attrs.define
class FileChangelog:
    """Chained lines in the segment files of one folder; made by ``open``."""

    _directory: str
    _disk: Disk
    _segment_limit: int
    begins_after: Position
    last: Position
    cut: TornTail | None
    """What was cut off at start, or None."""
    _segment: int
    """The first serial of the segment that grows."""
    _size: int
    """Bytes in that segment."""
    _file: AppendFile | None
    """That segment, or None while there is none at all."""
    summary: str | None = None
    """The SHA-256 of the summary that stands for what is before ``begins_after``; None without one."""
    _dead: SyncFailed | None = None

    @classmethod
    def open(
        cls,
        directory: str,
        disk: Disk,
        *,
        trusted: Position | None = None,
        segment_limit: int = SEGMENT_LIMIT,
        verify_all_below: int = VERIFY_ALL_BELOW,
    ) -> FileChangelog:
        """Open the log in ``directory``, which is made when it is missing; blocking.

        Lines after ``trusted`` are checked (the position of a view's stamp, which was synced before the stamp was written), or
        all of a log smaller than ``verify_all_below`` bytes.  What an interrupted write left at the end is cut off.  Where
        ``trusted`` is in an earlier segment than the last one, only that is checked: who reads on from there checks the rest.

        Raises ``UnknownPosition`` when ``trusted`` is not in this log: drop the view, and open again without.  Raises
        ``LogDamaged`` for any other damage, and then has changed nothing.
        """
        disk.make_folder(directory)
        base, segments = read_base(directory, disk)
        if trusted is not None:
            find_line(directory, disk, trusted)
        start = None
        if trusted is not None and log_bytes(directory, disk) > verify_all_below:
            start = trusted if trusted.segment == segments[-1] else _segment_start(directory, disk, segments)
        last, cut = find_end(directory, disk, start)
        file = disk.append_to(segment_path(directory, segments[-1])) if segments else None
        if file and cut:
            file.truncate(cut.offset)
            file.sync()
        segment = segments[-1] if segments else base.segment
        size = last.offset if segment == last.segment else 0
        summary = read_summary_digest(directory, disk)
        log = cls(directory, disk, segment_limit, base, last, cut, segment, size, file, summary)
        log._remove_unfinished()
        remove_compacted(directory, disk)
        return log

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

    def refresh(self) -> Position:
        """See ``IChangelog``: one process alone appends to a folder."""
        return self.last

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
        """Make the log begin with the segment ``first_serial``, and return its start; durable when this returns.

        The file of the segment is complete and under its final name, but was not checked yet.  ``before`` is the chain digest of
        the line before its first one.  Its lines must lead to ``begins_after``.  In any thread, one at a time; blocking, about a
        second for a segment of the usual size.  Raises ``FeedDamaged``, with the log as it was: fetch the file anew.
        """
        start = prepend_segment(self._directory, self._disk, first_serial, before, self.begins_after)
        self.begins_after = start
        return start

    def compact(self, serial: int, summary: str) -> int:
        """Make the log begin after ``serial``, the last one of a segment; return how many bytes were removed before it.

        The summary of those entries is durable under its name; ``summary`` is the SHA-256 of its lines.  In any thread, one at a
        time and none during ``prepend``; readers and ``append`` go on meanwhile.  Blocking.  Raises ``UnknownSerial`` when no
        segment begins after ``serial``, and then has changed nothing.
        """
        segments = self.segments()
        kept = next((segment for segment in segments if segment.first == serial + 1 > segments[0].first), None)
        if kept is None:
            raise UnknownSerial(serial, self.begins_after.serial + 1, self.last.serial)
        start = segment_start(kept.first, kept.before)
        write_base(self._directory, self._disk, start, summary)
        self.begins_after, self.summary = start, summary
        remove_compacted(self._directory, self._disk)
        return sum(segment.size for segment in segments if segment.first < kept.first)

    def summarised(self, summary: str) -> None:
        """Note that what is before the log's beginning has a summary, which is here under its name; durable when this returns."""
        self._disk.sync_folder(self._directory)
        write_base(self._directory, self._disk, self.begins_after, summary)
        self.summary = summary

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
                before = _chain_at_end(self._directory, self._disk, first, size)
        return found

    def next_extent(self, segment: int, offset: int, until: Position) -> Extent | None:
        """See ``reader.next_extent``."""
        return next_extent(self._directory, self._disk, segment, offset, until)

    @property
    def summary_path(self) -> str:
        """The path of the summary of what is before ``begins_after``, where there is one."""
        return summary_path(self._directory, self.begins_after.serial)

    def segment_path(self, first_serial: int) -> str:
        """See ``reader.segment_path``."""
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
        """Check the chain from the first line to the present ``last``, and return that; blocking.  Raises ``LogDamaged``.

        ``on_progress`` is called about every 256 KiB (a few milliseconds of Python); it may sleep, and raise to end early.
        """
        while True:
            until, beginning = self.last, self.begins_after
            try:
                total = log_bytes(self._directory, self._disk)
                for _line in report_progress(self.read(beginning), total, on_progress):
                    pass
            except (LogDamaged, UnknownPosition, FileNotFoundError):
                if self.begins_after == beginning:
                    raise
            else:
                return until

    def close(self) -> None:
        """See ``IChangelog``."""
        if self._file:
            self._file.close()
            self._file = None

    def _write(self, parts: Sequence[SegmentPart]) -> list[tuple[AppendFile, str]]:
        """Write every part; return the new segments, still under temporary names, with their final paths.

        After ``StorageFull`` all is as before.
        """
        created: list[tuple[AppendFile, str]] = []
        try:
            for part in parts:
                if not part.content:
                    continue
                if part.segment == self._segment and self._file:
                    self._file.write(part.content)
                else:
                    path = self.segment_path(part.segment)
                    file = self._disk.create(path + NEW_SUFFIX)
                    created.append((file, path))
                    file.write(part.content)
        except OSError as error:
            self._undo(created)
            raise StorageFull(self._directory, _reason(error)) from error
        return created

    def _undo(self, created: Sequence[tuple[AppendFile, str]]) -> None:
        """Take back what was written of a batch, durably: its waiters are told that it did not happen."""
        for file, _path in created:
            file.close()
        with contextlib.suppress(OSError):  # what stays is replaced by the next one of its name, and removed at start
            self._remove_unfinished()
        if self._file:
            try:
                self._file.truncate(self._size)
                self._file.sync()
            except OSError as error:
                raise self._die(error) from error

    def _remove_unfinished(self) -> None:
        for name in sort_unfinished(self._disk.names(self._directory)):
            self._disk.remove(os.path.join(self._directory, name))

    def _sync(self, created: Sequence[tuple[AppendFile, str]]) -> None:
        """Sync what was written, in the order of the lines, so that a crash leaves no gap."""
        try:
            if self._file:
                self._file.sync()
            for file, path in created:
                file.sync()
                self._disk.rename(path + NEW_SUFFIX, path)
                self._disk.sync_folder(self._directory)
                if self._file:
                    self._file.close()
                self._file = file
        except OSError as error:
            raise self._die(error) from error

    def _die(self, error: OSError) -> SyncFailed:
        self._dead = SyncFailed(self._directory, _reason(error))
        return self._dead


def _segment_start(directory: str, disk: Disk, segments: Sequence[int]) -> Position:
    """Where the last one of ``segments`` begins; the chain is as the line before it states it."""
    size = disk.size(segment_path(directory, segments[-2]))
    return segment_start(segments[-1], _chain_at_end(directory, disk, segments[-2], size))


def _chain_at_end(directory: str, disk: Disk, segment: int, size: int) -> str:
    """The chain of the line that ends ``segment``, which has ``size`` bytes; raises ``LogDamaged``."""
    line = last_line(disk, segment_path(directory, segment), size)
    try:
        return read_header(line or b"")[1]
    except BadLine as problem:
        raise LogDamaged(segment, segment_name(segment), size, str(problem)) from None


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
