"""Backups in a bucket: every file of a backup is an object, with its path as the key."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import BinaryIO, Final, cast

import attrs
from twisted.internet import reactor as _chosen_reactor
from twisted.internet.threads import deferToThread

from twistpi.blobs.address import sha256_of
from twistpi.blobs.tree import ROOT
from twistpi.http.offload import Offload
from twistpi.s3.address import parse_bucket
from twistpi.s3.bucket import open_bucket
from twistpi.s3.errors import NoSuchObject
from twistpi.s3.threads import BlockingBucket, StoppedReactor, running
from twistpi.server.process import IServerReactor

_AT_ONCE: Final = 8
"""Requests under way."""
_LONGEST: Final = 64 * 1024 * 1024
"""Bytes of a small file: a manifest that lists ten thousand missing files has a tenth of that."""


@attrs.define(eq=False)
class BucketStore:
    """A backup in a bucket; files on their way are put into the folder ``staging``."""

    url: str
    _bucket: BlockingBucket
    _staging: str
    _threads: ThreadPoolExecutor = attrs.field(init=False, factory=lambda: ThreadPoolExecutor(_AT_ONCE))

    def names(self, folder: str) -> list[str]:
        """See ``BackupStore``."""
        return [info.key.removeprefix(f"{folder}/") for info in self._bucket.walk(f"{folder}/")]

    def read(self, path: str) -> bytes:
        """See ``BackupStore``."""
        try:
            return self._bucket.read(path, _LONGEST)
        except NoSuchObject:
            raise FileNotFoundError(path) from None

    def write(self, path: str, content: bytes) -> None:
        """See ``BackupStore``."""
        self._bucket.put(path, content)

    def put(self, root: str, paths: Sequence[str]) -> None:
        """See ``BackupStore``."""

        def put_one(path: str) -> None:
            with suppress(FileNotFoundError), open(os.path.join(root, path), "rb") as file:
                size, there = os.fstat(file.fileno()).st_size, self._bucket.head(path)
                if there is None or there.size != size:
                    self._bucket.put_file(path, file, size, sha256_of(file))

        self._do(put_one, paths)

    def put_log(self, root: str, path: str, kept: int, end: int) -> None:
        """See ``BackupStore``: objects do not grow, so the whole segment is stored again."""
        with open(os.path.join(root, path), "rb") as source, tempfile.TemporaryFile(dir=self._staging) as copy:
            _copy(source, copy, end)
            copy.seek(0)
            self._bucket.put_file(path, copy, end, sha256_of(cast(BinaryIO, copy)))

    def bring(self, paths: Sequence[str]) -> str:
        """See ``BackupStore``."""
        folder = os.path.join(self._staging, "brought")
        shutil.rmtree(folder, ignore_errors=True)

        def bring_one(path: str) -> None:
            target = os.path.join(folder, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                with open(target, "wb") as file:
                    self._bucket.download(path, file.write)
            except NoSuchObject:
                os.remove(target)

        self._do(bring_one, paths)
        return folder

    def walk(self) -> Iterator[str]:
        """See ``BackupStore``."""
        for info in self._bucket.walk(f"{ROOT}/"):
            yield info.key

    def remove(self, paths: Sequence[str]) -> None:
        """See ``BackupStore``."""
        self._do(self._bucket.delete, paths)

    def close(self) -> None:
        """See ``BackupStore``."""
        self._threads.shutdown()

    def _do(self, work: Callable[[str], object], paths: Sequence[str]) -> None:
        """Do some of ``work`` at a time; raise what it raises."""
        for _ in self._threads.map(work, paths):
            pass


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size and (content := source.read(min(size, 1024 * 1024))):
        target.write(content)
        size -= len(content)
    target.flush()


@contextmanager
def open_bucket_store(
    url: str, endpoint: str | None, region: str | None, environ: Mapping[str, str], ca_file: str | None, staging: str | None
) -> Iterator[BucketStore]:
    """Return the backup at ``s3://bucket/prefix``, and run the reactor meanwhile: once in a process.

    Files on their way are put into a new folder in ``staging``, by default the one for temporary files.  Raise ``TwistpiError``
    for addresses that are none.
    """
    address, offload = parse_bucket(url, endpoint=endpoint, region=region), cast(Offload, deferToThread)
    reactor = cast(IServerReactor, _chosen_reactor)
    with tempfile.TemporaryDirectory(prefix="twistpi-backup-", dir=staging) as folder, running(cast(StoppedReactor, reactor)):
        bucket = open_bucket(address, reactor, offload, reactor.callFromThread, environ, extra_ca_file=ca_file)
        with closing(BucketStore(url, BlockingBucket(bucket, reactor), folder)) as store:
            yield store
        reactor.callFromThread(bucket.close)
