"""Taking over what the primary wrote: the same bytes, folded in the same pass, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor

from tests.changelog.log_and_view import NOW, Bench
from tests.contracts.changelog_contract import raw_lines
from tests.fakes.faulty_disk import FaultyDisk
from tests.fakes.list_view import ListView
from tests.in_reactor import in_reactor, wait_for
from twistpi.changelog.batch import Commit, Keep, Receive
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.writer import Writer
from twistpi.model.changes import UserCreated
from twistpi.model.codec import encode_content
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import FeedDamaged, MalformedChange, StorageFull, SyncFailed

LATER = "2026-11-22T18:00:00.000000Z"


def content(name: str) -> bytes:
    return encode_content(LATER, name, [UserCreated(name)])


LINES = raw_lines(*(content(name) for name in "abcdef"))
UNKNOWN = b'{"at":"2026-11-22T18:00:00.000000Z","by":"root","changes":[{"kind":"Teleported"}]}'
MALFORMED = b'{"at":"2026-11-22T18:00:00.000000Z","by":"root","changes":[{"kind":"UserCreated"}]}'


def test_received_lines_are_folded_with_one_sync_and_one_transaction(bench: Bench) -> None:
    bench.disk.calls.clear()
    outcome = bench.batches.process([Receive(LINES)])
    assert outcome.answers == [bench.log.last]
    assert bench.log.last.serial == 6
    assert [serial for serial, _changes in outcome.applied] == [1, 2, 3, 4, 5, 6]
    assert [call for call in bench.disk.calls if call in {"write", "sync"}] == ["write", "sync"]
    assert bench.view.commits == 1
    assert bench.consistent()


def test_local_facts_are_kept_among_received_lines(bench: Bench) -> None:
    one, two = Keep(lambda view: view.remember("one")), Keep(lambda view: view.remember("two"))
    assert bench.ask(one, Receive(LINES[:2]), two, Receive(LINES[2:4])) == [
        None, bench.log.position(2), None, bench.log.position(4),
    ]  # fmt: skip
    assert bench.view.facts == ["one", "two"]


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([LINES[1]], FeedDamaged),
        ([LINES[0].replace(b'"a"', b'"b"')], FeedDamaged),
        (raw_lines(content("a"), UNKNOWN, content("c")), MalformedChange),
        (raw_lines(content("a"), MALFORMED), MalformedChange),
        (raw_lines(b"{}"), MalformedChange),
    ],
    ids=["a gap", "a flipped byte", "an unknown kind", "a malformed change", "nothing"],
)
def test_lines_that_cannot_be_taken_over_leave_no_trace_and_stop_nothing(
    bench: Bench, lines: Sequence[bytes], error: type[Exception]
) -> None:
    bench.disk.calls.clear()
    assert bench.ask(Receive(lines)) == [error]
    assert bench.disk.calls == []
    assert bench.log.last == BEGINNING
    assert bench.ask(Receive(lines), Receive(LINES)) == [error, bench.log.last]


def test_of_what_cannot_be_folded_the_serial_is_told(bench: Bench) -> None:
    (answer,) = bench.batches.process([Receive(raw_lines(content("a"), UNKNOWN))]).answers
    assert isinstance(answer, MalformedChange)
    assert answer.__notes__ == ["That is in serial 2."]


def test_a_full_disk_refuses_received_lines_until_there_is_room(bench: Bench) -> None:
    bench.ask(Receive(LINES[:2]))
    bench.disk.room = 100
    assert bench.ask(Receive(LINES[2:])) == [StorageFull]
    bench.disk.room = None
    assert bench.ask(Receive(LINES[2:])) == [bench.log.last]
    assert bench.log.last.serial == 6


def test_a_failed_sync_of_received_lines_is_fatal(bench: Bench) -> None:
    bench.ask(Receive(LINES[:2]))
    bench.disk.broken = {"sync"}
    outcome = bench.batches.process([Receive(LINES[2:4]), Receive(LINES[4:])])
    assert isinstance(outcome.fatal, SyncFailed)
    assert [type(answer) for answer in outcome.answers] == [SyncFailed, SyncFailed]
    assert bench.view.position.serial == 2


def test_a_view_that_could_not_keep_received_lines_catches_up(bench: Bench) -> None:
    bench.view.fail_commit = [OSError("no room")]
    outcome = bench.batches.process([Receive(LINES[:3])])
    assert isinstance(outcome.answers[0], StorageFull)
    assert (bench.log.last.serial, outcome.end, outcome.applied) == (3, BEGINNING, [])
    outcome = bench.batches.process([Receive(LINES[3:])])
    assert outcome.answers == [bench.log.last]
    assert [serial for serial, _changes in outcome.applied] == [1, 2, 3, 4, 5, 6]
    assert bench.consistent()


def test_whoever_commits_later_is_never_earlier_than_what_was_received(bench: Bench) -> None:
    bench.ask(Keep(lambda view: None), Receive(LINES))
    bench.ask(Commit(lambda _reader: [UserCreated("g")], "root"))
    assert [entry.at for entry in bench.view.entries[-2:]] == [LATER, LATER]
    assert NOW + timedelta(minutes=30) < datetime.fromisoformat(LATER)


@given(st.lists(st.binary(max_size=60), max_size=40), st.data(), st.integers(1, 600))
@settings(max_examples=80)
def test_a_log_that_received_another_is_the_same_files_whatever_the_batches(
    contents: list[bytes], data: st.DataObject, limit: int
) -> None:
    bodies = [b'{"x":"%b"}' % content.hex().encode() for content in contents]
    primary, replica = FaultyDisk(), FaultyDisk()
    written = FileChangelog.open("/log", primary, segment_limit=limit)
    received = FileChangelog.open("/log", replica, segment_limit=limit)
    for start, end in parts(data, len(bodies)):
        written.append(bodies[start:end], start)
    lines = raw_lines(*bodies)
    for start, end in parts(data, len(bodies)):
        if data.draw(st.booleans()):
            received = FileChangelog.open("/log", replica, segment_limit=limit)
        received.receive(lines[start:end], start)
    assert replica.snapshot() == primary.snapshot()
    assert (received.last, received.segments()) == (written.last, written.segments())
    for line in written.read(BEGINNING):
        assert received.position(line.serial) == line.position


def parts(data: st.DataObject, length: int) -> Iterator[tuple[int, int]]:
    """Any cuts of so many lines into batches, empty ones too."""
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=6)))
    return zip([0, *cuts], [*cuts, length], strict=True)


# The thread


class Running:
    """A started writer that follows, and what it said."""

    def __init__(self) -> None:
        self.log = FileChangelog.open("/log", FaultyDisk())
        self.view = ListView()
        self.events: list[Any] = []
        self.writer = Writer(
            self.log, self.view, now=lambda: NOW, call_in_reactor=reactor.callFromThread,  # type: ignore[attr-defined]
            announce=self.announce, stop=self.events.append, follows=True,
        )  # fmt: skip

    def announce(self, serial: int, changes: Sequence[object]) -> None:
        self.events.append((serial, self.writer.seen.serial, len(changes)))


@pytest.fixture
def running() -> Iterator[Running]:
    everything = Running()
    everything.writer.start()
    yield everything
    wait_for(everything.writer.stop())


@in_reactor
async def test_received_entries_are_announced_at_once_when_they_are_seen_and_then_the_follower_is_told(running: Running) -> None:
    assert running.writer.seen == BEGINNING
    told: list[Position] = []
    receiving = running.writer.receive(LINES[:3])
    receiving.addCallback(lambda end: running.events.append(end))
    receiving.addCallback(lambda _: told.append(running.log.last))
    await receiving
    (end,) = told
    assert running.events == [(3, 3, 3), end]
    assert running.writer.seen == end == running.log.last
    assert (await running.writer.receive(LINES[3:])).serial == 6


@in_reactor
async def test_a_writer_that_follows_commits_nothing_but_keeps_local_facts(running: Running) -> None:
    decided: list[object] = []
    decide: Callable[[Any], Any] = decided.append
    with pytest.raises(TwistpiError):
        await running.writer.commit(decide, "root")
    await running.writer.keep(lambda view: view.remember("fact"))
    assert (decided, running.view.facts, running.log.last) == ([], ["fact"], BEGINNING)


@in_reactor
async def test_after_damage_the_same_writer_takes_what_is_right(running: Running) -> None:
    with pytest.raises(FeedDamaged):
        await running.writer.receive([LINES[0], LINES[2]])
    assert running.events == []
    assert (await running.writer.receive(LINES)).serial == 6
