"""What a node finds of its copy and its view when it starts: all of it can be lost, old or wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.changelog.log_and_view import NOW
from tests.cluster.nodes import place
from twistpi.changelog.batch import Batches, Commit
from twistpi.changelog.catch_up import catch_up
from twistpi.cluster.database import Database
from twistpi.cluster.local_copy import LocalCopy
from twistpi.model.changes import UserCreated
from twistpi.view.database import drop_view, dump

SMALL = 400
"""Bytes from which on a segment takes no further line: about two of them."""
ENTRIES = 12


def write(copy: LocalCopy, url: str, *names: str) -> None:
    """Have a node write an entry for each name, with its view."""
    log, view = copy.open(Database(url))
    with closing(log), closing(view):
        catch_up(log, view)
        batches = Batches(log, view, lambda: NOW)
        for name in names:
            assert batches.process([Commit(lambda _view, name=name: [UserCreated(name)], "root")]).fatal is None  # type: ignore[misc]


def look(copy: LocalCopy, url: str) -> tuple[dict[str, bytes], list[object]]:
    """What a node has after a start: its segments and the rows of its view."""
    write(copy, url)
    files = {path.name: path.read_bytes() for path in Path(copy.changelog).iterdir()}
    return files, list(dump(copy.view))


@pytest.fixture
def one(url: str, tmp_path: Path) -> LocalCopy:
    """The copy of a node that has written some entries."""
    (tmp_path / "one").mkdir()
    copy = place(tmp_path / "one", segment_limit=SMALL)
    write(copy, url, *(f"user{number}" for number in range(ENTRIES)))
    return copy


def lose_everything(copy: LocalCopy) -> None:
    shutil.rmtree(copy.changelog)
    drop_view(copy.view)


def lose_the_view(copy: LocalCopy) -> None:
    drop_view(copy.view)


def tear_the_last_line(copy: LocalCopy) -> None:
    newest = max(Path(copy.changelog).iterdir())
    newest.write_bytes(newest.read_bytes()[:-5])


def damage_an_early_line(copy: LocalCopy) -> None:
    oldest = min(Path(copy.changelog).iterdir())
    oldest.write_bytes(oldest.read_bytes().replace(b"user0", b"user9"))


def lose_a_segment(copy: LocalCopy) -> None:
    os.remove(sorted(Path(copy.changelog).iterdir())[1])


@pytest.mark.parametrize("harm", [lose_everything, lose_the_view, tear_the_last_line, damage_an_early_line, lose_a_segment])
def test_whatever_is_lost_is_there_again_after_a_start(url: str, one: LocalCopy, harm: Callable[[LocalCopy], None]) -> None:
    files, rows = look(one, url)
    assert len(files) > 3
    harm(one)
    files_now, rows_now = look(one, url)
    assert rows_now == rows
    if files_now.pop("base.json", None) is None:
        assert files_now == files
    else:  # the view is whole, and its end is where the lines go on
        assert files_now.items() <= files.items()
        assert max(files_now) == max(files)


def test_a_node_without_lines_fetches_those_of_the_segment_in_which_its_view_ends(url: str, one: LocalCopy) -> None:
    files, rows = look(one, url)
    shutil.rmtree(one.changelog)
    now, rows_now = look(one, url)
    assert rows_now == rows
    base = now.pop("base.json")
    assert b'"serial"' in base
    assert len(now) == 1
    assert now.items() <= files.items()
    write(one, url, "carol")
    # Where the view is lost as well, nothing tells what was before.
    drop_view(one.view)
    again, _rows = look(one, url)
    assert "base.json" not in again
    assert len(again) > len(files) - 1


def test_what_others_wrote_meanwhile_is_fetched(url: str, one: LocalCopy, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    two = place(tmp_path / "two", segment_limit=SMALL)
    write(two, url, "carol", "dave")
    assert look(one, url) == look(two, url)


def test_a_node_that_is_ahead_of_a_database_that_was_set_back_begins_anew(url: str, one: LocalCopy, tmp_path: Path) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM twistpi_lines WHERE serial > 5")
        connection.execute("UPDATE twistpi_head SET serial = 5, chain = (SELECT chain FROM twistpi_lines WHERE serial = 5)")
    (tmp_path / "two").mkdir()
    two = place(tmp_path / "two", segment_limit=SMALL)
    write(two, url, "carol")
    assert look(one, url) == look(two, url)
