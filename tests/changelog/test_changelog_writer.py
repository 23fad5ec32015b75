"""The writer: batches without threads first, then the thread with a real reactor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta, timezone
from itertools import count
from time import monotonic
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from tests.changelog.log_and_view import NOW, Bench
from tests.fakes.faulty_disk import FaultyDisk
from tests.fakes.list_view import ListView
from tests.fakes.memory_changelog import MemoryChangelog
from tests.in_reactor import in_reactor, until, wait_for
from twistpi.changelog.batch import Batches, Commit, Keep
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.writer import Committed, Writer
from twistpi.model.changes import Change, ProjectVanished, UserCreated
from twistpi.model.codec import encode_content
from twistpi.model.errors import UnknownIndex
from twistpi.model.peers import BEGINNING
from twistpi.model.server_errors import LogDamaged, ServerdirRefused, StorageFull, SyncFailed, WriterStopped, WrittenNotShown


def user(name: str) -> UserCreated:
    return UserCreated(name)


def create(name: str) -> Commit:
    """A commit that creates a user, with the user as its author."""
    return Commit(lambda _reader: [user(name)], name)


def raise_unknown_index(_reader: ListView) -> Sequence[Change]:
    """A decision that is a refusal."""
    raise UnknownIndex("root/none")


def create_once(name: str) -> Commit:
    """A commit that creates a user unless it is there."""

    def decide(reader: ListView) -> Sequence[Change]:
        return [] if any(user(name) in entry.changes for entry in reader.seen) else [user(name)]

    return Commit(decide, name)


# Batches


def test_a_batch_is_answered_in_order_with_its_serials_for_one_sync_and_one_transaction(bench: Bench) -> None:
    bench.batches.process([create("first")])
    bench.disk.calls.clear()
    outcome = bench.batches.process([create("a"), create("b")])
    assert outcome.answers == [Committed(2, (user("a"),)), Committed(3, (user("b"),))]
    assert outcome.applied == [(2, (user("a"),)), (3, (user("b"),))]
    assert outcome.fatal is None
    assert bench.disk.calls == ["write", "sync"]
    assert bench.view.commits == 2
    assert bench.consistent()


def test_a_decision_sees_what_came_before_it_in_the_same_batch(bench: Bench) -> None:
    outcome = bench.batches.process([create_once("a"), create_once("a"), create_once("b")])
    assert outcome.answers == [Committed(1, (user("a"),)), Committed(1, ()), Committed(2, (user("b"),))]
    assert bench.authors() == ["a", "b"]


def test_when_nothing_has_to_change_nothing_is_written(bench: Bench) -> None:
    bench.batches.process([create("a")])
    bench.disk.calls.clear()
    outcome = bench.batches.process([create_once("a")])
    assert (outcome.answers, outcome.applied, bench.disk.calls) == ([Committed(1, ())], [], [])
    assert bench.view.commits == 1
    assert bench.consistent()


@pytest.mark.parametrize("where", ["decision", "encoding", "fold"])
def test_a_request_that_fails_spoils_nothing_for_the_others(bench: Bench, where: str) -> None:
    bench.view.fail_apply["x"] = ValueError("no such column")
    failing, error = {
        "decision": (Commit(raise_unknown_index, "x"), UnknownIndex),
        "encoding": (Commit(lambda _reader: [UserCreated("x", {"config": object()})], "y"), TypeError),
        "fold": (create("x"), ValueError),
    }[where]
    first, failed, last = bench.batches.process([create("a"), failing, create("c")]).answers
    assert isinstance(failed, error)
    assert (first, last) == (Committed(1, (user("a"),)), Committed(2, (user("c"),)))
    assert bench.authors() == ["a", "c"]
    assert bench.view.commits == (2 if where == "fold" else 1)
    assert bench.consistent()


def test_local_facts_need_no_entry_and_no_sync_and_go_into_the_transaction_of_a_batch(bench: Bench) -> None:
    assert bench.batches.process([Keep(lambda view: view.remember("alone"))]).answers == [None]
    assert (bench.view.facts, bench.log.last, bench.disk.calls) == (["alone"], BEGINNING, [])
    bench.batches.process([create("a"), Keep(lambda view: view.remember("beside")), create("b")])
    assert (bench.view.facts, bench.view.commits) == (["alone", "beside"], 2)
    assert bench.consistent()


def test_a_local_fact_that_fails_is_undone_and_alone(bench: Bench) -> None:
    def half(view: ListView) -> None:
        view.remember("half")
        raise ValueError

    whole = Keep(lambda view: view.remember("whole"))
    assert bench.ask(create("a"), Keep(half), whole) == [Committed(1, (user("a"),)), ValueError, None]
    assert bench.view.facts == ["whole"]


def test_a_full_disk_refuses_what_must_be_written_and_nothing_else(bench: Bench) -> None:
    bench.batches.process([create("a")])
    bench.disk.room = 10
    outcome = bench.batches.process([create("b"), create_once("a"), create("c")])
    assert isinstance(outcome.answers[0], StorageFull)
    assert outcome.answers[1] == Committed(1, ())
    assert isinstance(outcome.answers[2], StorageFull)
    assert outcome.fatal is None
    assert bench.consistent()
    bench.disk.room = None
    assert bench.ask(create("d")) == [Committed(2, (user("d"),))]


def test_a_decision_that_built_on_an_entry_that_was_undone_is_made_again(bench: Bench) -> None:
    bench.view.fail_apply["broken"] = ValueError()
    outcome = bench.batches.process([Commit(lambda _reader: [user("a")], "broken"), create_once("a")])
    assert isinstance(outcome.answers[0], ValueError)
    assert outcome.answers[1] == Committed(1, (user("a"),))


def test_a_view_that_cannot_commit_is_caught_up_from_the_log_before_the_next_batch(bench: Bench) -> None:
    bench.view.fail_commit = [OSError("disk I/O error")]
    outcome = bench.batches.process([create("a"), create("b")])
    assert [type(answer) for answer in outcome.answers] == [WrittenNotShown, WrittenNotShown]
    assert "stored in the changelog as entry 2" in str(outcome.answers[1])
    assert "disk I/O error" in str(outcome.answers[1])
    assert outcome.applied == []
    assert bench.authors() == ["a", "b"]
    outcome = bench.batches.process([create_once("a"), create("c")])
    assert outcome.answers == [Committed(2, ()), Committed(3, (user("c"),))]
    assert bench.consistent()
    assert [serial for serial, _changes in outcome.applied] == [1, 2, 3]


def test_while_the_view_cannot_be_caught_up_waiters_are_refused(bench: Bench) -> None:
    full = StorageFull("view.sqlite", "database or disk is full")
    bench.view.fail_commit = [full, full, full]
    outcomes = [bench.batches.process([create(name)]) for name in ("a", "b", "c")]
    (written,), *others = [outcome.answers for outcome in outcomes]
    assert isinstance(written, WrittenNotShown)
    assert (written.serial, others, bench.authors()) == (1, [[full], [full]], ["a"])
    assert [outcome.fatal for outcome in outcomes] == [None] * 3
    assert bench.ask(create("d")) == [Committed(2, (user("d"),))]


def test_when_the_view_cannot_commit_only_who_has_an_entry_is_told_of_one(bench: Bench) -> None:
    bench.batches.process([create("a")])
    bench.view.fail_commit = [OSError("full")]
    refuse = Commit(raise_unknown_index, "c")
    refused, written, nothing_to_do = bench.batches.process([refuse, create("b"), create_once("a")]).answers
    assert isinstance(written, WrittenNotShown)
    assert written.serial == 2
    assert isinstance(refused, UnknownIndex)
    assert type(nothing_to_do) is StorageFull
    assert bench.authors() == ["a", "b"]


def test_a_batch_that_the_log_has_is_not_written_again_whatever_else_fails(bench: Bench) -> None:
    bench.view.fail_commit, bench.view.fail_rollback = [OSError("full")], [OSError("still full")]
    outcome = bench.batches.process([create("a"), create("b")])
    assert [type(answer) for answer in outcome.answers] == [WrittenNotShown, WrittenNotShown]
    assert bench.authors() == ["a", "b"]


def test_a_damaged_view_and_a_failed_sync_are_fatal_to_every_waiter(bench: Bench) -> None:
    bench.view.fail_commit = [ServerdirRefused("view.sqlite", "malformed")]
    outcome = bench.batches.process([create("a")])
    assert isinstance(outcome.fatal, ServerdirRefused)
    assert outcome.answers == [outcome.fatal]
    other = Bench()
    other.disk.broken = {"sync"}
    outcome = other.batches.process([create("a"), create("b")])
    assert isinstance(outcome.fatal, SyncFailed)
    assert (outcome.answers, outcome.applied) == ([outcome.fatal, outcome.fatal], [])
    assert (other.view.entries, other.view.begun) == ([], False)


def test_damage_that_is_met_while_catching_up_is_fatal(bench: Bench) -> None:
    bench.view.fail_commit = [OSError()]
    bench.batches.process([create("a"), create("b")])
    path = "/log/00000000000000000001.log"
    bench.disk.overwrite(path, bench.disk.content(path).replace(b'"a"', b'"z"'))
    outcome = bench.batches.process([create("c")])
    assert isinstance(outcome.fatal, LogDamaged)
    assert outcome.answers == [outcome.fatal]


def test_when_another_process_appended_the_decision_is_made_again() -> None:
    log, view = MemoryChangelog(), ListView()
    foreign = encode_content("2026-11-22T17:00:00.000000Z", "other", [user("a")])
    once = create_once("a")

    def decide(reader: ListView) -> Sequence[Change]:
        changes: Sequence[Change] = once.decide(reader)
        if log.last == BEGINNING:
            log.append([foreign], 0)
        return changes

    outcome = Batches(log, view, lambda: NOW).process([Commit(decide, "a"), create("b")])
    assert outcome.answers == [Committed(1, ()), Committed(2, (user("b"),))]
    assert [serial for serial, _changes in outcome.applied] == [1, 2]
    assert [entry.by for entry in view.entries] == ["other", "b"]


# Time


def test_entries_carry_the_time_in_utc(bench: Bench) -> None:
    bench.now = NOW.astimezone(timezone(timedelta(hours=2)))
    bench.batches.process([create("a")])
    assert bench.view.entries[0].at == "2026-11-22T17:00:00.123456Z"


def test_time_never_goes_backwards_whatever_the_clock_does(bench: Bench) -> None:
    for hours in (0, -1, 1, -5):
        bench.now = NOW + timedelta(hours=hours)
        bench.batches.process([create("a"), create("b")])
    after_a_restart = Batches(FileChangelog.open("/log", bench.disk), bench.view, lambda: NOW - timedelta(days=1))
    after_a_restart.process([create("c")])
    times = [entry.at for entry in bench.view.entries]
    assert times == sorted(times)
    assert times[-1] == "2026-11-22T18:00:00.123456Z"


# The thread


@attrs.define
class Running:
    """A started writer, and what it said."""

    disk: FaultyDisk = attrs.field(factory=FaultyDisk)
    view: ListView = attrs.field(factory=ListView)
    events: list[Any] = attrs.field(factory=list)
    """Announcements and, if a test adds them, answers, in the order they came."""
    stopped: list[Exception] = attrs.field(factory=list)
    announce: Callable[[int, tuple[Change, ...]], object] = attrs.field(
        default=attrs.Factory(lambda self: lambda serial, changes: self.events.append((serial, changes)), takes_self=True)
    )
    seconds: Callable[[], float] = monotonic
    log: FileChangelog = attrs.field(init=False)
    writer: Writer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.log = FileChangelog.open("/log", self.disk)
        self.writer = Writer(
            self.log,
            self.view,
            now=lambda: NOW,
            call_in_reactor=reactor.callFromThread,  # type: ignore[attr-defined]
            announce=lambda serial, changes: self.announce(serial, changes),
            stop=self.stopped.append,
            seconds=self.seconds,
        )

    def create(self, name: str) -> Deferred[Committed]:
        return self.writer.commit(lambda _reader: [user(name)], name)


async def at_work(running: Running, then: Callable[[], object] = lambda: None) -> tuple[Deferred[Committed], threading.Event]:
    """A commit that the thread is deciding until the event is set, and then does ``then``."""
    go, busy = threading.Event(), threading.Event()

    def slow(_reader: ListView) -> Sequence[Change]:
        busy.set()
        assert go.wait(60)
        then()
        return [user("slow")]

    waiter = running.writer.commit(slow, "slow")
    await until(busy.is_set)
    return waiter, go


def break_unforeseen(running: Running) -> None:
    """Have the writer fail where no failure is foreseen."""
    running.view.position = None  # type: ignore[assignment]


@pytest.fixture
def running() -> Iterator[Running]:
    everything = Running()
    everything.writer.start()
    yield everything
    wait_for(everything.writer.stop())


@in_reactor
async def test_a_commit_is_answered_when_it_is_in_log_and_view_and_a_refusal_with_its_reason(running: Running) -> None:
    refused, accepted = running.writer.commit(raise_unknown_index, "root"), running.create("a")
    with pytest.raises(UnknownIndex):
        await refused
    assert await accepted == Committed(1, (user("a"),))
    assert running.log.last.serial == running.view.position.serial == 1


@in_reactor
async def test_entries_are_announced_in_the_reactor_before_their_waiters_are_told(running: Running) -> None:
    reactor_thread = threading.get_ident()
    threads: list[int] = []

    def announce(serial: int, changes: tuple[Change, ...]) -> None:
        running.events += range(serial - len(changes) + 1, serial + 1)
        threads.append(threading.get_ident())

    running.announce = announce
    answers = []
    for number in range(20):
        waiter = running.create(str(number))
        waiter.addCallback(lambda committed: running.events.append(("told", committed.serial)))
        answers.append(waiter)
    await gatherResults(answers)
    assert [event for event in running.events if isinstance(event, int)] == list(range(1, 21))
    for serial in range(1, 21):
        assert running.events.index(serial) < running.events.index(("told", serial))
    assert set(threads) == {reactor_thread}


@in_reactor
async def test_what_waits_while_the_thread_works_is_one_batch(running: Running) -> None:
    first, go = await at_work(running)
    others = [running.create(str(number)) for number in range(50)]
    go.set()
    await gatherResults([first, *others])
    assert (running.disk.calls.count("sync"), running.view.commits) == (2, 2)


@in_reactor
async def test_what_waiters_ask_for_when_they_are_told_is_one_batch() -> None:
    running = Running(seconds=lambda: 0.0)  # whose time stands still: all are told at a stretch
    taken = threading.Event()

    def ask_again(committed: Committed) -> Deferred[Committed]:
        def decide(_reader: ListView) -> Sequence[Change]:
            taken.set()
            return [user(f"after {committed.serial}")]

        waiter = running.writer.commit(decide, "root")
        assert not taken.wait(0.01)  # the thread has every opportunity
        return waiter

    told = [running.create(str(number)).addCallback(ask_again) for number in range(20)]
    running.writer.start()
    await gatherResults(told)
    assert running.disk.calls.count("sync") == 2
    assert running.view.commits == 2
    await running.writer.stop()


@in_reactor
async def test_a_writer_that_is_stopped_while_waiters_are_told_keeps_what_they_asked_for_before(running: Running) -> None:
    asked: list[Deferred[Committed]] = []
    stopped: list[Deferred[None]] = []
    first = running.create("first")
    first.addCallback(lambda _: asked.append(running.create("second")))
    first.addCallback(lambda _: stopped.append(running.writer.stop()))
    first.addCallback(lambda _: asked.append(running.create("third")))
    await first
    assert (await asked[0]).serial == 2
    with pytest.raises(WriterStopped):
        await asked[1]
    await stopped[0]


@in_reactor
async def test_a_waiter_that_leaves_harms_nobody(running: Running) -> None:
    leaving, staying = running.create("leaving"), running.create("staying")
    leaving.cancel()
    with pytest.raises(CancelledError):
        await leaving
    assert (await staying).serial == 2
    assert [entry.by for entry in running.view.entries] == ["leaving", "staying"]


@in_reactor
async def test_local_facts_are_kept_alone_and_with_a_commit_unless_that_is_refused(running: Running) -> None:
    def remembering(fact: str) -> Callable[[ListView], object]:
        return lambda view: view.remember(fact)

    await running.writer.keep(remembering("alone"))
    unchanged = await running.writer.commit(lambda _reader: [], "a", remembering("confirmed"))
    with pytest.raises(UnknownIndex):
        await running.writer.commit(raise_unknown_index, "a", remembering("refused"))
    assert (unchanged.changes, running.view.facts, running.log.last) == ((), ["alone", "confirmed"], BEGINNING)
    committed = await running.writer.commit(lambda _reader: [user("a")], "a", remembering("learned"))
    assert (committed.serial, running.view.facts[2:], running.view.commits) == (1, ["learned"], 3)


@in_reactor
async def test_stop_finishes_what_waits_and_refuses_what_comes(running: Running) -> None:
    waiting = [running.create(str(number)) for number in range(10)]
    stopping = [running.writer.stop(), running.writer.stop()]
    with pytest.raises(WriterStopped):
        await running.create("late")
    await gatherResults(stopping)
    assert [waiter.result for waiter in waiting] == [Committed(n + 1, (user(str(n)),)) for n in range(10)]
    await running.writer.stop()
    await Running().writer.stop()  # which never started


@in_reactor
async def test_held_commits_wait_while_what_came_before_is_finished_and_local_facts_are_kept(running: Running) -> None:
    before = running.create("before")
    quiet = running.writer.hold()
    held = running.create("held")
    await quiet
    assert (await before).serial == 1
    await running.writer.keep(lambda view: view.remember("local"))
    assert (running.view.facts, running.log.last.serial, held.called) == (["local"], 1, False)
    running.writer.release()
    assert [(await one).serial for one in (held, running.create("after"))] == [2, 3]


@in_reactor
async def test_denied_commits_are_told_why_and_held_ones_are_among_them(running: Running) -> None:
    await running.writer.hold()
    held = running.create("held")
    await running.writer.deny(UnknownIndex("root/none"))
    for refused in (held, running.create("after")):
        with pytest.raises(UnknownIndex):
            await refused
    await running.writer.keep(lambda view: view.remember("local"))
    assert (running.view.facts, running.log.last.serial) == (["local"], 0)


@in_reactor
async def test_what_is_held_when_the_writer_stops_or_ends_by_itself_is_refused_at_once(running: Running) -> None:
    await running.writer.hold()
    held = running.create("held")
    break_unforeseen(running)
    for refused in (running.writer.keep(lambda _view: None), held):
        with pytest.raises(AttributeError):
            await refused
    running.writer.release()
    assert running.log.last.serial == 0
    stopped = Running()
    stopped.writer.hold()
    held = stopped.create("held")
    stopped.writer.stop()
    with pytest.raises(WriterStopped):
        await held


@in_reactor
async def test_a_failed_sync_stops_the_server(running: Running) -> None:
    running.disk.broken = {"sync"}
    for waiter in (running.create("a"), running.create("b")):
        with pytest.raises(SyncFailed):
            await waiter
    assert [type(error) for error in running.stopped] == [SyncFailed]
    with pytest.raises(SyncFailed):
        await running.create("c")
    assert running.events == []


@in_reactor
async def test_what_came_while_the_sync_failed_is_refused_too(running: Running) -> None:
    first, go = await at_work(running, lambda: running.disk.broken.add("sync"))
    second, third = running.create("a"), running.writer.keep(lambda view: view.remember("late"))
    go.set()
    for waiter in (first, second, third):
        with pytest.raises(SyncFailed):
            await waiter


@in_reactor
async def test_an_unforeseen_error_stops_the_server_and_tells_every_waiter(running: Running) -> None:
    break_unforeseen(running)
    for waiter in (running.create("a"), running.create("b")):
        with pytest.raises(AttributeError):
            await waiter
    assert [type(error) for error in running.stopped] == [AttributeError]


@in_reactor
async def test_an_announcement_that_fails_is_logged_and_keeps_nobody_waiting(running: Running) -> None:
    def fail(_serial: int, _changes: tuple[Change, ...]) -> None:
        raise ValueError("cannot forget")

    running.announce = fail
    events: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        events.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        assert (await running.writer.commit(lambda _reader: [ProjectVanished("root/pypi", "demo")], "+mirror")).serial == 1
    finally:
        globalLogPublisher.removeObserver(observe)
    assert any(event.get("serial") == 1 and event.get("log_failure") for event in events)


@in_reactor
async def test_many_waiters_leave_the_reactor_turns_for_others() -> None:
    running = Running(seconds=map(float, count()).__next__)  # every look at the clock is a second later
    told = [running.create(name) for name in "abc"]
    answers = [waiter.addCallback(lambda committed: running.events.append(committed.serial)) for waiter in told]
    call_soon: Callable[..., None] = reactor.callFromThread  # type: ignore[attr-defined]
    answers[0].addCallback(lambda _: call_soon(running.events.append, "another"))
    running.writer.start()  # finds all three waiting, and makes one batch of them
    await gatherResults(answers)
    assert [event for event in running.events if not isinstance(event, tuple)] == [1, "another", 2, 3]
    await running.writer.stop()
