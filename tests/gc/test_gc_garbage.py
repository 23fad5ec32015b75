"""One pass: what it removes, and the entries that are written at the same moment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.fakes.memory_changelog import MemoryChangelog
from tests.gc.gc_setup import INDEXES, LOG_ID, LONG_AGO, check_blobs, now, put, put_first_entry, removed, uploaded
from twistpi.blobs.address import BlobAddress, metadata_address, provenance_address
from twistpi.blobs.tree import Tree, open_tree
from twistpi.changelog.batch import Batches, Commit, Committed
from twistpi.gc.garbage import FOLDERS, Collected, Collection, Garbage, SlowClock, collect_alone
from twistpi.model.changes import ADVISORY_SET, AdvisoriesAccepted, Change, IndexCreated, IndexDeleted, LinksChanged
from twistpi.model.peers import Position
from twistpi.model.records import Link
from twistpi.model.releases import AttachmentAdded
from twistpi.model.server_errors import StorageFull
from twistpi.view.database import ViewDatabase, open_view
from twistpi.view.read import Reader, Readers

WHEEL, SDIST = "demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"


@attrs.define
class FullLog(MemoryChangelog):
    """A log in memory whose disk may be full."""

    is_full: bool = False

    def append(self, bodies: Sequence[bytes], expect: int) -> Position:
        if self.is_full:
            raise StorageFull("the log", "No space left on device")
        return super().append(bodies, expect)


@attrs.define
class Place:
    """A server directory without a server."""

    tree: Tree
    view: ViewDatabase
    readers: Readers
    changelog: FullLog
    batches: Batches

    def commit(self, *changes: Change) -> None:
        (answer,) = self.batches.process([Commit(lambda _: changes, "alice")]).answers
        assert isinstance(answer, Committed), answer

    def taking(self, collection: Collection) -> Commit:
        """What a server's pass has the writer do."""
        found = collection.find(self.readers.get())
        assert found is not None

        def decide(reader: Reader) -> Sequence[Change]:
            collection.take(found, reader, self.readers.get())
            return ()

        return Commit(decide, "+gc")

    def names(self) -> list[str]:
        return [address.filename for address, _ in self.tree.walk()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    path = str(tmp_path / "view.sqlite")
    view, changelog = open_view(path, LOG_ID), FullLog()
    put_first_entry(changelog, view)
    readers = Readers(path)
    yield Place(open_tree(str(tmp_path)), view, readers, changelog, Batches(changelog, view, now))
    readers.close()
    view.close()


def collect(place: Place, before: float | None = None) -> Collected:
    told: list[Collected] = []
    collected = collect_alone(place.tree, place.readers.get(), time.time() - 3600 if before is None else before, told.append)
    assert told[-1].folders == FOLDERS
    return collected


def test_what_nothing_names_is_removed_and_what_anything_names_stays(place: Place) -> None:
    kept, orphan = put(place.tree, WHEEL, b"kept", age=True), put(place.tree, SDIST, b"orphan!", age=True)
    place.commit(uploaded(WHEEL, b"kept"))
    assert collect(place) == Collected(FOLDERS, 2, 1, 7, 0)
    assert place.tree.find(kept) == 4
    assert place.tree.find(orphan) is None
    assert os.listdir(os.path.dirname(os.path.dirname(place.tree.path(orphan)))) == []


def test_garbage_is_withdrawn_in_small_bunches_and_what_is_named_is_passed_over_in_large_ones(place: Place) -> None:
    for number in range(250):
        path = Path(place.tree.path(BlobAddress(f"{number:016x}", WHEEL)))
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (LONG_AGO, LONG_AGO))
    collection, reader = Collection(place.tree, time.time()), place.readers.get()
    found = [collection.find(reader) for _ in range(4)]
    assert [None if some is None else len(some) for some in found] == [100, 100, 50, None]
    collection = Collection(place.tree, LONG_AGO)
    assert collection.find(reader) is None, "nothing is old enough, so one look passes over all"
    assert collection.counts == Collected(FOLDERS, 250, 0, 0, 250)


