"""What is remembered of right pairs of user and password: for a minute, as digests, not too many."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from twistpi.auth.passwords import Remembered

KEY = b"k" * 32
NOW = 1000.0


def test_a_pair_is_known_for_a_minute_after_its_last_use() -> None:
    remembered = Remembered(KEY)
    pair = remembered.digest("alice", "secret", "$hash")
    assert not remembered.knows(pair, NOW)
    remembered.add(pair, NOW)
    assert remembered.knows(pair, NOW + 59)
    assert remembered.knows(pair, NOW + 118)
    assert not remembered.knows(pair, NOW + 118 + 60)
    assert len(remembered) == 0


def test_other_users_passwords_and_hashes_are_not_known() -> None:
    remembered = Remembered(KEY)
    remembered.add(remembered.digest("alice", "secret", "$hash"), NOW)
    for other in (("bob", "secret", "$hash"), ("alice", "Secret", "$hash"), ("alice", "secret", "$new")):
        assert not remembered.knows(remembered.digest(*other), NOW)


def test_where_the_name_ends_and_the_rest_begins_matters() -> None:
    remembered = Remembered(KEY)
    assert remembered.digest("ab", "c", "$hash") != remembered.digest("a", "c", "b$hash")
    assert remembered.digest("a", "bc", "d") != remembered.digest("a", "c", "db")


@given(st.tuples(st.text(), st.text(), st.text()), st.tuples(st.text(), st.text(), st.text()))
def test_different_pairs_have_different_digests(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    remembered = Remembered(KEY)
    assert (remembered.digest(*one) == remembered.digest(*other)) == (one == other)


def test_every_process_has_digests_of_its_own_which_do_not_hold_the_password() -> None:
    first, second = Remembered(os.urandom(32)), Remembered(os.urandom(32))
    assert first.digest("alice", "secret", "$hash") != second.digest("alice", "secret", "$hash")
    assert b"secret" not in first.digest("alice", "secret", "$hash")
    assert "secret" not in repr(first._until)


def test_the_longest_unused_go_when_there_are_too_many() -> None:
    remembered = Remembered(KEY, most=3)
    pairs = [remembered.digest(str(number), "", "") for number in range(4)]
    for pair in pairs[:3]:
        remembered.add(pair, NOW)
    assert remembered.knows(pairs[0], NOW + 1)
    remembered.add(pairs[3], NOW + 2)
    assert [remembered.knows(pair, NOW + 3) for pair in pairs] == [True, False, True, True]


def test_what_is_over_goes_when_something_new_comes() -> None:
    remembered = Remembered(KEY)
    for number in range(100):
        remembered.add(remembered.digest(str(number), "", ""), NOW)
    remembered.add(remembered.digest("new", "", ""), NOW + 61)
    assert len(remembered) == 1
