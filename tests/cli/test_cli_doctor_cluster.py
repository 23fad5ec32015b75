"""What a doctor says of the database and the bucket of a cluster, and sees of real ones."""

from __future__ import annotations

import os
import time
from typing import Any

import attrs
import psycopg
import pytest

from tests.fakes.ports import free_port
from tests.fakes.postgres import postgres
from tests.fakes.s3_buckets import OpenBucket, connect
from tests.fakes.s3_server import READER_KEY, S3Server
from tests.in_reactor import in_reactor
from twistpi.blobs.bucket import BlobBucket
from twistpi.cli.diagnostics.cluster_rules import BucketSeen, DatabaseSeen, judge_cluster
from twistpi.cli.diagnostics.cluster_survey import look_at_bucket, survey_database
from twistpi.cli.diagnostics.findings import Finding, Verdict
from twistpi.cluster.schema import PRIVILEGES, VERSION, prepare

__all__ = ["connect"]

DATABASE = DatabaseSeen(
    "db/twistpi", server="15.13", log_id="a" * 32, schema=VERSION, known_schema=VERSION, latency=0.001, user="node",
    nodes={"1" * 32: "1.0", "2" * 32: "1.0"},
)  # fmt: skip
BUCKET = BucketSeen(
    "s3://packages", owner="a" * 32, log_id="a" * 32, latency=0.01, ahead=0.0, versioning="Enabled", removes_parts=True
)


def verdicts(findings: list[Finding], *but: Verdict) -> dict[str, str]:
    return {one.subject: f"{one.verdict.value}: {one.sentence}" for one in findings if one.verdict not in but}


def test_of_a_cluster_that_is_well_everything_is_ok() -> None:
    assert verdicts(judge_cluster(DATABASE, BUCKET), Verdict.OK) == {}


@pytest.mark.parametrize(
    ("changed", "subject", "told"),
    [
        ({"failure": "It is gone."}, "database", "WRONG: It is gone."),
        ({"latency": 0.1}, "database", "advice: The database at db/twistpi takes 0.100 s"),
        ({"schema": None}, "schema", "cannot tell: There is no log in the database at db/twistpi yet"),
        ({"schema": VERSION + 1}, "schema", "WRONG: The schema has the version"),
        ({"schema": VERSION - 1}, "schema", "advice: The schema has the version"),
        ({"moved": "to /data on one"}, "schema", "WRONG: No node starts: the log is moving (to /data on one)"),
        ({"lacking": ("INSERT on twistpi_lines",)}, "rights", "WRONG: The user node lacks INSERT on twistpi_lines"),
        ({"is_superuser": True}, "rights", "advice: The user node is a superuser"),
        ({"is_standby": True}, "durability", "WRONG: It is a standby"),
        ({"unsafe": ("fsync=off",)}, "durability", "WRONG: It may lose what was acknowledged: fsync=off"),
        ({"ahead": -9.0}, "database clock", "WRONG: This machine's clock is 9 seconds behind the database's"),
        ({"free_connections": 2}, "connections", "advice: Only 2 more connections"),
        ({"is_encrypted": False}, "database TLS", "advice: Hashes of passwords go to the database unencrypted"),
        ({"nodes": {}}, "nodes", "advice: No node has reported"),
        ({"nodes": {"1" * 32: "1.0"}}, "nodes", "advice: One node runs"),
        ({"nodes": {"1" * 32: "1.0", "2" * 32: "1.1"}}, "nodes", "advice: The nodes have different versions: 1.0, 1.1"),
    ],
)
def test_what_is_wrong_with_a_database_is_said_with_what_to_do(changed: dict[str, Any], subject: str, told: str) -> None:
    found = verdicts(judge_cluster(attrs.evolve(DATABASE, **changed), BUCKET), Verdict.OK)
    assert list(found) == [subject]
    assert found[subject].startswith(told)


