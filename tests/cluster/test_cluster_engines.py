"""Databases as companies have them: behind a pool, behind TLS, and with a standby that takes over."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.nodes import Node, both_go_on
from tests.fakes.certificates import write_certificate
from tests.fakes.pgbouncer import Pgbouncer
from tests.fakes.postgres import PostgresServer, postgres
from tests.in_reactor import in_reactor, until
from twistpi.cluster.schema import prepare
from twistpi.model.errors import TwistpiError

MakeNode = Callable[..., Node]


@pytest.fixture
def pool() -> Iterator[Pgbouncer]:
    """Of two connections, for all nodes."""
    pool = Pgbouncer.start(postgres().port, 2)
    yield pool
    pool.stop()


@in_reactor
async def test_nodes_behind_a_pool_of_transactions_share_a_log_and_leases(make_node: MakeNode, pool: Pgbouncer) -> None:
    url = pool.through(postgres().new_database())
    prepare(url, os.urandom, time.time)
    nodes = [make_node(url) for _ in range(3)]
    names = [f"user{number}" for number in range(12)]
    for number, name in enumerate(names):
        await nodes[number % 3].add_user(name)
    await until(lambda: all(node.users() == sorted(names) for node in nodes))
    assert nodes[0].rows() == nodes[1].rows() == nodes[2].rows()
    turn = await nodes[0].leases.take("something", 0.0)
    assert turn is not None
    assert await nodes[1].leases.take("something", 0.0) is None
    assert await turn.end("done")
    later = await nodes[1].leases.take("something", 0.0)
    assert later is not None
    assert later.note == "done"
    await later.end("")
    assert [node.stopped for node in nodes] == [[], [], []]


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of its own, which a test may stop."""
    server = PostgresServer.make()
    yield server
    server.remove()


@in_reactor
async def test_with_tls_the_certificate_of_the_database_is_checked(make_node: MakeNode, server: PostgresServer) -> None:
    key, certificate = write_certificate(server.folder)
    key.chmod(0o600)
    if os.getuid() == 0:
        shutil.chown(key, "postgres")
    certificate.chmod(0o644)
    server.folder.chmod(0o755)  # the certificate is its own authority, which nodes read
    server.end(signal.SIGINT)
    server.settings = ("ssl=on", f"ssl_key_file={key}", f"ssl_cert_file={certificate}")
    server.start()
    plain = server.new_database()
    url = f"{plain}?sslmode=verify-full&sslrootcert={certificate}"
    prepare(url, os.urandom, time.time)
    node = make_node(url)
    await node.add_user("alice")
    assert node.users() == ["alice"]
    name = plain.rpartition("/")[2]
    encrypted = server.run(f"SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = '{name}'")
    assert encrypted == [(True,)]
    other = server.folder / "other"
    other.mkdir()
    _key, stranger = write_certificate(other)
    with pytest.raises(TwistpiError, match="correct sslmode and sslrootcert in --changelog"):
        prepare(f"{plain}?sslmode=verify-full&sslrootcert={stranger}", os.urandom, time.time)


@in_reactor
async def test_when_a_standby_takes_over_nodes_go_on_there_and_nothing_acknowledged_is_lost(
    make_node: MakeNode, server: PostgresServer
) -> None:
    database = server.new_database()
    standby = server.standby()
    try:
        both = database.replace(f":{server.port}/", f":{server.port},127.0.0.1:{standby.port}/")
        prepare(both, os.urandom, time.time)
        one, two = make_node(both), make_node(both)
        await one.add_user("alice")
        await until(lambda: two.users() == ["alice"])
        server.end(signal.SIGKILL)
        writing = one.add_user("bob")
        standby.run("SELECT pg_promote()")
        await writing
        await both_go_on(one, two)
    finally:
        standby.remove()
