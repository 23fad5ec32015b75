"""Backups in a bucket of a real S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from tests.backup.backed_up import age, blobs_in, cache, compact, dump_of, log_in, remove, serial_of, upload
from tests.backup.test_backup_interrupted import progress
from tests.backup.test_backup_running import DAY, back_up, prune_at
from tests.cli.commands import now
from tests.fakes.s3_buckets import OpenBucket, reactor
from tests.fakes.s3_server import S3Server
from tests.in_reactor import in_reactor
from twistpi.backup.bucket import BucketStore
from twistpi.backup.restore import Restore
from twistpi.backup.target import Target
from twistpi.s3.bucket import Bucket
from twistpi.s3.threads import BlockingBucket


@pytest.fixture
def bucket(s3_server: S3Server, connect: OpenBucket) -> Bucket:
    return connect(f"s3://{s3_server.new_bucket()}/of/twistpi", s3_server.url)


@in_reactor
async def test_a_server_comes_back_from_a_bucket_as_it_was_at_any_serial(
    tmp_path: Path, filled: Path, s3_server: S3Server, bucket: Bucket
) -> None:
    await bucket.put("first", b"makes the bucket")
    url = f"s3://{bucket.address.bucket}/{bucket.address.prefix}"
    (tmp_path / "staging").mkdir()

    def store() -> BucketStore:
        return BucketStore(url, BlockingBucket(bucket, reactor), str(tmp_path / "staging"))

    def restore(name: str, target: Target) -> Path:
        Restore(str(tmp_path / name), store(), os.urandom, progress, accept_missing=False).run(target)
        return tmp_path / name

    def work() -> None:
        then, log, dumped = serial_of(filled), log_in(filled), dump_of(filled)
        # The command in a process of its own: it runs the reactor.
        command = [str(Path(sys.executable).with_name("twistpi")), "backup", "--serverdir", str(filled), "--with-secret", url]
        environment = {**os.environ, **s3_server.environment}
        done = subprocess.run([*command, "--s3-endpoint", s3_server.url], capture_output=True, text=True, env=environment)
        assert "new: 5 files" in done.stdout, done.stderr
        upload(filled, "demo-2.0.zip")
        cache(filled, "cached-2.0.zip")
        remove(filled, "demo-1.1.zip")
        assert back_up(filled, store()).files == 3

        last = restore("last", Target())
        assert (log_in(last), dump_of(last), blobs_in(last)) == (log_in(filled), dump_of(filled), blobs_in(filled))
        assert (last / "secret").read_bytes() == (filled / "secret").read_bytes()
        past = restore("past", Target(serial=then))
        assert (log_in(past), dump_of(past)) == (log, dumped)
        pruned = prune_at(filled, store(), "1", now())
        assert (pruned.manifests, pruned.files) == (1, 1)
        assert len(list(store().walk())) == len(blobs_in(filled))

        age(filled)
        summarised = compact(filled)
        assert back_up(filled, store()).begin.base.serial == summarised
        shorter = restore("shorter", Target())
        assert (log_in(shorter), dump_of(shorter), blobs_in(shorter)) == (log_in(filled), dump_of(filled), blobs_in(filled))
        assert prune_at(filled, store(), "1", now() + DAY).log_files == 1

    await deferToThread(work)
