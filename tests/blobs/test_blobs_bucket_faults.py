"""A bucket behind an unreliable connection: what is acknowledged is stored, and what is read is right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred

from tests.contracts.blobs_contract import NAME, content_of, put
from tests.fakes.s3_buckets import OpenBucket, connect, reactor
from tests.fakes.s3_server import S3Server
from tests.fakes.unruly_proxy import Cut, Fault, Flip, Stall, UnrulyProxy
from tests.in_reactor import in_reactor, offload, wait_for
from twistpi.blobs.address import blob_address
from twistpi.blobs.bucket import BlobBucket
from twistpi.blobs.cached_bucket import CachedBucket
from twistpi.blobs.tree import open_tree
from twistpi.model.errors import WrongBytes
from twistpi.s3.errors import BucketRefused

__all__ = ("connect",)
CONTENT = os.urandom(400_000)
ADDRESS = blob_address(sha256(CONTENT).hexdigest(), NAME)
PUT, GET, HEAD_END = b"PUT /%s/blobs/", b"GET /%s/blobs/", b"\r\n\r\n"


@attrs.frozen
class Scene:
    """A node that reaches its bucket through a proxy, and one that reaches it straight."""

    proxy: UnrulyProxy
    node: CachedBucket
    straight: CachedBucket
    name: str

    def will(self, fault: Fault) -> None:
        """Let ``fault`` happen to the bucket of this scene."""
        self.proxy.will(attrs.evolve(fault, asked=fault.asked % self.name.encode()))


@pytest.fixture
def scene(tmp_path: Path, s3_server: S3Server, connect: OpenBucket) -> Iterator[Scene]:
    name = s3_server.new_bucket()
    with UnrulyProxy(s3_server.url) as proxy:
        nodes = []
        for place, url in (("node", proxy.url), ("straight", s3_server.url)):
            bucket = connect(f"s3://{name}", url)
            bucket.requests.http.timeout = bucket.requests.http.silence = 1.0
            bucket.requests.delays = (0.001, 0.01)
            (tmp_path / place).mkdir()
            nodes.append(CachedBucket(open_tree(str(tmp_path / place)), BlobBucket(bucket, "the log"), reactor))
            wait_for(Deferred.fromCoroutine(nodes[-1].remote.check_owner()))
        yield Scene(proxy, nodes[0], nodes[1], name)


@pytest.mark.parametrize(
    "fault",
    [
        Cut(PUT, HEAD_END, 100_000, "up"),
        Stall(PUT, HEAD_END, 100_000, "up"),
        Cut(PUT, b"HTTP/1.1 200", 0, "down"),
        Stall(PUT, b"HTTP/1.1 ", 0, "down"),
    ],
    ids=["cut on the way up", "stalled on the way up", "the answer is lost", "no answer comes"],
)
@in_reactor
async def test_what_is_kept_is_in_the_bucket_when_that_is_said(scene: Scene, fault: Fault) -> None:
    scene.will(fault)
    assert await offload(put, scene.node, CONTENT) == ADDRESS
    assert len(scene.proxy.happened) == 1
    scene.proxy.release()
    assert await offload(content_of, scene.straight, ADDRESS) == CONTENT


@in_reactor
async def test_bytes_that_changed_on_their_way_up_are_not_acknowledged(scene: Scene) -> None:
    scene.will(Flip(PUT, HEAD_END, 100_000, "up"))
    with pytest.raises(BucketRefused):
        await offload(put, scene.node, CONTENT)
    assert await scene.straight.remote.find(ADDRESS) is None
    assert scene.node.find(ADDRESS) is None
    assert await offload(put, scene.node, CONTENT) == ADDRESS


@pytest.mark.parametrize("fault", [Cut(GET, HEAD_END, 100_000), Stall(GET, HEAD_END, 100_000)], ids=["cut", "stalled"])
@in_reactor
async def test_what_breaks_off_on_its_way_down_goes_on(scene: Scene, fault: Fault) -> None:
    await offload(put, scene.straight, CONTENT)
    scene.will(fault)
    assert await offload(content_of, scene.node, ADDRESS) == CONTENT
    assert len(scene.proxy.happened) == 1


@in_reactor
async def test_bytes_that_changed_on_their_way_down_are_not_kept(scene: Scene) -> None:
    await offload(put, scene.straight, CONTENT)
    scene.will(Flip(GET, HEAD_END, 100_000))
    with pytest.raises(WrongBytes):
        await offload(content_of, scene.node, ADDRESS)
    assert scene.node.find(ADDRESS) is None
    assert await offload(content_of, scene.node, ADDRESS) == CONTENT
