"""From a server directory into a database and a bucket."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from twistpi.backup.manifest import MissingFile
from twistpi.backup.named_files import NamedFiles, Progress
from twistpi.blobs.tree import Tree
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import read_base, read_summary_digest
from twistpi.changelog.interfaces import RawLine
from twistpi.changelog.places import find_last, position_at
from twistpi.changelog.reader import find_line, read_lines
from twistpi.changelog.summary import summary_path
from twistpi.cluster.beginning import Beginning
from twistpi.cluster.moves import MovingLog, StoredLog
from twistpi.cluster.schema import ClusterFacts
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import ServerdirRefused, UnknownPosition
from twistpi.move.bucket_files import BucketFiles
from twistpi.move.files_note import FilesNote, copied_before, read_note
from twistpi.move.report import Moved, require_complete
from twistpi.server.directory import Layout
from twistpi.server.node import Node
from twistpi.view.read import KeptBlob, Reader

_REPORTED: Final = 10_000
"""Lines between two reports."""
_PART: Final = 1024 * 1024
"""Bytes of a part of a summary."""


def check_movable(path: str, node: Node) -> None:
    """Raise ``ServerdirRefused`` for the directory at ``path`` if its log is not its own, or not settled."""
    if node.is_cache:
        reason = "it is the cache of a node of a cluster, whose log is in a database already"
    elif node.is_replica:
        reason = "it is a replica's; move its primary, or make it one: twistpi promote"
    elif node.fence is not None:
        reason = "another server was promoted, and has the log since; move that one"
    elif node.former_url is not None:
        reason = f"it was promoted, and its former primary {node.former_url} does not know yet; start it while that is there"
    elif node.promoting is not None or node.restored_from is not None:
        reason = "it has not been started since it was promoted or restored; start it once, and stop it"
    else:
        return
    raise ServerdirRefused(path, reason)


@attrs.define(eq=False)
class MoveIntoCluster:
    """One run; ``reader`` is of the view of the server directory."""

    _path: str
    _facts: ClusterFacts
    _reader: Reader
    _log: MovingLog
    _database: str
    """The name of the database in messages."""
    _files: BucketFiles | None
    """None where files stay where they are."""
    _progress: Progress
    _disk: Disk = attrs.field(factory=Disk, init=False)

    @property
    def _directory(self) -> str:
        return Layout(self._path).changelog

    def run(self, *, place: str, is_last: bool, accept_missing: bool) -> Moved:
        """Copy what is not there yet; complete the move if this ``is_last``, for which no server runs.

        ``place`` is what the directory is called there.  With ``accept_missing`` it is completed without uploaded files that are
        not here.  Raise ``TwistpiError`` and ``OSError``; after both it can be run again.
        """
        stored = self._log.find()
        if stored is not None:
            self._check_same(stored)
            if stored.move is None:
                return self._moved_before(stored)
        beginning = self._beginning(stored)
        if self._files is not None:
            self._files.check_owner()
        stored = self._log.arrive(self._facts, place, beginning, () if beginning is None else self._summary(beginning))
        copied, end = self._copy_files(stored)
        self._log.add(self._lines(stored.end, end))
        if self._files is not None:
            self._files.keep_view(Layout(self._path).view, end.serial)
        missing: Sequence[MissingFile] = () if copied is None else copied.missing
        if is_last:
            require_complete(self._path, missing, accept_missing, "restore them first: twistpi check --repair --backup PLACE")
            self._log.complete()
        files, size = (0, 0) if copied is None else (copied.files, copied.size)
        return Moved(end.serial, end.serial - stored.end.serial, files, size, tuple(missing), is_last)

    def confirm(self) -> Moved:
        """Return the report of a move that is complete already; raise ``TwistpiError`` if the log has left the database since."""
        stored = self._log.find()
        if (
            stored is None
            or stored.facts.log_id != self._facts.log_id
            or (stored.move is not None and not stored.move.is_leaving)
        ):
            raise ServerdirRefused(self._path, f"its log was moved to the database at {self._database}, which has it no more")
        if stored.move is not None:
            reason = f"its log was moved to the database at {self._database}, and from there to {stored.move.place}"
            raise ServerdirRefused(self._path, f"{reason}: move it from there")
        return self._moved_before(stored)

    def _check_same(self, stored: StoredLog) -> None:
        """Raise ``TwistpiError`` unless the log in the database is a beginning of this one, or goes on where this one ends."""
        if stored.facts.log_id != self._facts.log_id:
            reason = f"has another log, {stored.facts.log_id}, and {self._path} has {self._facts.log_id}"
            raise TwistpiError(f"The database at {self._database} {reason}. Name an empty database. Nothing was changed.")
        if stored.move is None or stored.end == BEGINNING:
            return
        try:
            find_line(self._directory, self._disk, stored.end)
        except UnknownPosition as error:
            text = (
                f"The database at {self._database} has entries up to serial {stored.end.serial} that {self._path} does not have"
            )
            raise TwistpiError(f"{text}. {error} Name an empty database. Nothing was changed.") from None

    def _moved_before(self, stored: StoredLog) -> Moved:
        last = find_last(self._directory, self._disk)
        if not self._log.has(last):
            reason = f"is that of a cluster, which does not have the entries up to serial {last.serial} of {self._path}"
            raise TwistpiError(f"The log in the database at {self._database} {reason}. Name an empty database.")
        return Moved(stored.end.serial, 0, 0, 0, (), is_complete=True)

    def _beginning(self, stored: StoredLog | None) -> Beginning | None:
        """Return where the log begins, if it has to begin there in the database; None where that has lines."""
        base, _segments = read_base(self._directory, self._disk)
        if base == BEGINNING or (stored is not None and stored.end != BEGINNING):
            return None
        summary = read_summary_digest(self._directory, self._disk)
        if summary is None:
            reason = f"its changelog begins after serial {base.serial}, and no summary says what was before"
            raise ServerdirRefused(self._path, f"{reason}; compact it first: twistpi compact")
        return Beginning(base, summary)

    def _summary(self, beginning: Beginning) -> Iterator[bytes]:
        with open(summary_path(self._directory, beginning.position.serial), "rb") as file:
            while part := file.read(_PART):
                yield part

    def _copy_files(self, stored: StoredLog) -> tuple[NamedFiles | None, Position]:
        """Copy the files that are named; return the line up to which they are."""
        if self._files is None:
            return None, position_at(self._directory, self._disk, self._reader.serial())
        files, tree = self._files, Tree(self._path)

        def put(blobs: Sequence[KeptBlob]) -> None:
            files.put(tree, blobs)

        copied = NamedFiles(self._path, self._reader, put, self._progress)
        note = None if stored.move is None else read_note(stored.move.files)
        end = copied.copy(copied_before(note, files.place))
        self._log.note_files(FilesNote(files.place, end, copied.missing, copied.has_all_missing).text())
        return copied, end

    def _lines(self, after: Position, end: Position) -> Iterator[RawLine]:
        for line in read_lines(self._directory, self._disk, after, end.serial):
            yield line
            if line.serial % _REPORTED == 0 or line.serial == end.serial:
                self._progress("entries", line.serial - after.serial, end.serial - after.serial)
