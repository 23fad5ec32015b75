"""How long who guesses has to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.auth.passwords import FORGOTTEN_AFTER, FREE, LONGEST_WAIT, Throttle

NOW = 1000.0
HOME = "192.0.2.1"


def _guess(throttle: Throttle, count: int, user: str = "alice", address: str = HOME, now: float = NOW) -> float:
    """Guess ``count`` times, each as soon as one may; when the last was looked at."""
    for _ in range(count):
        wait = throttle.reserve(user, address, now)
        assert wait is not None
        now += wait
    return now


def test_the_first_few_cost_nothing_and_then_each_waits_twice_as_long_up_to_a_limit() -> None:
    throttle = Throttle()
    now, waits = NOW, []
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
    waits = [throttle.reserve("alice", HOME, NOW) for _ in range(100)]
    assert waits[:7] == [0, 0, 0, 0.5, 1.5, 3.5, 7.5]
    assert waits[7:] == [None] * 93


@given(st.lists(st.floats(0, 20), max_size=300))
def test_nobody_has_more_looks_than_the_limit_allows(pauses: list[float]) -> None:
    throttle = Throttle()
    now, looks = NOW, []
    for pause in pauses:
        now += pause
        wait = throttle.reserve("alice", HOME, now)
        if wait is not None:
            looks.append(now + wait)
    assert looks == sorted(looks)
    free = FREE + 4  # until the longest wait is reached
    assert len(looks) <= free + 1 + (now + LONGEST_WAIT - NOW) / LONGEST_WAIT + (now - NOW) / FORGOTTEN_AFTER * free


def test_names_without_end_take_no_memory_without_end() -> None:
    throttle = Throttle(most=100)
    for number in range(1000):
        throttle.reserve(f"user {number}" * 1000, HOME, NOW)
    assert len(throttle) == 100
    assert all(len(key) == 16 for key in throttle._records)


def test_those_who_were_forgiven_go_by_themselves() -> None:
    throttle = Throttle()
    for number in range(50):
        throttle.reserve(str(number), HOME, NOW)
    throttle.reserve("late", HOME, NOW + FORGOTTEN_AFTER)
    assert len(throttle) == 1
