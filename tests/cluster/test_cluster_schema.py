"""What is made in the database, and what is refused with which words."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.fakes.ports import free_port
from tests.fakes.postgres import postgres
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.cluster.database import Database, check_url
from twistpi.cluster.postgres_changelog import PostgresChangelog
from twistpi.cluster.schema import PRIVILEGES, STEPS, VERSION, ClusterFacts, prepare
from twistpi.model.errors import TwistpiError


def prepared(url: str) -> ClusterFacts:
    return prepare(url, os.urandom, time.time)


def relations(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace ORDER BY 1")
        return [str(name) for (name,) in names]


def test_all_nodes_that_start_at_the_same_time_have_the_same_log_and_secret() -> None:
    url = postgres().new_schema()
    found: list[ClusterFacts] = []
    threads = [threading.Thread(target=lambda: found.append(prepared(url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert {(one.log_id, one.secret) for one in found} == {(found[0].log_id, found[0].secret)}
    assert len(found[0].secret) >= 32
    assert prepared(url) == found[0]


def refusal(attempt: Callable[[], object]) -> str:
    with pytest.raises(TwistpiError) as refused:
        attempt()
    return str(refused.value)


def test_an_older_node_leaves_a_newer_schema_alone() -> None:
    url = postgres().new_schema()
    prepared(url)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE twistpi_cluster SET version = %s", (VERSION + 1,))
    before = relations(url)
    assert "install the version of the other nodes" in refusal(lambda: prepared(url))
    assert relations(url) == before


def test_a_schema_of_the_first_version_is_upgraded_by_who_may_and_left_alone_by_others() -> None:
    server = postgres()
    url = server.new_schema()
    with psycopg.connect(url) as connection:
        connection.execute(STEPS[0])
        connection.execute("INSERT INTO twistpi_head VALUES (true, 0, %s)", ("0" * 64,))
        connection.execute("INSERT INTO twistpi_cluster (version, log_id, secret) VALUES (1, %s, 'sesame')", ("1" * 32,))
    schema = url.rpartition("%3D")[2]
    server.run(f"CREATE ROLE {schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {schema}")
    server.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}")
    before = relations(url)
    told = refusal(lambda: prepared(url.replace("twistpi@", f"{schema}@")))
    assert "have it made by a user who may create tables" in told
    assert relations(url) == before
    assert prepared(url) == prepared(url) == ClusterFacts("1" * 32, b"sesame")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version FROM twistpi_cluster").fetchall() == [(VERSION,)]


def test_an_empty_database_is_no_cluster_for_whoever_only_reads() -> None:
    url = postgres().new_schema()
    assert "there is no log in it" in refusal(lambda: prepare(url, os.urandom, time.time, make=False))
    assert relations(url) == []


def wrong_time(apart: float) -> float:
    return time.time() + apart


def test_a_clock_that_is_wrong_is_refused_with_how_far_and_nothing_is_made() -> None:
    url = postgres().new_schema()
    for apart, words in ((100, "100 seconds ahead of"), (-100, "100 seconds behind")):
        assert words in refusal(partial(prepare, url, os.urandom, partial(wrong_time, apart)))
    assert relations(url) == []


def test_what_cannot_be_reached_or_is_not_allowed_is_said_without_the_password() -> None:
    port = free_port()
    told = refusal(lambda: prepared(f"postgresql://alice:sesame@127.0.0.1:{port}/twistpi"))
    assert f"The database at 127.0.0.1:{port}/twistpi cannot be used" in told
    assert "see that it runs and can be reached" in told
    assert "sesame" not in told
    assert "create it, or correct the name" in refusal(lambda: prepared(postgres().url("missing")))
    assert 'role "nobody" does not exist' in refusal(lambda: prepared(postgres().url("postgres", user="nobody")))
    assert "there is no host of that name" in refusal(lambda: prepared("postgresql://twistpi@database.invalid/twistpi"))


@pytest.mark.parametrize("url", ["", "mysql://db/x", "http://db/x", "postgresql://db/x?nonsense=1", "/tmp/log"])
def test_what_is_no_address_of_a_database_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 the setting's own message says what is allowed
        check_url(url)


def test_a_node_needs_no_more_than_the_documented_privileges(tmp_path: Path) -> None:
    server = postgres()
    url = server.new_schema()
    schema = url.rpartition("%3D")[2]
    limited = url.replace("twistpi@", f"{schema}@")
    server.run(f"CREATE ROLE {schema} LOGIN")
    assert "have it made by a user who may create tables" in refusal(lambda: prepared(limited))
    assert relations(url) == []
    facts = prepared(url)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in PRIVILEGES:
            connection.execute(statement.format(schema=schema, role=schema).encode())
    assert prepared(limited) == facts
    changelog = PostgresChangelog(Database(limited), FileChangelog.open(str(tmp_path / "copy"), Disk()))
    assert changelog.append([b'{"n":1}'], 0).serial == changelog.refresh().serial == 1
    changelog.close()
    with psycopg.connect(limited) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DELETE FROM twistpi_lines")
