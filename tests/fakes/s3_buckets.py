"""Buckets of a real server, for one test: fixtures, to be imported by a ``conftest.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.credentials import ReadOnlyCredentials
from twisted.internet import reactor as _reactor

from tests.fakes.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from tests.in_reactor import offload, settle, wait_for
from twistpi.s3.address import parse_bucket
from twistpi.s3.bucket import Bucket, open_bucket
from twistpi.s3.credentials import Credentials
from twistpi.s3.multipart import PartSizes

reactor: Any = _reactor
OpenBucket = Callable[..., Bucket]
IN_ONE = 6 * 1024 * 1024
"""Bytes up to which a file is sent in one request here."""
PART = 5 * 1024 * 1024
"""Bytes of a part; S3 takes no smaller ones."""


class FixedKeys:
    """Keys that never change."""

    def __init__(self, access_key: str, secret_key: str) -> None:
        self._keys = ReadOnlyCredentials(access_key, secret_key, None)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """See ``Keys``."""
        return self._keys


@pytest.fixture
def connect() -> Iterator[OpenBucket]:
    """Opens buckets; they are closed when the test is over."""
    opened: list[Bucket] = []

    def start(url: str, endpoint: str, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY, **options: Any) -> Bucket:
        credentials = Credentials(reactor, offload, lambda: FixedKeys(access_key, secret_key))
        address = parse_bucket(url, endpoint=endpoint, **options)
        opened.append(open_bucket(address, reactor, offload, reactor.callFromThread, {}, credentials=credentials))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
    wait_for(settle())


@pytest.fixture
def bucket(s3_server: S3Server, connect: OpenBucket) -> Bucket:
    """A new bucket, below a prefix, with parts that are small."""
    bucket = connect(f"s3://{s3_server.new_bucket()}/some/prefix", s3_server.url)
    bucket.sizes = PartSizes(IN_ONE, PART)
    return bucket
