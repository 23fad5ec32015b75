"""Downloads on the disk: written, summed, sent once, and begun anew when the file is damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from twistpi.model.changes import IndexDeleted
from twistpi.model.errors import TwistpiError
from twistpi.statistics.agents import Agent
from twistpi.statistics.database import StatisticsFile
from twistpi.statistics.delivery import encode_batch, read_batch
from twistpi.statistics.download_queries import Count, Scope
from twistpi.statistics.download_tables import MOST_AGENTS, Batch, add_rows, sum_old
from twistpi.statistics.downloads import BusyProject, Downloads
from twistpi.statistics.recorder import INTERVAL, Recorder
from twistpi.statistics.tally import CountedFile, Row, Tally

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
WHEEL = CountedFile("alice/dev", "demo", "demo-1.0-py3-none-any.whl")
SDIST = CountedFile("alice/dev", "demo", "demo-1.0.tar.gz")
OTHER = CountedFile("root/pypi", "other", "other-2.0.zip")
PIP = Agent("pip", "24.0", "3.12")
UV = Agent("uv", "0.8", "3.13")
_Result = TypeVar("_Result")


def row_of(file: CountedFile, agent: Agent, number: int) -> list[str | int]:
    return [file.index, file.project, file.filename, agent.installer, agent.version, agent.python, number]


def done(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Return what ``work`` returns, which waits for nothing."""
    found: list[_Result] = []
    Deferred.fromCoroutine(work).addCallback(found.append)
    assert found, "it waits"
    return found[0]


@attrs.define(eq=False)
class Server:
    """The downloads of one server, without threads, by a clock that a test moves."""

    folder: Path
    delivery: Any = None
    days: int = 90
    clock: Clock = attrs.field(factory=Clock)
    tally: Tally = attrs.field(factory=Tally)
    file: StatisticsFile = attrs.field(init=False)
    recorder: Recorder = attrs.field(init=False)
    downloads: Downloads = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.file = StatisticsFile(str(self.folder / "statistics.sqlite"))
        offload: Any = maybeDeferred
        self.recorder = Recorder(self.file, self.tally, self.clock, offload, self.now, self.days, self.delivery)
        self.downloads = Downloads(self.file, self.now, self.tally)

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.clock.seconds())

    def total(self) -> int:
        return self.downloads.of_project("alice/dev", "demo").total


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "server")


def test_what_was_counted_is_written_after_half_a_minute_and_when_the_server_stops(server: Server) -> None:
    server.recorder.start()
    server.tally.count(WHEEL, PIP)
    assert server.total() == 0
    server.clock.advance(INTERVAL)
    assert server.total() == 1
    server.tally.count(WHEEL, UV)
    server.tally.count(SDIST, UV)
    done(server.recorder.stop())
    assert server.total() == 3
    assert not server.clock.getDelayedCalls()
    assert Server(server.folder).total() == 3, "a restart forgets nothing"


def test_what_was_counted_of_an_index_goes_with_it(server: Server) -> None:
    server.recorder.start()
    for file in (WHEEL, OTHER):
        server.tally.count(file, PIP)
    done(server.recorder.flush())
    for file in (SDIST, OTHER):
        server.tally.count(file, PIP)
    server.recorder.changed(7, [IndexDeleted("alice/dev")])
    server.clock.advance(0)
    assert server.total() == 0
    assert server.downloads.rows(Scope(("alice/dev",)), 30) == []
    assert server.downloads.of_project("root/pypi", "other").total == 2
    server.tally.count(WHEEL, PIP)  # of another index with this name
    done(server.recorder.stop())
    assert server.total() == 1


def test_numbers_are_told_by_day_project_version_file_installer_and_python(server: Server) -> None:
    for file, agent, number in ((WHEEL, PIP, 2), (SDIST, UV, 1), (OTHER, PIP, 5)):
        server.tally.count(file, agent, number)
    done(server.recorder.flush())
    server.clock.advance(86400)
    server.tally.count(WHEEL, PIP)
    done(server.recorder.flush())
    demo = server.downloads.of_project("alice/dev", "demo", days=3)
    assert demo.days == [Count("2026-11-28", 0), Count("2026-11-29", 3), Count("2026-11-30", 1)]
    assert (demo.total, demo.recent) == (4, 4)
    report = server.downloads.report(Scope(("alice/dev",), "demo"), 30)
    assert report.days == [Count("2026-11-29", 3), Count("2026-11-30", 1)]
    assert report.versions == [Count("1.0", 4)]
    assert report.files == [Count(WHEEL.filename, 3), Count(SDIST.filename, 1)]
    assert report.installers == [Count("pip 24.0", 3), Count("uv 0.8", 1)]
    assert report.pythons == [Count("3.12", 3), Count("3.13", 1)]
    assert server.downloads.report(Scope(("alice/dev",), "demo"), 1).installers == [Count("pip 24.0", 1)]
    everything = server.downloads.report(Scope(("alice/dev", "root/pypi")), 30)
    assert everything.projects == [Count("root/pypi/other", 5), Count("alice/dev/demo", 4)]
    assert server.downloads.busiest(30, 1) == [BusyProject("root/pypi", "other", 5)]
    assert server.downloads.busiest(30, 9, lambda index, _: index == "alice/dev") == [BusyProject("alice/dev", "demo", 4)]


