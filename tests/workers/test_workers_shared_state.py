"""The memory that processes share: no announcement is missed, and a reader that is too late notices."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.web.pages import Invalidation, InvalidationKind, invalidations_by_advisories
from twistpi.workers.shared_state import SharedState, Slot

HELLO = Invalidation(InvalidationKind.PROJECT, "alice/dev", "hello")
DEV = Invalidation(InvalidationKind.INDEX, "alice/dev")
INVALIDATIONS = st.lists(
    st.builds(Invalidation, st.sampled_from(InvalidationKind), st.text(max_size=30), st.text(max_size=300)), max_size=5
)


@pytest.fixture
def shared_state() -> Iterator[SharedState]:
    made = SharedState.make()
    yield made
    made.close()


def reader_of(shared_state: SharedState) -> SharedState:
    """Another process's view of the same memory."""
    return SharedState(os.dup(shared_state.descriptor))


def test_what_was_announced_is_heard_once(shared_state: SharedState) -> None:
    reader = reader_of(shared_state)
    assert reader.announced() is None
    shared_state.announce(7, [HELLO, DEV, HELLO])
    announced = reader.announced()
    assert announced is not None
    assert announced.serial == 7
    assert announced.invalidations == [HELLO, DEV]
    assert reader.announced() is None
    reader.close()


def test_an_entry_that_invalidates_nothing_moves_the_serial(shared_state: SharedState) -> None:
    reader = reader_of(shared_state)
    shared_state.announce(8, [])
    announced = reader.announced()
    assert announced is not None
    assert (announced.serial, announced.invalidations) == (8, [])
    reader.close()


def test_what_changes_without_an_entry_is_heard_too(shared_state: SharedState) -> None:
    shared_state.announce(8, [])
    reader = reader_of(shared_state)
    shared_state.announce(8, invalidations_by_advisories({"hello"}))
    announced = reader.announced()
    assert announced is not None
    assert (announced.serial, announced.invalidations) == (8, [Invalidation(InvalidationKind.ADVISORIES, "", "hello")])
    assert reader.announced() is None
    reader.close()


def test_who_starts_knows_nothing_of_before(shared_state: SharedState) -> None:
    shared_state.announce(1, [HELLO])
    reader = reader_of(shared_state)
    assert reader.serial == 1
    assert reader.announced() is None
    reader.close()


def test_an_entry_that_invalidates_too_much_invalidates_everything(shared_state: SharedState) -> None:
    reader = reader_of(shared_state)
    shared_state.announce(
        9, [Invalidation(InvalidationKind.PROJECT, "alice/dev", f"project-{number}") for number in range(20_000)]
    )
    announced = reader.announced()
    assert announced is not None
    assert (announced.serial, announced.invalidations) == (9, None)
    reader.close()


def test_who_comes_too_late_is_told_that_anything_may_have_changed(shared_state: SharedState) -> None:
    late = reader_of(shared_state)
    for serial in range(1, 20_001):
        shared_state.announce(serial, [Invalidation(InvalidationKind.PROJECT, "alice/dev", f"project-{serial}")])
    announced = late.announced()
    assert announced is not None
    assert (announced.serial, announced.invalidations) == (20_000, None)
    shared_state.announce(20_001, [HELLO])
    announced = late.announced()
    assert announced is not None
    assert announced.invalidations == [HELLO]
    late.close()


@given(st.lists(st.tuples(INVALIDATIONS, st.booleans()), max_size=60))
def test_readers_at_any_pace_hear_of_everything_in_order(entries: list[tuple[list[Invalidation], bool]]) -> None:
    shared_state = SharedState.make()
    # Somewhere before the end of the ring, so that it is gone around.
    for serial in range(1, 6):
        shared_state.announce(serial, [Invalidation(InvalidationKind.PROJECT, "x" * 104_000, "y" * 104_000)])
    reader = reader_of(shared_state)
    told: list[Invalidation] = []
    heard: list[Invalidation] = []
    for serial, (invalidations, looks) in enumerate(entries, 6):
        shared_state.announce(serial, invalidations)
        told += dict.fromkeys(invalidations)
        if looks or serial == 5 + len(entries):
            announced = reader.announced()
            assert announced is not None
            assert announced.serial == serial
            assert announced.invalidations is not None
            heard += announced.invalidations
    assert heard == told
    reader.close()
    shared_state.close()


def test_slots_are_each_workers_own(shared_state: SharedState) -> None:
    reader = reader_of(shared_state)
    for number in (1, 2, 127):
        reader.set(number, Slot.CONNECTIONS, number + 100)
        reader.set(number, Slot.PAGE_BYTES, 1 << 40)
    assert [shared_state.get(number, Slot.CONNECTIONS) for number in (1, 2, 3, 127)] == [101, 102, 0, 227]
    shared_state.clear_slot(2)
    assert [shared_state.get(number, Slot.PAGE_BYTES) for number in (1, 2, 127)] == [1 << 40, 0, 1 << 40]
    assert shared_state.serial == 0
    reader.close()
