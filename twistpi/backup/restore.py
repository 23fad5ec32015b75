"""Makes a server directory from a backup, as the server was at some serial.

1. the lines up to there are checked where they are (``target.py``);
2. the directory gets ``restore.json``, which says what it is to become, and then the log, cut at that line, with its summary;
3. the view is folded from these, and says which blobs are needed; each is copied and its digest verified;
4. ``secret`` and, as the last file, ``node.json`` are written.

Before that no server starts on the directory.  A restore that was interrupted, or that failed, goes on where it was when it is
run again.  Uploaded files come first: if one is not in the backup, the restore is refused before those of mirrors are copied.

The directory keeps the id of the log, since it is the same log up to that line, and gets a node id of its own.  ``node.json``
says that it was restored: its first start begins an epoch, so that replicas and a former primary which went on with other
entries find out (``server/epochs.py``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Final

import attrs
import orjson

from twistpi.backup.blob_state import address_of, blob_path
from twistpi.backup.history import Span
from twistpi.backup.manifest import MissingFile
from twistpi.backup.named_files import AT_ONCE, Progress
from twistpi.backup.store import TO_SYNC, BackupStore
from twistpi.backup.target import Choice, Target, chosen_log
from twistpi.backup.writer import SECRET
from twistpi.blobs.incoming import open_to_others
from twistpi.blobs.received import adopt_file
from twistpi.blobs.tree import Tree, open_tree
from twistpi.changelog.catch_up import fold_all
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import NEW_SUFFIX, segment_name, write_base
from twistpi.changelog.reader import CHUNK
from twistpi.changelog.summary_fold import begin_view, reporting
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.directory import Layout
from twistpi.server.node import PRIMARY, RESTORE_UNDER_WAY, Node, write_durably, write_node
from twistpi.view.database import open_view
from twistpi.view.read import NamedBlob
from twistpi.view.read_releases import BEGINNING as FIRST
from twistpi.view.read_releases import Mark

_MOST_NAMED: Final = 10


@attrs.frozen
class Restored:
    """What was restored."""

    end: Position
    at: str
    """The time of the last entry."""
    files: int
    """How many this run copied."""
    bytes: int
    missing: tuple[MissingFile, ...]
    has_secret: bool
    """Whether the server's secret was in the backup."""


