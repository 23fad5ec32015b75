"""From the database and the bucket of a cluster into a server directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice

import attrs
import orjson

from twistpi.backup.blob_state import address_of
from twistpi.backup.manifest import MissingFile
from twistpi.backup.named_files import AT_ONCE, Copied, Progress
from twistpi.blobs.incoming import open_to_others
from twistpi.blobs.tree import open_tree
from twistpi.changelog.catch_up import fold_all
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import SEGMENT_LIMIT, read_base
from twistpi.changelog.places import find_last
from twistpi.changelog.reader import read_lines
from twistpi.changelog.summary_fold import begin_view
from twistpi.cluster.beginning import bring_summary
from twistpi.cluster.database import Database
from twistpi.cluster.moves import MovingLog, StoredLog
from twistpi.cluster.postgres_changelog import PostgresChangelog
from twistpi.model.codec import decode_content
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import ServerdirRefused, UnknownPosition
from twistpi.move.bucket_files import BucketFiles
from twistpi.move.files_note import FilesNote, copied_before, read_note
from twistpi.move.report import Moved, require_complete
from twistpi.replication.missing_blobs import Naming, named_by
from twistpi.server.directory import Layout, lock_directory, making_private
from twistpi.server.node import MOVE_UNDER_WAY, PRIMARY, Node, read_node, refusing, write_durably, write_node
from twistpi.view.database import ViewDatabase, open_view
from twistpi.view.read import NamedBlob, Reader
from twistpi.view.read_releases import BEGINNING as FIRST
from twistpi.view.read_releases import Mark


@attrs.define(eq=False)
class MoveOutOfCluster:
    """One run."""

    _path: str
    _log: MovingLog
    _database: Database
    _files: BucketFiles | None
    """None where files are not moved."""
    _entropy: Callable[[int], bytes]
    _progress: Progress
    _disk: Disk = attrs.field(factory=Disk, kw_only=True)
    _segment_limit: int = attrs.field(default=SEGMENT_LIMIT, kw_only=True)
    _missing: list[MissingFile] = attrs.field(factory=list, init=False)
    _count: int = attrs.field(default=0, init=False)
    _size: int = attrs.field(default=0, init=False)

    def run(self, *, place: str, accept_missing: bool) -> Moved:
        """Copy what is not in the directory yet; complete the move if no node runs any more.

        ``place`` is what the directory is called in the database.  With ``accept_missing`` it is completed without uploaded files
        that are not in the bucket.  Raise ``TwistpiError`` and ``OSError``; after both it can be run again.
        """
        stored = self._find(place)
        node = self._target(stored)
        if node is not None and node.moved_to is None:
            return Moved(stored.end.serial, 0, 0, 0, (), is_complete=True)
        if self._files is not None:
            self._files.check_owner()
        with self._opened(stored, node):
            nodes = tuple(one.node_id for one in self._log.living_nodes())
            before = self._last(stored)
            end = self._bring(stored)
            if not nodes:
                remedy = "see that the bucket is the right one"
                require_complete(self._path, self._missing, accept_missing, remedy)
                self._log.leave(place)
                end = self._bring(stored)  # what came until then
                require_complete(self._path, self._missing, accept_missing, remedy)
                self._complete(stored, node)
        missing = tuple(self._missing)
        return Moved(end.serial, end.serial - before, self._count, self._size, missing, not nodes, nodes)

    def _find(self, place: str) -> StoredLog:
        """Return the log; raise ``TwistpiError`` when there is none that can be moved to ``place``."""
        stored = self._log.find()
        if stored is None or stored.end.serial == 0:
            raise TwistpiError(f"There is no log in the database at {self._database.name}. Name the database of a cluster.")
        if stored.move is not None and not stored.move.is_leaving:
            reason = f"is on its way from {stored.move.place}: complete that first"
            raise TwistpiError(f"The log in the database at {self._database.name} {reason}.")
        if stored.move is not None and stored.move.place != place:
            reason = f"was moved to {stored.move.place}; move it back from there before it goes anywhere else"
            raise TwistpiError(f"The log in the database at {self._database.name} {reason}.")
        return stored

    def _target(self, stored: StoredLog) -> Node | None:
        """Return what the directory is, if it had this log before; None for a new one.  Refuse any other."""
        log_id = stored.facts.log_id
        under_way = self._read_under_way()
        if under_way is None or os.path.exists(os.path.join(self._path, "node.json")):
            node = read_node(self._path)
            was_moved = stored.move is not None and stored.move.is_leaving  # so it went here: see _find
            if node is not None and (node.log_id != log_id or (node.moved_to is None and not was_moved)):
                raise ServerdirRefused(self._path, "it is not empty; name an empty or a new directory to move to")
            return node
        if under_way and under_way.get("log_id") != log_id:
            reason = f"the log {under_way.get('log_id')} is on its way there: complete that, or name another directory"
            raise ServerdirRefused(self._path, reason)
        return None

    def _read_under_way(self) -> dict[str, object] | None:
        """Return the note of an interrupted run; empty if it was killed while it wrote that, None if there was no run."""
        try:
            with open(os.path.join(self._path, MOVE_UNDER_WAY), "rb") as file:
                fields = orjson.loads(file.read())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except orjson.JSONDecodeError:
            return {}
        return fields if isinstance(fields, dict) else {}

    @contextmanager
    def _opened(self, stored: StoredLog, node: Node | None) -> Iterator[None]:
        """Lock the directory, and note in it what it is to become."""
        if not os.path.isdir(self._path):
            os.makedirs(self._path)
            open_to_others(self._path)
        with refusing(self._path):
            descriptor = lock_directory(self._path)
        try:
            with making_private():
                if not self._read_under_way():
                    self._note(stored, "", is_first=True)
                yield
        finally:
            os.close(descriptor)

    def _note(self, stored: StoredLog, files: str, *, is_first: bool = False) -> None:
        fields = {"database": self._database.name, "log_id": stored.facts.log_id, "files": files}
        path = os.path.join(self._path, MOVE_UNDER_WAY)
        temporary = path if is_first else f"{path}.new"  # nothing else is there at first, and the name alone says what it is
        write_durably(temporary, orjson.dumps(fields, option=orjson.OPT_INDENT_2), 0o600)
        if not is_first:
            self._disk.rename(temporary, path)
        self._disk.sync_folder(self._path)

    def _last(self, stored: StoredLog) -> int:
        """Return the last serial that is here; without any, the one after which the log begins."""
        directory = Layout(self._path).changelog
        first = 0 if stored.beginning is None else stored.beginning.position.serial
        return max(first, find_last(directory, self._disk).serial) if os.path.isdir(directory) else first

    # What is brought -----------------------------------------------------------------------------------------------

    def _bring(self, stored: StoredLog) -> Position:
        """Bring the lines and the files that are not here yet; return where the log ends here."""
        layout = Layout(self._path)
        with closing(open_view(layout.view, stored.facts.log_id)) as view, closing(self._open_log(stored, view)) as log:
            total = stored.end.serial
            source = PostgresChangelog(self._database, log, pulled=lambda serial: self._progress("entries", serial, total))
            try:
                end = source.refresh()
            except UnknownPosition as error:
                reason = (
                    f"its log has entries up to serial {error.serial} that the database at {self._database.name} does not have"
                )
                raise ServerdirRefused(self._path, f"{reason}; name another directory to move to") from None
            begin_view(layout.changelog, self._disk, view)
            fold_all(log, view, lambda serial: self._progress("view", serial, end.serial))
            if self._files is not None:
                self._bring_files(self._files, stored, view.reader, end)
        return end

    def _open_log(self, stored: StoredLog, view: ViewDatabase) -> FileChangelog:
        directory = Layout(self._path).changelog
        self._disk.make_folder(directory)
        base, segments = read_base(directory, self._disk)
        if stored.beginning is not None and base == BEGINNING and not segments:
            bring_summary(self._database, stored.beginning, directory, self._disk)
        trusted = view.position if view.position.serial > 0 else None
        return FileChangelog.open(directory, self._disk, trusted=trusted, segment_limit=self._segment_limit)

    def _bring_files(self, files: BucketFiles, stored: StoredLog, reader: Reader, end: Position) -> None:
        under_way = self._read_under_way() or {}
        before = copied_before(read_note(str(under_way.get("files", ""))), files.place)
        tree = open_tree(self._path)
        self._missing.clear()
        named = iter(_all_named(reader, self._progress) if before is None else self._named_since(before, end, reader))
        while batch := list(islice(named, AT_ONCE)):
            wanted = {one.blob: one for one in batch if tree.find(address_of(one.blob)) != one.blob.size}
            failed = files.bring(tree, list(wanted))
            self._missing += (_missing(wanted[blob], reason) for blob, reason in failed.items())
            self._count += len(wanted) - len(failed)
            self._size += sum(blob.size for blob in wanted if blob not in failed)
        self._note(stored, FilesNote(files.place, end, tuple(self._missing)).text())

    def _named_since(self, before: Copied, end: Position, reader: Reader) -> Iterator[NamedBlob]:
        for one in before.missing:
            if (blob := reader.kept_blob(one.digits, one.filename)) is not None:
                yield NamedBlob("", one.is_private, blob)
        for line in read_lines(Layout(self._path).changelog, self._disk, before.end, end.serial):
            for change in decode_content(line.body, line.serial).changes:
                if isinstance(change, Naming):
                    yield from named_by(change, reader)

    def _complete(self, stored: StoredLog, node: Node | None) -> None:
        """Make it a server directory."""
        write_durably(Layout(self._path).secret, stored.facts.secret + b"\n", 0o600)
        made = Node(self._entropy(16).hex(), stored.facts.log_id, PRIMARY, initialised=True)
        write_node(self._path, made if node is None else attrs.evolve(node, moved_to=None))
        os.remove(os.path.join(self._path, MOVE_UNDER_WAY))


def _all_named(reader: Reader, progress: Progress) -> Iterable[NamedBlob]:
    mark: Mark | None = FIRST
    total, done = reader.count_files(), 0
    while mark is not None:
        named, mark = reader.named_blobs(mark, AT_ONCE)
        yield from named
        done += len(named)
        progress("files", min(done, total), total)


def _missing(named: NamedBlob, reason: str) -> MissingFile:
    return MissingFile(named.blob.digits, named.blob.filename, named.is_private, reason)
