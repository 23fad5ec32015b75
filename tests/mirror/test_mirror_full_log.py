"""Pages and metadata that cannot be recorded, because the log, the view or the disk is full: answered all the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fakes.upstream import Status
from tests.fakes.wheels import make_wheel, metadata
from tests.in_reactor import in_reactor
from tests.mirror.mirror_setup import Setup
from tests.mirror.test_mirror_full_disk import SmallDisk
from twistpi.blobs.tree import Tree
from twistpi.mirror.core_metadata import MetadataNotKept
from twistpi.mirror.pages import UNRECORDED_EXPIRY
from twistpi.model.changes import FileCached, IndexDeleted, LinksChanged, MetadataCached
from twistpi.model.errors import UnknownProject
from twistpi.model.records import Freshness, KnownFile, KnownProject, Link, PageHeader, ProjectPage
from twistpi.model.server_errors import LogUnreachable, StorageFull
from twistpi.rules.mirrors import file_path, listed_project
from twistpi.view.unrecorded import Unrecorded

OLD, NEW = "hello-1.0-py3-none-any.whl", "hello-2.0-py3-none-any.whl"
WHEELS = {name: make_wheel("hello", name.split("-")[1], payload=bytes(100_000)) for name in (OLD, NEW)}


@contextlib.contextmanager
def full_log(setup: Setup) -> Iterator[None]:
    with setup.storage.full_log():
        yield


@contextlib.contextmanager
def unreachable_log(setup: Setup) -> Iterator[None]:
    with setup.storage.unreachable_log():
        yield


@contextlib.contextmanager
def full_view(setup: Setup) -> Iterator[None]:
    """SQLite's own limit gives the error of a full disk."""
    view: Any = setup.view
    limit = view.reader._execute("PRAGMA max_page_count = 1").fetchone()[0]
    yield
    view.reader._execute(f"PRAGMA max_page_count = {limit + 10_000}")


FULL = pytest.mark.parametrize("full", [full_log, unreachable_log, full_view])
Full = Callable[[Setup], contextlib.AbstractContextManager[None]]


def names(setup: Setup) -> list[str]:
    return [file.link.filename for file in setup.project("hello").offered]


def many() -> dict[str, bytes]:
    """So many files that a view cannot take them without growing."""
    return {**WHEELS, **{f"hello-{number}.tar.gz": b"x" for number in range(3, 800)}}


@FULL
@in_reactor
async def test_a_page_that_cannot_be_recorded_is_answered_and_recorded_when_there_is_room(setup: Setup, full: Full) -> None:
    setup.fake.add_project("hello", many())
    with full(setup):
        state = await setup.mirror.ensure(setup.index, "hello")
        assert state.kind == "miss"
        assert 0 < state.fresh_for <= UNRECORDED_EXPIRY
        assert (state.reason or "").startswith("it cannot be recorded: ")
        assert len(names(setup)) == 799
        assert setup.announced == []
        again = await setup.mirror.ensure(setup.index, "hello")
        assert again.kind == "hit"
        assert setup.fake.count("/simple/hello/") == 1, "not at every request"
        found = await setup.mirror.find_file(setup.index, setup.file("hello", NEW).path)
        assert found[0] == "hello"
        assert await setup.download("hello", NEW) == WHEELS[NEW]
    setup.clock.elapse(UNRECORDED_EXPIRY)
    state = await setup.mirror.ensure(setup.index, "hello")
    assert (state.kind, state.reason) == ("revalidated", None)
    assert len(setup.changes(LinksChanged)) == 1
    assert len(names(setup)) == 799
    assert setup.readers.unrecorded.get(setup.index.name, "hello") is None
    await setup.quiet()
    assert await setup.download("hello", NEW) == WHEELS[NEW]
    await setup.quiet()
    assert len(setup.changes(FileCached)) == 1


@FULL
@in_reactor
async def test_a_newer_page_of_a_known_project_is_shown_with_what_is_cached(setup: Setup, full: Full) -> None:
    setup.fake.add_project("hello", {OLD: WHEELS[OLD]})
    await setup.mirror.ensure(setup.index, "hello")
    await setup.download("hello", OLD)
    await setup.quiet()
    setup.fake.add_project("hello", many())
    with full(setup):
        await setup.mirror.ensure(setup.index, "hello", force=True)
        assert len(names(setup)) == 799
        assert setup.file("hello", OLD).cached
    await setup.mirror.ensure(setup.index, "hello", force=True)
    assert len(names(setup)) == 799
    assert setup.file("hello", OLD).cached


@FULL
@in_reactor
async def test_a_page_that_did_not_change_stays_fresh(setup: Setup, full: Full) -> None:
    setup.fake.add_project("hello", WHEELS)
    await setup.mirror.ensure(setup.index, "hello")
    with full(setup):
        assert (await setup.mirror.ensure(setup.index, "hello", force=True)).kind == "revalidated"
        assert (await setup.mirror.ensure(setup.index, "hello")).kind == "hit"


