"""The view's file: its stamp, its transactions, and when it is dropped."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.view.small_world import INDEX, LOG, OTHER_LOG, cached, entries, fold, link, listed, place
from twistpi.model.changes import LinksChanged, ProjectVanished
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.records import Freshness
from twistpi.model.server_errors import ServerdirRefused, StorageFull
from twistpi.view.database import ViewDatabase, drop_view, dump, open_view
from twistpi.view.read import Readers


def make(path: str, log_id: str = LOG) -> None:
    """A view of one entry."""
    with contextlib.closing(open_view(path, log_id)) as view:
        fold(view, listed(link()))


def reopened_at(path: str, log_id: str = LOG) -> Position:
    """Where the view at ``path`` is when it is opened again; it can be written to."""
    with contextlib.closing(open_view(path, log_id)) as view:
        position = view.position
        fold(view, listed(link()))
        assert view.reader.has_project(INDEX, "demo")
        return position


def execute(path: str, statement: str) -> None:
    """Change the file behind the view's back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


# The stamp ----------------------------------------------------------------------------------------------------------


def test_a_new_view_is_at_the_beginning_and_empty(view: ViewDatabase) -> None:
    assert view.position == BEGINNING
    assert (view.reader.serial(), view.reader.indexes(), view.reader.projects(INDEX)) == (0, [], [])


def test_a_view_knows_where_it_is_after_a_restart(view_path: str) -> None:
    make(view_path)
    assert reopened_at(view_path) == place(1)
    assert reopened_at(view_path) == place(2)


def make_another(path: str) -> None:
    drop_view(path)
    make(path, OTHER_LOG)


def damage_page(path: str, page: int) -> None:
    with open(path, "r+b") as file:
        file.seek(4096 * page)
        file.write(b"\xa5" * 4096)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(make_another, id="of another log"),
        *(
            pytest.param(lambda path, statement=statement: execute(path, statement), id=statement)
            for statement in (
                "UPDATE stamp SET fold_version = fold_version - 2",
                "DELETE FROM stamp",
                "DROP TABLE stamp",
                "ALTER TABLE stamp RENAME COLUMN chain TO x",
            )
        ),
        *(
            pytest.param(lambda path, content=content: Path(path).write_bytes(content), id=f"no database: {content[:6]!r}")
            for content in (b"", b"no database at all " * 500, b"SQLite format 3\0" + b"\xff" * 5000)
        ),
        *(pytest.param(lambda path, page=page: damage_page(path, page), id=f"damaged page {page}") for page in range(1, 8)),
        pytest.param(lambda path: os.truncate(path, os.path.getsize(path) // 2), id="truncated"),
    ],
)
def test_a_file_that_is_not_wholly_the_view_of_this_log_by_this_fold_is_dropped(
    view_path: str, spoil: Callable[[str], object]
) -> None:
    make(view_path)
    spoil(view_path)
    assert reopened_at(view_path) == BEGINNING


def test_a_view_from_before_there_were_advisories_goes_on_where_it_is(view_path: str) -> None:
    make(view_path)
    expected = list(dump(view_path))
    execute(view_path, "DROP TABLE advisory_set")
    execute(view_path, "UPDATE stamp SET fold_version = 3")
    open_view(view_path, LOG).close()
    assert list(dump(view_path)) == expected


def test_a_log_left_behind_by_a_lost_database_is_not_taken_for_its_successors(view_path: str) -> None:
    view = open_view(view_path, OTHER_LOG)
    fold(view, listed(link()))
    os.remove(view_path)  # its -wal stays
    assert os.path.exists(f"{view_path}-wal")
    assert reopened_at(view_path) == BEGINNING
    view.close()


def test_a_view_that_cannot_be_opened_is_refused_not_dropped(tmp_path: Path) -> None:
    with pytest.raises(ServerdirRefused):
        open_view(str(tmp_path), LOG)
    with pytest.raises(ServerdirRefused):
        open_view(str(tmp_path / "no" / "folder" / "view.sqlite"), LOG)


def test_a_closed_view_is_one_file_and_a_dropped_one_leaves_none(tmp_path: Path, view_path: str) -> None:
    make(view_path)
    assert os.listdir(tmp_path) == ["view.sqlite"]
    with contextlib.closing(open_view(view_path, LOG)) as view:
        fold(view, listed(link()))
        drop_view(view_path)
        drop_view(view_path)
        assert os.listdir(tmp_path) == []


# Transactions -------------------------------------------------------------------------------------------------------


