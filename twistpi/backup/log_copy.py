"""Copying a server's log into a backup: the summary that it begins with, and the segments that are not there yet.

A compacted log begins in the backup where it begins on the server.  What former backups have of the entries before is left to
them.  If the server was compacted beyond the end of the newest backup, the entries between are in none, and the backup goes on
after them.
"""

from __future__ import annotations

from typing import Final

import attrs

from twistpi.backup.history import CHANGELOG
from twistpi.backup.manifest import Beginning, Manifest
from twistpi.backup.store import BackupStore
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import read_base, read_beginning, segment_name
from twistpi.changelog.places import position_at
from twistpi.changelog.reader import read_lines, segment_path
from twistpi.changelog.summary import lines_digest, named_summaries, summary_name, summary_path
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.directory import Layout
from twistpi.view.read import Reader

_DISK: Final = Disk()


def newest_epoch(reader: Reader, serial: int) -> tuple[int, str, int]:
    """Return number, primary and first serial of the epoch that the entry ``serial`` is in; see ``Manifest.epoch``."""
    return next((epoch for epoch in reversed(reader.epochs()) if epoch[2] <= serial), (1, "", 0))


@attrs.define(eq=False)
class LogCopy:
    """Copies the log of one server to a place."""

    _serverdir: str
    _store: BackupStore
    _reader: Reader
    """Of the view of the server directory."""
    _directory: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._directory = Layout(self._serverdir).changelog

    def beginning(self) -> Beginning:
        """Return where the server's log begins now.  Raise ``LogDamaged``."""
        return Beginning(*read_beginning(self._directory, _DISK))

    def choose_beginning(self, previous: Manifest | None) -> Beginning:
        """Return where the log in the backup is to begin, of which ``previous`` is the newest manifest.

        Raise ``ServerdirRefused`` if neither the server nor the backup says what was before the server's first entry.
        """
        own = self.beginning()
        if own.base == BEGINNING or own.summary is not None:
            return own
        if previous is not None and previous.end.serial >= own.base.serial:
            return previous.begin
        reason = f"its changelog begins after serial {own.base.serial}, and {self._store.url} does not have what is before that"
        remedy = "back up the primary, or start this replica with --history all and wait until it has the older entries"
        raise ServerdirRefused(self._serverdir, f"{reason}; {remedy}")

    def find_joint(self, previous: Manifest) -> Position | None:
        """Return where in the server's log the entries of ``previous`` end; None if the log begins later by now.

        Raise ``TwistpiError`` if the log has other entries, or had other epochs.
        """
        end, found = previous.end, None
        if end.serial < self.beginning().base.serial:
            is_same = previous.epoch in (None, newest_epoch(self._reader, end.serial))
        else:
            found = position_at(self._directory, _DISK, end.serial)
            is_same = (found.serial, found.chain) == (end.serial, end.chain)
        if is_same:
            return found
        text = f"{self._store.url} has entries up to serial {end.serial} that {self._serverdir} does not have"
        reason = "the server was restored from an older backup, or lost entries"
        raise TwistpiError(f"{text}: {reason}. Name another place, so that these are kept. Nothing was changed.")

    def copy(self, previous: Manifest | None, begin: Beginning, end: Position) -> None:
        """Copy the log that begins at ``begin`` up to ``end``, as far as it is not in the backup.

        Raise ``TwistpiError`` and ``OSError``; after the latter it can be called again.
        """
        there = set(self._store.names(CHANGELOG))
        vouched = previous if previous is not None and previous.begin.base.serial <= begin.base.serial else None
        is_new = previous is None or previous.begin != begin or summary_name(begin.base.serial) not in there
        if begin.summary is not None and is_new:
            self._copy_summary(begin, end)
        for first in self._segments(begin, end):
            name, kept = segment_name(first), 0
            if vouched is not None and name in there and first < vouched.end.segment:
                continue
            if vouched is not None and name in there and first == vouched.end.segment:
                kept = vouched.end.offset
            until = end.offset if first == end.segment else _DISK.size(segment_path(self._directory, first))
            if kept < until or name not in there:
                self._store.put_log(self._serverdir, f"{CHANGELOG}/{name}", kept, until)

    def _segments(self, begin: Beginning, end: Position) -> list[int]:
        _base, segments = read_base(self._directory, _DISK)
        return [first for first in segments if begin.base.segment <= first <= end.segment]

    def _copy_summary(self, begin: Beginning, end: Position) -> None:
        """Copy the summary, after its digest was compared with those that entries up to ``end`` name."""
        serial = begin.base.serial
        found, named = lines_digest(summary_path(self._directory, serial)), set[str]()
        for line in read_lines(self._directory, _DISK, begin.base, end.serial):
            named |= named_summaries(line, serial)
        if found != begin.summary or (named and found not in named):
            expected = begin.summary if found != begin.summary else " or ".join(sorted(named))
            reason = f"the summary of its entries up to {serial} has the SHA-256 {found} instead of {expected}"
            remedy = "copy it from another backup, or from a server whose changelog begins after the same serial"
            raise ServerdirRefused(self._serverdir, f"{reason}; {remedy}")
        self._store.put(self._serverdir, [f"{CHANGELOG}/{summary_name(serial)}"])
