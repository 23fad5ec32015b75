"""What is in memory of the projects that were folded last: the same as in the rows, or nothing."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.view.small_world import AT, DIGESTS, INDEX, LOG, cached, fold, fold_history, histories, link, listed, removed
from tests.view.test_view_fold_property import MEMORY, History
from twistpi.model.changes import Change, Entry, IndexModified, LinksChanged, ProjectVanished
from twistpi.model.records import KnownProject, PageHeader
from twistpi.view.database import ViewDatabase, open_view
from twistpi.view.newest import Newest
from twistpi.view.read import Reader, Readers

CLAIMS = {"sha512": "b" * 128, "sha256": "a" * 64}
ODD = link("demo-9.zip", hashes={"sha512": "b" * 128, "md5": "c" * 32}, size=2**70, core_metadata=CLAIMS, extra={"b": 1, "a": 2})


def told(reader: Reader, index: str = INDEX, project: str = "demo") -> bytes | None:
    """What a reader says of a project, the order of keys included."""
    known: KnownProject | None = reader.project(index, project)
    return None if known is None else orjson.dumps(attrs.asdict(known))


@settings(max_examples=40)
@given(parts=st.lists(histories(), min_size=1, max_size=3))
def test_a_reader_that_need_not_read_says_what_one_that_does_says(parts: list[History]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, contextlib.ExitStack() as stack:
        path = os.path.join(folder, "view.sqlite")
        view = stack.enter_context(contextlib.closing(open_view(path, LOG)))
        quick = stack.enter_context(contextlib.closing(Readers(path, view.keep_newest()))).get()
        plain = stack.enter_context(contextlib.closing(Readers(path))).get()
        for part in parts:
            fold_history(view, part)
            for index in (INDEX, "alice/mirror"):
                for project in ("demo", "other"):
                    assert told(quick, index, project) == told(plain, index, project)


@pytest.fixture
def newest(view: ViewDatabase) -> Newest:
    return view.keep_newest()


def at_hand(newest: Newest) -> bool:
    return newest.take(INDEX, "demo") is not None


def test_what_the_rows_say_in_another_shape_is_told_in_that_shape(view: ViewDatabase, newest: Newest) -> None:
    header = PageHeader(last_serial=7, extra={"z": 1, "a": {"y": 1, "b": 2}})
    change = listed(ODD, link(), versions_added=("2.0", "10.0", "2.0"), header=header)
    fold(view, change)
    known = newest.take(INDEX, "demo")
    read = view.reader.project(INDEX, "demo")
    assert orjson.dumps(attrs.asdict(known)) == orjson.dumps(attrs.asdict(read))  # type: ignore[arg-type]


def test_a_reader_of_an_older_view_gets_nothing_and_takes_nothing_away(
    view: ViewDatabase, newest: Newest, view_path: str
) -> None:
    fold(view, IndexModified(INDEX, {"title": "new"}))
    with contextlib.closing(Readers(view_path, newest)) as readers:
        reader = readers.get()
        with reader.snapshot():
            assert reader.serial() == 1
            fold(view, listed(link()))
            assert (reader.link_count(INDEX, "demo"), reader.project(INDEX, "demo")) == (0, None)
        assert reader.link_count(INDEX, "demo") == 1
    assert at_hand(newest)


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        (removed("demo-1.0.tar.gz"), True),
        (cached(), True),
        (ProjectVanished(INDEX, "demo"), True),
        (IndexModified(INDEX, {"title": "new"}), True),
        (LinksChanged(INDEX, "other", added=(link("other-1.zip"),)), False),
    ],
)
@pytest.mark.parametrize("same_entry", [False, True])
def test_a_project_is_given_out_once_unless_a_later_change_of_it_ends_that(
    view: ViewDatabase, newest: Newest, change: Change, ends: bool, same_entry: bool
) -> None:
    for changes in [(listed(link()), change)] if same_entry else [(listed(link()),), (change,)]:
        fold(view, *changes)
    assert at_hand(newest) is not ends
    assert not at_hand(newest)


def test_it_ends_before_readers_see_the_later_change(view: ViewDatabase, newest: Newest) -> None:
    fold(view, listed(link()))
    view.begin()
    view.apply(Entry(2, AT, "+mirror", (cached(),)))
    assert not at_hand(newest)
    view.rollback()
    assert not at_hand(newest)


def test_what_was_rolled_back_is_never_told(view: ViewDatabase, newest: Newest) -> None:
    view.begin()
    view.apply(Entry(1, AT, "+mirror", (listed(link()),)))
    assert not at_hand(newest)
    view.rollback()
    fold(view, IndexModified(INDEX, {}))
    assert not at_hand(newest)


def many(project: str, count: int) -> LinksChanged:
    links = tuple(link(f"{project}-{number}.zip", DIGESTS[1]) for number in range(count))
    return LinksChanged(INDEX, project, added=links)


@pytest.mark.parametrize(("projects", "links"), [(300, 0), (30, 1000)])
def test_only_so_much_is_at_hand(view: ViewDatabase, newest: Newest, projects: int, links: int) -> None:
    for number in range(projects):
        fold(view, many(f"p{number}", links))
    found: list[Any] = [newest.take(INDEX, f"p{number}") for number in range(projects)]
    kept = [known for known in found if known is not None]
    assert len(kept) <= 100
    assert sum(len(known.files) for known in kept) <= 10_000
    assert found[-1] is not None
