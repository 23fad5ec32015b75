"""Eviction in a running server: few entries, the right files, and neither pages nor downloads are disturbed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import cast

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail

from tests.gc.gc_setup import LONG_AGO, Setup, make_setup, put, uploaded
from tests.in_reactor import in_reactor, offload, until, wait_for
from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.changelog.batch import Committed, Decide
from twistpi.changelog.writer import Writer
from twistpi.gc.evictor import Evictor, Report
from twistpi.model.changes import Change, FileCached, IndexCreated, IndexModified, LinksChanged
from twistpi.model.records import Link
from twistpi.model.releases import FileRemoved
from twistpi.model.server_errors import StorageFull
from twistpi.rules.eviction import DAY, HOUR, Budget

MIRROR = "root/pypi"
NOW = LONG_AGO + 1000 * DAY


def content_of(filename: str) -> bytes:
    return filename.encode().ljust(1000, b".")


def link(filename: str) -> Link:
    return Link(filename, f"https://files.example/{filename}", {"sha256": sha256(content_of(filename)).hexdigest()}, 1000)


@attrs.define(eq=False)
class Cache:
    """A mirror of the project demo whose files were cached long ago, and what evicts them."""

    setup: Setup
    evictor: Evictor
    free: int = 10**12

    async def fill(self, *filenames: str) -> None:
        """Cache files of 1,000 bytes; the first was not asked for the longest."""
        links = tuple(map(link, filenames))
        mirror = IndexCreated(MIRROR, {"type": "mirror", "mirror_url": "https://upstream.example/simple/"})
        await self.setup.commit(mirror, LinksChanged(MIRROR, "demo", added=links))
        for hours, one in enumerate(links):
            address = put(self.setup.tree, one.filename, content_of(one.filename), age=True)
            self.setup.tree.note_access(self.setup.tree.path(address), LONG_AGO + hours * HOUR)
        await self.setup.commit(*(FileCached(MIRROR, "demo", one.filename, one.sha256 or "", 1000) for one in links))

    async def evict(self) -> Report:
        """Run a pass to its end."""
        number = self.evictor.ask()
        await until(lambda: self.evictor.last is not None and self.evictor.last.number >= number)
        assert self.evictor.last is not None
        assert self.evictor.last.failure is None
        return self.evictor.last

    def cached(self) -> set[str]:
        """The names of the cached files; what is not has no bytes, and is listed all the same."""
        known = self.setup.readers.get().project(MIRROR, "demo")
        assert known is not None
        files = {file.link.filename: file.cached for file in known.files}
        for filename, is_cached in files.items():
            assert (self.setup.tree.find(address_of(filename)) is not None) == is_cached
        return {filename for filename, is_cached in files.items() if is_cached}


def address_of(filename: str) -> BlobAddress:
    return blob_address(link(filename).sha256 or "", filename)


def make_cache(folder: Path, budget: Budget, *, is_replica: bool = False) -> Cache:
    setup = make_setup(folder, lambda: NOW, HOUR)
    cache: Cache
    evictor = Evictor(
        blobs=setup.tree, readers=setup.readers, writer=setup.writer, collector=setup.collector, clock=reactor, offload=offload,
        now=lambda: NOW, budget=budget, min_free=1_000_000, free=lambda: cache.free, unavailable=tuple, is_replica=is_replica,
    )  # fmt: skip
    cache = Cache(setup, evictor)
    return cache


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """Without a budget of the server's own."""
    cache = make_cache(tmp_path, Budget())
    yield cache
    wait_for(Deferred.fromCoroutine(cache.evictor.stop()))
    wait_for(Deferred.fromCoroutine(cache.setup.close()))


def budget_of(**changed: object) -> Change:
    return IndexModified(MIRROR, changed)


NAMES = tuple(f"demo-{number}.0.tar.gz" for number in range(6))


@in_reactor
async def test_the_longest_not_asked_for_go_in_one_entry_and_their_pages_stay(cache: Cache) -> None:
    await cache.fill(*NAMES)
    assert (await cache.evict()).evicted.files == 0
    await cache.setup.commit(budget_of(cache_max_bytes=2500))
    before = cache.setup.view.position.serial
    report = await cache.evict()
    assert (report.evicted.examined, report.evicted.cached_bytes) == (6, 6000)
    assert (report.evicted.files, report.evicted.bytes) == (4, 4000)
    assert cache.cached() == set(NAMES[4:])
    assert cache.setup.view.position.serial == before + 1
    assert (await cache.evict()).evicted.files == 0