@attrs.define(eq=False)
class Restore:
    """Restores one directory."""

    _serverdir: str
    _store: BackupStore
    _entropy: Callable[[int], bytes]
    _progress: Progress
    _accept_missing: bool
    """Whether to go on without uploaded files that are not in the backup."""
    _disk: Disk = attrs.field(factory=Disk)
    _files: int = attrs.field(default=0, init=False)
    _bytes: int = attrs.field(default=0, init=False)
    _missing: list[MissingFile] = attrs.field(factory=list, init=False)

    def run(self, target: Target) -> Restored:
        """Restore.  Raise ``TwistpiError`` and ``OSError``; after the latter it can be run again."""
        under_way = self._look()
        with chosen_log(self._store, target, self._progress) as choice:
            self._begin(under_way, choice)
            self._write_log(choice)
        self._restore_state(choice.log_id)
        has_secret = self._write_secret()
        node = Node(self._entropy(16).hex(), choice.log_id, PRIMARY, initialised=True, restored_from=choice.end.serial)
        write_node(self._serverdir, node)
        os.remove(os.path.join(self._serverdir, RESTORE_UNDER_WAY))
        return Restored(choice.end, choice.at, self._files, self._bytes, tuple(self._missing), has_secret)

    def _look(self) -> dict[str, object] | None:
        """Return the note of an interrupted restore; None for a directory that is empty or missing; refuse any other."""
        try:
            names = set(os.listdir(self._serverdir)) - {"lost+found"}
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise ServerdirRefused(self._serverdir, "it is a file, not a directory; name another one") from None
        if not names:
            return None
        if RESTORE_UNDER_WAY not in names or "node.json" in names:
            raise ServerdirRefused(self._serverdir, "it is not empty; name an empty or a new directory to restore to")
        try:
            with open(os.path.join(self._serverdir, RESTORE_UNDER_WAY), "rb") as file:
                plan = orjson.loads(file.read())
        except orjson.JSONDecodeError:
            plan = {}
        return plan if isinstance(plan, dict) else {}

    def _begin(self, under_way: dict[str, object] | None, choice: Choice) -> None:
        """Note in the directory what it is to become; raise ``ServerdirRefused`` if it is to become something else."""
        end, base = choice.end, choice.begin.base
        plan = {"backup": self._store.url, "log_id": choice.log_id, "chain": end.chain, "serial": end.serial}
        if base != BEGINNING:
            plan["after"] = base.serial
        if under_way is not None and under_way != plan:
            reason = (
                f"a restore of {under_way.get('backup')} to serial {under_way.get('serial')} was begun here and not completed"
            )
            raise ServerdirRefused(self._serverdir, f"{reason}: run that again, or name another directory")
        if not os.path.isdir(self._serverdir):
            os.makedirs(self._serverdir)
            open_to_others(self._serverdir)
        write_durably(os.path.join(self._serverdir, RESTORE_UNDER_WAY), orjson.dumps(plan), 0o600)

    def _write_log(self, choice: Choice) -> None:
        """Copy the log up to the last entry wanted, as far as it is not here yet."""
        target, end, begin = Layout(self._serverdir).changelog, choice.end, choice.begin
        os.makedirs(target, mode=0o700, exist_ok=True)
        for name in Span(begin, end).log_files(os.listdir(choice.folder)):
            source, path = os.path.join(choice.folder, name), os.path.join(target, name)
            size = end.offset if name == segment_name(end.segment) else self._disk.size(source)
            if os.path.exists(path) and os.path.getsize(path) == size:
                continue
            copy, done = self._disk.create(path + NEW_SUFFIX), 0
            try:
                while done < size and (content := self._disk.read(source, done, min(CHUNK, size - done))):
                    copy.write(content)
                    done += len(content)
                copy.sync()
            finally:
                copy.close()
            self._disk.rename(path + NEW_SUFFIX, path)
        self._disk.sync_folder(target)
        write_base(target, self._disk, begin.base, begin.summary)
        self._disk.sync_folder(self._serverdir)

    def _restore_state(self, log_id: str) -> None:
        """Fold the view, and copy the blobs that it names."""
        layout = Layout(self._serverdir)
        with closing(open_view(layout.view, log_id)) as view:
            begin_view(layout.changelog, self._disk, view, reporting(partial(self._progress, "summary")))
            with closing(FileChangelog.open(layout.changelog, self._disk, trusted=view.position)) as log:
                last = log.last.serial
                fold_all(log, view, lambda serial: self._progress("view", serial, last))
            tree, total, done = open_tree(self._serverdir), view.reader.count_files(), 0
            mark: Mark | None = FIRST
            while mark is not None:
                named, mark = view.reader.named_blobs(mark, AT_ONCE)
                self._copy(named, tree)
                done += len(named)
                self._progress("files", min(done, total), total)
                if any(not one.is_private for one in named) or mark is None:
                    self._check_complete()

    def _copy(self, named: Sequence[NamedBlob], tree: Tree) -> None:
        wanted = []
        for one in named:
            if tree.find(address_of(one.blob)) != one.blob.size:
                wanted.append(one)
        folder = self._store.bring([blob_path(address_of(one.blob)) for one in wanted]) if wanted else ""

        def adopt(one: NamedBlob) -> bool:
            return adopt_file(folder, tree, address_of(one.blob), one.blob.sha256, one.blob.size)

        with ThreadPoolExecutor(TO_SYNC) as threads:
            for one, is_here in zip(wanted, threads.map(adopt, wanted), strict=True):
                if is_here:
                    self._files += 1
                    self._bytes += one.blob.size
                else:
                    reason = "it is missing or damaged in the backup"
                    self._missing.append(MissingFile(one.blob.digits, one.blob.filename, one.is_private, reason))

    def _check_complete(self) -> None:
        """Raise ``TwistpiError`` if an uploaded file is missing."""
        private = [one for one in self._missing if one.is_private]
        if not private or self._accept_missing:
            return
        names = ", ".join(f"{one.filename} ({one.digits})" for one in private[:_MOST_NAMED])
        more = f" and {len(private) - _MOST_NAMED} more" if len(private) > _MOST_NAMED else ""
        raise TwistpiError(
            f"The backup {self._store.url} lacks uploaded files, or has them damaged: {names}{more}. {self._serverdir} is not"
            " complete, and no server starts on it. Run this again with --accept-missing to go on without them, or remove it and"
            " restore another backup, or another serial: files that were removed between two backups are in neither."
        )

    def _write_secret(self) -> bool:
        """Write the secret of the backup, or a new one; return whether it was in the backup."""
        try:
            secret = self._store.read(SECRET)
        except FileNotFoundError:
            secret = b""
        write_durably(Layout(self._serverdir).secret, secret or self._entropy(32).hex().encode() + b"\n", 0o600)
        return bool(secret)
