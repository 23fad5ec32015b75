"""The part of ``twistpi check`` that looks at the files in the bucket of a cluster, and at the cache of a node.

Imported when a bucket is asked for, because botocore takes a while to load.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Final, cast

import attrs
from twisted.internet import reactor as _chosen_reactor
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThread

from twistpi.backup.blob_state import MISSING, address_of, blob_path, what_is_wrong
from twistpi.backup.store import BackupStore
from twistpi.blobs.address import sha256_of
from twistpi.blobs.bucket import BlobBucket
from twistpi.blobs.tree import Tree
from twistpi.cli.file_check import Counts, Finding, Progress, later_names
from twistpi.http.offload import Offload
from twistpi.s3.address import parse_bucket
from twistpi.s3.bucket import open_bucket
from twistpi.s3.errors import NoSuchObject
from twistpi.s3.threads import StoppedReactor, running, wait_for
from twistpi.server.directory import Layout
from twistpi.server.process import IServerReactor
from twistpi.server.settings import Settings
from twistpi.view.read import KeptBlob, NamedBlob, Reader
from twistpi.view.read_releases import BEGINNING, Mark

_ROWS: Final = 1000
_AT_ONCE: Final = 12
"""Files that are read at a time."""
_MOST_EXAMPLES: Final = 3
_LOST: Final = "restore it from a backup: twistpi check --repair --backup PLACE"


@attrs.define(eq=False)
class BucketCheck:
    """Compares a bucket with what a view names.  Blocking; everything raises ``BucketRefused`` and ``BucketUnavailable``."""

    _serverdir: str
    """The cache of the node."""
    _remote: BlobBucket
    _reactor: IReactorFromThreads
    _progress: Progress
    _counts: Counts
    backup: BackupStore | None = None
    """Where files that are missing or damaged are had from."""
    _threads: ThreadPoolExecutor = attrs.field(factory=lambda: ThreadPoolExecutor(_AT_ONCE), init=False)
    _sizes: dict[int, int] = attrs.field(factory=dict, init=False)
    """The size of each blob in the bucket, by the hash of its address: a tenth of the memory of an address."""

    def run(self, reader: Reader, with_bytes: bool, with_repair: bool) -> Iterator[Finding]:
        """Yield what there is to report about the files that ``reader`` names; ``with_bytes``, every file is downloaded."""
        yield from self._list(reader)
        is_named_now = later_names(Layout(self._serverdir).view, reader.serial())
        named, total, done = self._all_named(reader), reader.count_files(), 0
        while batch := list(islice(named, _ROWS)):
            for one, reason in zip(batch, self._judge(batch, with_bytes), strict=True):
                if reason is None:
                    self._counts.files += 1
                    self._counts.bytes += one.blob.size
                elif is_named_now(address_of(one.blob)):
                    yield from self._report(one, reason, with_repair)
            done += len(batch)
            self._progress("files", min(done, total), total)
        if count := self._counts.fetchable:
            yield Finding(f"files that are not in the bucket: {count:,}; they are fetched when they are asked for", wrong=False)
        yield from self._check_cache(reader, with_repair)

    def _list(self, reader: Reader) -> Iterator[Finding]:
        """Note what is in the bucket; report what is not named."""
        mark: str | None = ""
        others, examples = 0, list[str]()
        while mark is not None:
            after = mark
            page = wait_for(self._reactor, lambda: self._remote.page(after))  # noqa: B023 -- it is over when that changes
            for address, size in page.blobs:
                self._sizes[hash((address.digits, address.filename))] = size
                if not reader.names_blob(address.digits, address.filename):
                    others += 1
                    examples += [address.relative] if others <= _MOST_EXAMPLES else []
            yield from (Finding(f"{key} in the bucket is no file of twistpi's; move it elsewhere") for key in page.foreign)
            mark = page.mark
        if others:
            more = ", …" if others > _MOST_EXAMPLES else ""
            text = f"files in the bucket that no index knows: {others} ({', '.join(examples)}{more})"
            yield Finding(f"{text}; they are being uploaded, or garbage collection removes them", wrong=False)

    def _all_named(self, reader: Reader) -> Iterator[NamedBlob]:
        mark: Mark | None = BEGINNING
        while mark is not None:
            found, mark = reader.named_blobs(mark, _ROWS)
            yield from found

    def _judge(self, batch: Sequence[NamedBlob], with_bytes: bool) -> list[str | None]:
        """Return what is wrong with each blob in the bucket; None where nothing is."""

        def judge(one: NamedBlob) -> str | None:
            blob = one.blob
            size = self._sizes.get(hash((blob.digits, blob.filename)))
            if size is None:
                return MISSING
            if size != blob.size:
                return f"it has {size} bytes instead of {blob.size}"
            return self._read(blob) if with_bytes else None

        return list(self._threads.map(judge, batch)) if with_bytes else [judge(one) for one in batch]

    def _read(self, blob: KeptBlob) -> str | None:
        digest = hashlib.sha256()
        try:
            wait_for(self._reactor, lambda: self._remote.download(address_of(blob), digest.update))
        except NoSuchObject:
            return MISSING
        found = digest.hexdigest()
        return None if found == blob.sha256 else f"it has the SHA-256 {found} instead of {blob.sha256}"

    def _report(self, one: NamedBlob, reason: str, with_repair: bool) -> Iterator[Finding]:
        address = address_of(one.blob)
        text = f"{address.relative} in the bucket {reason.removeprefix('it ')}"
        done = self._repair(one, reason) if with_repair else None
        if done is not None:
            self._counts.repaired += 1
            yield Finding(f"{text}; {done}", wrong=False, repaired=True)
        elif reason == MISSING and not one.is_private:
            self._counts.fetchable += 1
        elif one.is_private:
            yield Finding(f"{text}; {_LOST}")
        else:
            yield Finding(f"{text}; it cannot be served; twistpi check --repair has it fetched again")

    def _repair(self, one: NamedBlob, reason: str) -> str | None:
        """Restore a blob; return what was done, or None if nothing could be."""
        blob, address = one.blob, address_of(one.blob)
        if self.backup is not None:
            path = os.path.join(self.backup.bring([blob_path(address)]), blob_path(address))
            with suppress(FileNotFoundError), open(path, "rb") as file:
                if sha256_of(file) == blob.sha256:
                    wait_for(self._reactor, lambda: self._remote.replace(file, blob.size, address, blob.sha256))
                    return f"it came again from {self.backup.url}"
        if reason == MISSING or one.is_private:
            return None
        wait_for(self._reactor, lambda: self._remote.drop(address))
        return "it was removed, and is fetched from the upstream when it is asked for"

    def _check_cache(self, reader: Reader, with_repair: bool) -> Iterator[Finding]:
        """Read the files that this node has on its disk: a wrong one would be sent."""
        tree = Tree(self._serverdir)
        for address, _size in tree.walk():
            blob = reader.kept_blob(address.digits, address.filename)
            reason = None if blob is None else what_is_wrong(tree, blob)
            if reason is None or reason == MISSING:
                continue
            text = f"{tree.path(address)} {reason.removeprefix('it ')}"
            if with_repair and tree.remove(address):
                self._counts.repaired += 1
                yield Finding(f"{text}; it was removed, and comes from the bucket when it is asked for", False, True)
            else:
                yield Finding(f"{text}; twistpi check --repair removes it, and it comes from the bucket again")


@contextmanager
def open_bucket_check(settings: Settings, log_id: str, progress: Progress, counts: Counts) -> Iterator[BucketCheck]:
    """Open the bucket that ``settings`` name, which is to be that of the log ``log_id``; once in a process."""
    address = parse_bucket(
        settings.blobs or "", endpoint=settings.s3_endpoint, region=settings.s3_region, style=settings.s3_addressing
    )
    reactor = cast(IServerReactor, _chosen_reactor)
    with running(cast(StoppedReactor, reactor)):
        offload = cast(Offload, deferToThread)
        bucket = open_bucket(address, reactor, offload, reactor.callFromThread, os.environ, extra_ca_file=settings.ca_file)
        remote = BlobBucket(bucket, log_id)
        check = BucketCheck(settings.serverdir, remote, reactor, progress, counts)
        try:
            wait_for(reactor, remote.check_owner)
            yield check
        finally:
            reactor.callFromThread(bucket.close)
