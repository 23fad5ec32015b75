"""The view's file: its stamp, its transactions, and when it is dropped."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from tests.view.small_world import INDEX, LOG, OTHER_LOG, cached, entries, fold, link, listed, place
from twistpi.model.changes import LinksChanged, ProjectVanished
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.records import Freshness
from twistpi.model.server_errors import ServerdirRefused, StorageFull, ViewDamaged
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


def test_a_view_of_another_log_is_dropped(view_path: str) -> None:
    make(view_path, OTHER_LOG)
    assert reopened_at(view_path) == BEGINNING


def test_a_view_folded_by_another_version_is_dropped(view_path: str) -> None:
    make(view_path)
    execute(view_path, "UPDATE stamp SET fold_version = fold_version - 1")
    assert reopened_at(view_path) == BEGINNING


@pytest.mark.parametrize("statement", ["DELETE FROM stamp", "DROP TABLE stamp", "ALTER TABLE stamp RENAME COLUMN chain TO x"])
def test_a_view_without_a_whole_stamp_is_dropped(view_path: str, statement: str) -> None:
    make(view_path)
    execute(view_path, statement)
    assert reopened_at(view_path) == BEGINNING


@pytest.mark.parametrize("content", [b"", b"no database at all " * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_database_is_dropped(view_path: str, content: bytes) -> None:
    Path(view_path).write_bytes(content)
    assert reopened_at(view_path) == BEGINNING


@pytest.mark.parametrize("page", range(1, 8))
def test_a_file_with_a_damaged_page_is_dropped(view_path: str, page: int) -> None:
    make(view_path)
    with open(view_path, "r+b") as file:
        file.seek(4096 * page)
        file.write(b"\xa5" * 4096)
    assert reopened_at(view_path) == BEGINNING


def test_a_truncated_file_is_dropped(view_path: str) -> None:
    make(view_path)
    os.truncate(view_path, os.path.getsize(view_path) // 2)
    assert reopened_at(view_path) == BEGINNING


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


def test_a_dropped_view_leaves_no_file(tmp_path: Path, view_path: str) -> None:
    view = open_view(view_path, LOG)
    fold(view, listed(link()))
    drop_view(view_path)
    drop_view(view_path)
    assert os.listdir(tmp_path) == []
    view.close()


def test_a_closed_view_is_one_file(tmp_path: Path, view_path: str) -> None:
    make(view_path)
    assert os.listdir(tmp_path) == ["view.sqlite"]


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
    view.begin()
    view.apply(entries([[listed(link()), cached()]])[0])
    view.rollback()
    assert (view.position, view.reader.serial(), view.reader.project(INDEX, "demo")) == (BEGINNING, 0, None)
    fold(view, cached())
    assert view.reader.project(INDEX, "demo") is None


def test_a_project_that_was_rolled_back_can_be_listed_again(view: ViewDatabase) -> None:
    view.begin()
    view.apply(entries([[listed(link("demo-9.zip"))]])[0])
    view.rollback()
    fold(view, LinksChanged(INDEX, "another", (link(),)))
    fold(view, listed(link()))
    known = view.reader.project(INDEX, "demo")
    assert known is not None
    assert [file.link for file in known.files] == [link()]


def test_a_vanishing_that_was_rolled_back_is_not_remembered(view: ViewDatabase) -> None:
    fold(view, listed(link()))
    view.begin()
    view.apply(entries([[ProjectVanished(INDEX, "demo")]], 2)[0])
    view.rollback()
    known = view.reader.project(INDEX, "demo")
    assert known is not None
    assert not known.vanished


def test_rolling_back_nothing_is_fine(view: ViewDatabase) -> None:
    view.rollback()
    view.begin()
    view.rollback()
    view.rollback()


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
        with pytest.raises(ViewDamaged):
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
