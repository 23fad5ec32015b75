from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.release_setup import DEV, PYPI, SDIST, WHEEL, Setup, kinds, make_setup, upload
from tests.rules.test_rules_accounts import JSON_VALUES, result_or_refusal
from twistpi.model.errors import TwistpiError, UnknownFile
from twistpi.model.records import PageHeader
from twistpi.model.releases import FileYanked, ProjectMarked
from twistpi.rules.releases import STATUSES, decide_status, decide_yank, read_status, read_yank


@pytest.fixture
def setup() -> Iterator[Setup]:
    with make_setup() as setup:
        setup.upload(DEV, upload())
        setup.upload(DEV, upload(SDIST))
        yield setup


def yanked(setup: Setup) -> dict[str, bool | str]:
    return {file.known.link.filename: file.known.link.yanked for file in setup.release(DEV).files}


# Yanking -----------------------------------------------------------------------------------------------------------


def test_a_file_is_yanked_with_a_reason_and_not_any_more(setup: Setup) -> None:
    assert setup.fold(*decide_yank(DEV, setup.release(DEV), [WHEEL], "broken")) == (
        FileYanked(DEV.name, "demo", WHEEL, "broken"),
    )
    assert yanked(setup) == {WHEEL: "broken", SDIST: False}
    setup.fold(*decide_yank(DEV, setup.release(DEV), [WHEEL], "worse"))
    assert yanked(setup) == {WHEEL: "worse", SDIST: False}
    setup.fold(*decide_yank(DEV, setup.release(DEV), [WHEEL], False))
    assert yanked(setup) == {WHEEL: False, SDIST: False}


@pytest.mark.parametrize("mark", [True, "broken", ""])
def test_a_release_is_yanked_as_a_whole_and_what_is_so_already_is_left_alone(setup: Setup, mark: bool | str) -> None:
    setup.fold(*decide_yank(DEV, setup.release(DEV), [SDIST], mark))
    assert kinds(setup.fold(*decide_yank(DEV, setup.release(DEV), None, mark))) == ["FileYanked"]
    assert yanked(setup) == {WHEEL: mark or True, SDIST: mark or True}
    assert decide_yank(DEV, setup.release(DEV), None, mark) == ()
    assert len(decide_yank(DEV, setup.release(DEV), None, False)) == 2


def test_a_file_of_another_release_cannot_be_yanked_with_this_one(setup: Setup) -> None:
    with pytest.raises(UnknownFile):
        decide_yank(DEV, setup.release(DEV), [WHEEL, "demo-2.0.tar.gz"], True)


@pytest.mark.parametrize(
    ("body", "mark"),
    [(None, True), ({}, True), ({"reason": ""}, True), ({"reason": None}, True), ({"reason": " a\n b\t"}, "a b")],
    ids=repr,
)
def test_a_reason_is_one_line_or_none(body: Any, mark: bool | str) -> None:
    assert read_yank(body) == mark


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "the body must be a JSON object"),
        ({"reason": 1}, "the reason must be text"),
        ({"reason": "x" * 1001}, "the reason is longer than 1000 characters"),
        ({"why": "x", "how": "y"}, "unknown keys: how, why"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_says_something_else_is_refused(body: Any, message: str) -> None:
    for read in (read_yank, read_status):
        with pytest.raises(TwistpiError) as refused:
            read(body)
        assert (refused.value.status, str(refused.value)) == (400, message)


# The status of a project -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", STATUSES)
def test_a_project_has_the_status_that_was_set(setup: Setup, status: str) -> None:
    change = decide_status(DEV, "demo", PageHeader(), *read_status({"status": status, "reason": "moved"}))
    assert setup.fold(*change) == (ProjectMarked(DEV.name, "demo", status, "moved"),)
    known = setup.view.reader.project(DEV.name, "demo")
    assert known is not None
    assert decide_status(DEV, "demo", known.header, status, "moved") == ()
    setup.fold(*decide_status(DEV, "demo", known.header, *read_status({"status": None})))
    assert setup.status(DEV) is None


def test_a_status_needs_a_project_that_is_there() -> None:
    with pytest.raises(TwistpiError) as refused:
        decide_status(DEV, "nope", None, "archived")
    assert (refused.value.status, str(refused.value)) == (404, "The project nope does not exist on alice/dev.")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"status": "gone"},
            "unknown project status 'gone', it must be one of active, archived, deprecated, quarantined",
        ),
        ({"status": []}, "unknown project status [], it must be one of active, archived, deprecated, quarantined"),
        ({"reason": "x"}, "a reason needs a project status"),
    ],
    ids=repr,
)
def test_a_status_that_does_not_exist_is_refused(body: Any, message: str) -> None:
    with pytest.raises(TwistpiError) as refused:
        read_status(body)
    assert (refused.value.status, str(refused.value)) == (400, message)


@given(body=JSON_VALUES | st.dictionaries(st.sampled_from(["status", "reason"]), JSON_VALUES | st.sampled_from(STATUSES)))
def test_any_body_is_understood_or_refused(body: Any) -> None:
    status = result_or_refusal(lambda: read_status(body))
    if not isinstance(status, TwistpiError):
        assert status[0] is None or status[0] in STATUSES
        assert status[1] is None or status[1].isprintable()
    mark = result_or_refusal(lambda: read_yank(body))
    assert mark is True or isinstance(mark, TwistpiError) or (mark and mark.isprintable())


def test_what_a_mirror_shows_is_marked_upstream(setup: Setup) -> None:
    message = "root/pypi is a mirror: its upstream says which files are yanked and which status projects have"
    decisions: list[Callable[[], object]] = [
        lambda: decide_yank(PYPI, setup.release(DEV), None, True),
        lambda: decide_status(PYPI, "demo", PageHeader(), "archived"),
    ]
    for decide in decisions:
        with pytest.raises(TwistpiError) as refused:
            decide()
        assert (refused.value.status, str(refused.value)) == (400, message)