@pytest.mark.parametrize(
    ("changed", "subject", "told"),
    [
        ({"failure": "It is gone."}, "bucket", "WRONG: It is gone."),
        ({"latency": 1.0}, "bucket", "advice: The bucket s3://packages takes 1.00 s"),
        ({"owner": "b" * 32}, "bucket owner", "WRONG: The bucket s3://packages has the files of another cluster"),
        ({"rival": "Another one."}, "bucket owner", "WRONG: Another one."),
        ({"refused": {"store": "No."}}, "bucket rights", "WRONG: A node cannot store objects: No."),
        ({"ahead": 400.0}, "bucket clock", "WRONG: This machine's clock is 400 seconds ahead of the bucket's"),
        ({"ahead": None}, "bucket clock", "cannot tell: The bucket's answers have no Date"),
        ({"versioning": ""}, "versions", "advice: The bucket keeps no versions"),
        ({"versioning": None}, "versions", "cannot tell: "),
        ({"removes_parts": False}, "parts", "advice: No rule removes what aborted uploads leave"),
        ({"removes_parts": None}, "parts", "cannot tell: "),
        ({"is_encrypted": False}, "bucket TLS", "advice: Files go to the bucket unencrypted"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_said_with_what_to_do(changed: dict[str, Any], subject: str, told: str) -> None:
    found = verdicts(judge_cluster(DATABASE, attrs.evolve(BUCKET, **changed)), Verdict.OK)
    assert list(found) == [subject]
    assert found[subject].startswith(told)


def test_a_cluster_without_a_bucket_and_a_bucket_nobody_has_yet_are_told() -> None:
    assert verdicts(judge_cluster(DATABASE, None), Verdict.OK)["bucket"].startswith("WRONG: No bucket is named")
    found = verdicts(judge_cluster(attrs.evolve(DATABASE, log_id=None), attrs.evolve(BUCKET, owner=None, log_id=None)))
    assert found["bucket owner"] == "ok: The bucket s3://packages has no files of any cluster yet."


# Real engines -------------------------------------------------------------------------------------------------------


def test_a_real_database_is_seen_before_and_after_it_has_a_log() -> None:
    server = postgres()
    url = server.new_schema()
    seen = survey_database(url, time.time)
    assert (seen.failure, seen.log_id, seen.schema, seen.lacking) == ("", None, None, ())
    facts = prepare(url, os.urandom, time.time)
    seen = survey_database(url, lambda: time.time() + 60)
    assert (seen.log_id, seen.schema, seen.lacking, seen.is_superuser) == (facts.log_id, VERSION, [], True)
    assert (seen.is_standby, seen.is_encrypted, seen.moved) == (False, True, "")
    assert 59 < seen.ahead < 61
    assert seen.identity.endswith(f"/postgres/{url.rpartition('%3D')[2]}")
    assert 0 < seen.latency < 5
    assert set(seen.unsafe) == {"fsync=off", "full_page_writes=off"}  # those of the tests


def test_a_user_with_the_documented_privileges_lacks_nothing_and_each_one_that_is_taken_is_named() -> None:
    server = postgres()
    url = server.new_schema()
    prepare(url, os.urandom, time.time)
    schema = url.rpartition("%3D")[2]
    server.run(f"CREATE ROLE {schema} LOGIN")
    limited = url.replace("twistpi@", f"{schema}@")
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in PRIVILEGES:
            connection.execute(statement.format(schema=schema, role=schema).encode())
        seen = survey_database(limited, time.time)
        assert (seen.lacking, seen.is_superuser, seen.user) == ([], False, schema)
        connection.execute(f"REVOKE INSERT ON twistpi_lines FROM {schema}".encode())
    assert survey_database(limited, time.time).lacking == ["INSERT on twistpi_lines"]


def test_a_database_that_does_not_answer_is_told_without_the_password() -> None:
    port = free_port()
    seen = survey_database(f"postgresql://alice:sesame@127.0.0.1:{port}/twistpi", time.time)
    assert seen.failure.startswith(f"The database at 127.0.0.1:{port}/twistpi cannot be used: ")
    assert "sesame" not in seen.failure


@in_reactor
async def test_a_real_bucket_is_seen_and_nothing_is_left_in_it(s3_server: S3Server, connect: OpenBucket) -> None:
    bucket = connect(f"s3://{s3_server.new_bucket()}/of/twistpi", s3_server.url)
    await BlobBucket(bucket, "a" * 32).check_owner()
    seen = await look_at_bucket(bucket, attrs.evolve(DATABASE, log_id="b" * 32, identity="one"), time.time)
    assert (seen.failure, seen.owner, seen.log_id, seen.refused) == ("", "a" * 32, "b" * 32, {})
    assert abs(seen.ahead or 0.0) < 5
    assert seen.versioning in ("", None)
    assert [info.key for info in (await bucket.list()).objects] == ["changelog-id"]
    await bucket.put("leader", b'{"database": "two", "node": "cccccccccc"}')
    told = await look_at_bucket(bucket, attrs.evolve(DATABASE, identity="one"), time.time)
    assert told.rival.startswith("Another cluster with a copy of this log uses the bucket (its node cccccccc said so")
    assert (await look_at_bucket(bucket, attrs.evolve(DATABASE, identity="two"), time.time)).rival == ""
    read_only = connect(f"s3://{bucket.address.bucket}/of/twistpi", s3_server.url, READER_KEY)
    told = await look_at_bucket(read_only, DATABASE, time.time)
    assert list(told.refused) == ["store"]
    assert "AccessDenied" in told.refused["store"]
