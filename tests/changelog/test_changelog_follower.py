"""A view follows a log to its end, however often it is interrupted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import strategies
from tests.fakes.list_view import ListView
from tests.fakes.memory_changelog import MemoryChangelog
from twistpi.changelog.catch_up import BATCH_BYTES, catch_up
from twistpi.model.changes import Change, Entry, UserCreated
from twistpi.model.codec import encode_content
from twistpi.model.server_errors import MalformedChange, UnknownPosition

AT = "2026-11-22T17:00:00.000000Z"


def log_of(count: int) -> MemoryChangelog:
    log = MemoryChangelog()
    log.append([encode_content(AT, "root", [UserCreated(f"user{number}")]) for number in range(count)], 0)
    return log


@given(st.lists(strategies.entries(), max_size=6), st.integers(1, 3), st.integers(0, 6))
@settings(max_examples=40)
def test_a_view_gets_every_entry_once_in_one_go_as_in_two(entries: list[Entry], batch: int, cut: int) -> None:
    log, view = MemoryChangelog(), ListView()
    contents = [encode_content(entry.at, entry.by, entry.changes) for entry in entries]
    log.append(contents[:cut], 0)
    first = catch_up(log, view, batch=batch)
    log.append(contents[cut:], log.last.serial)
    second = catch_up(log, view, batch=batch)
    assert first + second == len(entries)
    assert [(entry.at, entry.by, entry.changes) for entry in view.entries] == [(e.at, e.by, e.changes) for e in entries]
    assert [entry.serial for entry in view.entries] == list(range(1, len(entries) + 1))
    assert view.position == log.last


@pytest.mark.parametrize(("count", "commits"), [(0, 0), (1, 1), (10, 1), (11, 2), (30, 3)])
def test_the_view_commits_once_for_a_batch(count: int, commits: int) -> None:
    view = ListView()
    assert catch_up(log_of(count), view, batch=10) == count
    assert view.commits == commits


def test_large_entries_make_small_batches() -> None:
    log, view = MemoryChangelog(), ListView()
    log.append([encode_content(AT, "root", [UserCreated("x" * BATCH_BYTES)]) for _ in range(3)], 0)
    catch_up(log, view)
    assert view.commits == 3


def test_entries_are_told_after_the_commit_that_holds_them() -> None:
    view = ListView()
    told: list[tuple[int, int]] = []

    def applied(serial: int, _changes: tuple[Change, ...]) -> None:
        told.append((serial, view.position.serial))

    catch_up(log_of(5), view, batch=2, applied=applied)
    assert told == [(1, 2), (2, 2), (3, 4), (4, 4), (5, 5)]


def test_what_was_committed_before_a_failure_stays_and_the_rest_follows_later() -> None:
    log, view = log_of(5), ListView()
    bad = ValueError("fold")
    log.append([encode_content(AT, "bad", [UserCreated("x")])], 5)
    view.fail_apply["bad"] = bad
    with pytest.raises(ValueError, match="fold"):
        catch_up(log, view, batch=2)
    assert view.position.serial == 4
    assert not view.begun
    view.fail_apply.clear()
    assert catch_up(log, view, batch=2) == 2
    assert view.position == log.last


@pytest.mark.parametrize("kind", [b"Teleported", b"UserCreated"])
def test_a_change_that_cannot_be_read_stops_the_follower_and_names_the_serial(kind: bytes) -> None:
    log, view = log_of(3), ListView()
    log.append([b'{"at":"x","by":"y","changes":[{"kind":"%b"}]}' % kind], 3)
    with pytest.raises(MalformedChange) as stopped:
        catch_up(log, view)
    assert stopped.value.__notes__ == ["That is in serial 4."]
    assert view.entries == []


def test_a_view_of_another_log_is_refused() -> None:
    view = ListView()
    catch_up(log_of(3), view)
    with pytest.raises(UnknownPosition):
        catch_up(log_of(2), view)
