"""The blobs of a node of a cluster: a tree on its disk, which is a cache, and the bucket, which has everything.

What is *here* is in the tree, and read from there.  What is not is brought from the bucket: by ``open``, and by the source of
files that are served (``mirror/bucket_files.py``).  What is kept is in the bucket before it is in the tree, and so before any
entry names it (law 2).  Age, garbage and the walk over all blobs are about the bucket.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import BinaryIO, Final, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from twistpi.blobs.address import BlobAddress, BlobTimes, sha256_of
from twistpi.blobs.bucket import BlobBucket, BlobPage
from twistpi.blobs.incoming import IncomingFile
from twistpi.blobs.interfaces import IBlobs
from twistpi.blobs.tree import Tree
from twistpi.model.errors import TwistpiError, WrongBytes
from twistpi.model.server_errors import BlobConflict
from twistpi.s3.errors import NoSuchObject
from twistpi.s3.threads import wait_for

_Result = TypeVar("_Result")
_DAY: Final = 86400.0


@implementer(IBlobs)
@attrs.define(eq=False)
class CachedBucket:
    """Blobs in a tree over a bucket.

    Its methods block while the bucket is asked: they are for threads, while the reactor runs.
    """

    local: Tree
    remote: BlobBucket
    _reactor: IReactorFromThreads
    _now: Callable[[], float] = time.time
    """Unix seconds."""
    _tidied_at: float = attrs.field(default=0.0, init=False)
    """When the bucket's old marks were removed last."""

    def path(self, address: BlobAddress) -> str:
        """See ``IBlobs``."""
        return self.local.path(address)

    def find(self, address: BlobAddress) -> int | None:
        """See ``IBlobs``."""
        return self.local.find(address)

    def open(self, address: BlobAddress) -> BinaryIO:
        """See ``IBlobs``; what is not here is brought from the bucket, unless this is called in the reactor's thread."""
        try:
            return self.local.open(address)
        except FileNotFoundError:
            if isInIOThread() or not self._bring(address):
                raise
        return self.local.open(address)

    def incoming(self) -> IncomingFile:
        """See ``IBlobs``."""
        return self.local.incoming()

    def keep(self, incoming: IncomingFile, address: BlobAddress, sha256: str) -> None:
        """See ``IBlobs``; also raises ``BucketRefused`` and ``BucketUnavailable``."""
        try:
            try:
                self._wait(lambda: self.remote.store(incoming, incoming.size, address, sha256))
            except BlobConflict:
                self._bring(address)  # the caller learns the digest of what is there
                raise
            if self.local.find(address) is not None and self.local.digest(address) != sha256:
                self.local.remove(address)  # the bucket decides
        except (OSError, TwistpiError):
            incoming.discard()
            raise
        self.local.keep(incoming, address, sha256)

    def claim(self, address: BlobAddress) -> BinaryIO | None:
        """See ``IBlobs``; the bucket has it when this returns, and it is young there, too."""
        file = self.local.claim(address)
        if file is None:
            return None
        try:
            size, sha256 = self.local.find(address) or 0, sha256_of(file)
            self._wait(lambda: self.remote.store(file, size, address, sha256))
            file.seek(0)
        except BlobConflict:
            file.close()
            self.local.remove(address)
            return None
        except BaseException:
            file.close()
            raise
        return file

    def last_kept(self, address: BlobAddress) -> float | None:
        """See ``IBlobs``."""
        found = self._wait(lambda: self.remote.find(address))
        return None if found is None else self._now() - found.age

    def note_access(self, path: str, at: float) -> bool:
        """See ``IBlobs``."""
        return self.local.note_access(path, at)

    def times(self, address: BlobAddress) -> BlobTimes | None:
        """See ``IBlobs``; the times on this node."""
        return self.local.times(address)

    def withdraw(self, address: BlobAddress, before: float) -> Callable[[], object] | None:
        """See ``IBlobs``; also raises ``BucketRefused`` and ``BucketUnavailable``."""
        free = self.local.withdraw(address, before)
        if free is None and self.local.find(address) is not None:
            return None
        try:
            is_gone = self._wait(lambda: self.remote.withdraw(address, self._now() - before))
        except BaseException:
            self._free(free)
            raise
        if not is_gone:
            self._free(free)
            return None
        return lambda: self._free(free, tidy=True)

    def remove(self, address: BlobAddress) -> bool:
        """See ``IBlobs``."""
        return self.local.remove(address)

    def walk(self) -> Iterator[tuple[BlobAddress, int]]:
        """See ``IBlobs``."""
        mark: str | None = ""
        while mark is not None:
            page = self._page(mark)
            yield from page.blobs
            mark = page.mark

    def foreign_paths(self) -> Iterator[str]:
        """See ``IBlobs``; keys of the bucket."""
        mark: str | None = ""
        while mark is not None:
            page = self._page(mark)
            yield from page.foreign
            mark = page.mark

    def digest(self, address: BlobAddress) -> str:
        """See ``IBlobs``."""
        return self.local.digest(address)

    def _page(self, mark: str) -> BlobPage:
        return self._wait(lambda: self.remote.page(mark))

    def _free(self, free: Callable[[], object] | None, *, tidy: bool = False) -> None:
        if free is not None:
            free()
        now = self._now()
        if tidy and not 0 <= now - self._tidied_at < _DAY:
            self._tidied_at = now
            self._wait(lambda: self.remote.forget_marks(now))

    def _bring(self, address: BlobAddress) -> bool:
        """Bring a blob from the bucket here; return whether it is there.  Raise ``WrongBytes`` when its bytes are damaged."""
        found = self._wait(lambda: self.remote.find(address))
        if found is None:
            return False
        digest = hashlib.sha256()
        with self.local.incoming() as incoming:

            def write(piece: bytes) -> None:
                incoming.write(piece)
                digest.update(piece)

            try:
                self._wait(lambda: self.remote.download(address, write))
            except NoSuchObject:
                return False
            sha256 = digest.hexdigest()
            if incoming.size != found.size or found.sha256 not in (None, sha256):
                raise WrongBytes(address.filename, "the bucket", f"their SHA-256 is {sha256}, not {found.sha256}")
            self.local.keep(incoming, address, sha256)
        return True

    def _wait(self, work: Callable[[], Coroutine[Deferred[object], object, _Result]]) -> _Result:
        return wait_for(self._reactor, work)
