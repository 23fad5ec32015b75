"""The judge of histories agrees with one that tries every order, and sees what is lost, done twice or shown too late."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crash.linearizability import (
    EMPTY,
    File,
    Operation,
    Outcome,
    Push,
    Read,
    Remove,
    State,
    Upload,
    entered_twice,
    violation,
)

NAMES = ("a-1.0.whl", "a-1.0.tar.gz")
INDEXES = ("dev", "prod")
files = st.tuples(st.sampled_from(INDEXES), st.sampled_from(NAMES), st.sampled_from("xy"))
some_names = st.frozensets(st.sampled_from(NAMES), min_size=1)
changes: st.SearchStrategy[Upload | Remove | Push] = st.one_of(
    st.builds(lambda file: Upload(file, file[0] == "dev"), files),
    st.builds(Remove, st.just("dev"), some_names),
    st.builds(Push, st.just("dev"), st.just("prod"), some_names),
)
reads = st.builds(Read, st.just("dev"), st.frozensets(files.filter(lambda file: file[0] == "dev"), max_size=2))
times = st.tuples(st.integers(0, 9), st.integers(0, 4))
operations = st.one_of(
    st.builds(
        lambda action, when, outcome: Operation("c", action, when[0], when[0] + when[1], outcome),
        changes,
        times,
        st.sampled_from(Outcome),
    ),
    st.builds(lambda action, when: Operation("c", action, when[0], when[0] + when[1]), reads, times),
)


def is_explained(order: Sequence[Operation]) -> bool:
    state = EMPTY
    for operation in order:
        after = operation.follow(state)
        if after is None:
            return False
        state = after
    return True


def keeps_time(order: Sequence[Operation]) -> bool:
    return all(later.ended >= earlier.began for earlier, later in itertools.combinations(order, 2))


def is_explained_by_some_order(history: Sequence[Operation]) -> bool:
    """The definition, word for word."""
    sure = [one for one in history if one.outcome is not Outcome.UNKNOWN]
    doubtful = [attrs.evolve(one, ended=math.inf) for one in history if one.outcome is Outcome.UNKNOWN]
    chosen = itertools.chain.from_iterable(itertools.combinations(doubtful, size) for size in range(len(doubtful) + 1))
    orders = itertools.chain.from_iterable(itertools.permutations([*sure, *some]) for some in chosen)
    return any(keeps_time(order) and is_explained(order) for order in orders)


@given(st.lists(operations, max_size=5))
def test_it_agrees_with_the_definition(history: list[Operation]) -> None:
    assert (violation(history) is None) == is_explained_by_some_order(history)


@attrs.frozen
class Step:
    """Something one server did at an instant."""

    action: Upload | Remove | Push | None
    """None for a read."""
    before: int
    """How long the client waited already."""
    after: int
    is_answered: bool


steps = st.builds(Step, st.none() | changes, st.integers(0, 3), st.integers(0, 3), st.integers(0, 5).map(bool))


def history_of(done: Sequence[Step]) -> tuple[list[Operation], State]:
    """What the clients of one server know, which took one step after the other; and what it has at last."""
    history, state = [], EMPTY
    for at, step in enumerate(done):
        began, ended = at - step.before / 2, at + step.after / 2
        if step.action is None:
            seen = frozenset(file for file in state if file[0] == "dev")
            history.append(Operation("c", Read("dev", seen), began, ended))
            continue
        allowed = step.action.allowed(state)
        state = step.action.apply(state) if allowed else state
        told = Outcome.DONE if allowed else Outcome.REFUSED
        history.append(Operation("c", step.action, began, ended, told if step.is_answered else Outcome.UNKNOWN))
    return history, state


@given(st.lists(steps, max_size=40))
def test_what_one_server_does_is_linearizable_however_many_ask_at_once(done: list[Step]) -> None:
    history, state = history_of(done)
    last = [Operation("c", Read(index, _on(state, index)), len(done) + 5.0, len(done) + 6.0) for index in INDEXES]
    assert violation([*history, *last]) is None


@given(st.lists(steps, max_size=20))
def test_a_file_that_was_acknowledged_and_is_lost_is_seen(done: list[Step]) -> None:
    history, state = history_of([attrs.evolve(step, is_answered=True) for step in done])
    acknowledged = Operation("c", Upload(("dev", "b-1.0.whl", "z"), True), len(done) + 5.0, len(done) + 6.0)
    without = Operation("c", Read("dev", _on(state, "dev")), len(done) + 7.0, len(done) + 8.0)
    assert violation([*history, acknowledged, without]) == without


def _on(state: State, index: str) -> State:
    return frozenset(file for file in state if file[0] == index)


A, B = ("dev", "a-1.0.whl", "x"), ("dev", "a-1.0.whl", "y")


def at(began: float, ended: float, action: Upload | Remove | Push | Read, outcome: Outcome = Outcome.DONE) -> Operation:
    return Operation("c", action, began, ended, outcome)


def shows(*shown: File) -> Read:
    return Read("dev", frozenset(shown))


@pytest.mark.parametrize(
    "history",
    [
        [at(1, 2, Upload(A, True)), at(3, 4, shows())],  # too late
        [at(1, 2, shows(A)), at(3, 4, Upload(A, True))],  # too early
        [at(1, 9, Upload(A, True)), at(2, 3, shows(A)), at(4, 5, shows())],  # back in time
        [at(1, 2, Upload(A, True)), at(3, 4, Remove("dev", frozenset({A[1]}))), at(5, 6, shows(A))],  # come back
        [at(1, 2, Upload(A, True)), at(3, 4, shows(A, B))],  # nobody uploaded that
        [at(1, 2, Upload(A, False)), at(3, 4, Upload(B, False))],  # replaced where nothing may be
        [at(1, 2, Remove("dev", frozenset({A[1]})))],  # removed without having been there
        [at(1, 2, Upload(A, True)), at(3, 4, Remove("dev", frozenset({A[1]})), Outcome.REFUSED)],  # was there
        [at(1, 2, Upload(A, True), Outcome.UNKNOWN), at(3, 4, shows(A)), at(5, 6, shows())],  # happened, and is lost
    ],
)
def test_what_no_server_would_say_is_seen(history: list[Operation]) -> None:
    assert violation(history) is not None


@pytest.mark.parametrize(
    "history",
    [
        [at(1, 2, Upload(A, True), Outcome.UNKNOWN), at(3, 4, shows()), at(5, 6, shows(A))],  # happened later
        [at(1, 2, Upload(A, True)), at(3, 4, Upload(B, True)), at(-math.inf, 6, shows(A))],  # what was true once
        [at(1, 9, Upload(A, True)), at(1, 9, Upload(B, True)), at(10, 11, shows(A))],  # either may be the last
    ],
)
def test_what_a_server_might_say_is_accepted(history: list[Operation]) -> None:
    assert violation(history) is None


def test_a_file_that_is_entered_twice_is_seen() -> None:
    assert entered_twice([("added", A), ("removed", A), ("added", A), ("added", B)]) == []
    assert entered_twice([("added", A), ("added", A)]) == [A]
