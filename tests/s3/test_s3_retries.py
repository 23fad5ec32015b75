"""A bucket that fails: what may help is tried again; what cannot is reported at once, with what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import attrs
import pytest
from botocore.credentials import ReadOnlyCredentials
from twisted.internet.defer import Deferred

from tests.fakes.s3_buckets import OpenBucket, reactor
from tests.fakes.s3_server import SECRET_KEY
from tests.http.raw_server import RawConnection, RawServer
from tests.in_reactor import in_reactor, offload, until, wait_for
from twistpi.s3.bucket import Bucket
from twistpi.s3.credentials import Credentials, Keys
from twistpi.s3.errors import BucketRefused, BucketUnavailable

LIMIT = 1_000_000
Answer = Callable[[RawConnection], None]


def refusal(status: int, code: str, message: str = "") -> Answer:
    """An answer as S3 gives it."""
    xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return sending(b"HTTP/1.1 %d Bad\r\nContent-Length: %d\r\n\r\n%s" % (status, len(xml), xml))


def sending(content: bytes) -> Answer:
    """An answer of these bytes."""
    return lambda connection: connection.send(content)


STORED = sending(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: "1"\r\n\r\n')


def closing(connection: RawConnection) -> None:
    connection.transport.abortConnection()


def silent(_connection: RawConnection) -> None:
    """Answer nothing, and keep the connection."""


Serve = Callable[..., tuple[Bucket, RawServer]]


class Script:
    """Gives one answer after the other, and the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self._left = list(answers)

    def __call__(self, connection: RawConnection, head: bytes) -> None:
        Deferred.fromCoroutine(self._answer(connection, head))

    async def _answer(self, connection: RawConnection, head: bytes) -> None:
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        size = int(length[1]) if length else 0
        await until(lambda: len(connection.body) == size)
        (self._left.pop(0) if len(self._left) > 1 else self._left[0])(connection)


class ExpiringKeys:
    """Keys of a role, others each time."""

    def __init__(self) -> None:
        self.given = 0

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        self.given += 1
        return ReadOnlyCredentials(f"key{self.given}", "secret", "token")


@pytest.fixture
def serve(connect: OpenBucket) -> Iterator[Callable[..., tuple[Bucket, RawServer]]]:
    """Starts a server with these answers, and opens a bucket there that hardly waits between attempts."""
    servers: list[RawServer] = []

    def start(*answers: Answer, keys: Keys | None = None) -> tuple[Bucket, RawServer]:
        servers.append(RawServer(reactor, Script(*answers)).start())
        bucket = connect("s3://demo/p", servers[-1].url)
        requests = attrs.evolve(bucket.requests, http=attrs.evolve(bucket.requests.http, timeout=0.3), delays=(0.001, 0.002))
        if keys is not None:
            requests.credentials = Credentials(reactor, offload, lambda: keys)
        return attrs.evolve(bucket, requests=requests), servers[-1]

    yield start
    for server in servers:
        wait_for(Deferred.fromCoroutine(server.stop()))


@pytest.mark.parametrize(
    "stumbles",
    [
        (refusal(503, "SlowDown"),) * 3,
        (refusal(500, "InternalError"), refusal(503, "ServiceUnavailable")),
        (closing, closing),
        (silent,),
        (sending(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>"),),
        (refusal(400, "RequestTimeout"), refusal(429, "TooManyRequests")),
    ],
)
@in_reactor
async def test_what_passes_is_tried_again(serve: Serve, tmp_path: Path, stumbles: tuple[Answer, ...]) -> None:
    bucket, server = serve(*stumbles, STORED)
    await bucket.put("a", b"content")
    assert len(server.heads) == len(stumbles) + 1
    assert server.connections[-1].body == b"content"
    bucket, server = serve(*stumbles, STORED)
    (tmp_path / "file").write_bytes(bytes(300_000))
    with (tmp_path / "file").open("rb") as file:
        await bucket.put_file("a", file, 300_000, sha256(bytes(300_000)).hexdigest())
    assert server.connections[-1].body == bytes(300_000)


@in_reactor
async def test_a_bucket_that_does_not_recover_is_given_up_with_its_last_words(serve: Serve) -> None:
    bucket, server = serve(refusal(503, "SlowDown", "Reduce your request rate."))
    with pytest.raises(
        BucketUnavailable, match=r"could not store a: it answered 503 SlowDown \(Reduce.*try again later"
    ) as caught:
        await bucket.put("a", b"content")
    assert (caught.value.status, caught.value.retry_after) == (503, 5)
    assert len(server.heads) == 8


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (refusal(403, "AccessDenied"), "give the access key the rights that docs/cluster.rst lists"),
        (refusal(403, "RequestTimeTooSkewed"), "set this machine's clock"),
        (refusal(404, "NoSuchBucket"), "make the bucket, or correct its name"),
        (refusal(301, "PermanentRedirect"), "set --s3-region and --s3-endpoint"),
        (refusal(400, "AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong"), "set --s3-region to the region"),
        (refusal(418, "Odd", "I am a\nteapot"), r"418 Odd \(I am a teapot\)"),
        (sending(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n<html"), "AccessDenied"),
    ],
)
@in_reactor
async def test_what_somebody_has_to_mend_is_said_at_once(serve: Serve, answer: Answer, advice: str) -> None:
    bucket, server = serve(answer)
    with pytest.raises(BucketRefused, match=advice):
        await bucket.put("a", b"content")
    assert len(server.heads) == 1


@in_reactor
async def test_keys_that_expired_are_replaced(serve: Serve) -> None:
    bucket, server = serve(refusal(400, "ExpiredToken"), STORED, keys=ExpiringKeys())
    await bucket.put("a", b"content")
    await bucket.put("b", b"content")
    assert re.findall(rb"Credential=(\w+)/", b"".join(server.heads)) == [b"key1", b"key2", b"key2"]
    assert all(b"x-amz-security-token: token" in head.lower() for head in server.heads)


@in_reactor
async def test_without_keys_nothing_is_sent(serve: Serve) -> None:
    bucket, server = serve(STORED)
    bucket.requests.credentials = Credentials(reactor, offload, lambda: None)
    with pytest.raises(BucketRefused, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        await bucket.put("a", b"content")
    assert server.heads == []


@in_reactor
async def test_nobody_sees_the_keys(serve: Serve) -> None:
    bucket, server = serve(STORED)
    await bucket.put("a", b"content")
    assert SECRET_KEY.encode() not in server.heads[0]
    assert SECRET_KEY not in repr(bucket)


@in_reactor
async def test_an_object_that_breaks_off_goes_on_where_it_broke(serve: Serve) -> None:
    def broken(connection: RawConnection) -> None:
        connection.send(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: "x"\r\n\r\n01234')
        connection.close()

    rest = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\n56789"
    bucket, server = serve(broken, sending(rest))
    received: list[bytes] = []
    assert await bucket.download("a", received.append) == 10
    assert b"".join(received) == b"0123456789"
    assert b"range: bytes=5-" in server.heads[1].lower()
    assert b'if-match: "x"' in server.heads[1].lower()
