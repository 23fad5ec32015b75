"""``twistpi check`` on a node of a cluster: the log in the database, the files in the bucket, and what the node has of both.

Imported when a cluster is asked for, because it needs psycopg and loads botocore.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Final

import attrs

from twistpi.backup.store import BackupStore
from twistpi.changelog.catch_up import fold_lines
from twistpi.changelog.disk import Disk
from twistpi.changelog.interfaces import RawLine
from twistpi.changelog.summary_fold import begin_view
from twistpi.cli.bucket_check import BucketCheck, open_bucket_check
from twistpi.cli.file_check import Counts, Finding, Progress
from twistpi.cli.history_check import compare
from twistpi.cluster.beginning import FIND_BEGINNING, beginning_of, bring_summary
from twistpi.cluster.database import ConnectionLost, Database
from twistpi.cluster.lines import BadDatabase, find_head, read_database
from twistpi.cluster.schema import prepare
from twistpi.model.errors import TwistpiError
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.directory import Layout, lock_directory
from twistpi.server.settings import Settings
from twistpi.view.database import FOLD_VERSION, ViewDatabase, drop_view, dump, open_view

_REPORTED: Final = 10_000
"""Lines between two reports."""


@attrs.define(eq=False)
class ClusterCheck:
    """One check, of the node that ``settings`` describe."""

    _settings: Settings
    _url: str = attrs.field(repr=False)
    _progress: Progress
    _counts: Counts
    _with_repair: bool
    _backup: BackupStore | None
    _with_bytes: bool
    """Whether the bytes of files in the bucket are read, too."""

    def run(self) -> Iterator[Finding]:
        """Yield what there is to report; raise ``TwistpiError`` when the database cannot be used."""
        facts = prepare(self._url, os.urandom, time.time, make=False)
        with ExitStack() as opened:
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="twistpi-check-"))
            database = opened.enter_context(closing(Database(self._url)))
            fresh = opened.enter_context(closing(open_view(os.path.join(folder, "view.sqlite"), facts.log_id)))
            base = self._begin(database, folder, fresh)
            try:
                yield from self._check_view(database, facts.log_id, fresh, folder)
                serial, chain = find_head(database)
                self._fold(database, fresh, serial)
            except (BadDatabase, ConnectionLost) as error:
                remedy = "restore that database from a backup of it, and start the nodes again"
                yield Finding(f"the log in the database at {database.name} is damaged, {error}; {remedy}")
                return
            except TwistpiError as error:  # a line that says what no version knows
                yield Finding(f"serial {fresh.position.serial + 1} or later: {error}")
                return
            if (fresh.position.serial, fresh.position.chain) != (serial, chain):
                yield Finding(f"the head in the database at {database.name} is not the end of its lines; no node can write")
            self._counts.entries = serial - base
            if self._settings.blobs is not None:
                check = opened.enter_context(open_bucket_check(self._settings, facts.log_id, self._progress, self._counts))
                yield from check.run(fresh.reader, self._with_bytes, self._repairing(check))
            yield Finding(f"checked up to serial {serial} of the database at {database.name}", wrong=False)

    def _repairing(self, check: BucketCheck) -> bool:
        check.backup = self._backup
        return self._with_repair

    def _begin(self, database: Database, folder: str, fresh: ViewDatabase) -> int:
        """Begin the fresh view where the log begins; return the serial before its first line."""
        beginning = beginning_of(database.ask(FIND_BEGINNING))
        if beginning is None:
            return 0
        directory = os.path.join(folder, "changelog")
        os.mkdir(directory)
        bring_summary(database, beginning, directory, Disk())
        begin_view(directory, Disk(), fresh)
        return beginning.position.serial

    def _check_view(self, database: Database, log_id: str, fresh: ViewDatabase, folder: str) -> Iterator[Finding]:
        """Fold the log into ``fresh``, as far as the view of this node goes, and compare the two."""
        layout = Layout(self._settings.serverdir)
        rows = dump(layout.view)  # of one moment, though the node may go on
        try:
            stamp = next(rows)
        except (sqlite3.Error, StopIteration):
            yield Finding("this node has no view that can be read; its next start builds it", wrong=False)
            return
        serial, _chain = find_head(database)  # looked for after the view, which the node takes further meanwhile
        if stamp[1:3] != (log_id, FOLD_VERSION) or stamp[3] < fresh.position.serial:
            yield Finding("the view of this node is of another log or version; its next start builds it anew", wrong=False)
        elif stamp[3] > serial:
            remedy = "stop the node and start it again, and it begins anew"
            yield Finding(f"the view of this node goes up to serial {stamp[3]}, the database only up to {serial}; {remedy}")
        else:
            self._fold(database, fresh, stamp[3])
            folded = dump(os.path.join(folder, "view.sqlite"))
            next(folded)  # the stamps: that of a node that was given its view may name the same place in another way
            for finding in compare(rows, folded, "view of this node", "database", "; stop the node, and run this with --repair"):
                yield self._repair_view(finding)

    def _repair_view(self, finding: Finding) -> Finding:
        if not self._with_repair:
            return finding
        layout = Layout(self._settings.serverdir)
        try:
            descriptor = lock_directory(layout.path)
        except ServerdirRefused:  # the node runs
            return finding
        try:
            drop_view(layout.view)
        finally:
            os.close(descriptor)
        self._counts.repaired += 1
        return Finding("the view of this node was wrong; it was removed, and the next start builds it", False, True)

    def _fold(self, database: Database, fresh: ViewDatabase, until: int) -> None:
        if fresh.position.serial < until:
            fold_lines(self._reported(read_database(database, fresh.position, until), until), fresh)

    def _reported(self, lines: Iterator[RawLine], until: int) -> Iterator[RawLine]:
        for line in lines:
            yield line
            if line.serial % _REPORTED == 0 or line.serial == until:
                self._progress("entries", line.serial, until)