def test_days_become_months_and_months_become_all_time(server: Server) -> None:
    days = {"2026-11-29": 1, "2026-08-31": 2, "2026-08-30": 4, "2024-11-01": 8, "2024-10-31": 16, "2020-01-01": 32}

    def write(connection: sqlite3.Connection) -> None:
        for day, number in days.items():
            add_rows(connection, day, [row_of(WHEEL, PIP, number)])
        for _ in range(2):
            sum_old(connection, NOON.date(), 90)

    server.file.write(write)
    report = server.downloads.report(Scope(("alice/dev",), "demo"), 365)
    assert report.total == sum(days.values())
    assert report.days == [Count("2026-08-31", 2), Count("2026-11-29", 1)]
    assert report.months == [Count("2024-11", 8), Count("2026-08", 4)]


def test_too_many_rows_are_summed_sooner(server: Server) -> None:
    def write(connection: sqlite3.Connection) -> int:
        for ago in range(80):
            add_rows(connection, (NOON.date() - timedelta(ago)).isoformat(), [row_of(WHEEL, PIP, 1)])
        sum_old(connection, NOON.date(), 90, most=20)
        return int(connection.execute("SELECT count(*) FROM downloads").fetchone()[0])

    assert server.file.write(write) <= 20
    assert server.total() == 80


def test_clients_cannot_fill_the_file_with_names(server: Server) -> None:
    for number in range(MOST_AGENTS + 5):
        server.tally.count(WHEEL, Agent(f"installer-{number}", "", ""))
    done(server.recorder.flush())
    installers = server.downloads.report(Scope(("alice/dev",), "demo"), 1).installers
    assert len(installers) == MOST_AGENTS + 1
    assert installers[0] == Count("other", 5)


def test_a_damaged_file_is_put_aside_and_begun_anew(server: Server) -> None:
    done(server.recorder.flush())
    Path(server.file.path).write_bytes(b"no database at all" * 1000)
    server.tally.count(WHEEL, PIP)
    assert server.total() == 0, "reading does not fail"
    done(server.recorder.flush())
    assert server.total() == 1
    assert Path(f"{server.file.path}.damaged").read_bytes().startswith(b"no database")


def test_what_the_disk_does_not_take_is_kept(server: Server) -> None:
    server.folder.rename(server.folder.with_name("away"))
    server.tally.count(WHEEL, PIP)
    done(server.recorder.flush())
    server.folder.with_name("away").rename(server.folder)
    server.tally.count(WHEEL, PIP)
    done(server.recorder.flush())
    assert server.total() == 2


def test_memory_is_bounded_and_written_before_it_is_full(server: Server) -> None:
    server.tally.most = 4
    server.recorder.start()
    for number in range(6):
        server.tally.count(CountedFile("alice/dev", "demo", f"demo-{number}.zip"), PIP)
    assert (len(server.tally), server.tally.missed) == (4, 2)
    server.clock.advance(0)
    assert (len(server.tally), server.total()) == (0, 4)


class SlowFile(StatisticsFile):
    """Is read when a test lets it be."""

    gate = Event()
    entered = Event()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        self.entered.set()
        assert self.gate.wait(60)
        with super().reading() as connection:
            yield connection


def test_pages_show_former_numbers_while_new_ones_are_sought(server: Server) -> None:
    server.tally.count(WHEEL, PIP)
    done(server.recorder.flush())
    file = SlowFile(server.file.path)
    downloads = Downloads(file, server.now)
    file.gate.set()
    assert downloads.busiest(30, 1) == [BusyProject("alice/dev", "demo", 1)]
    server.tally.count(WHEEL, PIP)
    done(server.recorder.flush())
    server.clock.advance(59)
    assert downloads.busiest(30, 1)[0].number == 1
    server.clock.advance(2)
    file.gate.clear()
    file.entered.clear()
    with ThreadPoolExecutor(1) as threads:
        search = threads.submit(downloads.busiest, 30, 1)
        assert file.entered.wait(60)
        assert downloads.busiest(30, 1)[0].number == 1, "it does not wait"
        file.gate.set()
        assert search.result()[0].number == 2
    assert downloads.busiest(30, 1)[0].number == 2


