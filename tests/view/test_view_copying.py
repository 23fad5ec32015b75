"""A copy of a view: of one moment, whole, and without what is local."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.view.small_world import INDEX, LOG, fold, fold_history, histories, link, listed
from tests.view.test_view_fold_property import MEMORY, History
from twistpi.model.records import Freshness
from twistpi.model.server_errors import StorageFull
from twistpi.view.database import FOLD_VERSION, ViewDatabase, copy_view, dump, open_view


@settings(max_examples=12)
@given(history=histories(), later=histories())
def test_a_copy_is_the_fold_to_its_serial_and_goes_on_from_there(history: History, later: History) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        source, target = os.path.join(folder, "view.sqlite"), os.path.join(folder, "copy.sqlite")
        with contextlib.closing(open_view(source, LOG)) as view:
            fold_history(view, history)
            copy = copy_view(source, target)
            assert list(dump(target)) == list(dump(source))
            assert (copy.stamp.log_id, copy.stamp.fold_version, copy.stamp.position) == (LOG, FOLD_VERSION, view.position)
            fold_history(view, later)
            with contextlib.closing(open_view(target, LOG)) as follower:
                assert follower.position == copy.stamp.position
                fold_history(follower, later)
            assert list(dump(target)) == list(dump(source))


@pytest.mark.parametrize("rolled_back", [True, False])
def test_what_is_not_committed_is_not_in_a_copy(rolled_back: bool) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        source, target = os.path.join(folder, "view.sqlite"), os.path.join(folder, "copy.sqlite")
        with contextlib.closing(open_view(source, LOG)) as view:
            fold(view, listed(link()))
            before = list(dump(source))
            view.begin()
            view.remember_freshness(INDEX, "demo", Freshness(1.0, source="https://upstream.example/simple/"))
            copy_view(source, target)
            view.rollback() if rolled_back else view.commit(view.position)
            assert list(dump(target)) == before


def test_a_copy_is_for_its_owner_and_holds_nothing_local(view: ViewDatabase, view_path: str, tmp_path: Path) -> None:
    fold(view, listed(link()))
    view.remember_freshness(INDEX, "demo", Freshness(1.0, source="https://upstream.example/simple/"))
    target = tmp_path / "copy.sqlite"
    copy = copy_view(view_path, str(target))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert (copy.size, copy.sha256) == (target.stat().st_size, hashlib.sha256(target.read_bytes()).hexdigest())
    with contextlib.closing(open_view(str(target), LOG)) as copied:
        assert copied.reader.freshness(INDEX, "demo") is None
    assert view.reader.freshness(INDEX, "demo") is not None
    assert sorted(path.name for path in tmp_path.iterdir() if "copy" in path.name) == ["copy.sqlite"]


def test_where_there_is_no_room_nothing_stays(view: ViewDatabase, view_path: str, tmp_path: Path) -> None:
    fold(view, listed(link()))
    with pytest.raises(StorageFull, match="copy"):
        copy_view(view_path, str(tmp_path / "missing" / "copy.sqlite"))
    taken = tmp_path / "copy.sqlite"
    with pytest.raises(StorageFull):
        copy_view(str(tmp_path / "no view"), str(taken))
    assert not taken.exists()
