"""When a replica's queue of files asks, waits and asks again, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from twistpi.model.changes import FileCached
from twistpi.model.errors import FileNotHereYet, WrongBytes
from twistpi.model.server_errors import StorageFull
from twistpi.replication.blob_fetcher import BlobFetcher
from twistpi.replication.missing_blobs import FailedBlobs, MissingBlob
from twistpi.rules.replication import BlobPolicy
from twistpi.view.read import KeptBlob

LARGE = 10_000_000
P = ParamSpec("P")
T = TypeVar("T")


def lack(number: int = 0, *, size: int = LARGE) -> MissingBlob:
    return MissingBlob(False, KeptBlob(f"{number:016x}", f"demo-{number}.zip", f"{number:064x}", size))


@attrs.define(eq=False)
class Scene:
    """A queue that looks and fetches as a test says."""

    clock: Clock = attrs.field(factory=Clock)
    lacking: list[MissingBlob] = attrs.field(factory=list)
    outcome: Exception | None = None
    """What keeps each blob from coming; None when they come."""
    trouble: Exception | None = None
    """What keeps from looking."""
    looks: int = 0
    brought: int = 0
    waiting: list[Deferred[None]] | None = None
    """Blobs that are on their way, when that takes time."""
    named: bool = True

    def walk(self, after: object) -> tuple[list[MissingBlob], None]:
        return self.look(()), None

    def look(self, changes: Sequence[object]) -> list[MissingBlob]:
        self.looks += 1
        if self.trouble is not None:
            raise self.trouble
        return self.lacking

    def still(self, lacks: Sequence[MissingBlob]) -> list[MissingBlob]:
        self.looks += 1
        return list(lacks) if self.named else []

    async def bring(self, blob: KeptBlob) -> None:
        self.brought += 1
        if self.waiting is not None:
            waiter: Deferred[None] = Deferred()
            self.waiting.append(waiter)
            await waiter
        if self.outcome is not None:
            raise self.outcome

    def queue(self) -> BlobFetcher:
        anything = cast(Any, self)

        def offload(work: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> Deferred[T]:
            return maybeDeferred(work, *arguments, **named)

        return BlobFetcher(anything, anything, self.bring, anything, self.clock, offload=offload, policy=BlobPolicy())

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 100)):
            self.clock.advance(0.01)


def cached() -> FileCached:
    return FileCached("root/up", "demo", "demo-0.zip", "0" * 64, LARGE)


def test_a_blob_that_failed_is_tried_again_after_growing_pauses_and_forgotten_when_nothing_names_it_any_more() -> None:
    scene = Scene(lacking=[lack()], outcome=WrongBytes("demo-0.zip", "/+blob", "wrong"))
    queue = scene.queue()
    queue.start()
    tries = []
    for _ in range(6):
        tries.append(scene.brought)
        scene.pass_time(4.0)
    assert tries[:2] == [1, 4]
    assert scene.brought <= 7
    (told,) = queue.facts()["failing"]
    assert (told["tries"], "wrong" in told["reason"]) == (scene.brought, True)
    scene.named = False
    scene.pass_time(40.0)
    assert (queue.outstanding, queue.is_searching) == (0, False)
    assert queue.in_sync_at(scene.clock.seconds()) == scene.clock.seconds()


def test_while_the_primary_is_gone_little_is_asked_however_much_is_wanted_or_failed_before() -> None:
    scene = Scene(lacking=[lack(number) for number in range(50)], outcome=WrongBytes("demo.zip", "/+blob", "wrong"))
    queue = scene.queue()
    queue.start()
    assert len(queue.failures) == 50
    scene.outcome = FileNotHereYet("demo.zip is not here: refused")
    asked, looks = scene.brought, scene.looks
    scene.pass_time(120.0)
    assert scene.brought - asked < 30
    assert scene.looks - looks < 40
    scene.outcome = None
    scene.pass_time(60.0)
    assert (queue.outstanding, queue.fetched) == (0, 50)


def test_what_keeps_from_looking_is_waited_for_and_nothing_is_forgotten_meanwhile() -> None:
    scene = Scene(lacking=[lack()], trouble=StorageFull("incoming", "No space left on device"))
    queue = scene.queue()
    queue.start()
    queue.changed(7, (cached(),))
    scene.pass_time(60.0)
    assert scene.looks < 20
    assert queue.is_searching
    scene.trouble = None
    scene.pass_time(60.0)
    assert (queue.is_searching, queue.fetched) == (False, 2)


def test_while_the_log_is_far_behind_nothing_is_looked_for_so_that_it_catches_up() -> None:
    scene = Scene(lacking=[lack()])
    busy = [True]
    queue = attrs.evolve(scene.queue(), is_busy=lambda: busy[0])
    queue.start()
    scene.pass_time(10.0)
    assert (scene.looks, queue.is_searching) == (0, True)
    busy[0] = False
    scene.pass_time(2.0)
    assert (scene.looks, queue.fetched, queue.is_searching) == (1, 1, False)


def test_large_files_leave_a_way_free_and_a_stop_gives_up_what_is_on_its_way() -> None:
    scene = Scene(lacking=[lack(number) for number in range(9)], waiting=[])
    queue = scene.queue()
    queue.start()
    assert scene.brought == 3
    assert scene.waiting is not None
    scene.waiting.pop(0).callback(None)
    assert scene.brought == 4
    queue.stop()
    assert all(waiter.called for waiter in scene.waiting)
    assert scene.clock.getDelayedCalls() == []
    queue.changed(8, (cached(),))
    assert scene.brought == 4


def test_more_changes_than_can_be_remembered_make_it_walk() -> None:
    scene = Scene(lacking=[])
    queue = scene.queue()
    queue.start()
    scene.looks = 0
    queue.changed(9, (cached(),) * 20_000)
    assert (scene.looks, queue.is_searching) == (1, False)


def test_of_many_failures_only_so_many_are_remembered_and_the_rest_is_found_again() -> None:
    failures = FailedBlobs()
    noted = [failures.note(lack(number), "wrong", 0.0) for number in range(10_001)]
    assert (noted[0], noted[-1], len(failures)) == (0.5, None, 10_000)
    assert len(failures.facts(with_names=True)) == 100
    assert failures.next_at() == 0.5
    assert failures.due(0.4) == []
    assert len(failures.due(0.5)) == 100


def test_without_anything_wanted_it_is_in_sync_from_the_start() -> None:
    scene = Scene(lacking=[lack()])
    queue = attrs.evolve(scene.queue(), policy=BlobPolicy.parse("on-demand"))
    queue.start()
    queue.changed(1, (cached(),))
    queue.walk()
    assert (scene.looks, queue.in_sync_at(5.0)) == (0, 5.0)
    assert {measure.name: measure.value for measure in queue.measures()}["twistpi_replica_files_outstanding"] == 0


def test_a_disk_that_is_full_when_a_blob_is_tried_again_is_no_fault_of_the_blob() -> None:
    scene = Scene(lacking=[lack()], outcome=WrongBytes("demo-0.zip", "/+blob", "wrong"))
    queue = scene.queue()
    queue.start()
    scene.outcome = StorageFull("incoming", "No space left on device")
    scene.pass_time(5.0)
    (told,) = queue.facts()["failing"]
    assert (told["tries"], "wrong" in told["reason"], scene.brought > 2) == (1, True, True)
    assert "No space left" in str(queue.facts()["last-error"])
    scene.outcome = None
    scene.pass_time(20.0)
    assert queue.outstanding == 0
