"""The memory that processes share: nothing that is announced is missed, and who comes too late knows it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.web.touches import Touch, Touched
from twistpi.workers.board import Board, Slot

HELLO = Touch(Touched.PROJECT, "alice/dev", "hello")
DEV = Touch(Touched.INDEX, "alice/dev")
TOUCHES = st.lists(st.builds(Touch, st.sampled_from(Touched), st.text(max_size=30), st.text(max_size=300)), max_size=5)


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board.make()
    yield made
    made.close()


def reader_of(board: Board) -> Board:
    """Another process's view of the same memory."""
    return Board(os.dup(board.descriptor))


def test_what_was_announced_is_heard_once(board: Board) -> None:
    reader = reader_of(board)
    assert reader.news() is None
    board.announce(7, [HELLO, DEV, HELLO])
    news = reader.news()
    assert news is not None
    assert news.serial == 7
    assert news.touches == [HELLO, DEV]
    assert reader.news() is None
    reader.close()


def test_an_entry_that_touches_nothing_moves_the_serial(board: Board) -> None:
    reader = reader_of(board)
    board.announce(8, [])
    news = reader.news()
    assert news is not None
    assert (news.serial, news.touches) == (8, [])
    reader.close()


def test_who_starts_knows_nothing_of_before(board: Board) -> None:
    board.announce(1, [HELLO])
    reader = reader_of(board)
    assert reader.serial == 1
    assert reader.news() is None
    reader.close()


def test_an_entry_that_touches_too_much_touches_everything(board: Board) -> None:
    reader = reader_of(board)
    board.announce(9, [Touch(Touched.PROJECT, "alice/dev", f"project-{number}") for number in range(20_000)])
    news = reader.news()
    assert news is not None
    assert (news.serial, news.touches) == (9, None)
    reader.close()


def test_who_comes_too_late_is_told_that_anything_may_have_changed(board: Board) -> None:
    late = reader_of(board)
    for serial in range(1, 20_001):
        board.announce(serial, [Touch(Touched.PROJECT, "alice/dev", f"project-{serial}")])
    news = late.news()
    assert news is not None
    assert (news.serial, news.touches) == (20_000, None)
    board.announce(20_001, [HELLO])
    news = late.news()
    assert news is not None
    assert news.touches == [HELLO]
    late.close()


@given(st.lists(st.tuples(TOUCHES, st.booleans()), max_size=60))
def test_readers_at_any_pace_hear_of_everything_in_order(entries: list[tuple[list[Touch], bool]]) -> None:
    board = Board.make()
    # Somewhere before the end of the ring, so that it is gone around.
    for serial in range(1, 6):
        board.announce(serial, [Touch(Touched.PROJECT, "x" * 104_000, "y" * 104_000)])
    reader = reader_of(board)
    told: list[Touch] = []
    heard: list[Touch] = []
    for serial, (touches, looks) in enumerate(entries, 6):
        board.announce(serial, touches)
        told += dict.fromkeys(touches)
        if looks or serial == 5 + len(entries):
            news = reader.news()
            assert news is not None
            assert news.serial == serial
            assert news.touches is not None
            heard += news.touches
    assert heard == told
    reader.close()
    board.close()


def test_slots_are_each_workers_own(board: Board) -> None:
    reader = reader_of(board)
    for number in (1, 2, 127):
        reader.tell(number, Slot.CONNECTIONS, number + 100)
        reader.tell(number, Slot.PAGE_BYTES, 1 << 40)
    assert [board.told(number, Slot.CONNECTIONS) for number in (1, 2, 3, 127)] == [101, 102, 0, 227]
    board.clear_slot(2)
    assert [board.told(number, Slot.PAGE_BYTES) for number in (1, 2, 127)] == [1 << 40, 0, 1 << 40]
    assert board.serial == 0
    reader.close()