@pytest.mark.parametrize("full", [full_log, unreachable_log])
@in_reactor
async def test_what_the_upstream_lacks_is_unknown_all_the_same(setup: Setup, full: Full) -> None:
    with full(setup), pytest.raises(UnknownProject):
        await setup.mirror.ensure(setup.index, "nothing")
    setup.fake.add_project("hello", WHEELS)
    with full(setup):
        await setup.mirror.ensure(setup.index, "hello")
        setup.fake.misbehave("/simple/hello/", Status(404))
        with pytest.raises(UnknownProject):
            await setup.mirror.ensure(setup.index, "hello", force=True)
    assert setup.reader.project(setup.index.name, "hello") is None


@in_reactor
async def test_nothing_unrecorded_of_a_deleted_index_is_shown(setup: Setup) -> None:
    setup.fake.add_project("hello", WHEELS)
    with full_log(setup):
        await setup.mirror.ensure(setup.index, "hello")
    await setup.commit(IndexDeleted(setup.index.name))
    assert setup.reader.project(setup.index.name, "hello") is None
    assert setup.reader.files_by_filename(setup.index.name, OLD) == []


@pytest.mark.parametrize("full", [full_log, unreachable_log])
@in_reactor
async def test_metadata_that_cannot_be_kept_is_handed_over(setup: Setup, full: Full) -> None:
    text = metadata("hello", "1.0")
    setup.fake.add_project("hello", WHEELS, metadata={OLD: text})
    await setup.mirror.ensure(setup.index, "hello")
    finder = setup.metadata_source
    finder._blobs = Tree(str(setup.folder), SmallDisk(0))
    for filename in (OLD, NEW):  # the upstream's, and that in the wheel, by ranges
        setup.fake.documents[f"/files/hello/{filename}"].ranges = True
        with pytest.raises(MetadataNotKept) as unkept:
            await setup.core_metadata.metadata(setup.index, "hello", setup.file("hello", filename))
        assert b"Name: hello" in unkept.value.content
    assert unkept.value.status == 507
    finder._blobs = setup.storage.served
    with full(setup):
        address = await setup.core_metadata.metadata(setup.index, "hello", setup.file("hello", OLD))
        assert setup.blobs.find(address) == len(text), "it is kept, though not recorded"
    await setup.core_metadata.metadata(setup.index, "hello", setup.file("hello", OLD))
    assert len(setup.changes(MetadataCached)) == 1


@in_reactor
async def test_a_private_change_is_refused_and_nothing_of_it_stays(setup: Setup) -> None:
    with full_log(setup), pytest.raises((StorageFull, LogUnreachable)):
        await setup.set_up(title="other")
    assert setup.reader.index(setup.index.name).config.get("title") is None


def link(filename: str, url: str = "https://files.example/a/") -> Link:
    return Link(filename, f"{url}{filename}")


def test_a_listed_project_has_what_is_cached_and_what_the_page_says() -> None:
    kept = KnownFile(link("kept.zip"), file_path(link("kept.zip")), "a" * 64, 1)
    moved = KnownFile(link("moved.zip"), file_path(link("moved.zip")), "b" * 64, 1)
    gone, lost = KnownFile(link("gone.zip"), "+e/gone.zip", "c" * 64, 1), KnownFile(link("lost.zip"), "+e/lost.zip")
    known = KnownProject("root/up", "demo", (kept, moved, gone, lost), ("0",))
    signed = Link("kept.zip", f"{kept.link.url}?signed=now")
    page = ProjectPage("demo", (signed, link("moved.zip", "https://files.example/b/")), ("1", "2"), PageHeader(last_serial=7))
    found = listed_project("root/up", known, page)
    assert [(file.link.filename, file.cached, file.vanished) for file in found.files] == [
        ("kept.zip", True, False),
        ("moved.zip", False, False),
        ("gone.zip", True, True),
    ]
    assert (found.files[0].link, found.versions, found.header.last_serial) == (signed, ("1", "2"), 7)
    assert listed_project("root/up", None, page).files[0] == KnownFile(signed, kept.path)


def test_only_so_much_is_remembered_and_the_oldest_goes() -> None:
    told: list[str] = []
    unrecorded = Unrecorded(lambda index, project: told.append(project))
    for number in range(4):
        files = tuple(KnownFile(link(f"{number}-{file}.zip"), "") for file in range(10_000))
        unrecorded.learn("root/up", str(number), Freshness(0.0), "full", KnownProject("root/up", str(number), files))
    assert unrecorded.get("root/up", "0") is None
    assert unrecorded.file("root/up", "0-1.zip") is None
    assert unrecorded.file("root/up", "3-1.zip") is not None
    assert told == ["0", "1", "2", "0", "3"]
    assert [measure.value for measure in unrecorded.measures()] == [3]
