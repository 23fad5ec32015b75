"""A replica: its server directory, its first sync, and what it forwards to its primary."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred

from tests.in_reactor import in_reactor, offload, until, wait_for
from tests.replication.fake_primary import Spoken, client_for, reactor
from tests.replication.scripted_primary import LOG, Replica, ScriptedPrimary
from tests.replication.test_replication_snapshot import Large
from tests.web.replication import feed_setup
from twistpi.changelog.disk import Disk
from twistpi.model.server_errors import ServerdirRefused
from twistpi.replication.primary import Primary
from twistpi.replication.snapshot import Bootstrap, SnapshotPaths
from twistpi.server.directory import ServerDirectory, read_secret
from twistpi.server.node import read_node
from twistpi.server.replica import FirstSync, PrimaryThrottle, forward_to
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage, check_usable_by, open_directory
from twistpi.web.addresses import Addresses
from twistpi.web.forwarding.forwarder import Forwarder

URL = "http://primary.example:4040"
SECRET = "0123456789abcdef" * 4


@pytest.fixture
def secretfile(tmp_path: Path) -> str:
    path = tmp_path / "secret-of-primary"
    path.write_text(SECRET)
    path.chmod(0o600)
    return str(path)


def now() -> datetime:
    return datetime(2026, 3, 14, tzinfo=UTC)


def test_a_new_replica_knows_whom_it_follows_and_keeps_the_secret(tmp_path: Path, secretfile: str) -> None:
    path = str(tmp_path / "replica")
    open_directory(Settings(serverdir=path, primary_url=URL, secretfile=secretfile)).close()
    told = json.loads((tmp_path / "replica" / "node.json").read_bytes())
    assert (told["role"], told["primary_url"], told["log_id"], told["initialised"]) == ("replica", URL, "", False)
    assert read_secret(path, None) == SECRET.encode()
    # Later starts need neither option, and another address is remembered instead.
    open_directory(Settings(serverdir=path)).close()
    open_directory(Settings(serverdir=path, primary_url="http://other.example")).close()
    node = read_node(path)
    assert node is not None
    assert (node.primary_url, node.node_id) == ("http://other.example", told["node_id"])
    assert read_secret(path, None) == SECRET.encode()


def test_a_new_replica_without_the_secret_of_its_primary_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    settings = Settings(serverdir=str(tmp_path / "replica"), primary_url=URL)
    for attempt in (check_usable_by, open_directory):
        with pytest.raises(ServerdirRefused, match="--secretfile"):
            attempt(settings)
    assert not (tmp_path / "replica").exists()


def test_the_directory_of_a_primary_follows_nobody(tmp_path: Path, secretfile: str) -> None:
    path = str(tmp_path / "primary")
    Storage.open(Settings(serverdir=path, no_root_pypi=True, bcrypt_cost=4), now, Disk()).close()
    before = (tmp_path / "primary" / "node.json").read_bytes()
    for attempt in (check_usable_by, open_directory):
        with pytest.raises(ServerdirRefused, match="twistpi resync --serverdir"):
            attempt(Settings(serverdir=path, primary_url=URL, secretfile=secretfile))
    assert (tmp_path / "primary" / "node.json").read_bytes() == before


def test_a_replica_that_never_reached_its_primary_is_opened_by_no_command(tmp_path: Path, secretfile: str) -> None:
    settings = Settings(serverdir=str(tmp_path / "replica"), primary_url=URL, secretfile=secretfile)
    open_directory(settings).close()
    with pytest.raises(ServerdirRefused, match="never reached its primary"):
        Storage.open(settings, now, Disk())


@attrs.define
class Arriving:
    """A new replica of a primary that has not the beginning of its own log, so that it takes a snapshot."""

    serverdir: ServerDirectory
    settings: Settings
    first_sync: FirstSync
    large: Large


@pytest.fixture
def arriving(tmp_path: Path, secretfile: str) -> Iterator[Arriving]:
    large = Large.build(tmp_path / "primary")
    settings = Settings(serverdir=str(tmp_path / "replica"), primary_url=large.fake.url, secretfile=secretfile)
    serverdir = open_directory(settings)
    client, agent = client_for(large.fake.url)
    primary = Primary(large.fake.url, "2" * 32, client, Spoken(), lambda size: b"0" * size, patience=60.0)
    layout = serverdir.layout
    place = SnapshotPaths(layout.changelog, layout.view, os.path.join(layout.path, "incoming"))
    bootstrap = Bootstrap(primary, place, Disk(), offload)
    yield Arriving(serverdir, settings, FirstSync(primary, serverdir, reactor, lambda: 0.0, bootstrap), large)
    large.view.close()
    large.changelog.close()
    wait_for(Deferred.fromCoroutine(large.fake.stop()))
    agent.close()


def answer_without_beginning(large: Large, request: Any) -> None:
    """As a replica with a tail: what it says of its segments leaves out the first one."""
    if request.path != b"/+changelog/segments":
        large.answer(request)
        return
    request.setHeader("X-Devpi-Serial", str(large.changelog.last.serial))
    known = [attrs.asdict(segment) for segment in large.changelog.segments()][1:]
    base = {"serial": known[0]["first"] - 1, "chain": known[0]["before"]}
    large.say(request, {"log_id": LOG, "begins_after": base, "segments": known})


@in_reactor
async def test_an_arrival_takes_a_snapshot_through_failures_and_is_opened_like_any_replica(arriving: Arriving) -> None:
    arriving.large.fake.answering = lambda request: answer_without_beginning(arriving.large, request)
    arriving.large.cuts = [10, 3000]
    (Path(arriving.serverdir.layout.path) / "changelog").mkdir()
    (Path(arriving.serverdir.layout.path) / "changelog" / "00000000000000000001.log").write_bytes(b"left by a crash\n")
    assert "has nothing to serve yet" in arriving.first_sync.sentence
    await arriving.first_sync.run()
    assert arriving.serverdir.node.log_id == LOG
    assert "broke before the answer was complete" in str(arriving.first_sync.progress.last_error)
    storage = Storage.over(arriving.serverdir, arriving.settings, now, Disk())
    assert storage.view.position == storage.changelog.last == arriving.large.copy.stamp.position
    assert storage.changelog.begins_after.serial > 0
    storage.close()
    # Its view cannot be made anew from a log without a beginning: that is said instead of served.
    Path(arriving.serverdir.layout.view).unlink()
    with pytest.raises(ServerdirRefused, match=r"begins after serial \d+, .* remove both"):
        Storage.open(arriving.settings, now, Disk())


@in_reactor
async def test_an_arrival_that_was_stopped_in_the_middle_of_a_snapshot_asks_for_nothing_more(arriving: Arriving) -> None:
    arriving.large.fake.answering = lambda request: answer_without_beginning(arriving.large, request)
    arriving.large.stalls = True
    running = Deferred.fromCoroutine(arriving.first_sync.run())
    half = Path(arriving.serverdir.layout.path) / "incoming" / "view"
    await until(lambda: half.exists() and half.stat().st_size == 100)
    running.cancel()
    with pytest.raises(CancelledError):
        await running
    arriving.serverdir.close()


@in_reactor
async def test_a_write_that_was_done_is_answered_as_done_when_this_server_stops_before_it_is_here(
    tmp_path: Path,
) -> None:
    replica = Replica.build(tmp_path, ScriptedPrimary())
    forward = forward_to(replica.following.primary, replica.following, Addresses(), Settings(serverdir=str(tmp_path)), reactor)
    assert forward is not None
    reaching = Deferred.fromCoroutine(reach_of(forward, 9))
    replica.following.stop()
    assert await reaching is False
    assert await reach_of(forward, 9) is False
    await replica.stop()


async def reach_of(forward: Forwarder, serial: int) -> bool:
    assert forward.reach is not None
    return await forward.reach(serial)


# Wrong passwords ---------------------------------------------------------------------------------------------------


@in_reactor
async def test_a_replica_and_its_primary_count_wrong_passwords_together(tmp_path: Path) -> None:
    setup = feed_setup.Setup(str(tmp_path))
    setup.start()
    client, agent = client_for(f"http://127.0.0.1:{setup.port.getHost().port}", reactor)
    url = f"http://127.0.0.1:{setup.port.getHost().port}"
    here = PrimaryThrottle(Primary(url, feed_setup.NODE, client, setup.tokens, os.urandom))
    there = setup.world.authenticator
    try:
        waits = [await here.reserve("alice", "192.0.2.1"), there.count_attempt("alice", "192.0.2.1")]
        waits += [await here.reserve("alice", "192.0.2.1"), await here.reserve("alice", "192.0.2.1")]
        assert waits == [0, 0, 0, 0.5]
        for _ in range(10):
            there.count_attempt("alice", "192.0.2.1")
        assert await here.reserve("alice", "192.0.2.1") is None
        assert await here.reserve("alice", "192.0.2.2") == 0
        await here.succeeded("alice", "192.0.2.1")
        assert there.count_attempt("alice", "192.0.2.1") == 0
    finally:
        agent.close()
        await setup.stop()
    assert await here.reserve("alice", "192.0.2.1") == 0, "who cannot be asked stops nobody"
