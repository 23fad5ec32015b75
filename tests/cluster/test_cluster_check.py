"""``twistpi check`` of a cluster: what is wrong in the database, in the bucket and on the node is found, and put right."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from twisted.internet.threads import deferToThread

from tests.backup.backed_up import cache, content_of, digest_of, document, upload
from tests.backup.test_backup_running import back_up
from tests.cli.commands import made, made_once
from tests.fakes.postgres import postgres
from tests.fakes.s3_buckets import OpenBucket, connect, reactor
from tests.fakes.s3_server import S3Server
from tests.in_reactor import in_reactor
from tests.move.moving import Target, log_id_of, quiet
from twistpi.backup.store import FolderStore
from twistpi.blobs.address import blob_address
from twistpi.blobs.bucket import BlobBucket
from twistpi.blobs.tree import open_tree
from twistpi.changelog.disk import Disk
from twistpi.cli.bucket_check import BucketCheck
from twistpi.cli.cluster_check import ClusterCheck
from twistpi.cli.file_check import Counts
from twistpi.model.changes import UserCreated
from twistpi.model.codec import encode_content
from twistpi.s3.threads import BlockingBucket
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage, reading

__all__ = ["connect", "made", "made_once"]


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def node(tmp_path: Path) -> Settings:
    """A node of a cluster with three entries."""
    path = str(tmp_path / "cache")
    url = postgres().new_schema()
    settings = Settings(changelog=url, cache_dir=path, serverdir=path, no_root_pypi=True, bcrypt_cost=4)
    with closing(Storage.open(settings, now, Disk())) as storage:
        for name in ("ann", "bob"):
            body = encode_content("2027-11-22T17:00:00.000000Z", "root", [UserCreated(name)])
            storage.log.append([body], storage.log.last.serial)
        storage.catch_up()
    return settings


def findings(node: Settings, *, repair: bool = False) -> list[str]:
    """What is wrong, or was."""
    check = ClusterCheck(node, node.changelog or "", quiet, Counts(), repair, None, False)
    return [finding.text for finding in check.run() if finding.wrong or finding.repaired]


def test_a_cluster_that_is_well_is_verified_to_its_last_entry(node: Settings) -> None:
    counts = Counts()
    found = list(ClusterCheck(node, node.changelog or "", quiet, counts, False, None, False).run())
    assert [finding.wrong for finding in found] == [False]
    assert found[0].text.startswith("checked up to serial 3 of the database at ")
    assert counts.entries == 3


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE twistpi_lines SET body = convert_to('{}', 'UTF8') WHERE serial = 2", "at serial 2: the line and its chain"),
        ("DELETE FROM twistpi_lines WHERE serial = 2", "at serial 2: serial 2 is due here, but the line says 3"),
        ("DELETE FROM twistpi_lines WHERE serial = 3", "its lines end with serial 2, and its head says 3"),
        ("UPDATE twistpi_lines SET segment_end = 7 WHERE serial = 2", "at serial 2: its place, segment 1 up to 7"),
    ],
)
def test_damage_in_the_database_is_found_and_what_to_do(node: Settings, statement: str, told: str) -> None:
    with psycopg.connect(node.changelog or "") as connection:
        connection.execute(statement.encode())
    [text] = findings(node)
    assert f"is damaged, {told}" in text
    assert "restore that database" in text


def test_a_head_that_is_not_the_last_line_is_found(node: Settings) -> None:
    with psycopg.connect(node.changelog or "") as connection:
        connection.execute("UPDATE twistpi_head SET chain = %s", ("f" * 64,))
    [text] = findings(node)
    assert "is not the end of its lines; no node can write" in text


def test_a_view_that_differs_from_the_log_is_built_anew_after_a_repair(node: Settings) -> None:
    view = Path(node.serverdir, "view.sqlite")
    with closing(sqlite3.connect(view)) as connection:
        connection.execute("UPDATE user SET name = 'eve' WHERE name = 'bob'")
        connection.commit()
    [text] = findings(node)
    assert text.startswith("the view of this node has")
    assert "--repair" in text
    with closing(Storage.open(node, now, Disk())):  # it runs
        assert findings(node, repair=True) == [text]
    assert findings(node, repair=True) == ["the view of this node was wrong; it was removed, and the next start builds it"]
    with closing(Storage.open(node, now, Disk())) as storage:
        assert [user.name for user in storage.view.reader.users()] == ["ann", "bob", "root"]
    assert findings(node) == []


@in_reactor
async def test_files_that_are_missing_or_wrong_in_the_bucket_and_on_the_node_are_found_and_repaired(
    tmp_path: Path, made: Path, s3_server: S3Server, connect: OpenBucket
) -> None:
    bucket = connect(f"s3://{s3_server.new_bucket()}/of/twistpi", s3_server.url)

    def work() -> None:
        upload(made, "demo-1.0.zip", "demo-1.1.zip")
        document(made, "demo.doc.zip")
        cache(made, "cached-1.0.zip")
        Target(postgres().new_schema(), bucket).move_in(made)
        blobs = BlockingBucket(bucket, reactor)
        tree = open_tree(str(tmp_path))
        store = FolderStore(str(tmp_path / "backup"))
        back_up(made, store)

        def look(
            *, with_bytes: bool = False, repair: bool = False, backup: FolderStore | None = None
        ) -> tuple[list[str], Counts]:
            counts = Counts()
            check = BucketCheck(str(tmp_path), BlobBucket(bucket, log_id_of(made)), reactor, quiet, counts, backup)
            with reading(str(made)) as reader:
                found = list(check.run(reader, with_bytes, repair))
            return [finding.text for finding in found if finding.wrong or finding.repaired], counts

        def key(name: str) -> str:
            return f"blobs/{blob_address(digest_of(name), name).relative}"

        assert look() == ([], Counts(files=5, bytes=look()[1].bytes))
        blobs.delete(key("demo-1.0.zip"))
        blobs.put(key("demo-1.1.zip"), content_of("demo-1.1.zip")[:-1] + b"!")
        blobs.put(key("cached-1.0.zip"), b"short")
        blobs.put("blobs/notes.txt", b"x")
        told, counts = look()
        assert counts.files == 3
        assert sorted(text.split(" in the bucket ")[1].split(";")[0] for text in told) == sorted(
            ["is no file of twistpi's", "is missing", f"has 5 bytes instead of {len(content_of('cached-1.0.zip'))}"]
        )
        assert any("has the SHA-256" in text for text in look(with_bytes=True)[0])

        # Uploads come from the backup; what a mirror has goes, so that it is fetched again.
        blobs.delete("blobs/notes.txt")
        told, counts = look(with_bytes=True, repair=True)
        assert [text.split("; ")[1].split(",")[0] for text in told if "cached" in text] == ["it was removed"]
        told, counts = look(with_bytes=True, repair=True, backup=store)
        assert (counts.repaired, {text.split("; ")[1] for text in told}) == (3, {f"it came again from {store.url}"})
        assert look(with_bytes=True)[0] == []

        # What the node has on its disk is read, too.
        with tree.incoming() as incoming:
            incoming.write(b"wrong")
            tree.keep(incoming, blob_address(digest_of("demo-1.0.zip"), "demo-1.0.zip"), digest_of("demo-1.0.zip"))
        assert "it comes from the bucket again" in look()[0][0]
        assert "comes from the bucket when it is asked for" in look(repair=True)[0][0]
        assert look()[0] == []

    await deferToThread(work)
