"""Two clusters with copies of one log do not both remove files from a bucket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import attrs
import pytest
from twisted.internet.defer import succeed

from tests.fakes.s3_buckets import OpenBucket, connect
from tests.fakes.s3_server import S3Server
from tests.in_reactor import in_reactor
from twistpi.s3.bucket import Bucket
from twistpi.server.bucket_claim import EVERY, KEY, SILENT, BucketClaim, Claim, read_claim, rival_of, rival_sentence

__all__ = ["connect"]


@pytest.fixture
def bucket(s3_server: S3Server, connect: OpenBucket) -> Bucket:
    return connect(f"s3://{s3_server.new_bucket()}/of/twistpi", s3_server.url)


@attrs.define
class Cluster:
    """A cluster with one node."""

    database: str
    leads: bool = True

    def claim(self, bucket: Bucket) -> BucketClaim:
        identify = cast(Callable[[], Awaitable[str]], lambda: cast(Any, succeed(self.database)))
        return BucketClaim(bucket, identify, "a" * 32, lambda: self.leads)


def test_another_cluster_counts_until_it_has_been_silent_for_ten_minutes() -> None:
    assert rival_of(None, "one") is None
    assert rival_of(Claim("one", "a" * 32, 0.0), "one") is None
    other = Claim("two", "b" * 32, SILENT - 1)
    assert rival_of(other, "one") == other
    assert rival_of(attrs.evolve(other, age=SILENT), "one") is None
    assert "Stop one of them, or give the copy a bucket" in rival_sentence(other)


@in_reactor
async def test_of_two_clusters_the_first_one_has_the_bucket(bucket: Bucket) -> None:
    await bucket.put("first", b"makes the bucket")
    original, copy = Cluster("one"), Cluster("two")
    first, second = original.claim(bucket), copy.claim(bucket)
    assert not first.is_made  # nothing is removed before it is known
    await first.look()
    await second.look()
    assert (first.is_made, second.is_made) == (True, False)
    assert second.rival is not None
    assert second.rival.database == "one"
    found = await read_claim(bucket)
    assert found is not None
    assert (found.database, found.node_id, found.age < EVERY) == ("one", "a" * 32, True)

    # Another node of the first cluster leads, and goes on.
    original.leads = False
    await first.look()
    assert not first.is_made
    successor = Cluster("one").claim(bucket)
    await successor.look()
    assert successor.is_made

    # What cannot be understood is nobody's.
    await bucket.put(KEY, b"?")
    await second.look()
    assert second.is_made
