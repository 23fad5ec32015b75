"""Runs of moves in this process, and what is compared afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import psycopg

from tests.cli.commands import now, settings
from tests.fakes.s3_buckets import reactor
from twistpi.blobs.bucket import BlobBucket
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import SEGMENT_LIMIT
from twistpi.cluster.database import Database, database_name
from twistpi.cluster.moves import open_move
from twistpi.cluster.schema import ClusterFacts, prepare
from twistpi.move.bucket_files import BucketFiles
from twistpi.move.into_cluster import MoveIntoCluster
from twistpi.move.out_of_cluster import MoveOutOfCluster
from twistpi.move.report import Moved
from twistpi.s3.bucket import Bucket
from twistpi.s3.threads import BlockingBucket
from twistpi.server.node import read_node
from twistpi.server.storage import Storage

Progress = Callable[[str, int, int], object]


def quiet(_what: str, _done: int, _total: int) -> None:
    """Not looked at."""


def log_id_of(path: Path) -> str:
    node = read_node(str(path))
    assert node is not None
    return node.log_id


@attrs.define(eq=False)
class Target:
    """Where a directory moves to, and from."""

    url: str
    bucket: Bucket

    def files(self, log_id: str) -> BucketFiles:
        """The files of the log."""
        return BucketFiles(BlobBucket(self.bucket, log_id), reactor)

    def move_in(self, path: Path, *, last: bool = True, accept_missing: bool = False, progress: Progress = quiet) -> Moved:
        """One run; ``last`` is one for which no server runs.  In a thread."""
        log_id, secret = log_id_of(path), (path / "secret").read_bytes().strip()
        with (
            closing(Storage.open(settings(path), now, Disk())) as storage,
            open_move(self.url, time.time) as log,
            closing(self.files(log_id)) as files,
        ):
            reader, name = storage.view.reader, database_name(self.url)
            move = MoveIntoCluster(str(path), ClusterFacts(log_id, secret), reader, log, name, files, progress)
            return move.run(place=str(path), is_last=last, accept_missing=accept_missing)

    def move_out(
        self, path: Path, *, accept_missing: bool = False, disk: Disk | None = None, segment_limit: int = SEGMENT_LIMIT
    ) -> Moved:
        """One run; the last one if no node runs.  In a thread."""
        with open_move(self.url, time.time) as log, closing(Database(self.url)) as database:
            stored = log.find()
            with closing(self.files("" if stored is None else stored.facts.log_id)) as files:
                move = MoveOutOfCluster(
                    str(path), log, database, files, os.urandom, quiet, disk=disk or Disk(), segment_limit=segment_limit
                )
                return move.run(place=str(path), accept_missing=accept_missing)

    def prepared(self) -> ClusterFacts:
        """What a node finds when it starts."""
        return prepare(self.url, os.urandom, time.time, make=False)

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in the database."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def lines(self) -> bytes:
        """The log in the database, as files have it."""
        rows = self.run("SELECT serial, chain, body FROM twistpi_lines ORDER BY serial")
        return b"".join(b"%d %b %b\n" % (serial, chain.encode(), body) for serial, chain, body in rows)

    def keys(self) -> set[str]:
        """The blobs in the bucket, as paths below ``+files``.  In a thread."""
        return {info.key.removeprefix("blobs/") for info in BlockingBucket(self.bucket, reactor).walk("blobs/")}

    def everything(self) -> list[Any]:
        """All that is in the tables and in the bucket.  In a thread."""
        tables = [name for (name,) in self.run("SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1")]
        kept = [name for name in tables if name != "twistpi_nodes"]
        return [self.run(f"SELECT * FROM {name} ORDER BY 1") for name in kept] + [sorted(self.keys())]

    def report_node(self, node_id: str) -> None:
        """Have a node run, as far as the database tells."""
        self.run(f"INSERT INTO twistpi_nodes VALUES ('{node_id}', now(), '{{}}')")


def whole_log(path: Path) -> bytes:
    """The lines of a directory."""
    return b"".join(one.read_bytes() for one in sorted((path / "changelog").glob("*.log")))
