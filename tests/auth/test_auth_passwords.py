"""What is kept of passwords, and how it is compared."""

from __future__ import annotations

import os

import pytest
from argon2 import PasswordHasher, Type
from hypothesis import given, settings
from hypothesis import strategies as st

from twistpi.auth.passwords import (
    BLANK,
    FORGOTTEN_AFTER,
    FREE,
    FREE_USERS,
    LONGEST_WAIT,
    Remembered,
    Throttle,
    hash_password,
    is_argon2_hash,
    is_password_hash,
    verify_password,
)

COST = 4
PASSWORDS = st.text(st.characters(codec=None), min_size=1, max_size=100)


@settings(max_examples=25)
@given(PASSWORDS, PASSWORDS)
def test_a_password_is_verified_by_its_hash_and_no_other_is(password: str, other: str) -> None:
    kept = hash_password(password, COST)
    assert is_password_hash(kept)
    assert verify_password(password, kept)
    assert verify_password(other, kept) == (password == other)


@pytest.mark.parametrize("length", [72, 73, 200, 100_000])
def test_no_character_of_a_long_password_is_cut_off(length: int) -> None:
    password = "x" * length
    kept = hash_password(password, COST)
    assert verify_password(password, kept)
    assert not verify_password(password[:-1], kept)
    assert not verify_password(password[:-1] + "y", kept)
    assert not verify_password(password + "x", kept)


def test_a_zero_in_a_password_ends_nothing() -> None:
    kept = hash_password("before\0after", COST)
    assert verify_password("before\0after", kept)
    assert not verify_password("before\0", kept)
    assert not verify_password("before", kept)


def test_the_blank_password_is_kept_as_itself_and_matches_nothing_else() -> None:
    assert hash_password("", COST) == BLANK == ""
    assert verify_password("", BLANK)
    assert not verify_password("x", BLANK)
    assert not verify_password("", hash_password("x", COST))


@pytest.mark.parametrize("password", ["", "x", "None"])
def test_nothing_is_the_password_of_a_user_who_cannot_log_in(password: str) -> None:
    assert not verify_password(password, None)


def test_the_same_password_is_kept_differently_each_time() -> None:
    assert hash_password("x", COST) != hash_password("x", COST)
    assert hash_password("x", COST, b"$2b$04$abcdefghijklmnopqrstuu") == hash_password(
        "x", COST, b"$2b$04$abcdefghijklmnopqrstuu"
    )


def test_a_hash_tells_its_cost_so_the_setting_may_change() -> None:
    kept = hash_password("x", 5)
    assert kept.startswith("$bcrypt-sha256$v=2,t=2b,r=5$")
    assert verify_password("x", kept)


def test_hashes_are_those_of_passlib() -> None:
    # The example in the documentation of passlib.hash.bcrypt_sha256.
    kept = "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2"
    assert verify_password("password", kept)
    assert not verify_password("Password", kept)


@pytest.mark.parametrize(
    "kept",
    [
        "x",
        "$argon2id$v=19$m=9999999,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b4dWRWJTmaaJObG",
        "$argon2id$v=19$m=64,t=999,p=4$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b4dWRWJTmaaJObG",
        "$2b$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuuabcdefghi",
        "$bcrypt-sha256$v=2,t=2b,r=4$short$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
        "$bcrypt-sha256$v=2,t=2b,r=31$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
        "$bcrypt-sha256$v=2,t=2b,r=0$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
        "$bcrypt-sha256$v=2,t=2b,r=4$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2\n",
        "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG",
    ],
)
def test_what_is_no_hash_or_would_take_for_ever_matches_nothing(kept: str) -> None:
    assert not is_password_hash(kept)
    assert not verify_password("password", kept)
    assert not verify_password("", kept)


@pytest.mark.parametrize("kind", [Type.ID, Type.I])
def test_the_hash_that_another_server_made_with_argon2_is_verified(kind: Type) -> None:
    kept = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1, type=kind).hash("from elsewhere")
    assert is_argon2_hash(kept)
    assert not is_password_hash(kept), "it is none of ours"
    assert verify_password("from elsewhere", kept)
    assert not verify_password("from nowhere", kept)
    assert not verify_password("", kept)


# What is remembered of right pairs of user and password: for a minute, as digests, not too many ----------------------


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


# How long who guesses has to wait ------------------------------------------------------------------------------------


START = 1000.0
HOME = "192.0.2.1"


def _guess(throttle: Throttle, count: int, user: str = "alice", address: str = HOME, now: float = START) -> float:
    """Guess ``count`` times, each as soon as one may; when the last was looked at."""
    for _ in range(count):
        wait = throttle.reserve(user, address, now)
        assert wait is not None
        now += wait
    return now


def test_the_first_few_cost_nothing_and_then_each_waits_twice_as_long_up_to_a_limit() -> None:
    throttle = Throttle()
    now, waits = START, []
    for _ in range(10):
        wait = throttle.reserve("alice", HOME, now)
        assert wait is not None
        waits.append(wait)
        now += wait
    assert waits == [0, 0, 0, 0.5, 1, 2, 4, 8, 8, 8]


