"""The bucket that has the files of a cluster, as the settings describe it.

Imported when a bucket is asked for, because botocore takes a while to load.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from twistpi.blobs.bucket import BlobBucket
from twistpi.blobs.cached_bucket import CachedBucket
from twistpi.blobs.tree import Tree
from twistpi.gc.cache_budget import CacheBudget
from twistpi.http.client import HTTPClient
from twistpi.mirror.bucket_files import BucketFiles, BucketMetadata, FilesInBucket
from twistpi.mirror.core_metadata import MetadataSource
from twistpi.mirror.files import FileService, FileSource
from twistpi.model.monitoring import Check, Measure
from twistpi.s3.address import parse_bucket
from twistpi.s3.bucket import open_bucket
from twistpi.s3.errors import BucketRefused, BucketUnavailable
from twistpi.server.bucket_claim import BucketClaim, rival_sentence
from twistpi.server.kept_views import KeptViews
from twistpi.server.process import IServerReactor
from twistpi.server.settings import Settings

if TYPE_CHECKING:
    from twistpi.server.cluster import ClusterNode

_LOOK: Final = 30.0
"""Seconds between two looks whether the bucket answers."""
_THREADS: Final = 8
"""They read what is sent and write what comes; those that wait for the bucket are others."""
_log = Logger()


@attrs.define(eq=False)
class NodeBucket:
    """The bucket of a node, until ``close``."""

    blobs: CachedBucket
    client: HTTPClient
    """What sends requests to the bucket."""
    budget: CacheBudget
    """Keeps the cache within its budget."""
    _threads: ThreadPool
    _call_in_reactor: Callable[[Callable[[], object]], object]
    _fail: Callable[[Exception], object]
    """Called with the reason if the bucket cannot be used."""
    failure: str | None = attrs.field(default=None, init=False)
    """Why the bucket could not be used when it was last looked at."""
    _looking: LoopingCall = attrs.field(init=False)
    _views: KeptViews | None = attrs.field(default=None, init=False)
    _claim: BucketClaim | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._looking = LoopingCall(lambda: Deferred.fromCoroutine(self._look()))
        self._looking.clock = self.blobs.remote.bucket.requests.clock

    def before_upstream(self, source: FileSource) -> FileSource:
        """Return ``source`` with a look into the bucket before it."""
        return FilesInBucket(source, self.blobs, self.client)

    def with_named(self, source: FileSource) -> FileSource:
        """Return ``source`` for what the view does not name, and the bucket for the rest."""
        return BucketFiles(source, self.blobs, self.client)

    def with_metadata(self, source: MetadataSource, files: FileService) -> MetadataSource:
        """Return the same for core metadata; ``files`` brings what the view names."""
        return BucketMetadata(source, files)

    def join(self, cluster: ClusterNode, view: str, serial: Callable[[], int]) -> None:
        """Do for the others what the bucket is concerned by, while this node leads: say whose it is, and keep views.

        The view is at the path ``view``, and of ``serial()``.  No node leads while another cluster has the bucket.
        """
        bucket = self.blobs.remote.bucket
        self._views = KeptViews(bucket, view, lambda: cluster.is_leader, serial, self.client.offload)
        claim = BucketClaim(bucket, cluster.presence.identity, cluster.presence.node_id, lambda: cluster.holds_lease)
        cluster.may_lead = lambda: claim.is_made
        self._claim = claim

    def start(self) -> None:
        """Find out whether the bucket is this changelog's; the process ends when it is another one's, or cannot be used."""
        Deferred.fromCoroutine(self._check())
        self._looking.start(_LOOK, now=False)
        self.budget.start()
        if self._views is not None and self._claim is not None:
            self._claim.start()
            self._views.start()

    async def stop(self) -> None:
        """Leave the cache alone; others use the bucket until ``close``."""
        if self._looking.running:
            self._looking.stop()
        if self._views is not None and self._claim is not None:
            self._claim.stop()
            await self._views.stop()
        await self.budget.stop()

    def checks(self) -> list[Check]:
        """See ``Checked``."""
        if self._claim is not None and self._claim.rival is not None:
            return [Check("bucket", False, rival_sentence(self._claim.rival), needed=False)]
        if self.failure is None:
            return [Check("bucket", True, "The bucket answers.", needed=False)]
        sentence = (
            "The bucket does not answer. Files that are in the cache are served, and uploads are refused; the log tells more."
        )
        return [Check("bucket", False, sentence, needed=False)]

    async def _look(self) -> None:
        try:
            await self.blobs.remote.find_owner()
        except (BucketUnavailable, BucketRefused) as error:
            if self.failure is None:
                _log.warn("{reason}", reason=str(error))
            self.failure = str(error)
        else:
            self.failure = None

    async def _check(self) -> None:
        try:
            await self.blobs.remote.check_owner()
        except BucketUnavailable as error:
            self.failure = str(error)
            _log.warn("{reason}", reason=str(error))
        except BucketRefused as error:
            self._fail(error)

    def close(self) -> None:
        """Close the connections and end the threads; nobody waits for the bucket any more.  Blocking, in any thread."""
        self._call_in_reactor(self.blobs.remote.bucket.close)
        self._threads.stop()

    def measures(self) -> list[Measure]:
        """See ``Measured``."""
        requests, failures = "Requests to the bucket", "Requests to the bucket that got no usable answer"
        return [
            Measure("twistpi_bucket_requests", "counter", requests, self.client.requests),
            Measure("twistpi_bucket_failures", "counter", failures, self.client.failures),
            Measure("twistpi_bucket_up", "gauge", "Whether the bucket answered last", int(self.failure is None)),
            *self.budget.measures(),
        ]


def open_blobs(
    settings: Settings,
    url: str,
    tree: Tree,
    log_id: str,
    reactor: IServerReactor,
    environment: Mapping[str, str],
    fail: Callable[[Exception], object],
    for_threads: IReactorFromThreads | None = None,
) -> NodeBucket:
    """Return the bucket at ``url`` with ``tree`` as its cache, for the changelog ``log_id``; nothing is asked yet.

    ``fail`` is called after ``start`` if the bucket cannot be used.  ``for_threads`` is the reactor for threads that wait for the
    bucket, if that is another one.

    Raise ``TwistpiError`` for settings that do not fit together, ``OSError`` for a file of certificates that cannot be read.
    """
    address = parse_bucket(url, endpoint=settings.s3_endpoint, region=settings.s3_region, style=settings.s3_addressing)
    threads = ThreadPool(minthreads=0, maxthreads=_THREADS, name="twistpi bucket")
    threads.start()
    # Not in the reactor's pool: when all its threads wait for the bucket, none would be left to read what is sent.
    offload = partial(deferToThreadPool, reactor, threads)
    bucket = open_bucket(address, reactor, offload, reactor.callFromThread, environment, extra_ca_file=settings.ca_file)
    _log.info("The files are in the bucket {address}.", address=address.shown)
    blobs = CachedBucket(tree, BlobBucket(bucket, log_id), for_threads or reactor)

    def room() -> int:
        return shutil.disk_usage(settings.serverdir).free - settings.min_free

    budget = CacheBudget(tree, settings.cache_dir_bytes, reactor, offload, room)
    return NodeBucket(blobs, bucket.requests.http, budget, threads, reactor.callFromThread, fail)
