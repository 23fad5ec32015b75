"""The changelog in PostgreSQL: the contract, several nodes at one log, and connections that are lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.changelog.log_and_view import NOW
from tests.cluster.nodes import in_front
from tests.contracts.changelog_contract import ChangelogContract, bodies, raw_lines
from tests.fakes.faulty_disk import FaultyDisk
from tests.fakes.list_view import ListView
from tests.fakes.postgres import PostgresServer
from tests.fakes.unruly_proxy import Cut
from twistpi.changelog.batch import Batches, Commit, Committed, Refresh
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import SEGMENT_LIMIT
from twistpi.cluster.database import Database
from twistpi.cluster.postgres_changelog import PostgresChangelog
from twistpi.cluster.schema import prepare
from twistpi.model.changes import UserCreated
from twistpi.model.peers import BEGINNING
from twistpi.model.server_errors import LogConflict, LogUnreachable, StorageFull, UnknownPosition, WrittenNotShown

Opened = Callable[..., PostgresChangelog]


@pytest.fixture
def node(url: str, tmp_path: Path) -> Iterator[Opened]:
    """Make another node of the cluster."""
    made: list[PostgresChangelog] = []

    def make(
        through: str = url, disk: Disk | None = None, patience: float = 20.0, segment_limit: int = SEGMENT_LIMIT
    ) -> PostgresChangelog:
        copy = FileChangelog.open(str(tmp_path / f"copy{len(made)}"), disk or Disk(), segment_limit=segment_limit)
        made.append(PostgresChangelog(Database(through, patience=patience), copy, segment_limit=segment_limit))
        return made[-1]

    yield make
    for changelog in made:
        changelog.close()


class TestInPostgres(ChangelogContract):
    """See the contract."""

    @pytest.fixture
    def changelog(self, node: Opened) -> PostgresChangelog:
        return node()


class TestInPostgresWithSegmentsOfOneLine(ChangelogContract):
    """Wherever segments end, the contract holds."""

    @pytest.fixture
    def changelog(self, node: Opened) -> PostgresChangelog:
        return node(segment_limit=1)


def table(url: str) -> list[tuple[int, int, int, bytes]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT serial, segment, segment_end, body FROM twistpi_lines ORDER BY serial")
        return [(int(serial), int(segment), int(end), bytes(body)) for serial, segment, end, body in rows]


def creating(name: str, _reader: ListView) -> list[UserCreated]:
    return [UserCreated(name)]


def files(changelog: PostgresChangelog) -> dict[str, bytes]:
    folder = Path(changelog.copy.segment_path(1)).parent
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_copies_of_all_nodes_and_the_table_have_the_same_lines_in_the_same_segments(url: str, node: Opened) -> None:
    one, two = node(segment_limit=150), node(segment_limit=150)
    for number in range(1, 12, 2):
        one.append(bodies(number), number - 1)
        assert two.refresh() == one.last
        two.append(bodies(number + 1), number)
        one.refresh()
    assert files(one) == files(two)
    assert len(files(one)) > 3
    assert b"".join(content for _, content in sorted(files(one).items())) == b"".join(
        line + b"\n" for line in raw_lines(*(row[3] for row in table(url)))
    )
    assert [row[:3] for row in table(url)] == [(line.serial, line.segment, line.offset) for line in one.read(BEGINNING)]


def test_a_node_that_did_not_know_the_last_line_knows_it_when_its_own_is_refused(node: Opened) -> None:
    one, two = node(), node()
    one.append(bodies(1, 2), 0)
    with pytest.raises(LogConflict) as refusal:
        two.append(bodies(3), 0)
    assert refusal.value.actual == 2
    assert two.last == one.last
    two.append(bodies(3), 2)
    assert one.refresh().serial == 3


def test_a_batch_of_another_node_has_decisions_made_again_and_times_never_go_back(node: Opened) -> None:
    early, late = node(), node()
    one = Batches(late, ListView(), lambda: NOW.replace(year=2099))
    two = Batches(early, view := ListView(), lambda: NOW)
    one.process([Commit(lambda _view: [UserCreated("alice")], "alice")])
    seen: list[list[str]] = []

    def decide(reader: ListView) -> list[UserCreated]:
        seen.append([entry.by for entry in reader.seen])
        return [UserCreated("bob")]

    outcome = two.process([Commit(decide, "bob")])
    assert outcome.answers == [Committed(2, (UserCreated("bob"),))]
    assert seen == [[], ["alice"]]
    assert [serial for serial, _changes in outcome.applied] == [1, 2]
    assert view.entries[1].at >= view.entries[0].at


def test_what_others_appended_is_shown_on_request(node: Opened) -> None:
    one, two = node(), node()
    view = ListView()
    batches = Batches(two, view, lambda: NOW)
    Batches(one, ListView(), lambda: NOW).process([Commit(lambda _view: [UserCreated("alice")], "alice")])
    outcome = batches.process([Refresh(), Refresh()])
    assert outcome.answers == [one.last, one.last]
    assert [entry.by for entry in view.entries] == ["alice"]
    assert [serial for serial, _changes in outcome.applied] == [1]


def test_nodes_that_append_at_the_same_time_write_each_line_once_and_in_one_order(url: str, node: Opened) -> None:
    each = 60
    nodes = [node() for _ in range(3)]

    def write(number: int) -> None:
        batches = Batches(nodes[number], ListView(), lambda: NOW)
        for turn in range(each):
            name = f"user-{number}-{turn}"
            [answer] = batches.process([Commit(partial(creating, name), "x")]).answers
            assert isinstance(answer, Committed), answer

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.refresh() for one in nodes} == {nodes[0].last}
    assert nodes[0].last.serial == 3 * each
    assert files(nodes[0]) == files(nodes[1]) == files(nodes[2])
    assert len({row[3] for row in table(url)}) == 3 * each


# Connections that are lost


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_connection_that_is_cut_inside_a_commit_leaves_the_lines_in_the_log_once(
    url: str, node: Opened, direction: str
) -> None:
    with in_front(url) as (proxy, through):
        changelog = node(through)
        changelog.append(bodies(1), 0)
        if direction == "down":
            # The statement arrives whole, and its answer does not.
            proxy.will(Cut(asked=b"UPDATE twistpi_head", after=0, direction="down"))
        else:
            proxy.will(Cut(asked=b"UPDATE twistpi_head", behind=b"UPDATE twistpi_head", after=3, direction="up"))
        changelog.append(bodies(2, 3), 1)
        proxy.wait_until_happened(1)
    assert changelog.last.serial == 3
    assert [row[3] for row in table(url)] == bodies(1, 2, 3)


def test_a_log_whose_database_is_gone_says_so_takes_nothing_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    server = PostgresServer.make()
    try:
        url = server.new_database()
        prepare(url, os.urandom, time.time)
        copy = FileChangelog.open(str(tmp_path / "copy"), Disk())
        with closing(PostgresChangelog(Database(url, patience=0.1), copy)) as changelog:
            changelog.append(bodies(1), 0)
            server.end(signal.SIGQUIT)
            for attempt in (lambda: changelog.append(bodies(2), 1), changelog.refresh):
                with pytest.raises(LogUnreachable, match=f"127.0.0.1:{server.port}.*Reading goes on"):
                    attempt()
            assert [line.serial for line in changelog.read(BEGINNING)] == [1]
            server.start()
            assert changelog.append(bodies(2), 1).serial == 2
            server.end(signal.SIGINT)
            restarted = threading.Timer(0.1, server.start)
            patient = PostgresChangelog(Database(url), copy)
            restarted.start()
            assert patient.append(bodies(3), 2).serial == 3
            restarted.join()
            patient.close()
    finally:
        server.remove()


def test_all_of_a_batch_are_told_that_the_database_is_gone_and_none_is_tried_again(node: Opened) -> None:
    changelog = node("postgresql://twistpi@127.0.0.1:1/none", patience=0.0)
    decided: list[str] = []

    def decide(name: str, reader: ListView) -> list[UserCreated]:
        decided.append(name)
        return creating(name, reader)

    view = ListView()
    commits = [Commit(partial(decide, name), name) for name in ("alice", "bob")]
    outcome = Batches(changelog, view, lambda: NOW).process([*commits, Refresh()])
    assert decided == ["alice", "bob"]
    assert [type(answer) for answer in outcome.answers] == [LogUnreachable] * 3
    assert outcome.fatal is None
    assert not view.begun


def test_a_batch_that_is_written_but_has_no_room_in_the_copy_is_not_written_again(url: str, node: Opened) -> None:
    disk = FaultyDisk()
    one = node(disk=disk)
    one.append(bodies(1), 0)
    disk.room = 0
    with pytest.raises(WrittenNotShown) as told:
        one.append(bodies(2), 1)
    assert told.value.serial == 2
    with pytest.raises(StorageFull):
        one.refresh()
    disk.room = 1_000_000
    assert one.refresh().serial == 2
    assert [row[3] for row in table(url)] == bodies(1, 2)


@pytest.mark.parametrize("then", [(), (4,), (4, 5, 6)])
def test_a_database_that_was_set_back_is_noticed_however_far_it_is_again(url: str, node: Opened, then: tuple[int, ...]) -> None:
    one, other = node(), node()
    one.append(bodies(1, 2), 0)
    other.refresh()
    one.append(bodies(3), 2)
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM twistpi_lines WHERE serial = 3")
        connection.execute("UPDATE twistpi_head SET serial = 2, chain = (SELECT chain FROM twistpi_lines WHERE serial = 2)")
    if then:
        other.append(bodies(*then), 2)
    for attempt in (lambda: one.append(bodies(7), 3), one.refresh):
        with pytest.raises(UnknownPosition, match="set back"):
            attempt()
    assert len(table(url)) == 2 + len(then)
