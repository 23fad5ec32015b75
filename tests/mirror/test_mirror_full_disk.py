"""Files for which the disk has no room: passed on to their readers, verified all the same, and not kept."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import Any

import attrs
import pytest
from twisted.internet.defer import gatherResults

from tests.fakes.upstream import Chunked, FallsSilent, Held, WrongBody
from tests.fakes.wheels import make_wheel
from tests.in_reactor import in_reactor, until
from tests.mirror.mirror_setup import Setup, read_all, read_on, start
from tests.mirror.test_mirror_downloads import CONTENT, FILE, WHEEL, cached, learn, nothing_was_kept
from twistpi.blobs.incoming import System
from twistpi.blobs.reserve import Reserve
from twistpi.blobs.tree import Tree
from twistpi.mirror.download import HELD_BACK, Download
from twistpi.mirror.window import AHEAD, MOST, Window, first_needed, is_ahead
from twistpi.model.errors import TwistpiError, WrongBytes
from twistpi.model.server_errors import StorageFull
from twistpi.web.transport.bodies import GrowingBody

LARGE = os.urandom(1 << 20) * 12
"""12 MiB: three windows."""


@attrs.define
class SmallDisk(System):
    """A disk with room for so many bytes."""

    room: int = 0

    def create(self, path: str) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return System.create(self, path)

    def write(self, descriptor: int, data: memoryview) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = System.write(self, descriptor, data[: self.room])
        self.room -= written
        return written


def fill(setup: Setup, room: int = 0) -> SmallDisk:
    """Have the disk be full once ``room`` more bytes are written."""
    disk = SmallDisk(room)
    files: Any = setup.downloads
    files._blobs = Tree(str(setup.folder), disk)
    return disk


def opened(setup: Setup) -> tuple[Download, GrowingBody]:
    """A download, and a reader of it who has read nothing."""
    download = setup.downloads.open(setup.index, "hello", setup.file("hello", WHEEL))
    download.retain()
    body = GrowingBody(-1, 0, len(LARGE), download, 0)
    download.follow(body)
    return download, body


def test_little_is_held_for_those_who_may_come_and_more_is_not() -> None:
    assert first_needed(MOST, [MOST - 1]) == 0, "another reader may begin"
    assert first_needed(MOST + 1000, [500, 900]) == 1000, "the slower one is left behind"
    assert first_needed(MOST + 1000, [MOST, MOST + 400]) == MOST
    assert first_needed(MOST + 1000, []) == MOST + 1000


def test_the_sender_waits_for_the_furthest_reader() -> None:
    assert is_ahead(AHEAD + 10, [0, 10])
    assert not is_ahead(AHEAD + 10, [0, 11])
    assert is_ahead(AHEAD, [])


def test_a_window_has_what_was_not_dropped() -> None:
    window = Window()
    window.write(b"abc")
    window.write(b"def")
    assert (bytes(window.read(1, 9)), bytes(window.read(3, 2)), window.content()) == (b"bc", b"de", b"abcdef")
    window.drop(2)
    assert window.start == 0, "half of a piece is needed"
    window.drop(3)
    assert (window.start, window.end, window.content()) == (3, 6, None)
    for offset in (2, 6):
        with pytest.raises(OSError, match="not in memory"):
            window.read(offset, 1)


@pytest.mark.parametrize("room", [0, 1, HELD_BACK, 400_000, len(CONTENT) - 1])
@in_reactor
async def test_a_file_is_passed_on_when_the_disk_is_full_or_runs_full(setup: Setup, room: int) -> None:
    await learn(setup)
    disk = fill(setup, room)
    everybody = await gatherResults([start(setup.download("hello", WHEEL)) for _ in range(5)])
    assert set(everybody) == {CONTENT}
    assert setup.fake.count(FILE) == (2 if room else 1), "one transfer for all, and none of it twice"
    await nothing_was_kept(setup)
    disk.room = 10 * len(CONTENT)
    assert await setup.download("hello", WHEEL) == CONTENT
    await cached(setup)


@in_reactor
async def test_readers_go_on_where_they_are_when_the_disk_runs_full(setup: Setup) -> None:
    await learn(setup, LARGE)
    fill(setup, 3 << 20)
    setup.fake.misbehave(FILE, FallsSilent(2 << 20), times=1)
    download, first = opened(setup)
    _, second = opened(setup)
    beginning = await read_on(first, 1 << 20)
    assert download.window is None
    await setup.wait_until_asked_again()
    whole = await gatherResults([start(read_on(first)), start(read_on(second))])
    assert hashlib.sha256(beginning + whole[0]).digest() == hashlib.sha256(LARGE).digest()
    assert whole[1] == LARGE
    for body in (first, second):
        body.download.release(body)
    await nothing_was_kept(setup)


@pytest.mark.parametrize("room", [0, 400_000])
@in_reactor
async def test_wrong_bytes_never_complete_what_is_passed_on(setup: Setup, room: int) -> None:
    """When the disk runs full in the middle, neither the first part nor the second is believed."""
    await learn(setup)
    fill(setup, room)
    setup.fake.misbehave(FILE, WrongBody(CONTENT[:-1] + b"x"))
    _, body = opened(setup)
    body.end = len(CONTENT)
    with pytest.raises(WrongBytes):
        await read_on(body)
    assert body.offset <= len(CONTENT) - HELD_BACK
    body.download.release(body)
    await nothing_was_kept(setup)


@in_reactor
async def test_a_beginning_that_differs_is_not_completed(setup: Setup) -> None:
    await learn(setup)
    fill(setup, 400_000)
    setup.fake.misbehave(FILE, WrongBody(b"x" + CONTENT[1:]), times=1)
    with pytest.raises(WrongBytes, match="changed while it was fetched"):
        await setup.download("hello", WHEEL)
    await nothing_was_kept(setup)


@in_reactor
async def test_a_slow_reader_does_not_hold_up_a_fast_one_and_gets_all_of_the_file(setup: Setup) -> None:
    await learn(setup, LARGE)
    fill(setup)
    download, slow = opened(setup)
    _, fast = opened(setup)
    beginning = await read_on(slow, 100_000)
    assert await read_on(fast) == LARGE
    assert setup.fake.count(FILE) == 1
    assert download.has_dropped(slow.offset)
    rest = await read_on(slow)
    assert beginning + rest == LARGE
    assert setup.fake.count(FILE) == 2
    for body in (slow, fast):
        body.download.release(body)
    await nothing_was_kept(setup)


@in_reactor
async def test_a_file_that_nobody_reads_on_takes_little_memory_and_waits(setup: Setup) -> None:
    await learn(setup, LARGE)
    fill(setup)
    download, body = opened(setup)
    await read_on(body, 1 << 20)
    window = download.window
    assert window is not None
    await until(lambda: window.end > body.offset + AHEAD)
    assert window.end - window.start < len(LARGE)
    assert body.offset < len(LARGE) - HELD_BACK
    rest = await read_on(body)
    assert body.offset == len(LARGE)
    assert rest == LARGE[1 << 20 :]
    download.release(body)
    await nothing_was_kept(setup)


@in_reactor
async def test_when_the_last_reader_leaves_the_upstream_is_left_alone(setup: Setup) -> None:
    await learn(setup, LARGE)
    fill(setup)
    download, body = opened(setup)
    await read_on(body, 1 << 20)
    download.release(body)
    again = start(setup.download("hello", WHEEL))
    with pytest.raises(TwistpiError, match="Nobody reads"):
        await download.finished()
    assert await again == LARGE, "who comes then has a request of its own"
    await nothing_was_kept(setup)


@in_reactor
async def test_who_wants_the_head_of_a_file_alone_ends_the_transfer_as_it_begins(setup: Setup) -> None:
    await learn(setup, LARGE, sizes=False)
    fill(setup)
    download = setup.downloads.open(setup.index, "hello", setup.file("hello", WHEEL))
    download.retain()
    assert await download.headers() == len(LARGE)
    download.release()
    with pytest.raises(TwistpiError, match="Nobody reads"):
        await download.finished()
    await nothing_was_kept(setup)


@in_reactor
async def test_what_nobody_reads_is_not_fetched(setup: Setup) -> None:
    await learn(setup)
    fill(setup)
    download = setup.downloads.open(setup.index, "hello", setup.file("hello", WHEEL))
    with pytest.raises(StorageFull):
        await download.finished()
    assert setup.fake.count(FILE) == 0


@pytest.mark.parametrize("size", [5_000, len(LARGE)])
@in_reactor
async def test_a_small_file_without_a_digest_has_to_be_what_its_name_says(setup: Setup, size: int) -> None:
    """What the window does not hold as a whole cannot be looked into; its length has to be right."""
    wheel = make_wheel("hello", "1.0", payload=os.urandom(size))
    await learn(setup, wheel, hashes=(), sizes=False)
    fill(setup)
    assert await setup.download("hello", WHEEL) == wheel
    await setup.quiet()
    setup.fake.misbehave(FILE, WrongBody(b"<html>Please sign in.</html>"))
    with pytest.raises(TwistpiError):
        await setup.download("hello", WHEEL)


@in_reactor
async def test_the_reserve_is_left_to_uploads(setup: Setup) -> None:
    await learn(setup)
    free = [1_000_000]

    def statvfs(path: str) -> Any:
        return os.statvfs_result((1, 1, 0, 0, free[0], 0, 0, 0, 0, 255))

    reserve = Reserve(str(setup.folder), 500_000, statvfs)
    reserve.require(500_000)
    with pytest.raises(StorageFull, match="disk-reserve keeps 488"):
        reserve.require(500_001)
    files: Any = setup.downloads
    files._reserve = reserve
    asked: list[bool] = []
    setup.downloads.short_of_room = lambda: asked.append(True)
    assert await setup.download("hello", WHEEL) == CONTENT
    await nothing_was_kept(setup)
    assert asked == [True], "eviction is asked for room"
    free[0] = 10_000_000
    assert await setup.download("hello", WHEEL) == CONTENT
    await cached(setup)


@in_reactor
async def test_only_so_many_files_are_passed_on_at_a_time(setup: Setup) -> None:
    await learn(setup)
    fill(setup)
    files: Any = setup.downloads
    files._passing = 64
    with pytest.raises(TwistpiError, match="Too many files are passed on") as refused:
        await setup.download("hello", WHEEL)
    assert refused.value.status == 503
    files._passing = 0
    held = setup.fake.misbehave(FILE, Held())
    assert isinstance(held, Held)
    reading = start(read_all(setup.downloads.open(setup.index, "hello", setup.file("hello", WHEEL))))
    await until(lambda: bool(held.waiting))
    assert files._passing == 1
    held.release()
    assert await reading == CONTENT
    assert (files._passing, [measure.value for measure in setup.downloads.measures()]) == (0, [1])


@in_reactor
async def test_a_reader_of_the_end_waits_for_it_without_holding_the_beginning(setup: Setup) -> None:
    await learn(setup, LARGE)
    fill(setup)
    setup.fake.misbehave(FILE, Chunked(piece=1 << 20))
    download, body = opened(setup)
    body.offset = len(LARGE) - 1000
    assert await read_on(body) == LARGE[-1000:]
    assert download.window is not None
    assert download.window.start > 0
    download.release(body)