def test_time_that_passed_by_itself_counts_as_waiting() -> None:
    throttle = Throttle()
    now = _guess(throttle, 6)
    assert throttle.reserve("alice", HOME, now + 3) == 1
    assert throttle.reserve("alice", HOME, now + 100) == 0


def test_a_right_password_makes_all_good() -> None:
    throttle = Throttle()
    now = _guess(throttle, 8)
    throttle.succeeded("alice", HOME)
    assert len(throttle) == 0
    assert [throttle.reserve("alice", HOME, now) for _ in range(FREE)] == [0] * FREE


def test_wrong_passwords_of_many_users_slow_their_address_down_and_no_other() -> None:
    throttle = Throttle()
    throttle.reserve("carol", HOME, START)
    throttle.succeeded("carol", HOME)
    now, waits = START, []
    for number in range(FREE_USERS + 7):
        wait = throttle.reserve(f"user {number}", HOME, now)
        assert wait is not None
        waits.append(wait)
        now += wait
    assert waits == [0] * (FREE_USERS + 1) + [0.5, 1, 2, 4, 8, 8]
    assert throttle.reserve("another", HOME, now) == LONGEST_WAIT
    assert throttle.reserve("more", HOME, now) is None
    assert throttle.reserve("another", "192.0.2.2", now) == 0
    assert throttle.reserve("carol", HOME, now) == 0, "the password was right here before"
    assert throttle.reserve("another", HOME, now + FORGOTTEN_AFTER) == 0
    assert throttle.reserve("one more", HOME, now + 2 * FORGOTTEN_AFTER) == 0


def test_one_user_may_be_wrong_often_and_many_may_be_right_at_one_address() -> None:
    throttle = Throttle()
    now = _guess(throttle, 30, user="stale")
    for number in range(50):
        assert throttle.reserve(f"user {number}", HOME, now) == 0
        throttle.succeeded(f"user {number}", HOME)


def test_all_is_forgotten_after_a_while() -> None:
    throttle = Throttle()
    now = _guess(throttle, 8)
    assert throttle.reserve("alice", HOME, now + FORGOTTEN_AFTER - 1) == 0
    assert throttle.reserve("alice", HOME, now + FORGOTTEN_AFTER) == 8 - 1
    assert throttle.reserve("alice", HOME, now + 3 * FORGOTTEN_AFTER) == 0


def test_other_users_and_other_addresses_notice_nothing() -> None:
    throttle = Throttle()
    now = _guess(throttle, 8)
    assert throttle.reserve("bob", HOME, now) == 0
    assert throttle.reserve("alice", "192.0.2.2", now) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("unix", "unix", True),
    ],
)
def test_a_site_that_may_take_any_of_its_addresses_counts_as_one(one: str, other: str, same: bool) -> None:
    throttle = Throttle()
    now = _guess(throttle, 8, address=one)
    assert (throttle.reserve("alice", other, now) == LONGEST_WAIT) == same


def test_guesses_at_the_same_moment_stand_in_line_and_a_line_too_long_is_refused() -> None:
    throttle = Throttle()
    waits = [throttle.reserve("alice", HOME, START) for _ in range(100)]
    assert waits[:7] == [0, 0, 0, 0.5, 1.5, 3.5, 7.5]
    assert waits[7:] == [None] * 93


@given(st.lists(st.floats(0, 20), max_size=300))
def test_nobody_has_more_looks_than_the_limit_allows(pauses: list[float]) -> None:
    throttle = Throttle()
    now, looks = START, []
    for pause in pauses:
        now += pause
        wait = throttle.reserve("alice", HOME, now)
        if wait is not None:
            looks.append(now + wait)
    assert looks == sorted(looks)
    free = FREE + 4  # until the longest wait is reached
    assert len(looks) <= free + 1 + (now + LONGEST_WAIT - START) / LONGEST_WAIT + (now - START) / FORGOTTEN_AFTER * free


def test_names_without_end_take_no_memory_without_end() -> None:
    throttle = Throttle(most=100)
    for number in range(1000):
        address = f"192.0.{number // 250}.{number % 250}"
        throttle.reserve(f"user {number}" * 1000, address, START)
        throttle.succeeded(f"friend {number}", address)
    assert [len(kept) for kept in (throttle._records, throttle._sites, throttle._known)] == [100] * 3
    assert all(len(key) == 16 for key in throttle._records)
    for number in range(1000):
        throttle.reserve(f"user {number}", HOME, START + 10 * number)
    assert len(throttle._sites[next(reversed(throttle._sites))].failing) <= 100


def test_those_who_were_forgiven_go_by_themselves() -> None:
    throttle = Throttle()
    for number in range(50):
        throttle.reserve(str(number), f"192.0.2.{number}", START)
    throttle.reserve("late", HOME, START + FORGOTTEN_AFTER)
    assert len(throttle) == 1
