"""Blobs of a node of a cluster: the contract, and several nodes over one bucket of a real S3 server."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.contracts.blobs_contract import NAME, BlobsContract, content_of, put
from tests.fakes.s3_buckets import bucket, connect, reactor
from tests.in_reactor import in_reactor, offload, wait_for
from twistpi.blobs.address import BlobAddress
from twistpi.blobs.bucket import BLOBS, MARKS, BlobBucket
from twistpi.blobs.cached_bucket import CachedBucket
from twistpi.blobs.tree import open_tree
from twistpi.model.errors import WrongBytes
from twistpi.model.server_errors import BlobConflict
from twistpi.s3.bucket import Bucket
from twistpi.s3.errors import BucketRefused

__all__ = ("bucket", "connect")
MakeNode = Callable[[], CachedBucket]


@pytest.fixture
def make_node(tmp_path: Path, bucket: Bucket) -> MakeNode:
    """Makes nodes with caches of their own over one bucket."""
    wait_for(Deferred.fromCoroutine(bucket.put("made", b"")))
    count = 0

    def make() -> CachedBucket:
        nonlocal count
        count += 1
        folder = tmp_path / f"node{count}"
        folder.mkdir()
        return CachedBucket(open_tree(str(folder)), BlobBucket(bucket, "the log", settled=0.5), reactor)

    return make


@pytest.fixture
def blobs(make_node: MakeNode) -> CachedBucket:
    return make_node()


def _in_thread(test: Callable[..., None]) -> Callable[..., Deferred[None]]:
    """Run ``test`` in a thread while the reactor runs."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Deferred[None]:
        return deferToThread(test, *args, **kwargs)

    return run


class TestCachedBucket(BlobsContract):
    """See the contract."""


for _name in dir(BlobsContract):
    if _name.startswith("test_"):
        setattr(TestCachedBucket, _name, _in_thread(getattr(BlobsContract, _name)))


@in_reactor
async def test_what_one_node_keeps_another_one_opens(make_node: MakeNode) -> None:
    first, second = make_node(), make_node()
    address = await offload(put, first, b"wheel")
    assert second.find(address) is None
    assert await offload(content_of, second, address) == b"wheel"
    assert second.find(address) == 5


@in_reactor
async def test_in_the_reactors_thread_nothing_is_waited_for(make_node: MakeNode) -> None:
    first, second = make_node(), make_node()
    address = await offload(put, first, b"wheel")
    with pytest.raises(FileNotFoundError):
        second.open(address)


@in_reactor
async def test_a_cache_that_is_lost_loses_nothing(make_node: MakeNode) -> None:
    first, second = make_node(), make_node()
    address = await offload(put, first, b"wheel")
    assert first.remove(address)
    assert await offload(content_of, first, address) == b"wheel"
    assert await offload(lambda: list(second.walk())) == [(address, 5)]


@in_reactor
async def test_damaged_bytes_in_the_bucket_are_not_kept_here(make_node: MakeNode, bucket: Bucket) -> None:
    node = make_node()
    address = await offload(put, node, b"wheel")
    node.remove(address)
    damaged = make_node().local.incoming()
    damaged.write(b"xheel")
    headers = {"x-amz-meta-sha256": sha256(b"wheel").hexdigest()}
    await bucket.requests.send("damage", "PUT", BLOBS + address.relative, headers=headers, payload=b"xheel")
    with pytest.raises(WrongBytes):
        await offload(node.open, address)
    assert node.find(address) is None
    damaged.close()


@in_reactor
async def test_two_nodes_that_keep_other_bytes_at_one_address_do_not_overwrite_each_other(make_node: MakeNode) -> None:
    first, second = make_node(), make_node()
    address = await offload(put, first, b"wheel", NAME, "ab" * 8)
    with pytest.raises(BlobConflict):
        await offload(put, second, b"other", NAME, "ab" * 8)
    assert second.digest(address) == sha256(b"wheel").hexdigest()
    assert await offload(content_of, second, address) == b"wheel"


@in_reactor
async def test_what_others_put_into_the_bucket_is_compared_by_its_bytes(make_node: MakeNode, bucket: Bucket) -> None:
    node, digits = make_node(), sha256(b"wheel").hexdigest()[:16]
    address = BlobAddress(digits, NAME)
    await bucket.put(BLOBS + address.relative, b"wheel")
    assert await offload(put, node, b"wheel") == address
    await bucket.put(BLOBS + address.relative, b"other")
    node.remove(address)
    with pytest.raises(BlobConflict):
        await offload(put, node, b"wheel")


@in_reactor
async def test_the_bucket_of_another_changelog_is_refused_and_left_alone(make_node: MakeNode, bucket: Bucket) -> None:
    address = await offload(put, make_node(), b"wheel")
    other = make_node()
    other.remote.log_id = "another log"
    for attempt in (lambda: put(other, b"other"), lambda: other.withdraw(address, time.time() + 1000)):
        with pytest.raises(BucketRefused, match=r"another changelog \(the log\), and this one is another log.*--blobs"):
            await offload(attempt)
    assert await offload(lambda: list(make_node().walk())) == [(address, 5)]


@in_reactor
async def test_keys_that_are_no_blobs_are_told_apart(make_node: MakeNode, bucket: Bucket) -> None:
    node = make_node()
    address = await offload(put, node, b"wheel")
    for key in ("blobs/readme", "blobs/abc/def/x", f"blobs/{'0' * 3}/{'0' * 13}/a/b"):
        await bucket.put(key, b"")
    assert await offload(lambda: list(node.walk())) == [(address, 5)]
    assert len(await offload(lambda: list(node.foreign_paths()))) == 3


@in_reactor
async def test_a_claim_makes_a_blob_of_the_bucket_that_was_lost_there(make_node: MakeNode, bucket: Bucket) -> None:
    node = make_node()
    address = await offload(put, node, b"wheel")
    await bucket.delete(BLOBS + address.relative)
    claimed = await offload(node.claim, address)
    assert claimed is not None
    assert claimed.read() == b"wheel"
    claimed.close()
    assert await offload(content_of, make_node(), address) == b"wheel"


@in_reactor
async def test_who_stores_while_another_removes_waits_and_stores_again(make_node: MakeNode, bucket: Bucket) -> None:
    """The remover has looked, found the blob old, and is about to remove it when it comes again."""
    first, second = make_node(), make_node()
    address = await offload(put, first, b"wheel")
    key = BLOBS + address.relative
    await bucket.put(MARKS + address.relative, b"")
    await bucket.delete(key)  # so that it is stored anew, and not found to be young
    keeping = deferToThread(put, second, b"wheel")
    found = None
    while found is None:
        found = await bucket.head(key)
    await bucket.delete(key)  # the remover's, which comes late
    assert await keeping == address
    assert await bucket.head(key) is not None


@in_reactor
async def test_a_young_blob_is_not_removed_and_an_old_one_leaves_a_mark_that_goes_later(
    make_node: MakeNode, bucket: Bucket
) -> None:
    node = make_node()
    address = await offload(put, node, b"wheel")
    assert not await node.remote.withdraw(address, 3600.0)
    assert await node.remote.withdraw(address, -1.0)
    assert await bucket.head(MARKS + address.relative) is not None
    await node.remote.forget_marks(time.time())
    assert await bucket.head(MARKS + address.relative) is not None
    await node.remote.forget_marks(time.time() + 2 * 86400)
    assert await bucket.head(MARKS + address.relative) is None
