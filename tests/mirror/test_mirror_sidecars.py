"""Core metadata from wherever it can be had."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import gatherResults

from tests.fakes.upstream import CutOff, Fault, Hangup, Redirect, Silent, Status, WithHeaders, WrongBody
from tests.in_reactor import in_reactor, until
from tests.mirror.mirror_house import House, start
from twistpi.model.changes import FileCached, MetadataCached, MetadataMissing
from twistpi.model.errors import NoMetadata, UpstreamUnreachable

WHEEL = "hello-1.0-py3-none-any.whl"
FILE = f"/files/hello/{WHEEL}"
METADATA = b"Metadata-Version: 2.1\nName: hello\nVersion: 1.0\nRequires-Dist: other\n"


def make_wheel(metadata: bytes | None = METADATA, ballast: int = 300_000) -> bytes:
    """A wheel with something in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("hello/ballast.bin", os.urandom(ballast))
        if metadata is not None:
            archive.writestr("hello-1.0.dist-info/METADATA", metadata)
        archive.writestr("hello-1.0.dist-info/RECORD", "")
    return buffer.getvalue()


async def learn(house: House, content: bytes, **options: Any) -> None:
    """Have the mirror know one project with one wheel."""
    house.fake.add_project("hello", {WHEEL: content}, **options)
    await house.mirror.ensure(house.index, "hello")


async def ask(house: House, filename: str = WHEEL) -> bytes:
    """Ask for the metadata as a client does."""
    address = await house.sidecars.metadata(house.index, "hello", house.file("hello", filename))
    with house.blobs.open(address) as file:
        return file.read()


@in_reactor
async def test_R37_announced_metadata_is_mirrored_once_for_all_askers(house: House) -> None:
    await learn(house, make_wheel(), metadata={WHEEL: METADATA})
    assert set(await gatherResults([start(ask(house)) for _ in range(10)])) == {METADATA}
    assert house.fake.count(f"{FILE}.metadata") == 1
    assert house.fake.count(FILE) == 0
    digest = hashlib.sha256(METADATA).hexdigest()
    assert house.changes(MetadataCached) == [MetadataCached("root/up", "hello", WHEEL, digest, len(METADATA))]
    assert await ask(house) == METADATA
    assert house.fake.count(f"{FILE}.metadata") == 1


@in_reactor
async def test_R38_metadata_nobody_announced_is_read_by_ranges(house: House) -> None:
    await learn(house, make_wheel())
    assert await ask(house) == METADATA
    fetched = [seen.header("Range") for seen in house.fake.seen if seen.path == FILE]
    assert fetched
    assert None not in fetched
    assert house.changes(FileCached) == []


@in_reactor
async def test_R38_ranges_need_no_size_in_the_page(house: House) -> None:
    await learn(house, make_wheel(), form="html")
    assert house.file("hello", WHEEL).link.size is None
    assert await ask(house) == METADATA
    assert house.changes(FileCached) == []


@in_reactor
async def test_R38_without_ranges_the_whole_wheel_is_cached_and_read(house: House) -> None:
    await learn(house, make_wheel())
    house.fake.documents[FILE].ranges = False
    assert await ask(house) == METADATA
    assert len(house.changes(FileCached)) == 1


@in_reactor
async def test_the_metadata_of_a_cached_wheel_needs_no_upstream(house: House) -> None:
    await learn(house, make_wheel(), metadata={WHEEL: METADATA})
    await house.download("hello", WHEEL)
    await until(lambda: house.file("hello", WHEEL).cached)
    await house.fake.stop()
    assert await ask(house) == METADATA


@in_reactor
async def test_the_metadata_of_a_wheel_without_digest_keeps_its_place_when_the_wheel_comes(house: House) -> None:
    await learn(house, make_wheel(), hashes=())
    first = await house.sidecars.metadata(house.index, "hello", house.file("hello", WHEEL))
    await house.download("hello", WHEEL)
    await until(lambda: house.file("hello", WHEEL).cached)
    assert await house.sidecars.metadata(house.index, "hello", house.file("hello", WHEEL)) == first
    assert len(house.changes(MetadataCached)) == 1


BAD: dict[str, Fault] = {
    "other bytes": WrongBody(b"Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n"),
    "an error page": WrongBody(b"<html>please log in</html>"),
    "404": Status(404),
    "500": Status(500),
    "cut off": CutOff(20),
    "hangs up": Hangup(),
    "circles": Redirect(f"{FILE}.metadata"),
}


@pytest.mark.parametrize("announced", ["digest", "true"])
@pytest.mark.parametrize("what", BAD)
@in_reactor
async def test_R38_bad_announced_metadata_degrades_to_the_wheels_own(house: House, what: str, announced: str) -> None:
    if announced == "true" and what == "other bytes":
        return  # without a digest, other metadata is as good as any
    extra = {WHEEL: {"core-metadata": True}} if announced == "true" else {}
    await learn(house, make_wheel(), metadata={WHEEL: METADATA}, extra=extra)
    house.fake.misbehave(f"{FILE}.metadata", BAD[what])
    assert await ask(house) == METADATA
    assert len(house.changes(MetadataCached)) == 1


@pytest.mark.parametrize("content", [b"no archive at all", make_wheel(None), make_wheel(b"not metadata")])
@in_reactor
async def test_R38_a_wheel_without_readable_metadata_has_none_and_that_is_remembered(house: House, content: bytes) -> None:
    await learn(house, content)
    with pytest.raises(NoMetadata):
        await ask(house)
    assert len(house.changes(MetadataMissing)) == 1
    asked = len(house.fake.seen)
    with pytest.raises(NoMetadata):
        await ask(house)
    assert len(house.fake.seen) == asked


@in_reactor
async def test_an_sdist_has_metadata_only_where_the_upstream_says_so(house: House) -> None:
    house.fake.add_project(
        "hello", {"hello-1.0.tar.gz": b"one", "hello-2.0.tar.gz": b"two"}, metadata={"hello-1.0.tar.gz": METADATA}
    )
    await house.mirror.ensure(house.index, "hello")
    assert await ask(house, "hello-1.0.tar.gz") == METADATA
    with pytest.raises(NoMetadata):
        await ask(house, "hello-2.0.tar.gz")


@pytest.mark.parametrize("announced", [True, False])
@in_reactor
async def test_an_upstream_out_of_reach_is_no_proof_that_there_is_none(house: House, announced: bool) -> None:
    await learn(house, make_wheel(), metadata={WHEEL: METADATA} if announced else {})
    for path in (FILE, f"{FILE}.metadata"):
        house.fake.misbehave(path, Silent())
    asking = start(ask(house))
    await house.keep_waiting()
    with pytest.raises(UpstreamUnreachable):
        await asking
    assert house.changes(MetadataMissing) == []
    for path in (FILE, f"{FILE}.metadata"):
        house.fake.behave(path)
    assert await ask(house) == METADATA


@in_reactor
async def test_a_range_that_is_another_than_asked_for_is_not_believed(house: House) -> None:
    await learn(house, make_wheel())
    size = len(house.fake.documents[FILE].body)
    house.fake.misbehave(FILE, WithHeaders({"Content-Range": f"bytes 0-9/{size}"}), times=1)
    assert await ask(house) == METADATA


@in_reactor
async def test_offline_only_what_is_here_is_read(make_house: Callable[..., House]) -> None:
    house, offline = make_house(), make_house(offline=True)
    await learn(house, make_wheel())
    with pytest.raises(UpstreamUnreachable, match="offline"):
        await offline.sidecars.metadata(offline.index, "hello", house.file("hello", WHEEL))
