"""Blobs that are asked for: remembered in little memory, and written to their access times."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock

from tests.gc.gc_setup import LONG_AGO, put
from tests.in_reactor import in_reactor
from tests.web.web_world import at_once
from twistpi.blobs.address import BlobAddress
from twistpi.blobs.tree import open_tree
from twistpi.gc.access_times import HOUR, AccessRecorder, AccessTimes
from twistpi.view.read import Readers


def test_a_blob_is_taken_once_an_hour_however_often_it_is_asked_for() -> None:
    times = AccessTimes()
    for _ in range(3):
        times.note("a")
    assert times.take(1000.0) == ["a"]
    times.note("a")
    assert times.take(1000.0 + HOUR - 1) == []
    assert times.take(1000.0 + HOUR) == []
    times.note("a")
    assert times.take(1000.0 + HOUR) == ["a"]


def test_many_blobs_take_no_more_memory_and_the_newest_are_remembered() -> None:
    times = AccessTimes(most=10)
    for number in range(100):
        times.note(str(number))
    assert times.take(0.0, 4) == ["0", "1", "2", "3"]
    assert len(times.take(0.0)) == 6
    for number in range(100, 115):
        times.note(str(number))
    assert len(times.take(1.0)) == 10
    times.note("109")
    assert times.take(2.0) == [], "it was noted a moment ago"


@in_reactor
async def test_access_times_are_written_every_half_minute_and_at_the_end(tmp_path: Path) -> None:

    def found(address: BlobAddress) -> tuple[float, float]:
        times = tree.times(address)
        return (0.0, 0.0) if times is None else (times.kept, times.accessed)

    tree, clock, times = open_tree(str(tmp_path)), Clock(), AccessTimes()
    first, second = (put(tree, name, name.encode(), age=True) for name in ("a-1.zip", "b-1.zip"))
    recorder = AccessRecorder(times, tree, Readers(""), clock, at_once, lambda: LONG_AGO + 5000)
    recorder.start()
    times.note(tree.path(first))
    times.note(f"{tree.path(first)}-that-is-gone")
    clock.advance(30)
    assert found(first) == (LONG_AGO, LONG_AGO + 5000)
    times.note(tree.path(second))
    await recorder.stop()
    assert recorder.written == 2
    assert found(second) == (LONG_AGO, LONG_AGO + 5000)
    tree.digest(first)
    assert found(first) == (LONG_AGO, LONG_AGO + 5000), "no client asked"
