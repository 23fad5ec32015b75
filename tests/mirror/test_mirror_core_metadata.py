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
from tests.mirror.mirror_setup import Setup, start
from twistpi.model.changes import FileCached, MetadataCached, MetadataMissing
from twistpi.model.errors import NoMetadata, UpstreamFailed, UpstreamUnreachable

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


async def learn(setup: Setup, content: bytes, **options: Any) -> None:
    """Have the mirror know one project with one wheel."""
    setup.fake.add_project("hello", {WHEEL: content}, **options)
    await setup.mirror.ensure(setup.index, "hello")


async def ask(setup: Setup, filename: str = WHEEL) -> bytes:
    """Ask for the metadata as a client does."""
    address = await setup.core_metadata.metadata(setup.index, "hello", setup.file("hello", filename))
    with setup.blobs.open(address) as file:
        content: bytes = file.read()
    return content


@pytest.mark.parametrize("announced", [True, False])
@in_reactor
async def test_an_upstream_that_says_later_is_asked_for_metadata_once(setup: Setup, announced: bool) -> None:
    name = "hello-1.0-py3-none-any.whl"
    setup.fake.add_project("hello", {name: b"wheel"}, metadata={name: b"x"} if announced else {})
    await setup.mirror.ensure(setup.index, "hello")
    path = f"/files/hello/{name}" + ".metadata" * announced
    setup.fake.misbehave(path, Status(429, {"Retry-After": "20"}))
    with pytest.raises(UpstreamUnreachable) as caught:
        await setup.core_metadata.metadata(setup.index, "hello", setup.file("hello", name))
    assert (caught.value.status, caught.value.retry_after) == (503, 20)
    with pytest.raises(UpstreamFailed) as caught_too:
        await setup.download("hello", name)
    assert (caught_too.value.status, caught_too.value.retry_after) in ((503, 19), (503, 20))
    assert (setup.fake.count(path), len(setup.fake.seen)) == (1, 2), "the file and its metadata are left in peace"
    setup.fake.behave(path)
    setup.clock.shift += 21
    assert await setup.download("hello", name) == b"wheel"


@in_reactor
async def test_R37_announced_metadata_is_mirrored_once_for_all_askers(setup: Setup) -> None:
    await learn(setup, make_wheel(), metadata={WHEEL: METADATA})
    assert set(await gatherResults([start(ask(setup)) for _ in range(10)])) == {METADATA}
    assert setup.fake.count(f"{FILE}.metadata") == 1
    assert setup.fake.count(FILE) == 0
    digest = hashlib.sha256(METADATA).hexdigest()
    assert setup.changes(MetadataCached) == [MetadataCached("root/up", "hello", WHEEL, digest, len(METADATA))]
    assert await ask(setup) == METADATA
    assert setup.fake.count(f"{FILE}.metadata") == 1


@in_reactor
async def test_R38_metadata_nobody_announced_is_read_by_ranges(setup: Setup) -> None:
    await learn(setup, make_wheel())
    assert await ask(setup) == METADATA
    fetched = [seen.header("Range") for seen in setup.fake.seen if seen.path == FILE]
    assert fetched
    assert None not in fetched
    assert setup.changes(FileCached) == []


@in_reactor
async def test_R38_ranges_need_no_size_in_the_page(setup: Setup) -> None:
    await learn(setup, make_wheel(), form="html")
    assert setup.file("hello", WHEEL).link.size is None
    assert await ask(setup) == METADATA
    assert setup.changes(FileCached) == []


@in_reactor
async def test_R38_without_ranges_the_whole_wheel_is_cached_and_read(setup: Setup) -> None:
    await learn(setup, make_wheel())
    setup.fake.documents[FILE].ranges = False
    assert await ask(setup) == METADATA
    assert len(setup.changes(FileCached)) == 1


