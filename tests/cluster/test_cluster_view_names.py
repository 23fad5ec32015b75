"""Which views in a bucket are used, made and dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twistpi.cluster.view_names import EVERY, ViewName, choose_view, is_due, to_drop, view_names

NAMES = st.builds(ViewName, st.integers(1, 3), st.integers(1, 300_000), st.just("ab" * 32))


@given(st.lists(NAMES, unique=True))
def test_a_name_says_all_there_is_to_know_and_other_keys_are_passed_over(names: list[ViewName]) -> None:
    keys = [name.key for name in names]
    assert view_names([*keys, "views/notes.txt", "blobs/ab1/2cd34ef567890/x.zip", "views/1-2-3.sqlite"]) == sorted(names)


@given(st.lists(NAMES), st.integers(1, 3), st.integers(0, 300_000))
def test_a_new_node_takes_the_newest_view_of_its_version_that_its_log_has(names: list[ViewName], version: int, last: int) -> None:
    chosen = choose_view(names, version, last)
    fitting = [name for name in names if name.fold_version == version and name.serial <= last]
    assert (chosen is None) == (not fitting)
    assert chosen is None or (chosen in fitting and all(name.serial <= chosen.serial for name in fitting))
    assert is_due(names, version, last) == (last - (chosen.serial if chosen else 0) >= EVERY)


@given(st.lists(NAMES, unique=True))
def test_of_each_version_the_two_newest_views_stay(names: list[ViewName]) -> None:
    dropped = to_drop(names)
    for version in (1, 2, 3):
        all_of_it = sorted(name for name in names if name.fold_version == version)
        assert [name for name in all_of_it if name not in dropped] == all_of_it[-2:]
