"""What a ``World`` keeps its log, its view and its blobs in: a directory, or what a node of a cluster has."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import wraps
from types import SimpleNamespace
from typing import Any, ParamSpec, Protocol, TypeVar

import attrs

from tests.fakes.cluster_form import new_place
from tests.fakes.node_storage import InThreads, NodeMaker, new_log, open_log
from twistpi.blobs.address import BlobAddress
from twistpi.blobs.bucket import BlobBucket
from twistpi.blobs.cached_bucket import CachedBucket
from twistpi.blobs.interfaces import IBlobs
from twistpi.blobs.tree import Tree, open_tree
from twistpi.changelog.batch import Batches, Commit, Committed, Decide, Outcome, Refresh
from twistpi.changelog.files import FileChangelog
from twistpi.cluster.database import Database
from twistpi.cluster.local_copy import UnsyncedDisk
from twistpi.cluster.postgres_changelog import PostgresChangelog
from twistpi.http.offload import Offload
from twistpi.mirror.bucket_files import BucketFiles
from twistpi.mirror.download import Download, KeptFile
from twistpi.mirror.file_transfer import Sink
from twistpi.mirror.files import FileService
from twistpi.model.changes import Change, Entry
from twistpi.model.codec import encode_content
from twistpi.model.errors import FileLost
from twistpi.model.peers import Position
from twistpi.model.records import Index, KnownFile
from twistpi.view.database import ViewDatabase, open_view
from twistpi.view.read import KeptBlob

LOG_ID = "1" * 32
AT = "2026-11-22T17:00:00.000000Z"
"""The time of each entry."""
Applied = list[tuple[int, tuple[Change, ...]]]
"""Entries that readers of the view see from now on: serial and changes."""
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class WorldStorage(Protocol):
    """What both kinds have."""

    @property
    def view(self) -> ViewDatabase:
        """What the site reads."""

    @property
    def blobs(self) -> Any:
        """``IBlobs`` for tests, which may block."""

    @property
    def served(self) -> IBlobs:
        """The same for the site."""

    @property
    def elsewhere(self) -> Any:
        """``IBlobs`` of the one that keeps what a test has kept before it begins."""

    def write(self, by: str, changes: Sequence[Change]) -> Applied:
        """Have an entry written, by the one that writes what a test begins with."""

    def commit(self, decide: Decide, by: str) -> tuple[Committed, Applied]:
        """Decide and write an entry as the site's writer does; raise the refusal."""

    def blocking(self, work: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        """Return what does ``work``, which may block, where a server does that, and returns when it is done."""

    def bring(self, address: BlobAddress) -> None:
        """Have a blob be in the tree that is elsewhere, if it is."""

    def files(self, offload: Offload) -> FileService | None:
        """What brings files that the view names and this disk lacks."""

    def close(self) -> None:
        """Close everything."""


MakeStorage = Callable[[str], WorldStorage]


@attrs.define(eq=False)
class DirectoryStorage:
    """A view that is written at once, and a tree of files; nobody needs the log."""

    folder: str
    view: ViewDatabase = attrs.field(init=False)
    blobs: Tree = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.view = open_view(os.path.join(self.folder, "view.sqlite"), LOG_ID)
        self.blobs = open_tree(self.folder)

    @property
    def served(self) -> Tree:
        """See ``WorldStorage``."""
        return self.blobs

    @property
    def elsewhere(self) -> Tree:
        """See ``WorldStorage``."""
        return self.blobs

    def write(self, by: str, changes: Sequence[Change]) -> Applied:
        """See ``WorldStorage``."""
        serial = self.view.position.serial + 1
        self.view.begin()
        self.view.apply(Entry(serial, AT, by, tuple(changes)))
        self.view.commit(Position(serial, f"{serial:064x}", 1, serial))
        return [(serial, tuple(changes))]

    def commit(self, decide: Decide, by: str) -> tuple[Committed, Applied]:
        """See ``WorldStorage``."""
        changes = tuple(decide(self.view.reader))
        applied = self.write(by, changes) if changes else []
        return Committed(self.view.position.serial, changes), applied

    def blocking(self, work: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        """See ``WorldStorage``."""
        return work

    def bring(self, address: BlobAddress) -> None:
        """See ``WorldStorage``: everything is here."""

    def files(self, offload: Offload) -> None:
        """See ``WorldStorage``: everything is here."""

    def close(self) -> None:
        """See ``WorldStorage``."""
        self.view.close()


@attrs.define(eq=False)
class NodeStorage:
    """What a node has, and the log and the blobs of another node, which writes what a test begins with."""

    folder: str
    _maker: NodeMaker
    view: ViewDatabase = attrs.field(init=False)
    served: CachedBucket = attrs.field(init=False)
    blobs: Any = attrs.field(init=False)
    elsewhere: Any = attrs.field(init=False)
    _log: PostgresChangelog = attrs.field(init=False)
    _other: PostgresChangelog = attrs.field(init=False)
    _batches: Batches = attrs.field(init=False)
    _bucket: BlobBucket = attrs.field(init=False)
    _on_close: ExitStack = attrs.field(factory=ExitStack, init=False)

    def __attrs_post_init__(self) -> None:
        other = tempfile.mkdtemp(prefix="other-node", dir=self.folder)
        os.makedirs(os.path.join(other, "changelog"))
        url = new_log(LOG_ID)
        self._log, self.view = open_log(url, self.folder, LOG_ID)
        copy = FileChangelog.open(os.path.join(other, "changelog"), UnsyncedDisk())
        self._other = PostgresChangelog(Database(url), copy, "b" * 32)
        self._batches = Batches(self._log, self.view, lambda: datetime.fromisoformat(AT).astimezone(UTC))
        self._bucket = self._maker.bucket(new_place(), LOG_ID)
        self.served = self._maker.blobs(open_tree(self.folder), self._bucket)
        self.blobs = InThreads(self.served, self._maker.run)
        self.elsewhere = InThreads(self._maker.blobs(open_tree(other), self._bucket), self._maker.run)

    def write(self, by: str, changes: Sequence[Change]) -> Applied:
        """See ``WorldStorage``: the other node writes, and this one follows."""
        expect = self._other.refresh().serial
        self._other.append([encode_content(AT, by, changes)], expect)
        return self._applied(self._batches.process([Refresh()]))

    def commit(self, decide: Decide, by: str) -> tuple[Committed, Applied]:
        """See ``WorldStorage``."""
        outcome = self._batches.process([Commit(decide, by)])
        applied = self._applied(outcome)
        [answer] = outcome.answers
        assert isinstance(answer, Committed)
        return answer, applied

    def _applied(self, outcome: Outcome) -> Applied:
        for answer in outcome.answers:
            if isinstance(answer, Exception):
                raise answer
        return outcome.applied

    def blocking(self, work: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        """See ``WorldStorage``: in a thread, because a server's reactor does not wait."""

        @wraps(work)
        def run(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
            return self._maker.run(work, *arguments, **named)

        return run

    def bring(self, address: BlobAddress) -> None:
        """See ``WorldStorage``: from the bucket."""
        with suppress(FileNotFoundError):
            self.served.open(address).close()

    def files(self, offload: Offload) -> FileService:
        """See ``WorldStorage``: from the bucket."""
        return FileService(FilesOfNode(self, offload), self.served, offload)

    def call_on_close(self, work: Callable[[], object]) -> None:
        """Have ``work`` done before this is closed."""
        self._on_close.callback(work)

    def close(self) -> None:
        """See ``WorldStorage``."""
        self._on_close.close()
        self.view.close()
        self._log.close()
        self._other.close()
        self._maker.close_bucket(self._bucket)


class FilesOfNode:
    """As ``BucketFiles``, with no upstream; a file is brought whole before it is sent, which needs no turns of the reactor."""

    def __init__(self, storage: NodeStorage, offload: Offload) -> None:
        nobody: Any = None
        client: Any = SimpleNamespace(offload=offload)
        self._files = BucketFiles(nobody, storage.served, client)
        self._storage = storage
        self._offload = offload

    def plan(self, index: Index, project: str, known_file: KnownFile) -> Download:
        """See ``FileSource``."""
        return self._held(self._files.plan(index, project, known_file))

    def plan_blob(self, blob: KeptBlob) -> Download:
        """See ``FileSource``."""
        return self._held(self._files.plan_blob(blob))

    def _held(self, download: Download) -> Download:
        """Keep the file open: in a server nothing ends before the one that began it reads."""
        download.retain()
        self._storage.call_on_close(download.release)
        return download

    async def find(self, download: Download) -> KeptFile | None:
        """See ``FileSource``."""
        if download.address is not None:
            await self._offload(self._storage.bring, download.address)
        return await self._files.find(download)

    async def fetch(self, download: Download, sink: Sink) -> str:
        """See ``FileSource``."""
        raise FileLost("the bucket", download.known_file.path)

    async def record(self, download: Download, kept: KeptFile) -> None:
        """See ``FileSource``: the view names it."""
