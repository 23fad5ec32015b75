"""Views in a bucket, from which new nodes begin."""

from __future__ import annotations

import os
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from tests.cluster.nodes import LOG_ID, place
from tests.fakes.postgres import postgres
from tests.fakes.s3_buckets import FixedKeys, OpenBucket, connect
from tests.fakes.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from tests.in_reactor import in_reactor, offload
from twistpi.changelog.catch_up import catch_up
from twistpi.cluster.database import Database
from twistpi.cluster.schema import prepare
from twistpi.cluster.view_names import ViewName
from twistpi.http.blocking import BlockingClient
from twistpi.model.changes import UserCreated
from twistpi.model.codec import encode_content
from twistpi.s3.bucket import Bucket
from twistpi.s3.errors import BucketRefused
from twistpi.s3.reader import BucketReader
from twistpi.server.kept_views import KeptViews, bring_view, list_views
from twistpi.view.database import FOLD_VERSION, dump, is_empty_view

__all__ = ["connect"]


@pytest.fixture
def url() -> str:
    """Of a new log."""
    url = postgres().new_schema()
    prepare(url, os.urandom, time.time)
    return url


@pytest.fixture
def bucket(s3_server: S3Server, connect: OpenBucket) -> Bucket:
    return connect(f"s3://{s3_server.new_bucket()}/of/twistpi", s3_server.url)


def write(folder: Path, url: str, *names: str) -> int:
    """Have the node in ``folder`` write entries; return its last serial."""
    (folder / "incoming").mkdir(parents=True, exist_ok=True)
    log, view = place(folder).open(Database(url))
    with closing(log), closing(view):
        for name in names:
            at = datetime(2026, 11, 22, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            log.append([encode_content(at, "root", [UserCreated(name)])], log.last.serial)
        catch_up(log, view)
        return view.position.serial


def reader(bucket: Bucket) -> BucketReader:
    return BucketReader(bucket.address, BlockingClient(10.0), lambda: FixedKeys(ACCESS_KEY, SECRET_KEY))


@in_reactor
async def test_a_new_node_begins_with_the_view_of_the_node_that_leads(tmp_path: Path, url: str, bucket: Bucket) -> None:
    await bucket.put("first", b"makes the bucket")
    one, two = tmp_path / "one", tmp_path / "two"
    last = await deferToThread(write, one, url, "ann", "bob", "carol")
    leads = False
    views = KeptViews(bucket, str(one / "view.sqlite"), lambda: leads, lambda: last, offload, every=2)
    await views.look()
    assert await list_views(bucket) == []
    leads = True
    await views.look()
    [kept] = await list_views(bucket)
    assert (kept.fold_version, kept.serial) == (FOLD_VERSION, 3)
    await views.look()  # nothing is new
    assert await list_views(bucket) == [kept]
    assert list((one / "incoming").iterdir()) == []

    await deferToThread(write, one, url, "dan")
    two.mkdir()
    view = str(two / "view.sqlite")
    assert is_empty_view(view, LOG_ID)
    assert await deferToThread(bring_view, reader(bucket), view, LOG_ID, 4) == 3
    assert not is_empty_view(view, LOG_ID)
    assert await deferToThread(write, two, url) == 4  # the rest comes from the database
    assert list(dump(view)) == list(dump(str(one / "view.sqlite")))
    assert sorted(path.name for path in two.iterdir() if "brought" in path.name) == []


@in_reactor
async def test_a_view_that_is_not_what_it_says_is_not_used(tmp_path: Path, url: str, bucket: Bucket) -> None:
    await bucket.put("first", b"makes the bucket")
    view = str(tmp_path / "new.sqlite")
    assert await deferToThread(bring_view, reader(bucket), view, LOG_ID, 9) is None
    last = await deferToThread(write, tmp_path / "one", url, "ann")
    await KeptViews(bucket, str(tmp_path / "one/view.sqlite"), lambda: True, lambda: last, offload, every=1).look()
    assert await deferToThread(bring_view, reader(bucket), view, "2" * 32, 9) is None  # of another log
    assert await deferToThread(bring_view, reader(bucket), view, LOG_ID, 0) is None  # the database is older
    await bucket.put(ViewName(FOLD_VERSION, 2, "ab" * 32).key, b"damaged")
    assert await deferToThread(bring_view, reader(bucket), view, LOG_ID, 9) is None
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@in_reactor
async def test_a_bucket_that_refuses_its_reader_says_why(s3_server: S3Server, bucket: Bucket) -> None:
    await bucket.put("first", b"makes the bucket")
    stranger = BucketReader(bucket.address, BlockingClient(10.0), lambda: FixedKeys("nobody", SECRET_KEY))
    with pytest.raises(BucketRefused, match="AWS_ACCESS_KEY_ID"):
        await deferToThread(stranger.list, "")
    assert [info.key for info in (await deferToThread(reader(bucket).list, "")).objects] == ["first"]
