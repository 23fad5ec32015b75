"""A bucket of a real server."""

from tests.fakes.s3_buckets import bucket, connect

__all__ = ("bucket", "connect")