def test_a_file_that_another_index_has_too_stays(place: Place) -> None:
    address = put(place.tree, WHEEL, b"shared", age=True)
    place.commit(*(uploaded(WHEEL, b"shared", index) for index in INDEXES))
    place.commit(removed(WHEEL, INDEXES[0]))
    assert collect(place).removed == 0
    place.commit(IndexDeleted(INDEXES[1]))
    assert collect(place).removed == 1
    assert place.tree.find(address) is None


def test_everything_beside_a_file_stays_with_it_and_goes_with_it(place: Place) -> None:
    digest = sha256(b"wheel").hexdigest()
    wheel = put(place.tree, WHEEL, b"wheel")
    provenance = provenance_address(sha256(b"provenance").hexdigest(), WHEEL)
    docs = put(place.tree, "demo-1.0.doc.zip", b"docs")
    toxresult = BlobAddress(wheel.digits, f"{WHEEL}.toxresult-20261122170000-0")
    for address, content in ((metadata_address(wheel), b"metadata"), (provenance, b"provenance"), (toxresult, b"result")):
        with place.tree.incoming() as incoming:
            incoming.write(content)
            place.tree.keep(incoming, address, sha256(content).hexdigest())
    change = attrs.evolve(
        uploaded(WHEEL, b"wheel"),
        metadata_sha256=sha256(b"metadata").hexdigest(), metadata_size=8,
        provenance_sha256=sha256(b"provenance").hexdigest(), provenance_size=10,
    )  # fmt: skip
    place.commit(
        change,
        AttachmentAdded(
            INDEXES[0], "demo", "1.0", "toxresult", toxresult.filename, sha256(b"result").hexdigest(), 6,
            f"+f/{toxresult.relative}", WHEEL,
        ),
        AttachmentAdded(
            INDEXES[0], "demo", "1.0", "doczip", docs.filename, sha256(b"docs").hexdigest(), 4, f"+f/{docs.relative}"
        ),
    )  # fmt: skip
    later = time.time() + 1000
    assert collect(place, later) == Collected(FOLDERS, 5, 0, 0, 0)
    check_blobs(place.tree, place.readers.get())
    place.commit(removed(WHEEL))
    assert collect(place, later).removed == 4
    assert place.names() == [docs.filename]
    assert digest[:16] == wheel.digits, "metadata and test results lay under the digits of their wheel"


def test_what_is_young_is_left_alone_and_counted(place: Place) -> None:
    put(place.tree, WHEEL, b"young")
    assert collect(place) == Collected(FOLDERS, 1, 0, 0, 1)
    assert place.names() == [WHEEL]


def test_bytes_that_come_again_are_young_again(place: Place) -> None:
    put(place.tree, WHEEL, b"old", age=True)
    put(place.tree, WHEEL, b"old")
    assert collect(place).removed == 0


def test_a_dry_run_tells_and_changes_nothing(place: Place, tmp_path: Path) -> None:
    address = put(place.tree, WHEEL, b"orphan", age=True)
    told: list[Any] = []
    collected = collect_alone(Tree(str(tmp_path)), place.readers.get(), time.time() - 3600, lambda _: None, only_tell=told.append)
    assert told == [Garbage(address, 6)]
    assert (collected.removed, collected.removed_bytes) == (1, 6)
    assert place.names() == [WHEEL]
    assert os.lstat(place.tree.path(address)).st_mtime == LONG_AGO


def test_what_is_named_between_the_two_looks_stays(place: Place) -> None:
    put(place.tree, WHEEL, b"wheel", age=True)
    way = Collection(place.tree, time.time())
    taking = place.taking(way)
    place.commit(uploaded(WHEEL, b"wheel"))
    place.batches.process([taking])
    assert (place.names(), way.counts.removed) == ([WHEEL], 0)


