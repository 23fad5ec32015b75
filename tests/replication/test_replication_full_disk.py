"""A primary or a replica whose disk is full: what mirrors have passes through both of them to the client."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, metadata
from tests.in_reactor import in_reactor, until
from tests.replication.two_servers import MIRROR, STAGE, Server
from twistpi.blobs.address import blob_address
from twistpi.mirror.pages import UNRECORDED_EXPIRY
from twistpi.mirror.primary import METADATA, PAGE, PrimaryClient
from twistpi.model.server_errors import StorageFull

WHEEL = "hello-1.0-py3-none-any.whl"
CONTENT = make_wheel("hello", "1.0", payload=os.urandom(600_000))
TEXT = metadata("hello", "1.0")
SIMPLE = f"/{MIRROR}/+simple/hello/"


def fill(*servers: Server, full: bool = True) -> None:
    """Have the disks of ``servers`` be full: no room for lines, nor for files."""
    for server in servers:
        server.changelog.is_full = full
        server.system.has_room = not full


@pytest.mark.parametrize("full", ["primary", "replica", "both"])
@in_reactor
async def test_pages_files_and_metadata_pass_through_and_are_kept_when_there_is_room(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream, full: str
) -> None:
    fake.add_project("hello", {WHEEL: CONTENT}, metadata={WHEEL: TEXT})
    replica = make_server(primary)
    await replica.pull()
    servers = {"primary": [primary], "replica": [replica], "both": [primary, replica]}[full]
    fill(*servers)
    if replica in servers:  # the next line that came told
        with pytest.raises(StorageFull):
            await replica.writer.receive([b"2 0 {}"])
    page = await replica.get(SIMPLE)
    assert (page.status, WHEEL.encode() in page.body) == (200, True), page.body
    path = f"/{MIRROR}/{replica.file('hello', WHEEL).path}"
    answers = await gatherResults([Deferred.fromCoroutine(replica.get(path)) for _ in range(5)])
    assert {(answer.status, answer.body == CONTENT) for answer in answers} == {(200, True)}
    assert fake.count(f"/files/hello/{WHEEL}") == 1
    beside = await replica.get(f"{path}.metadata")
    assert (beside.status, beside.body) == (200, TEXT)
    for server in servers:
        assert not server.has(CONTENT, WHEEL)
        assert server.readers.get().serial() == server.changelog.last.serial
    fill(*servers, full=False)
    for server in (primary, replica):
        server.clock.shift = UNRECORDED_EXPIRY
        server.writer.retry()
    if full != "primary":
        await replica.pull()
    assert (await replica.get(SIMPLE)).status == 200
    assert (await replica.get(path)).body == CONTENT
    await until(lambda: replica.has(CONTENT, WHEEL))
    await until(lambda: full == "primary" or primary.has(CONTENT, WHEEL))
    await until(lambda: replica.changelog.last == primary.changelog.last)
    assert replica.readers.unrecorded.get(MIRROR, "hello") is None
    assert replica.file("hello", WHEEL).link.size == len(CONTENT)


@in_reactor
async def test_a_private_file_passes_through_a_replica_whose_disk_is_full(
    primary: Server, make_server: Callable[..., Server]
) -> None:
    await primary.commit(*primary.upload("demo-1.0.tar.gz", CONTENT))
    replica = make_server(primary)
    await replica.pull()
    fill(replica)
    path = f"/{STAGE}/+f/{blob_address(hashlib.sha256(CONTENT).hexdigest(), 'demo-1.0.tar.gz').relative}"
    for _ in range(2):
        answer = await replica.get(path)
        assert (answer.status, answer.body) == (200, CONTENT)
    part = await replica.get(path, Range="bytes=10-19")
    assert (part.status, part.body) == (206, CONTENT[10:20])
    assert not replica.has(CONTENT, "demo-1.0.tar.gz")
    fill(replica, full=False)
    assert (await replica.get(path)).body == CONTENT
    await until(lambda: replica.has(CONTENT, "demo-1.0.tar.gz"))


@in_reactor
async def test_a_replica_that_takes_no_unrecorded_pages_is_told_that_the_disk_is_full(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    """As replicas of earlier versions."""
    fake.add_project("hello", {WHEEL: CONTENT})
    replica = make_server(primary)
    await replica.pull()
    fill(primary)
    pages: Any = replica.mirrors.pages
    client: PrimaryClient = pages._source._client
    question = {"index": MIRROR, "project": "hello", "force": False}
    with pytest.raises(StorageFull, match="No space left"):
        await client.post(PAGE, question)
    answer = await client.post(PAGE, {**question, "unrecorded": True})
    assert WHEEL in answer["page"]
    path = primary.file("hello", WHEEL).path
    with pytest.raises(StorageFull, match="No space left"):
        await client.post(METADATA, {"index": MIRROR, "project": "hello", "path": path})
