"""Fixtures of the tests of moves."""

from __future__ import annotations

import pytest

from tests.backup.backed_up import filled
from tests.cli.commands import made, made_once
from tests.fakes.postgres import postgres
from tests.fakes.s3_buckets import OpenBucket, connect
from tests.fakes.s3_server import S3Server
from tests.move.moving import Target

__all__ = ["connect", "filled", "made", "made_once"]


@pytest.fixture
def target(s3_server: S3Server, connect: OpenBucket) -> Target:
    """An empty schema, and an empty bucket."""
    return Target(postgres().new_schema(), connect(f"s3://{s3_server.new_bucket()}/of/twistpi", s3_server.url))