def test_what_the_same_batch_names_before_stays(place: Place) -> None:
    put(place.tree, WHEEL, b"wheel", age=True)
    way = Collection(place.tree, time.time())
    taking = place.taking(way)
    naming = Commit(lambda _: [uploaded(WHEEL, b"wheel")], "alice")
    place.batches.process([naming, taking])
    assert way.counts.removed == 0
    check_blobs(place.tree, place.readers.get())


def test_what_the_same_batch_unnames_stays_for_that_may_be_undone(place: Place) -> None:
    put(place.tree, WHEEL, b"wheel", age=True)
    way = Collection(place.tree, time.time())
    taking = place.taking(way)
    place.commit(uploaded(WHEEL, b"wheel"))
    place.changelog.is_full = True
    unnaming = Commit(lambda _: [removed(WHEEL)], "alice")
    answers = place.batches.process([unnaming, taking]).answers
    assert isinstance(answers[0], StorageFull)
    assert way.counts.removed == 0
    check_blobs(place.tree, place.readers.get())


def test_a_full_disk_does_not_keep_a_pass_from_making_room(place: Place) -> None:
    put(place.tree, WHEEL, b"wheel", age=True)
    way = Collection(place.tree, time.time())
    place.changelog.is_full = True
    (answer,) = place.batches.process([place.taking(way)]).answers
    assert isinstance(answer, Committed)
    way.empty()
    assert place.names() == []


def test_a_pass_that_is_decided_again_counts_once(place: Place) -> None:
    put(place.tree, WHEEL, b"wheel", age=True)
    way = Collection(place.tree, time.time())
    taking = place.taking(way)
    place.batches.process([taking, taking])
    assert (way.counts.removed, way.counts.removed_bytes) == (1, 5)


def test_a_pass_needs_no_more_memory_for_more_blobs(place: Place) -> None:
    for number in range(350):
        put(place.tree, f"demo-{number}.zip", b"%d" % number, age=True)
    way = Collection(place.tree, time.time())
    looks = []
    while (found := way.find(place.readers.get())) is not None:
        looks.append(len(found))
        way.take(found, place.readers.get())
        way.empty()
    assert max(looks) <= 100
    assert sum(looks) == way.counts.removed == 350
    assert place.names() == []


@pytest.mark.parametrize(
    ("wall", "steady", "expected"), [(1100.0, 60.0, 1050.0), (1030.0, 60.0, 1030.0), (900.0, 60.0, 900.0), (9000.0, 10.0, 1000.0)]
)
def test_the_slower_of_two_clocks_counts(wall: float, steady: float, expected: float) -> None:
    times = {"wall": 1000.0, "steady": 10.0}
    clock = SlowClock(lambda: times["wall"], lambda: times["steady"])
    assert clock.now() == 1000.0
    times.update(wall=wall, steady=steady)
    assert clock.now() == expected


def test_a_replica_spares_what_a_mirror_lists_though_the_log_does_not_say_that_it_is_here(place: Place) -> None:
    listed, orphan = put(place.tree, WHEEL, b"wheel", age=True), put(place.tree, SDIST, b"sdist", age=True)
    digest = sha256(b"wheel").hexdigest()
    place.commit(IndexCreated("root/mirror", {"type": "mirror"}))
    place.commit(LinksChanged("root/mirror", "demo", (Link(WHEEL, "https://one.example/x", {"sha256": digest}),)))
    for spares, left in ((True, [listed]), (False, [])):
        way = Collection(place.tree, time.time(), spares_listed=spares)
        found = way.find(place.readers.get())
        assert found is not None
        way.take(found, place.readers.get())
        assert [address for address, _ in place.tree.walk()] == left
    assert place.tree.find(orphan) is None


def test_of_sets_of_advisories_only_the_newest_stays(place: Place) -> None:
    for content in (b"the set of yesterday", b"the set of today"):
        put(place.tree, ADVISORY_SET, content, age=True)
        place.commit(AdvisoriesAccepted(sha256(content).hexdigest(), len(content), 1))
    assert collect_alone(place.tree, place.readers.get(), time.time(), lambda _: None).removed == 1
    assert place.names() == [ADVISORY_SET]
    check_blobs(place.tree, place.readers.get())