@in_reactor
async def test_what_is_asked_for_again_is_cached_again_and_stays_for_a_day(cache: Cache) -> None:
    await cache.fill(*NAMES)
    await cache.setup.commit(budget_of(cache_max_bytes=0))
    await cache.evict()
    assert cache.cached() == set()
    address = put(cache.setup.tree, NAMES[0], content_of(NAMES[0]))
    os.utime(cache.setup.tree.path(address), (NOW - 100, NOW - DAY + 60))
    await cache.setup.commit(FileCached(MIRROR, "demo", NAMES[0], link(NAMES[0]).sha256 or "", 1000))
    await cache.evict()
    assert cache.cached() == {NAMES[0]}


@in_reactor
async def test_what_cannot_be_had_again_or_is_pinned_or_released_stays(cache: Cache) -> None:
    await cache.fill(*NAMES)
    gone, pinned, released = NAMES[:3]
    await cache.setup.commit(
        LinksChanged(MIRROR, "demo", removed=(gone,)),
        budget_of(cache_max_bytes=0, pins=["demo==1"]),
        uploaded(released, content_of(released)),
    )
    assert (await cache.evict()).evicted.files == 3
    assert cache.cached() == {gone, pinned, released}


@in_reactor
async def test_a_pin_that_is_set_while_a_pass_is_under_way_counts(cache: Cache) -> None:
    await cache.fill(*NAMES)
    await cache.setup.commit(budget_of(cache_max_bytes=0))
    number = cache.evictor.ask()
    await cache.setup.commit(budget_of(pins=["demo"]))
    await until(lambda: cache.evictor.last is not None and cache.evictor.last.number == number)
    assert cache.cached() == set(NAMES)


@in_reactor
async def test_a_file_that_is_being_read_is_read_to_its_end(cache: Cache) -> None:
    await cache.fill(*NAMES)
    await cache.setup.commit(budget_of(cache_max_bytes=0))
    with cache.setup.tree.open(address_of(NAMES[0])) as file:
        begun = file.read(10)
        await cache.evict()
        assert cache.cached() == set()
        assert begun + file.read() == content_of(NAMES[0])


@in_reactor
async def test_a_file_that_is_being_stored_again_keeps_its_bytes(cache: Cache) -> None:
    await cache.fill(*NAMES)
    await cache.setup.commit(budget_of(cache_max_bytes=0))
    claimed = cache.setup.tree.claim(address_of(NAMES[0]))
    assert claimed is not None
    os.utime(cache.setup.tree.path(address_of(NAMES[0])), (LONG_AGO, LONG_AGO))
    with claimed:
        await cache.evict()
        await cache.setup.commit(FileCached(MIRROR, "demo", NAMES[0], link(NAMES[0]).sha256 or "", 1000))
    assert cache.cached() == {NAMES[0]}


@in_reactor
async def test_a_disk_that_is_nearly_full_is_made_room_on(cache: Cache) -> None:
    await cache.fill(*NAMES)
    cache.free = 1_000_000 - 1500
    assert (await cache.evict()).evicted.files == 2
    assert cache.cached() == set(NAMES[2:])


@in_reactor
async def test_a_file_that_is_not_kept_for_want_of_room_has_room_made_at_once(cache: Cache) -> None:
    await cache.fill(*NAMES)
    cache.free = 1_000_000 - 1500
    for _ in range(50):
        cache.evictor.look()
    await until(lambda: cache.evictor.last is not None)
    assert cache.cached() == set(NAMES[2:])
    assert cache.evictor.ask() == 2, "the first pass was the only one"
    await until(lambda: cache.evictor.running is None)


@attrs.define(eq=False)
class FullDisk:
    """A writer that has room for entries once a blob is gone."""

    setup: Setup

    def commit(self, decide: Decide, by: str) -> Deferred[Committed]:
        if all(self.setup.tree.find(address_of(name)) is not None for name in NAMES):
            return fail(StorageFull("changelog", "no space left"))
        return self.setup.writer.commit(decide, by)


@in_reactor
async def test_a_disk_without_room_for_an_entry_is_made_room_on_all_the_same(cache: Cache) -> None:
    await cache.fill(*NAMES)
    cache.evictor._writer = cast(Writer, FullDisk(cache.setup))
    cache.free = 0
    assert (await cache.evict()).evicted.files == len(NAMES)
    assert cache.cached() == set()


@in_reactor
async def test_a_replica_evicts_by_itself_without_an_entry(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, Budget(3500), is_replica=True)
    await cache.fill(*NAMES)
    before = cache.setup.view.position.serial
    assert (await cache.evict()).evicted.files == 3
    assert cache.setup.view.position.serial == before
    assert [cache.setup.tree.find(address_of(name)) for name in NAMES] == [None] * 3 + [1000] * 3
    removed = FileRemoved(MIRROR, "demo", NAMES[3])
    await cache.setup.commit(removed)
    cache.evictor.changed(before + 1, (removed,))
    await until(lambda: cache.setup.tree.find(address_of(NAMES[3])) is None)
    assert cache.setup.tree.find(address_of(NAMES[4])) == 1000
    await cache.evictor.stop()
    await cache.setup.close()