# Replicas -------------------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Wire:
    """Brings batches to a primary; a test cuts it before or after the primary has counted one."""

    primary: Server
    fails: str = ""
    sent: list[int] = attrs.field(factory=list)

    async def send(self, batch: Batch) -> None:
        told, rows = read_batch(orjson.loads(encode_batch(batch)))
        self.sent.append(batch.sequence)
        if self.fails == "before":
            raise TwistpiError("the primary is away", 503)
        await self.primary.recorder.receive("2" * 32, told, rows)
        if self.fails == "after":
            raise TwistpiError("the answer was lost", 503)


def test_downloads_of_a_replica_are_summed_at_its_primary_once(tmp_path: Path) -> None:
    primary = Server(tmp_path / "primary")
    wire = Wire(primary)
    replica = Server(tmp_path / "replica", wire)
    replica.recorder.start()
    primary.tally.count(WHEEL, PIP)
    done(primary.recorder.flush())
    for fails, expected in (("before", 1), ("after", 2), ("", 4)):
        wire.fails = fails
        replica.tally.count(WHEEL, PIP)
        done(replica.recorder.stop())
        # The batch is on the disk of the one, its number on that of the other.
        replica, primary = Server(replica.folder, wire), Server(primary.folder)
        wire.primary = primary
        replica.recorder.start()
        assert primary.total() == expected
    assert replica.total() == 3, "each server knows what it served itself"
    assert wire.sent == [1, 1, 1, 2]


def test_a_replica_that_lost_its_file_begins_with_numbers_that_count(tmp_path: Path) -> None:
    primary = Server(tmp_path / "primary")
    wire = Wire(primary)
    for _ in range(2):
        replica = Server(tmp_path / "replica", wire)
        replica.recorder.start()
        replica.tally.count(WHEEL, PIP)
        replica.clock.advance(60)
        Path(replica.file.path).unlink()
    assert (primary.total(), wire.sent) == (2, [1, 1])


def test_replicas_of_replicas_are_summed_along_the_chain(tmp_path: Path) -> None:
    primary = Server(tmp_path / "primary")
    middle = Server(tmp_path / "middle", Wire(primary))
    last = Server(tmp_path / "last", Wire(middle))
    for server in (middle, last):
        server.recorder.start()
        server.tally.count(WHEEL, PIP)
    last.clock.advance(60)
    middle.clock.advance(60)
    assert (last.total(), middle.total(), primary.total()) == (1, 2, 2)


ROW = row_of(WHEEL, PIP, 3)


@pytest.mark.parametrize(
    "broken",
    [
        lambda told: [],
        lambda told: {**told, "ledger": "x"},
        lambda told: {**told, "sequence": 0},
        lambda told: {**told, "sequence": True},
        lambda told: {**told, "rows": None},
        lambda told: {**told, "rows": [["2026-11-29", *ROW[:-1], "3"]]},
        lambda told: {**told, "rows": [["2026-11-29", *ROW[:-1], -3]]},
        lambda told: {**told, "rows": [["today", *ROW]]},
        lambda told: {**told, "rows": [["2026-11-29", "x" * 301, *ROW[1:]]]},
        lambda told: {**told, "rows": [["2026-11-29", *ROW[1:]]]},
    ],
)
def test_a_batch_that_is_none_is_refused(broken: Callable[[Any], Any]) -> None:
    told: dict[str, Any] = {"ledger": "0" * 32, "sequence": 1, "rows": [["2026-11-29", *ROW]]}
    assert read_batch(told) == (Batch("0" * 32, 1, ""), [("2026-11-29", ROW)])
    with pytest.raises(ValueError, match=r"row|ledger|sequence|text|number"):
        read_batch(broken(told))


rows_strategy = st.lists(st.tuples(st.sampled_from([WHEEL, SDIST, OTHER]), st.sampled_from([PIP, UV]), st.integers(1, 9)))


@given(rows_strategy, st.integers(1, 4))
def test_taking_rows_in_parts_and_adding_them_elsewhere_keeps_the_numbers(
    counted: list[tuple[CountedFile, Agent, int]], most: int
) -> None:
    first, second = Tally(), Tally()
    for file, agent, number in counted:
        first.count(file, agent, number)
    while len(first):
        rows: list[Row] = orjson.loads(orjson.dumps(first.take(most)))
        assert 0 < len(rows) <= most
        second.add(rows)
    assert sum(int(row[-1]) for row in second.take()) == sum(number for _, _, number in counted)
