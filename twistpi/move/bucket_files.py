"""Copying blobs from a server directory to the bucket of a cluster, and back, some at a time.

Imported when a bucket is asked for, because botocore takes a while to load.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar, cast

import attrs
from twisted.internet import reactor as _chosen_reactor
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThread

from twistpi.backup.blob_state import MISSING, address_of
from twistpi.blobs.bucket import BlobBucket
from twistpi.blobs.tree import Tree
from twistpi.cluster.view_names import is_due
from twistpi.http.offload import Offload
from twistpi.s3.address import BucketAddress
from twistpi.s3.bucket import open_bucket
from twistpi.s3.errors import NoSuchObject
from twistpi.s3.threads import StoppedReactor, running, wait_for
from twistpi.server.kept_views import keep_view, list_views
from twistpi.server.process import IServerReactor
from twistpi.view.database import FOLD_VERSION
from twistpi.view.read import KeptBlob

_AT_ONCE: Final = 12
"""Files under way."""
_Result = TypeVar("_Result")


@attrs.define(eq=False)
class BucketFiles:
    """The files of a bucket.  Blocking; everything raises ``BucketRefused`` and ``BucketUnavailable``."""

    _remote: BlobBucket
    _reactor: IReactorFromThreads
    _threads: ThreadPoolExecutor = attrs.field(factory=lambda: ThreadPoolExecutor(_AT_ONCE), init=False)

    @property
    def place(self) -> str:
        """What the bucket is called in messages."""
        return self._remote.bucket.address.shown

    def check_owner(self) -> None:
        """Claim the bucket for the changelog; raise ``BucketRefused`` if it belongs to another one."""
        wait_for(self._reactor, self._remote.check_owner)

    def put(self, tree: Tree, blobs: Sequence[KeptBlob]) -> None:
        """Copy ``blobs`` from ``tree`` to the bucket; those that are gone from ``tree`` are passed over.

        The bucket verifies their digests.  Raise ``BlobConflict``.
        """

        def put_one(blob: KeptBlob) -> None:
            address = address_of(blob)
            try:
                file = tree.open(address)
            except FileNotFoundError:
                return
            with file:
                wait_for(self._reactor, lambda: self._remote.copy_in(file, blob.size, address, blob.sha256))

        self._do(put_one, blobs)

    def bring(self, tree: Tree, blobs: Sequence[KeptBlob]) -> dict[KeptBlob, str]:
        """Copy ``blobs`` to ``tree`` and verify their digests; return why that was not possible for some.

        Raise ``StorageFull``.
        """

        def bring_one(blob: KeptBlob) -> str | None:
            address, digest = address_of(blob), hashlib.sha256()
            with tree.incoming() as incoming:

                def write(piece: bytes) -> None:
                    incoming.write(piece)
                    digest.update(piece)

                try:
                    wait_for(self._reactor, lambda: self._remote.download(address, write))
                except NoSuchObject:
                    return MISSING
                if incoming.size != blob.size or digest.hexdigest() != blob.sha256:
                    return f"it has the SHA-256 {digest.hexdigest()} instead of {blob.sha256}"
                tree.keep(incoming, address, blob.sha256)
            return None

        return {blob: reason for blob, reason in zip(blobs, self._do(bring_one, blobs), strict=True) if reason is not None}

    def keep_view(self, view: str, serial: int) -> None:
        """Store the view at the path ``view``, of ``serial``, in the bucket for the first nodes, if it has enough entries.

        Raise ``StorageFull``.
        """
        bucket = self._remote.bucket
        if is_due(wait_for(self._reactor, lambda: list_views(bucket)), FOLD_VERSION, serial):
            wait_for(self._reactor, lambda: keep_view(bucket, view, bucket.requests.http.offload))

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def _do(self, work: Callable[[KeptBlob], _Result], blobs: Sequence[KeptBlob]) -> list[_Result]:
        return list(self._threads.map(work, blobs))


@contextmanager
def open_files(address: BucketAddress, log_id: str, environ: Mapping[str, str], ca_file: str | None) -> Iterator[BucketFiles]:
    """Open the bucket at ``address`` as that of the changelog ``log_id``, and run the reactor meanwhile: once in a process."""
    reactor = cast(IServerReactor, _chosen_reactor)
    with running(cast(StoppedReactor, reactor)):
        offload = cast(Offload, deferToThread)
        bucket = open_bucket(address, reactor, offload, reactor.callFromThread, environ, extra_ca_file=ca_file)
        files = BucketFiles(BlobBucket(bucket, log_id), reactor)
        try:
            yield files
        finally:
            files.close()
            reactor.callFromThread(bucket.close)
