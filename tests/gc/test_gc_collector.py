"""When a server collects garbage, what is said of it, and how it stops."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from tests.fakes.memory_changelog import MemoryChangelog
from tests.gc.gc_setup import INDEXES, LOG_ID, LONG_AGO, put, put_first_entry, removed, uploaded
from twistpi.blobs.tree import Tree, open_tree
from twistpi.gc.collector import LOOSENING, GarbageCollector
from twistpi.http.offload import Offload
from twistpi.model.changes import Change, FileCached, IndexDeleted, UserCreated
from twistpi.model.releases import AttachmentRemoved, ProjectRemoved, ReleaseRemoved
from twistpi.model.server_errors import StorageFull, WriterStopped
from twistpi.server.announcements import Announcements
from twistpi.view.database import open_view
from twistpi.view.read import Reader, Readers

NOW = 2_000_000_000.0
HOUR = 3600.0
AFTER = HOUR + 60
NAME = "demo-1.0.zip"


@attrs.define(eq=False)
class FakeWriter:
    """Decides at once, or fails."""

    readers: Readers
    refusal: Exception | None = None

    def commit(self, decide: Callable[[Reader], Sequence[Change]], by: str) -> Deferred[Any]:
        if self.refusal is not None:
            return fail(self.refusal)
        assert list(decide(self.readers.get())) == []
        return succeed(None)

    def keep(self, work: Callable[[Any], object]) -> Deferred[None]:
        work(self)
        return succeed(None)

    @property
    def reader(self) -> Reader:
        """As of the view that work is handed."""
        return self.readers.get()


@attrs.define(eq=False)
class Scene:
    """A collector in a world where time passes when a test says so."""

    tree: Tree
    clock: Clock
    writer: FakeWriter
    collector: GarbageCollector
    threads: list[Callable[[], None]] | None = None
    """What waits to be run in threads, when they are slow."""

    def offload(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        if self.threads is None:
            return succeed(work(*arguments))
        waiter: Deferred[Any] = Deferred()
        self.threads.append(lambda: waiter.callback(work(*arguments)))
        return waiter

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for _ in range(20):
            self.clock.advance(0.01)

    def orphan(self, age: float, name: str = NAME) -> None:
        """A blob that nothing names, kept ``age`` seconds ago."""
        address = put(self.tree, name, b"orphan")
        kept_at = self.clock.seconds() - age
        os.utime(self.tree.path(address), (kept_at, kept_at))

    def left(self) -> int:
        return len(list(self.tree.walk()))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    path = str(tmp_path / "view.sqlite")
    view = open_view(path, LOG_ID)
    put_first_entry(MemoryChangelog(), view)
    tree, clock, readers = open_tree(str(tmp_path)), Clock(), Readers(path)
    clock.advance(NOW)
    writer = FakeWriter(readers)
    scenes: list[Scene] = []
    collector = GarbageCollector(
        tree, readers, writer, clock,  # type: ignore[arg-type]
        offload=cast(Offload, lambda *call: scenes[0].offload(*call)), now=clock.seconds,
    )  # fmt: skip
    scenes.append(Scene(tree, clock, writer, collector))
    yield scenes[0]
    readers.close()
    view.close()


@pytest.mark.parametrize(
    "change",
    [
        removed(NAME),
        ReleaseRemoved(INDEXES[0], "demo", "1.0"),
        ProjectRemoved(INDEXES[0], "demo"),
        AttachmentRemoved(INDEXES[0], "demo", "+f/abc/0123456789abc/x"),
        IndexDeleted(INDEXES[0]),
        uploaded(NAME, b"in the place of another"),
    ],
    ids=lambda change: type(change).__name__,
)
def test_an_hour_after_a_removal_a_pass_follows(scene: Scene, change: Change) -> None:
    scene.orphan(age=AFTER)
    scene.collector.changed(2, (UserCreated("bob"), change))
    scene.pass_time(AFTER - 1)
    assert scene.left() == 1
    scene.pass_time(1)
    assert scene.left() == 0
    assert scene.clock.getDelayedCalls() == [], "nothing more is to be done"


def test_what_takes_nothing_away_starts_no_pass(scene: Scene) -> None:
    announcements = Announcements()
    announcements.add(scene.collector.changed, *LOOSENING)
    announcements.announce(2, (UserCreated("bob"), FileCached("root/pypi", "demo", NAME, "0" * 64, 1)))
    assert scene.clock.getDelayedCalls() == []


def test_many_removals_are_followed_by_one_pass(scene: Scene) -> None:
    for serial in range(10):
        scene.collector.changed(serial, (removed(NAME),))
    assert len(scene.clock.getDelayedCalls()) == 1


def test_after_a_start_a_pass_removes_what_the_former_process_left_behind(scene: Scene) -> None:
    scene.orphan(age=0)
    scene.collector.start()
    scene.pass_time(AFTER)
    assert scene.left() == 0


def test_what_was_too_young_is_looked_at_again(scene: Scene) -> None:
    scene.orphan(age=0)
    assert scene.collector.ask() == 1
    scene.pass_time(0)
    assert scene.collector.last is not None
    assert (scene.collector.last.swept.young, scene.left()) == (1, 1)
    scene.pass_time(AFTER)
    assert scene.left() == 0


def test_who_asks_during_a_pass_waits_for_the_next_which_sees_everything(scene: Scene) -> None:
    scene.orphan(age=AFTER)
    scene.threads = []
    assert scene.collector.ask() == 1
    assert [scene.collector.ask(), scene.collector.ask()] == [2, 2]
    running = scene.collector.running
    assert running is not None
    assert (running.number, running.ended) == (1, False)
    while scene.threads:
        scene.threads.pop(0)()
        scene.pass_time(0)
    assert scene.collector.last is not None
    assert (scene.collector.last.number, scene.collector.running, scene.left()) == (2, None, 0)


def test_a_failure_is_told_logged_and_tried_again_later(scene: Scene) -> None:
    events: list[Any] = []
    observer: Any = events.append
    globalLogPublisher.addObserver(observer)
    scene.orphan(age=AFTER)
    scene.writer.refusal = StorageFull("the view", "No space left on device")
    scene.collector.ask()
    globalLogPublisher.removeObserver(observer)
    assert scene.collector.last is not None
    assert "No space left" in (scene.collector.last.failure or "")
    assert [event["log_failure"].type for event in events if "log_failure" in event] == [StorageFull]
    scene.writer.refusal = None
    scene.pass_time(AFTER)
    assert scene.left() == 0


def test_what_is_withdrawn_is_given_back_even_when_the_commit_fails_afterwards(scene: Scene, tmp_path: Path) -> None:
    scene.orphan(age=AFTER)

    class LateFailure(FakeWriter):
        def commit(self, decide: Callable[[Reader], Sequence[Change]], by: str) -> Deferred[Any]:
            decide(self.readers.get())
            return fail(WriterStopped())

    scene.collector._writer = LateFailure(scene.writer.readers)  # type: ignore[assignment]
    scene.collector.ask()
    assert scene.left() == 0
    assert os.listdir(tmp_path / "incoming") == []


def test_a_stop_waits_for_the_thread_at_work_and_nothing_begins_afterwards(scene: Scene) -> None:
    scene.orphan(age=LONG_AGO)
    scene.threads = []
    scene.collector.start()
    scene.collector.ask()
    stopped: list[None] = []
    scene.collector.stop().addCallback(stopped.append)
    assert stopped == []
    while scene.threads:
        scene.threads.pop(0)()
    assert stopped == [None]
    assert scene.clock.getDelayedCalls() == []
    scene.collector.changed(3, (removed(NAME),))
    scene.collector.ask()
    assert scene.clock.getDelayedCalls() == []
    assert scene.threads == []


def test_a_stop_between_two_looks_is_at_once(scene: Scene) -> None:
    scene.orphan(age=AFTER)
    scene.collector.ask()
    assert scene.collector.running is not None, "it pauses"
    stopped: list[None] = []
    scene.collector.stop().addCallback(stopped.append)
    assert stopped == [None]
    assert scene.clock.getDelayedCalls() == []
    assert scene.collector.last is not None
    assert scene.collector.last.failure == "the server stops"


def test_a_stop_without_a_pass_is_at_once(scene: Scene) -> None:
    assert scene.collector.stop().called


def test_a_replica_removes_nothing_while_it_has_not_the_whole_log(scene: Scene) -> None:
    hindrances: list[str | None] = ["this replica is behind its primary"]
    scene.collector._blocked = lambda: hindrances[0]
    scene.writer.refusal = WriterStopped()  # nobody commits where another server's log is followed
    scene.orphan(age=AFTER)
    scene.collector.ask()
    assert scene.left() == 1
    assert scene.collector.last is not None
    assert scene.collector.last.failure == hindrances[0]
    hindrances[0] = None
    scene.pass_time(AFTER)
    assert scene.left() == 0
