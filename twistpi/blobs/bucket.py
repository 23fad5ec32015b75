"""The blobs of a cluster in its bucket, which all nodes store to and one collects garbage from.

A blob is the object ``blobs/ab1/2cd34ef567890/NAME``, with its SHA-256 as metadata.

Why no blob is lost that a node stores while another one removes it as garbage: S3 cannot remove an object on the condition that
it is old.  So both announce themselves before they look, and one of them sees the other.

- A node that *withdraws* a blob first writes the mark ``withdrawn/ab1/…/NAME``.  Then it looks at the blob, leaves it if it is
  young, and otherwise removes it within two minutes, or not at all.
- A node that *stores* a blob first writes it, which makes it young, and then looks for a mark.  If there is one, it waits until
  the node that wrote the mark has removed the blob or given up, and stores the blob again if it is gone.

A blob that is there already is stored again when it is not young.  That needs a bucket in which a read
after a write sees what was written, as in those of AWS, MinIO, Ceph and SeaweedFS.  Ages are measured by the bucket's clock
alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import attrs

from twistpi.blobs.address import BlobAddress
from twistpi.http.backoff import sleep
from twistpi.http.client import Response
from twistpi.model.errors import InvalidName
from twistpi.model.server_errors import BlobConflict
from twistpi.model.text import one_line
from twistpi.s3.bucket import Bucket, FileNumber
from twistpi.s3.errors import BucketRefused, NoSuchObject, ObjectExists
from twistpi.s3.objects import ObjectInfo

BLOBS: Final = "blobs/"
"""What the keys of blobs begin with."""
MARKS: Final = "withdrawn/"
_OWNER: Final = "changelog-id"
"""The key of the object that says whose blobs these are."""
_YOUNG: Final = 1800.0
"""Seconds for which a blob that is stored again is left as it is; half of the grace time of garbage collection."""
_PROMPT: Final = 60.0
"""Seconds after it began to write a mark within which somebody begins to remove a blob; attempts go on for as long again."""
_SETTLED: Final = 180.0
"""Seconds after which nobody removes a blob any more because of a mark."""
_KEPT_MARKS: Final = 86400.0
"""Seconds after which a mark is of no use."""


@attrs.frozen
class BlobPage:
    """A part of all blobs."""

    blobs: tuple[tuple[BlobAddress, int], ...]
    """Each with its size in bytes, by address."""
    foreign: tuple[str, ...]
    """The keys beside them that are none of blobs."""
    mark: str | None
    """Where the next part begins; None at the end."""


@attrs.define(eq=False)
class BlobBucket:
    """Blobs in a bucket.

    Its methods are called in the reactor's thread, and raise ``BucketRefused`` and ``BucketUnavailable``.
    """

    bucket: Bucket
    log_id: str
    """Of the changelog whose blobs these are; another one's bucket is refused."""
    settled: float = _SETTLED
    """Seconds after which nobody removes a blob any more because of a mark."""
    _is_own: bool = attrs.field(default=False, init=False)

    async def find_owner(self) -> str | None:
        """Return whose changelog's blobs these are; None when nobody said so yet."""
        try:
            return (await self.bucket.read(_OWNER, 1000)).decode("utf-8", "replace").strip()
        except NoSuchObject:
            return None

    async def check_owner(self) -> None:
        """Make the prefix that of the changelog; raise ``BucketRefused`` if it is another one's."""
        if self._is_own:
            return
        with suppress(ObjectExists):
            await self.bucket.put(_OWNER, f"{self.log_id}\n".encode(), if_absent=True)
        owner = await self.find_owner() or ""
        if owner != self.log_id:
            reason = f"has the files of another changelog ({one_line(owner)[:100]}), and this one is {self.log_id}"
            advice = "name another bucket or prefix with --blobs, or the database of that changelog with --changelog"
            raise BucketRefused(f"The bucket {self.bucket.address.shown} {reason}. What to do: {advice}.")
        self._is_own = True

    async def find(self, address: BlobAddress) -> ObjectInfo | None:
        """Return what the bucket knows of a blob; None when it is not there."""
        return await self.bucket.head(_key(address))

    async def get(self, address: BlobAddress, headers: Mapping[str, str]) -> Response:
        """Return the response to a GET request for a blob with these headers; raise ``NoSuchObject``."""
        return await self.bucket.requests.send(f"read {address.relative}", "GET", _key(address), headers=headers)

    async def download(self, address: BlobAddress, write: Callable[[bytes], object]) -> int:
        """Pass a blob to ``write``, piece by piece in threads; return its size.  Raise ``NoSuchObject``."""
        return await self.bucket.download(_key(address), write)

    async def presign(self, address: BlobAddress, seconds: int, content_type: str) -> str:
        """Return an address under which anybody reads a blob for so many seconds."""
        return await self.bucket.presign(_key(address), seconds, content_type=content_type)

    async def store(self, file: FileNumber, size: int, address: BlobAddress, sha256: str) -> None:
        """Make an open file, of ``size`` bytes with the SHA-256 ``sha256``, the blob at ``address``; the bucket has it then.

        The same bytes may be there already; they are young when this returns.  Raise ``BlobConflict`` when other bytes are there.
        """
        await self.check_owner()
        key = _key(address)
        while True:
            found = await self.bucket.head(key)
            if found is not None:
                if await self._digest(found) != sha256:
                    raise BlobConflict(key)
                if found.age < _YOUNG and found.size == size:
                    return  # a node that writes a mark from now on sees that it is young
            try:
                await self.bucket.put_file(key, file, size, sha256, if_absent=found is None)
                break
            except ObjectExists:
                continue  # another node was faster
        mark = await self.bucket.head(MARKS + address.relative)
        if mark is None:
            return
        if mark.age < self.settled:
            await sleep(self.bucket.requests.clock, self.settled - mark.age)
        if await self.bucket.head(key) is None:
            await self.bucket.put_file(key, file, size, sha256)

    async def copy_in(self, file: FileNumber, size: int, address: BlobAddress, sha256: str) -> bool:
        """Do the same for a bucket in which nobody collects garbage; return whether the blob was not there before."""
        await self.check_owner()
        found = await self.bucket.head(_key(address))
        if found is None:
            try:
                await self.bucket.put_file(_key(address), file, size, sha256, if_absent=True)
                return True
            except ObjectExists:
                found = await self.bucket.head(_key(address))
        if found is None or found.size != size or await self._digest(found) != sha256:
            raise BlobConflict(_key(address))
        return False

    async def replace(self, file: FileNumber, size: int, address: BlobAddress, sha256: str) -> None:
        """Do the same in place of whatever bytes are there, because they are not the right ones."""
        await self.check_owner()
        await self.bucket.put_file(_key(address), file, size, sha256)

    async def drop(self, address: BlobAddress) -> None:
        """Remove bytes that are not the right ones."""
        await self.check_owner()
        await self.bucket.delete(_key(address))

    async def withdraw(self, address: BlobAddress, age: float) -> bool:
        """Remove a blob if it was stored more than ``age`` seconds ago; return whether it was removed."""
        await self.check_owner()
        clock, key = self.bucket.requests.clock, _key(address)
        began = clock.seconds()
        await self.bucket.put(MARKS + address.relative, b"")
        found = await self.bucket.head(key)
        if found is None or found.age <= age or not 0 <= clock.seconds() - began < _PROMPT:
            return False
        await self.bucket.delete(key)
        return True

    async def forget_marks(self, now: float) -> None:
        """Remove marks that are of no use any more; ``now`` is in Unix seconds."""
        async for mark in self.bucket.walk(MARKS):
            if mark.modified < now - _KEPT_MARKS:
                await self.bucket.delete(mark.key)

    async def page(self, mark: str = "") -> BlobPage:
        """Return the next part of all blobs, which begins at ``mark``."""
        found = await self.bucket.list(BLOBS, after=mark)
        blobs: list[tuple[BlobAddress, int]] = []
        foreign: list[str] = []
        for one in found.objects:
            address = _address(one.key)
            if address is None:
                foreign.append(one.key)
            else:
                blobs.append((address, one.size))
        is_last = found.is_last or not found.objects
        return BlobPage(tuple(blobs), tuple(foreign), None if is_last else found.objects[-1].key)

    async def _digest(self, found: ObjectInfo) -> str | None:
        """Return the SHA-256 of an object: as it was stored with it, or else that of its bytes; None when it is gone."""
        if found.sha256 is not None:
            return found.sha256
        digest = hashlib.sha256()
        try:
            await self.bucket.download(found.key, digest.update)
        except NoSuchObject:
            return None
        return digest.hexdigest()


def _key(address: BlobAddress) -> str:
    return BLOBS + address.relative


def _address(key: str) -> BlobAddress | None:
    """Return the address of the blob under a key; None for the key of anything else."""
    three, _, rest = key.removeprefix(BLOBS).partition("/")
    thirteen, _, filename = rest.partition("/")
    try:
        address = BlobAddress(three + thirteen, filename)
    except (InvalidName, ValueError):
        return None
    return address if _key(address) == key else None