@in_reactor
async def test_the_metadata_of_a_cached_wheel_needs_no_upstream(setup: Setup) -> None:
    await learn(setup, make_wheel(), metadata={WHEEL: METADATA})
    await setup.download("hello", WHEEL)
    await until(lambda: setup.file("hello", WHEEL).cached)
    await setup.fake.stop()
    assert await ask(setup) == METADATA


@in_reactor
async def test_the_metadata_of_a_wheel_without_digest_keeps_its_place_when_the_wheel_comes(setup: Setup) -> None:
    await learn(setup, make_wheel(), hashes=())
    first = await setup.core_metadata.metadata(setup.index, "hello", setup.file("hello", WHEEL))
    await setup.download("hello", WHEEL)
    await until(lambda: setup.file("hello", WHEEL).cached)
    assert await setup.core_metadata.metadata(setup.index, "hello", setup.file("hello", WHEEL)) == first
    assert len(setup.changes(MetadataCached)) == 1


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
async def test_R38_bad_announced_metadata_degrades_to_the_wheels_own(setup: Setup, what: str, announced: str) -> None:
    if announced == "true" and what == "other bytes":
        return  # without a digest, other metadata is as good as any
    extra = {WHEEL: {"core-metadata": True}} if announced == "true" else {}
    await learn(setup, make_wheel(), metadata={WHEEL: METADATA}, extra=extra)
    setup.fake.misbehave(f"{FILE}.metadata", BAD[what])
    assert await ask(setup) == METADATA
    assert len(setup.changes(MetadataCached)) == 1


@pytest.mark.parametrize("content", [b"no archive at all", make_wheel(None)])
@in_reactor
async def test_R38_a_wheel_without_readable_metadata_has_none_and_that_is_remembered(setup: Setup, content: bytes) -> None:
    await learn(setup, content)
    with pytest.raises(NoMetadata):
        await ask(setup)
    assert len(setup.changes(MetadataMissing)) == 1
    asked = len(setup.fake.seen)
    with pytest.raises(NoMetadata):
        await ask(setup)
    assert len(setup.fake.seen) == asked


@in_reactor
async def test_an_sdist_has_metadata_only_where_the_upstream_says_so(setup: Setup) -> None:
    setup.fake.add_project(
        "hello", {"hello-1.0.tar.gz": b"one", "hello-2.0.tar.gz": b"two"}, metadata={"hello-1.0.tar.gz": METADATA}
    )
    await setup.mirror.ensure(setup.index, "hello")
    assert await ask(setup, "hello-1.0.tar.gz") == METADATA
    with pytest.raises(NoMetadata):
        await ask(setup, "hello-2.0.tar.gz")


@pytest.mark.parametrize("announced", [True, False])
@in_reactor
async def test_an_upstream_out_of_reach_is_no_proof_that_there_is_none(setup: Setup, announced: bool) -> None:
    await learn(setup, make_wheel(), metadata={WHEEL: METADATA} if announced else {})
    for path in (FILE, f"{FILE}.metadata"):
        setup.fake.misbehave(path, Silent())
    asking = start(ask(setup))
    await setup.keep_waiting()
    with pytest.raises(UpstreamUnreachable):
        await asking
    assert setup.changes(MetadataMissing) == []
    for path in (FILE, f"{FILE}.metadata"):
        setup.fake.behave(path)
    assert await ask(setup) == METADATA


@in_reactor
async def test_a_range_that_is_another_than_asked_for_is_not_believed(setup: Setup) -> None:
    await learn(setup, make_wheel())
    size = len(setup.fake.documents[FILE].body)
    setup.fake.misbehave(FILE, WithHeaders({"Content-Range": f"bytes 0-9/{size}"}), times=1)
    assert await ask(setup) == METADATA


@in_reactor
async def test_offline_only_what_is_here_is_read(make_setup: Callable[..., Setup]) -> None:
    setup, offline = make_setup(), make_setup(offline=True)
    await learn(setup, make_wheel())
    with pytest.raises(UpstreamUnreachable, match="offline"):
        await offline.core_metadata.metadata(offline.index, "hello", setup.file("hello", WHEEL))
