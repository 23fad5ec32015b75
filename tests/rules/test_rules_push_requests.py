from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.test_rules_accounts import JSON_VALUES, result_or_refusal
from twistpi.model.errors import LoginNeeded, TwistpiError
from twistpi.rules.pushes import ExternalPush, InternalPush, Selection, read_push

WHAT = {"name": "Demo.Pkg", "version": "1.0"}


def test_a_push_to_an_index_here_names_it() -> None:
    told = read_push({**WHAT, "targetindex": "alice/prod", "no_docs": False})
    assert told == InternalPush(Selection("Demo.Pkg", "1.0"), "alice/prod")
    assert told.selection.project == "demo-pkg"
    only = read_push({**WHAT, "targetindex": "/alice/prod/", "only_docs": True, "no_docs": None})
    assert only == InternalPush(Selection("Demo.Pkg", "1.0", only_docs=True), "alice/prod")


def test_a_push_elsewhere_says_where_and_who() -> None:
    body = {
        **WHAT, "posturl": "https://upload.example/legacy/", "username": "alice", "password": "secret",
        "register_project": True, "no_docs": True, "whatever": "else",
    }  # fmt: skip
    told = read_push(body)
    where = "https://upload.example/legacy/"
    assert told == ExternalPush(Selection("Demo.Pkg", "1.0", no_docs=True), where, "alice", "secret", register_project=True)
    assert "secret" not in repr(told)
    assert read_push({**WHAT, "posturl": where}) == ExternalPush(Selection("Demo.Pkg", "1.0"), where, "", "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "the body must be a JSON object"),
        ({**WHAT, "targetindex": "a/b", "foo": 1, "bar": 2}, "unknown additional options: bar, foo"),
        ({**WHAT, "targetindex": "a/b", "posturl": "x"}, "unknown additional options: posturl"),
        ({**WHAT, "targetindex": "prod"}, "targetindex not in format user/index"),
        ({**WHAT, "targetindex": "a/b/c"}, "targetindex not in format user/index"),
        ({**WHAT, "targetindex": ""}, "targetindex not in format user/index"),
        ({**WHAT, "targetindex": None}, "targetindex not in format user/index"),
        ({**WHAT, "targetindex": {}}, "targetindex not in format user/index"),
        (
            {**WHAT, "targetindex": "a/b", "no_docs": True, "only_docs": True},
            "can't use 'no_docs' and 'only_docs' together",
        ),
        ({**WHAT, "posturl": "x", "no_docs": True, "only_docs": True}, "can't use 'no_docs' and 'only_docs' together"),
        ({"version": "1.0", "targetindex": "a/b"}, "name must be given as text"),
        ({"name": "demo", "targetindex": "a/b"}, "version must be given as text"),
        ({"name": "demo", "version": 1, "targetindex": "a/b"}, "version must be given as text"),
        ({"name": "demo", "version": "", "targetindex": "a/b"}, "version must be given as text"),
        ({**WHAT, "targetindex": "a/b", "no_docs": "yes"}, "no_docs must be true or false"),
        (WHAT, "posturl must be given as text"),
        ({**WHAT, "posturl": "x", "password": 1}, "password must be given as text"),
        (
            {"name": "../x", "version": "1", "targetindex": "a/b"},
            "'../x' is not a project name: use letters, digits, '-', '_' and '.', beginning and ending with a letter or digit.",
        ),
    ],
    ids=repr,
)
def test_a_push_that_makes_no_sense_is_refused(body: Any, message: str) -> None:
    with pytest.raises(TwistpiError) as refused:
        read_push(body)
    assert (refused.value.status, str(refused.value)) == (400, message)


KEYS = ["name", "version", "targetindex", "posturl", "username", "password", "no_docs", "only_docs", "register_project"]


@given(body=JSON_VALUES | st.dictionaries(st.sampled_from(KEYS), JSON_VALUES | st.sampled_from(["demo", "a/b", True])))
def test_any_body_is_understood_or_refused(body: Any) -> None:
    told = result_or_refusal(lambda: read_push(body))
    if not isinstance(told, TwistpiError):
        assert told.selection.project
        assert isinstance(told, ExternalPush) or told.target.count("/") == 1


def test_who_may_not_upload_to_the_target_is_told_so() -> None:
    assert (
        LoginNeeded("user 'alice' cannot upload to 'bob/b'").status,
        str(LoginNeeded("user 'alice' cannot upload to 'bob/b'")),
    ) == (
        401,
        "user 'alice' cannot upload to 'bob/b'",
    )
    assert str(LoginNeeded("user None cannot upload to 'bob/b'")) == "user None cannot upload to 'bob/b'"
