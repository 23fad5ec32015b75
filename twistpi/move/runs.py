"""One run of ``twistpi move``, from its settings to its report.

Imported when a move is asked for, because it needs psycopg and botocore.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime

import attrs

from twistpi.backup.named_files import Progress
from twistpi.changelog.disk import Disk
from twistpi.cluster.database import Database, check_url, database_name
from twistpi.cluster.moves import MovingLog, open_move
from twistpi.cluster.schema import ClusterFacts
from twistpi.model.errors import TwistpiError
from twistpi.model.server_errors import ServerdirRefused
from twistpi.move.bucket_files import BucketFiles, open_files
from twistpi.move.into_cluster import MoveIntoCluster, check_movable
from twistpi.move.out_of_cluster import MoveOutOfCluster
from twistpi.move.report import Moved
from twistpi.s3.address import parse_bucket
from twistpi.server.directory import read_secret
from twistpi.server.epochs import begin_after_restore, finish_promotion
from twistpi.server.node import Node
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage, reading


@attrs.define(eq=False)
class Run:
    """One run; ``settings`` name the server directory and the bucket."""

    _settings: Settings
    _url: str = attrs.field(repr=False)
    """Of the database."""
    _bucket: str | None
    """The address of the bucket; None where files are not moved."""
    _accept_missing: bool
    _now: Callable[[], datetime]
    _progress: Progress

    def __attrs_post_init__(self) -> None:
        try:
            check_url(self._url)
        except ValueError:
            what = "no address of a PostgreSQL database, such as postgresql://user@host/twistpi"
            raise TwistpiError(f"{self.database} is {what}.", 400) from None

    @property
    def database(self) -> str:
        """The name of the database, without user and password."""
        return database_name(self._url) if self._url.startswith(("postgresql://", "postgres://")) else "What was given"

    @property
    def place(self) -> str:
        """What the server directory is called in the database."""
        return f"{os.path.abspath(self._settings.serverdir)} on {socket.gethostname()}"

    def into_cluster(self, node: Node) -> Moved:
        """Move the server directory, which is ``node``, into the database and the bucket; see ``MoveIntoCluster.run``."""
        path = self._settings.serverdir
        check_movable(path, node)
        if node.moved_to not in (None, self.database):
            raise ServerdirRefused(path, f"its log was moved to the database at {node.moved_to} before; name that one")
        secret = read_secret(path, self._settings.secretfile)
        with ExitStack() as opened:
            storage = None if node.moved_to is not None else opened.enter_context(self._stopped())
            reader = opened.enter_context(reading(path)) if storage is None else storage.view.reader
            log, files = self._open(opened, node.log_id)
            facts = ClusterFacts(node.log_id, secret)
            move = MoveIntoCluster(path, facts, reader, log, self.database, files, self._progress)
            if node.moved_to is not None:
                return move.confirm()
            moved = move.run(place=self.place, is_last=storage is not None, accept_missing=self._accept_missing)
            if storage is not None:
                storage.serverdir.note(moved_to=self.database)
        return moved

    def out_of_cluster(self) -> Moved:
        """Move the log and the files of the cluster into the server directory; see ``MoveOutOfCluster.run``."""
        with ExitStack() as opened:
            log, files = self._open(opened, None)
            database = opened.enter_context(closing(Database(self._url)))
            move = MoveOutOfCluster(self._settings.serverdir, log, database, files, os.urandom, self._progress)
            return move.run(place=self.place, accept_missing=self._accept_missing)

    @contextmanager
    def _stopped(self) -> Iterator[Storage | None]:
        """Lock the directory and bring its view up to date; return None while a server has it."""
        own = attrs.evolve(self._settings, changelog=None, blobs=None, cache_dir=None, primary_url=None, upstream=None)
        try:
            storage = Storage.open(own, self._now, Disk())
        except ServerdirRefused as refusal:
            if not refusal.in_use:
                raise
            yield None
            return
        with closing(storage):
            finish_promotion(storage)
            begin_after_restore(storage, self._now)
            yield storage

    def _open(self, opened: ExitStack, log_id: str | None) -> tuple[MovingLog, BucketFiles | None]:
        """Open the database and the bucket, which is that of the log ``log_id``, or of the one that is in the database."""
        log = opened.enter_context(open_move(self._url, time.time))
        if self._bucket is None:
            return log, None
        stored = None if log_id is not None else log.find()
        settings = self._settings
        address = parse_bucket(
            self._bucket, endpoint=settings.s3_endpoint, region=settings.s3_region, style=settings.s3_addressing
        )
        owner = log_id or ("" if stored is None else stored.facts.log_id)
        return log, opened.enter_context(open_files(address, owner, os.environ, settings.ca_file))
