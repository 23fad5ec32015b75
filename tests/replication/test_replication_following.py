"""Following a primary through every failure between the two."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.fakes.faulty_disk import FaultyDisk
from tests.in_reactor import PATIENCE, in_reactor, until, wait_for
from tests.replication.fake_primary import reactor
from tests.replication.scripted_primary import LOG, PAUSES, SEGMENT_LIMIT, SILENCE, Fault, Replica, ScriptedPrimary, make_lines
from tests.view.small_world import histories
from tests.view.test_view_fold_property import MEMORY
from twistpi.changelog.catch_up import catch_up
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.model.changes import Change, LogStarted, UserCreated
from twistpi.model.errors import TwistpiError
from twistpi.model.server_errors import WriterStopped
from twistpi.view.database import dump, open_view

START = (LogStarted(LOG),)


def user(name: str) -> tuple[Change, ...]:
    return (UserCreated(name),)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Replica]]:
    """Makes replicas, and stops them after the test."""
    made: list[Replica] = []

    def build(primary: ScriptedPrimary, folder: str = "replica", **options: Any) -> Replica:
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        made.append(Replica.build(path, primary, **options))
        return made[-1]

    yield build
    for replica in made:
        wait_for(Deferred.fromCoroutine(replica.stop()))


def started(*names: str) -> ScriptedPrimary:
    return ScriptedPrimary(make_lines(START, *(user(name) for name in names)))


@in_reactor
async def test_what_is_there_and_what_comes_later_arrives_and_can_be_waited_for(make: Callable[..., Replica]) -> None:
    primary = started("a", "b")
    replica = make(primary)
    replica.following.start()
    await replica.following.complete
    assert replica.readers.get().serial() == 3
    waiting = replica.following.wait_for(4, PATIENCE)
    primary.append(user("c"))
    await waiting
    assert [one.name for one in replica.readers.get().users()] == ["a", "b", "c"]
    assert len(primary.asked) == 1
    progress = replica.following.progress
    assert (progress.state, progress.lag_entries, progress.lag_seconds(reactor.seconds())) == ("following", 0, 0.0)


@in_reactor
async def test_waiting_ends_after_a_while_with_how_far_it_is_and_with_the_server(make: Callable[..., Replica]) -> None:
    replica = make(started("a"))
    replica.following.start()
    await replica.following.wait_for(2, PATIENCE)
    with pytest.raises(TwistpiError, match=r"Serial 9 is not here yet: after 0\.01 s this server was at 2"):
        await replica.following.wait_for(9, 0.01)
    waiting = replica.following.wait_for(9, PATIENCE)
    replica.following.stop()
    for late in (waiting, replica.following.wait_for(9, PATIENCE)):
        with pytest.raises(WriterStopped):
            await late


@pytest.mark.parametrize("fault", ["gone", "hang", "500", "503", "404", "403"])
@in_reactor
async def test_a_primary_that_does_not_answer_well_is_asked_until_it_does(make: Callable[..., Replica], fault: str) -> None:
    primary = started("a")
    primary.faults = [Fault(fault)] * 3
    replica = make(primary)
    replica.following.start()
    await replica.following.complete
    assert replica.following.progress.last_error is not None
    assert replica.following.progress.state == "following"


@in_reactor
async def test_a_primary_that_stalls_without_closing_is_left_and_asked_again(make: Callable[..., Replica]) -> None:
    primary = started("a", "b")
    primary.faults = [Fault("stall", 300)]
    replica = make(primary, silence=SILENCE)
    replica.following.start()
    await replica.following.complete
    assert "fell silent" in str(replica.following.progress.last_error)
    assert len(primary.asked) >= 2


@in_reactor
async def test_a_flipped_bit_is_noticed_and_the_lines_are_asked_for_again(make: Callable[..., Replica]) -> None:
    primary = started("a", "b")
    primary.faults = [Fault("flip", 350)]
    replica = make(primary)
    replica.following.start()
    await replica.following.complete
    assert "is not what the primary has" in str(replica.following.progress.last_error)
    assert replica.readers.get().serial() == 3


@in_reactor
async def test_a_compressed_feed_is_the_same(make: Callable[..., Replica]) -> None:
    primary = started(*(f"user{number}" for number in range(200)))
    primary.chunks = (7,)
    replica = make(primary, compressed=True)
    replica.following.start()
    await replica.following.complete
    assert replica.readers.get().serial() == 201


@in_reactor
async def test_another_log_is_refused_and_what_is_here_stays(make: Callable[..., Replica]) -> None:
    replica = make(started("a"))
    replica.following.start()
    await replica.following.complete
    other = ScriptedPrimary(make_lines((LogStarted("3" * 32),), user("x"), user("y"), user("z")), log_id="3" * 32)
    replica.primary.lines, replica.primary.log_id = other.lines, other.log_id
    replica.primary.feeds.pop().end(ConnectionError())
    await until(lambda: replica.following.progress.state == "other log")
    assert "has another log than this replica" in str(replica.following.progress.last_error)
    assert [one.name for one in replica.readers.get().users()] == ["a"]


@in_reactor
async def test_a_primary_restored_from_a_backup_diverged_until_it_has_what_is_here_again(
    make: Callable[..., Replica],
) -> None:
    primary = started("a", "b", "c", "d")
    replica = make(primary)
    replica.following.start()
    await replica.following.complete
    whole = list(primary.lines)
    primary.lines = make_lines(START, user("a"), user("B"), user("C"))
    primary.feeds.pop().end(ConnectionError())
    await until(lambda: replica.following.progress.state == "diverged")
    told = str(replica.following.progress.last_error)
    assert "diverged at serial 3: from there on, the primary (up to 4) and this replica (up to 5) have different entries" in told
    assert "twistpi resync" in told
    primary.lines = whole[:2]
    await until(lambda: "ends before it, at 2" in str(replica.following.progress.last_error))
    assert replica.readers.get().serial() == 5
    primary.lines = [*whole, *make_lines(user("e"), after=attach(whole))]
    await replica.following.wait_for(6, PATIENCE)
    assert replica.following.progress.state == "following"


def attach(lines: Sequence[bytes]) -> Any:
    return ScriptedPrimary(list(lines)).position()


@pytest.mark.parametrize(
    ("reason", "state", "told"),
    [
        ("fenced", "fenced", "is no primary any more"),
        ("behind", "behind", "no entry right after serial 0 any more"),
        ("other log", "other log", "has another log"),
        ("new", "refused", "refuses to be followed"),
    ],
)
@in_reactor
async def test_why_a_primary_refuses_is_told(make: Callable[..., Replica], reason: str, state: str, told: str) -> None:
    primary = started("a")
    primary.refusal = {"reason": reason, "message": "…"}
    replica = make(primary)
    replica.following.start()
    await until(lambda: replica.following.progress.state == state)
    assert told in str(replica.following.progress.last_error)
    primary.refusal = None
    await replica.following.complete


@in_reactor
async def test_what_is_no_feed_is_told_and_asked_for_again(make: Callable[..., Replica]) -> None:
    primary = started("a")
    replica = make(primary)
    replica.following.start()
    await replica.following.complete
    primary.feeds[0].send(b"+ what is this\n")
    await until(lambda: len(primary.asked) == 2)
    assert "is no heartbeat" in str(replica.following.progress.last_error)


@in_reactor
async def test_a_follower_that_was_stopped_asks_nobody_any_more(make: Callable[..., Replica]) -> None:
    replica = make(primary := started("a"))
    replica.following.start()
    await replica.following.complete
    replica.following.stop()
    await deferLater(reactor, 20 * PAUSES.longest)
    assert len(primary.asked) == 1


@in_reactor
async def test_a_replica_that_was_stopped_goes_on_where_it_was(make: Callable[..., Replica]) -> None:
    primary = started("a", "b")
    first = make(primary)
    first.following.start()
    await first.following.complete
    await first.stop()
    primary.append(user("c"))
    second = make(primary)
    second.following.start()
    await second.following.complete
    assert primary.asked[-1].startswith("/+changelog?after=3&")


@in_reactor
async def test_a_full_disk_is_told_and_following_goes_on_when_there_is_room(make: Callable[..., Replica]) -> None:
    disk = FaultyDisk()
    replica = make(started("a", "b"), disk=disk)
    disk.room = 100
    replica.following.start()
    await until(lambda: replica.following.progress.state == "failing")
    assert "Free some space" in str(replica.following.progress.last_error)
    assert not replica.failed
    disk.room = None
    await replica.following.complete
    assert replica.readers.get().serial() == 3


FAULTS = st.builds(
    Fault, st.sampled_from(["cut", "cut", "stall", "flip", "flip", "gone", "500", "403"]), st.integers(0, 5000)
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(
    history=histories(),
    later=histories(),
    faults=st.lists(FAULTS, max_size=6),
    chunks=st.lists(st.integers(1, 500), min_size=1, max_size=3),
    compressed=st.booleans(),
)
@in_reactor
async def test_after_any_faults_once_healed_logs_and_views_are_equal(
    history: list[tuple[Change, ...]],
    later: list[tuple[Change, ...]],
    faults: list[Fault],
    chunks: list[int],
    compressed: bool,
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        here = Path(folder) / "replica"
        here.mkdir()
        primary = ScriptedPrimary(make_lines(START, *history), faults=list(faults), chunks=chunks)
        replica = Replica.build(here, primary, compressed=compressed, silence=SILENCE)

        replica.following.start()
        await replica.following.complete
        if later and not compressed:
            primary.append(*later)
            await replica.following.wait_for(len(primary.lines), PATIENCE)
        await replica.stop()
        assert replica.failed == []
        expected = FileChangelog.open(str(Path(folder) / "primary"), Disk(), segment_limit=SEGMENT_LIMIT)
        expected.receive(primary.lines, 0)
        view = open_view(str(Path(folder) / "primary.sqlite"), LOG)
        catch_up(expected, view)
        view.close()
        expected.close()
        assert replica.segments() == {path.name: path.read_bytes() for path in (Path(folder) / "primary").glob("*.log")}
        assert replica.dump() == list(dump(str(Path(folder) / "primary.sqlite")))
