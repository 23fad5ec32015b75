"""What a mirror of the tests keeps its log, its view and its files in: a directory, or what a node of a cluster has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import attrs
import psycopg
from twisted.internet import reactor as the_reactor

from tests.fakes.cluster_form import new_place
from tests.fakes.memory_changelog import MemoryChangelog
from tests.fakes.node_storage import InThreads, NodeMaker, new_log, open_log
from tests.fakes.turning_reactor import FromThreadsOnly
from tests.in_reactor import offload
from twistpi.blobs.bucket import BlobBucket
from twistpi.blobs.cached_bucket import CachedBucket
from twistpi.blobs.interfaces import IBlobs
from twistpi.blobs.tree import Tree, open_tree
from twistpi.changelog.interfaces import IChangelog
from twistpi.mirror.bucket_files import BucketFiles, BucketMetadata, FilesInBucket
from twistpi.mirror.core_metadata import MetadataSource
from twistpi.mirror.files import FileService, FileSource
from twistpi.view.database import ViewDatabase, open_view

reactor: Any = the_reactor
LOG_ID = "0" * 32


class MirrorStorage(Protocol):
    """What both kinds have."""

    @property
    def changelog(self) -> IChangelog:
        """The log, empty or not."""

    @property
    def view(self) -> ViewDatabase:
        """The view, behind the log or not."""

    @property
    def blobs(self) -> Any:
        """``IBlobs`` for tests, which may block."""

    @property
    def served(self) -> IBlobs:
        """The same for the mirror."""

    def files(self, source: FileSource) -> FileSource:
        """Where the mirror has files from, ``source`` being the upstream."""

    def metadata(self, source: MetadataSource, files: FileService) -> MetadataSource:
        """The same for core metadata."""

    def full_log(self) -> AbstractContextManager[None]:
        """Have the log take no entry for want of room, meanwhile."""

    def unreachable_log(self) -> AbstractContextManager[None]:
        """Have the log take no entry because it does not answer, meanwhile."""

    def close(self) -> None:
        """Close everything."""


@attrs.define(eq=False)
class DirectoryStorage:
    """A log in memory, a view and a tree of files."""

    folder: str
    changelog: MemoryChangelog = attrs.field(factory=MemoryChangelog)
    view: ViewDatabase = attrs.field(init=False)
    blobs: Tree = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.view = open_view(os.path.join(self.folder, "view.sqlite"), LOG_ID)
        self.blobs = open_tree(self.folder)

    @property
    def served(self) -> Tree:
        """See ``MirrorStorage``."""
        return self.blobs

    def files(self, source: FileSource) -> FileSource:
        """See ``MirrorStorage``."""
        return source

    def metadata(self, source: MetadataSource, files: FileService) -> MetadataSource:
        """See ``MirrorStorage``."""
        return source

    @contextmanager
    def full_log(self) -> Iterator[None]:
        """See ``MirrorStorage``."""
        self.changelog.is_full = True
        yield
        self.changelog.is_full = False

    @contextmanager
    def unreachable_log(self) -> Iterator[None]:
        """See ``MirrorStorage``."""
        self.changelog.is_gone = True
        yield
        self.changelog.is_gone = False

    def close(self) -> None:
        """See ``MirrorStorage``."""
        self.view.close()


@attrs.define(eq=False)
class NodeStorage:
    """A log in a database, the view of a node, and a bucket with a cache.

    The mirror asks the bucket in the reactor; tests ask it over connections of their own.
    """

    folder: str
    _maker: NodeMaker
    changelog: IChangelog = attrs.field(init=False)
    view: ViewDatabase = attrs.field(init=False)
    served: CachedBucket = attrs.field(init=False)
    blobs: Any = attrs.field(init=False)
    _asked: BlobBucket = attrs.field(init=False)
    _url: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._url = new_log(LOG_ID)
        self.changelog, self.view = open_log(self._url, self.folder, LOG_ID)
        tree, place = open_tree(self.folder), new_place()
        self.served = CachedBucket(tree, self._maker.bucket(place, LOG_ID, reactor, offload), FromThreadsOnly(reactor))
        self._asked = self._maker.bucket(place, LOG_ID)
        self.blobs = InThreads(self._maker.blobs(tree, self._asked), self._maker.run)

    def files(self, source: FileSource) -> FileSource:
        """See ``MirrorStorage``: what another node stored is in the bucket."""
        client = self.served.remote.bucket.requests.http
        return BucketFiles(FilesInBucket(source, self.served, client), self.served, client)

    def metadata(self, source: MetadataSource, files: FileService) -> MetadataSource:
        """See ``MirrorStorage``."""
        return BucketMetadata(source, files)

    def full_log(self) -> AbstractContextManager[None]:
        """See ``MirrorStorage``."""
        return self._refusing("53100")

    def unreachable_log(self) -> AbstractContextManager[None]:
        """See ``MirrorStorage``: the database gives up, as one does whose standby does not answer."""
        return self._refusing("57014")

    @contextmanager
    def _refusing(self, code: str) -> Iterator[None]:
        """Have the database answer each entry with an error."""
        refuse = f"$$ BEGIN RAISE EXCEPTION 'no more' USING ERRCODE = '{code}'; END $$"
        self._run(f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS {refuse}")
        self._run("CREATE TRIGGER refuse BEFORE INSERT ON twistpi_lines EXECUTE FUNCTION refuse()")
        yield
        self._run("DROP FUNCTION refuse CASCADE")

    def _run(self, statement: str) -> None:
        with psycopg.connect(self._url) as connection:
            connection.execute(statement.encode())

    def close(self) -> None:
        """See ``MirrorStorage``."""
        self.view.close()
        self.changelog.close()
        self.served.remote.bucket.close()
        self._maker.close_bucket(self._asked)