def test_readers_see_what_is_committed_and_decisions_what_is_open(view: ViewDatabase, view_path: str) -> None:
    with contextlib.closing(Readers(view_path)) as readers:
        reader = readers.get()
        view.begin()
        view.apply(entries([[listed(link())]])[0])
        assert view.reader.has_project(INDEX, "demo")
        assert (reader.has_project(INDEX, "demo"), reader.serial()) == (False, 0)
        view.commit(place(1))
        assert (reader.has_project(INDEX, "demo"), reader.serial()) == (True, 1)


def test_a_rolled_back_transaction_never_was(view: ViewDatabase) -> None:
    view.rollback()  # of nothing
    view.begin()
    view.apply(entries([[listed(link("demo-9.zip")), cached()]])[0])
    view.rollback()
    view.rollback()
    assert (view.position, view.reader.serial(), view.reader.project(INDEX, "demo")) == (BEGINNING, 0, None)
    fold(view, cached(), LinksChanged(INDEX, "another", (link(),)))
    fold(view, listed(link()))
    view.begin()
    view.apply(entries([[ProjectVanished(INDEX, "demo")]], 3)[0])
    view.rollback()
    known = view.reader.project(INDEX, "demo")
    assert known is not None
    assert ([file.link for file in known.files], known.vanished) == ([link()], False)


def test_an_open_transaction_is_gone_after_a_crash(view_path: str) -> None:
    make(view_path)
    view = open_view(view_path, LOG)
    view.begin()
    view.apply(entries([[cached()]], 2)[0])
    view.close()
    assert reopened_at(view_path) == place(1)


def test_a_full_disk_refuses_clearly_and_recovers(view: ViewDatabase) -> None:
    fold(view, listed(link()))
    # The only way to fill a disk that every machine has: SQLite's own limit gives the same error.
    limit = view.reader._execute("PRAGMA max_page_count = 1").fetchone()[0]
    many = listed(*(link(f"demo-{number}.zip") for number in range(1000)))
    with pytest.raises(StorageFull, match="full"):
        fold(view, many)
    view.rollback()
    assert view.position == place(1)
    assert view.reader.link_count(INDEX, "demo") == 1
    view.reader._execute(f"PRAGMA max_page_count = {limit + 1000}")
    fold(view, many)
    assert view.reader.link_count(INDEX, "demo") == 1001


def test_damage_found_while_running_condemns_the_file(view_path: str, tmp_path: Path) -> None:
    with contextlib.closing(open_view(view_path, LOG)) as view:
        fold(view, listed(*(link(f"demo-{number}.zip") for number in range(2000))))
    with contextlib.closing(open_view(view_path, LOG)) as view:
        with open(view_path, "r+b") as file:
            file.seek(4096 * 12)
            file.write(b"\xa5" * 4096 * 1000)
        with pytest.raises(ServerdirRefused, match="the next start builds it anew"):
            fold(view, *(cached(f"demo-{number}.zip") for number in range(2000)))
    assert not os.path.exists(view_path)
    assert reopened_at(view_path) == BEGINNING


# Local facts --------------------------------------------------------------------------------------------------------


def test_freshness_is_local_survives_a_restart_and_is_not_dumped(view_path: str) -> None:
    fresh = Freshness(1000.5, '"etag"', "yesterday", False, "https://upstream.example/simple/")
    with contextlib.closing(open_view(view_path, LOG)) as view:
        before = list(dump(view_path))
        view.remember_freshness(INDEX, "demo", Freshness(1.0, missing=True))
        view.remember_freshness(INDEX, "demo", fresh)
    assert list(dump(view_path)) == before
    with contextlib.closing(open_view(view_path, LOG)) as view:
        assert view.reader.freshness(INDEX, "demo") == fresh
        assert view.reader.freshness(INDEX, "other") is None


def test_freshness_belongs_to_the_open_transaction(view: ViewDatabase) -> None:
    view.begin()
    view.remember_freshness(INDEX, "demo", Freshness(1.0))
    view.rollback()
    assert view.reader.freshness(INDEX, "demo") is None


def test_old_notes_of_missing_projects_are_forgotten(view: ViewDatabase) -> None:
    view.remember_freshness(INDEX, "old", Freshness(1.0, missing=True))
    view.remember_freshness(INDEX, "new", Freshness(3.0, missing=True))
    view.remember_freshness(INDEX, "there", Freshness(1.0))
    assert view.forget_missing(before=2.0) == 1
    assert [view.reader.freshness(INDEX, name) is None for name in ("old", "new", "there")] == [True, False, False]
