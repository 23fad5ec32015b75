"""A node's copy of the log and the view: opened, or made anew if it does not fit the log in the database.

A node may be killed at any moment, its machine may lose its power, its folder may be an old one or none at all: whatever is
missing or wrong is dropped and fetched again.  Nothing here is synced, because nothing here is needed.
"""

from __future__ import annotations

import os
import shutil

import attrs
from twisted.logger import Logger

from twistpi.changelog.disk import AppendFile, Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import SEGMENT_LIMIT, segment_start, write_base
from twistpi.changelog.summary_fold import FoldedPart
from twistpi.cluster.beginning import FIND_BEGINNING, Beginning, beginning_of, bring_summary
from twistpi.cluster.database import Database
from twistpi.cluster.postgres_changelog import PostgresChangelog
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import LogDamaged, UnknownPosition
from twistpi.view.database import ViewDatabase, drop_view, open_view

_log = Logger()


class _UnsyncedFile(AppendFile):
    """A file that is not synced: after a power loss it may be gone or incomplete."""

    def sync(self) -> None:
        """Leave it to the system when the content is written."""


class UnsyncedDisk(Disk):
    """The disk without syncing, for files that can be fetched again."""

    def append_to(self, path: str) -> AppendFile:
        """See ``Disk``."""
        return _UnsyncedFile(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    def create(self, path: str) -> AppendFile:
        """See ``Disk``."""
        return _UnsyncedFile(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_CREAT | os.O_TRUNC, 0o666))

    def sync_folder(self, path: str) -> None:
        """Leave it to the system when the names are written."""


@attrs.frozen
class LocalCopy:
    """Where a node keeps its copy."""

    changelog: str
    """The folder of the segments."""
    view: str
    """The view's database."""
    log_id: str
    node_id: str = ""
    segment_limit: int = SEGMENT_LIMIT

    def open(self, database: Database) -> tuple[PostgresChangelog, ViewDatabase]:
        """Return the changelog, whose copy has all that is in the database, and the view, which is behind it or not.

        Blocking.  Raises ``LogUnreachable``, ``StorageFull``, ``ServerdirRefused``.
        """
        view = open_view(self.view, self.log_id)
        try:
            beginning = beginning_of(database.ask(FIND_BEGINNING))
            if not _fits(database, beginning, view.position):
                _log.warn("The database does not have entry {serial} of the view; it is made anew.", serial=view.position.serial)
                view.close()
                drop_view(self.view)
                self.drop_lines()
                view = open_view(self.view, self.log_id)
            stamp = view.position if view.position.serial > 0 else BEGINNING
            copy = self._existing(database, beginning, stamp) or self._new(database, beginning, stamp)
            changelog = PostgresChangelog(database, copy, self.node_id, self.segment_limit)
            changelog.refresh()
        except BaseException:
            view.close()
            raise
        return changelog, view

    def drop_lines(self) -> None:
        """Remove the lines here; the next start fetches them again."""
        shutil.rmtree(self.changelog, ignore_errors=True)

    def _existing(self, database: Database, beginning: Beginning | None, stamp: Position) -> FileChangelog | None:
        """The copy that is here; None after dropping one that does not fit, or when there is none."""
        if not os.path.isdir(self.changelog):
            return None
        trusted = stamp if stamp != BEGINNING else None
        try:
            copy = FileChangelog.open(self.changelog, UnsyncedDisk(), trusted=trusted, segment_limit=self.segment_limit)
        except (LogDamaged, UnknownPosition) as error:
            _log.warn("The copy of the changelog is dropped and fetched again: {reason}", reason=str(error))
            self.drop_lines()
            return None
        is_joined = copy.begins_after.serial <= stamp.serial or copy.summary is not None
        if is_joined and (copy.last.serial == 0 or _has(database, beginning, copy.last)):
            return copy
        _log.warn(
            "The copy of the changelog up to entry {serial} does not fit any more; it is fetched again.", serial=copy.last.serial
        )
        copy.close()
        self.drop_lines()
        return None

    def _new(self, database: Database, beginning: Beginning | None, stamp: Position) -> FileChangelog:
        """An empty copy, which begins with the segment in which the view ends, or with what a new view begins with."""
        disk = UnsyncedDisk()
        disk.make_folder(self.changelog)
        if beginning is not None and stamp == BEGINNING:
            bring_summary(database, beginning, self.changelog, disk)
        elif beginning is not None and stamp.segment == beginning.position.segment:
            write_base(self.changelog, disk, beginning.position)
        elif stamp.segment > 1:
            write_base(self.changelog, disk, segment_start(stamp.segment, _chain(database, stamp.segment - 1)))
        return FileChangelog.open(self.changelog, disk, segment_limit=self.segment_limit)


def _fits(database: Database, beginning: Beginning | None, position: Position) -> bool:
    """Whether a view at ``position`` is one of the log in the database, or a part of the summary that this begins with."""
    part = FoldedPart.of(position)
    if part is not None:
        return beginning is not None and part.sha256 == beginning.summary
    return position == BEGINNING or _has(database, beginning, position)


def _has(database: Database, beginning: Beginning | None, position: Position) -> bool:
    if beginning is not None and position == beginning.position:
        return True
    statement = "SELECT 1 FROM twistpi_lines WHERE serial = %s AND chain = %s AND segment = %s AND segment_end = %s"
    return bool(database.ask(statement, (position.serial, position.chain, position.segment, position.offset)))


def _chain(database: Database, serial: int) -> str:
    rows = database.ask("SELECT chain FROM twistpi_lines WHERE serial = %s", (serial,))
    if not rows:
        raise TwistpiError(
            f"The database at {database.name} lacks entry {serial}, though it has later ones; restore a backup of it."
        )
    return str(rows[0][0])
