"""The log and the blobs of a node of a cluster, in the process of the tests: a real database, a real bucket."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import GeneratorType
from typing import Any, ParamSpec, TypeVar

import attrs
from twisted.python.threadable import isInIOThread

from tests.fakes.postgres import postgres
from tests.fakes.s3_buckets import FixedKeys
from tests.fakes.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from tests.fakes.turning_reactor import FromThreadsOnly, TurningReactor
from twistpi.blobs.bucket import BlobBucket
from twistpi.blobs.cached_bucket import CachedBucket
from twistpi.blobs.interfaces import IBlobs
from twistpi.blobs.tree import Tree
from twistpi.cluster.database import Database
from twistpi.cluster.local_copy import LocalCopy
from twistpi.cluster.postgres_changelog import PostgresChangelog
from twistpi.cluster.schema import prepare
from twistpi.http.offload import Offload
from twistpi.s3.address import parse_bucket
from twistpi.s3.bucket import open_bucket
from twistpi.s3.credentials import Credentials
from twistpi.view.database import ViewDatabase

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def new_log(log_id: str) -> str:
    """The address of a new database of a cluster, whose log has this id."""
    url = postgres().new_schema()
    prepare(url, lambda size: bytes.fromhex(log_id)[:1] * size, time.time)
    return url


def open_log(url: str, folder: str, log_id: str) -> tuple[PostgresChangelog, ViewDatabase]:
    """The log at ``url`` and its view, as a node with its cache in ``folder`` opens them."""
    place = LocalCopy(os.path.join(folder, "changelog"), os.path.join(folder, "view.sqlite"), log_id, "a" * 32)
    return place.open(Database(url))


@attrs.define(eq=False)
class NodeMaker:
    """Makes what nodes have, for all tests of a process."""

    s3: S3Server
    _turning: TurningReactor = attrs.field(factory=TurningReactor)
    _threads: ThreadPoolExecutor = attrs.field(factory=lambda: ThreadPoolExecutor(1))

    def bucket(self, place: str, log_id: str, reactor: Any = None, offload: Offload | None = None) -> BlobBucket:
        """The blobs at ``place``, for threads that wait, or for a ``reactor`` that runs."""
        reactor, offload = reactor or self._turning.reactor, offload or self._turning.offload
        credentials = Credentials(reactor, offload, lambda: FixedKeys(ACCESS_KEY, SECRET_KEY))
        address = parse_bucket(place, endpoint=self.s3.url)
        return BlobBucket(open_bucket(address, reactor, offload, reactor.callFromThread, {}, credentials=credentials), log_id)

    def blobs(self, tree: Tree, bucket: BlobBucket) -> CachedBucket:
        """``tree`` as the cache over a bucket for threads that wait."""
        return CachedBucket(tree, bucket, FromThreadsOnly(self._turning.reactor))

    def close_bucket(self, bucket: BlobBucket) -> None:
        """Close the connections of a bucket for threads that wait."""
        self._turning.reactor.callFromThread(bucket.bucket.close)

    def run(self, work: Callable[_Arguments, _Result], /, *arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        """Do ``work`` in a thread that is not the reactor's, and wait for it."""
        if not isInIOThread():
            return work(*arguments, **named)
        return self._threads.submit(work, *arguments, **named).result()

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()
        self._turning.stop()


@attrs.frozen(eq=False)
class InThreads:
    """Blobs whose methods run in a thread, for tests that wait for them."""

    _blobs: IBlobs
    _run: Callable[..., Any]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._blobs, name)

        def call(*arguments: Any) -> Any:
            found = method(*arguments)
            return list(found) if isinstance(found, GeneratorType) else found

        return lambda *arguments: self._run(call, *arguments)
