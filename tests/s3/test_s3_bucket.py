"""A bucket of a real S3 server: what is stored is what is read, whatever its name and size."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from hashlib import md5, sha256
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.fakes.s3_buckets import IN_ONE, PART, OpenBucket, reactor
from tests.fakes.s3_server import READER_KEY, S3Server
from tests.in_reactor import in_reactor, offload
from twistpi.s3.bucket import Bucket
from twistpi.s3.errors import BucketRefused, NoSuchObject, ObjectExists
from twistpi.s3.multipart import Upload
from twistpi.s3.objects import ObjectInfo
from twistpi.s3.threads import BlockingBucket

LIMIT = 1_000_000
ODD = "ab/Ümläut +%2b 中文 'a&b<c>\"=~!()*,;:@$.whl"


async def names(bucket: Bucket, prefix: str = "") -> list[str]:
    return [one.key async for one in bucket.walk(prefix)]


@in_reactor
async def test_what_is_stored_can_be_read_and_is_listed_with_size_and_time(bucket: Bucket) -> None:
    before = time.time()
    await bucket.put("a/b.txt", b"hello")
    assert await bucket.read("a/b.txt", LIMIT) == b"hello"
    info = await bucket.head("a/b.txt")
    assert info is not None
    assert (info.key, info.size) == ("a/b.txt", 5)
    assert before - 2 < info.modified < time.time() + 2
    page = await bucket.list()
    assert [(one.key, one.size, page.is_last) for one in page.objects] == [("a/b.txt", 5, True)]
    assert abs(page.objects[0].modified - info.modified) < 1


@in_reactor
async def test_names_of_all_kinds_survive(bucket: Bucket) -> None:
    await bucket.put(ODD, b"odd")
    assert await bucket.read(ODD, LIMIT) == b"odd"
    assert await names(bucket) == [ODD]
    with await offload(urlopen, await bucket.presign(ODD, 60, filename="中 文.whl", content_type="text/x-odd")) as response:
        assert response.read() == b"odd"
        assert response.headers["Content-Type"] == "text/x-odd"
        assert "%E4%B8%AD%20%E6%96%87.whl" in response.headers["Content-Disposition"]
    await bucket.delete(ODD)
    assert await names(bucket) == []


@in_reactor
async def test_what_is_not_there_is_told_from_what_is_wrong(bucket: Bucket) -> None:
    await bucket.put("other", b"")
    assert await bucket.head("none") is None
    with pytest.raises(NoSuchObject):
        await bucket.get("none")
    await bucket.delete("none")
    assert await bucket.read("other", LIMIT) == b""


@in_reactor
async def test_a_file_is_stored_with_its_digest_and_read_from_the_middle(bucket: Bucket, tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    (tmp_path / "file").write_bytes(content)
    digest = sha256(content).hexdigest()
    with (tmp_path / "file").open("rb") as file:
        await bucket.put_file("file", file, len(content), digest)
    info = await bucket.head("file")
    assert info is not None
    assert (info.size, info.sha256) == (len(content), digest)
    part = await bucket.get("file", first=100, last=299_999)
    assert part.status == 206
    assert await part.read(LIMIT) == content[100:300_000]


@pytest.mark.parametrize("size", [5, IN_ONE + 1])
@in_reactor
async def test_of_two_who_make_an_object_one_is_told_that_there_is_one(bucket: Bucket, tmp_path: Path, size: int) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.truncate(size)
        digest = sha256(bytes(size)).hexdigest()
        await bucket.put_file("file", file, size, digest, if_absent=True)
        with pytest.raises(ObjectExists):
            await bucket.put_file("file", file, size, digest, if_absent=True)
        await bucket.put_file("file", file, size, digest)
    with pytest.raises(ObjectExists):
        await bucket.put("file", b"other", if_absent=True)
    info = await bucket.head("file")
    assert info is not None
    assert info.size == size


@in_reactor
async def test_the_bucket_refuses_other_bytes_than_those_that_were_meant(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"damaged")
    with (tmp_path / "file").open("rb") as file, pytest.raises(BucketRefused):
        await bucket.put_file("file", file, 7, sha256(b"correct").hexdigest())
    assert await bucket.head("file") is None


@in_reactor
async def test_the_bucket_refuses_a_part_that_changed_on_its_way(bucket: Bucket) -> None:
    upload = await Upload.begin(bucket.requests, "large", {})
    with pytest.raises(BucketRefused):
        await upload.send(1, b"damaged", md5(b"correct").digest())
    await upload.abort()


@in_reactor
async def test_a_large_file_goes_in_parts_and_comes_back_whole(bucket: Bucket, tmp_path: Path) -> None:
    size = IN_ONE + 2 * PART + 1
    block = os.urandom(1024 * 1024)
    with (tmp_path / "file").open("w+b") as file:
        while (missing := size - file.tell()) > 0:
            file.write(block[:missing])
        file.flush()
        file.seek(0)
        digest = sha256(file.read()).hexdigest()
        await bucket.put_file("large", file, size, digest)
    info = await bucket.head("large")
    assert info is not None
    assert (info.size, info.sha256) == (size, digest)
    received = sha256()
    assert await bucket.download("large", received.update) == size
    assert received.hexdigest() == digest


@pytest.mark.parametrize("size", [0, 10, PART, 2 * PART + 5])
@in_reactor
async def test_bytes_of_unknown_number_are_stored_as_they_come(bucket: Bucket, size: int) -> None:
    block = os.urandom(300_000)

    async def pieces() -> AsyncIterator[bytes]:
        left = size
        while left > 0:
            yield block[:left]
            left -= len(block)

    assert await bucket.put_stream("stream", pieces()) == size
    expected = sha256()
    async for piece in pieces():
        expected.update(piece)
    received = sha256()
    assert await bucket.download("stream", received.update) == size
    assert received.digest() == expected.digest()


@in_reactor
async def test_a_stream_that_fails_leaves_nothing(bucket: Bucket) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(PART + 1)
        raise OSError("the disk broke")

    with pytest.raises(OSError, match="the disk broke"):
        await bucket.put_stream("stream", pieces())
    assert await names(bucket) == []
    response = await bucket.requests.send("list uploads", "GET", None, {"uploads": ""})
    assert b"<Upload>" not in await response.read(LIMIT)


@in_reactor
async def test_a_list_goes_on_after_a_key_and_keeps_to_its_prefix(bucket: Bucket) -> None:
    keys = sorted(f"{folder}/{number:03}" for folder in ("000", "aab", "fff") for number in range(5))
    for key in keys:
        await bucket.put(key, b"x")
    assert await names(bucket) == keys
    assert await names(bucket, "aab/") == keys[5:10]
    page = await bucket.list(after=keys[6], limit=3)
    assert ([one.key for one in page.objects], page.is_last) == (keys[7:10], False)
    page = await bucket.list(after=keys[-2])
    assert ([one.key for one in page.objects], page.is_last) == (keys[-1:], True)


@in_reactor
async def test_a_presigned_address_lasts_as_long_as_it_was_given_for(bucket: Bucket) -> None:
    await bucket.put("a", b"secret")
    address = await bucket.presign("a", 60)
    assert "X-Amz-Expires=60" in address
    assert await offload(lambda: urlopen(address).read()) == b"secret"
    with pytest.raises(HTTPError, match="403"):
        await offload(urlopen, address.replace("X-Amz-Expires=60", "X-Amz-Expires=600"))


@in_reactor
async def test_who_may_only_read_is_told_which_rights_are_missing(s3_server: S3Server, connect: OpenBucket) -> None:
    url = f"s3://{s3_server.new_bucket()}"
    await connect(url, s3_server.url).put("a", b"x")
    reader = connect(url, s3_server.url, READER_KEY)
    assert await reader.read("a", LIMIT) == b"x"
    with pytest.raises(BucketRefused, match=r"did not store b: it answered 403 AccessDenied.*docs/cluster.rst"):
        await reader.put("b", b"x")


@in_reactor
async def test_wrong_keys_are_told_from_missing_rights(s3_server: S3Server, connect: OpenBucket) -> None:
    url = f"s3://{s3_server.new_bucket()}"
    with pytest.raises(BucketRefused, match=r"InvalidAccessKeyId.*check AWS_ACCESS_KEY_ID"):
        await connect(url, s3_server.url, "nobody").put("a", b"x")
    with pytest.raises(BucketRefused, match=r"SignatureDoesNotMatch.*check AWS_ACCESS_KEY_ID"):
        await connect(url, s3_server.url, secret_key="wrong").put("a", b"x")


@in_reactor
async def test_a_bucket_that_does_not_exist_is_not_made_for_a_reader(s3_server: S3Server, connect: OpenBucket) -> None:
    nowhere = connect(f"s3://{s3_server.new_bucket()}", s3_server.url, READER_KEY)
    with pytest.raises(BucketRefused, match=r"NoSuchBucket.*make the bucket"):
        await nowhere.list()


@in_reactor
async def test_threads_use_the_same_bucket(bucket: Bucket) -> None:
    blocking = BlockingBucket(bucket, reactor)

    def work() -> tuple[bytes, list[str], ObjectInfo | None]:
        blocking.put("a", b"1")
        blocking.put_stream("b", iter([b"22", b"33"]))
        found = blocking.read("b", LIMIT), [one.key for one in blocking.walk()], blocking.head("none")
        blocking.delete("a")
        return found

    assert await offload(work) == (b"2233", ["a", "b"], None)
    assert await names(bucket) == ["b"]
