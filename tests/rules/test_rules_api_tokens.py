from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.test_rules_accounts import JSON_VALUES, result_or_refusal
from twistpi.model.changes import TokenCreated, TokenRevoked
from twistpi.model.errors import BadRequest, NotFound, UnknownIndex
from twistpi.model.records import ApiToken, Index, User
from twistpi.rules.accounts import (
    TokenRequest,
    decide_token_created,
    decide_token_revoked,
    is_expired,
    read_token_request,
    token_facts,
)

NOW = datetime(2026, 11, 22, 17, 0, 0, 999999, tzinfo=UTC)
PUBLIC = "0123456789abcdef"
ALICE = User("alice")
TOKEN = ApiToken(PUBLIC, "alice", "d" * 64, ("read",), "alice/dev", None, "2026-11-22T17:00:00Z", "ci", "2026-11-01T00:00:00Z")


# What is asked for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("may", ["read,upload", "upload, read", ["read", "upload"], ["upload", "read", "read"]])
def test_what_a_token_may_is_text_or_a_list(may: Any) -> None:
    assert read_token_request({"may": may}) == TokenRequest(("read", "upload"))


def test_a_token_can_be_narrowed() -> None:
    body = {"may": ["upload"], "index": "alice/dev", "project": "Foo_Bar", "days": 90, "title": "ci"}
    assert read_token_request(body) == TokenRequest(("upload",), "alice/dev", "foo-bar", 90.0, "ci")


def test_what_is_null_is_not_set() -> None:
    body = {"may": "read", "index": None, "project": None, "days": None, "title": None}
    assert read_token_request(body) == TokenRequest(("read",))


@pytest.mark.parametrize("days", [1, 0.5, "90", " 0.25 ", 36500])
def test_days_are_numbers_or_text(days: Any) -> None:
    assert read_token_request({"may": "read", "days": days}).days == float(days)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, 'the body must be a JSON object, like {"may": ["read"], "days": 90}'),
        (["read"], 'the body must be a JSON object, like {"may": ["read"], "days": 90}'),
        *(({"may": may}, '"may" must be "read", "upload" or "read,upload"') for may in [
            None, "", [], "delete", "read,delete", ["read", 5], 5, {"read": True}, [["read"]],
        ]),
        ({}, '"may" must be "read", "upload" or "read,upload"'),
        ({"may": "read", "day": 5, "user": "x"}, "unknown keys: day, user; known keys: days, index, may, project, title"),
        ({"may": "read", "index": "dev"}, "'dev' is not an index: write user/index"),
        ({"may": "read", "index": "a/b/c"}, "'a/b/c' is not an index: write user/index"),
        ({"may": "read", "index": 5}, "5 is not an index: write user/index"),
        ({"may": "upload", "project": "-x"}, "'-x' is not a project's name"),
        ({"may": "upload", "project": 5}, "5 is not a project's name"),
        ({"may": "read", "project": "demo"}, "a project needs the right to upload"),
        *(({"may": "read", "days": days}, f"{days!r} is not a number of days above 0 and up to 36500") for days in [
            0, -1, "soon", "", True, [5], 36501, 1e300, float("inf"), float("nan"), 2**64, "1e5", "-5", "٣",
        ]),
        ({"may": "read", "title": 5}, "the title must be text of up to 200 characters"),
        ({"may": "read", "title": "x" * 201}, "the title must be text of up to 200 characters"),
    ],
)  # fmt: skip
def test_a_token_that_cannot_be_is_refused(body: Any, reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_token_request(body)
    assert str(caught.value) == f"The API token cannot be created: {reason}."
    assert caught.value.status == 400


@given(
    body=JSON_VALUES
    | st.fixed_dictionaries(
        {"may": st.just("upload") | JSON_VALUES},
        optional={key: JSON_VALUES | st.just("a/b") for key in ("index", "project", "days", "title")},
    )
)
def test_no_body_fails_other_than_with_a_refusal(body: Any) -> None:
    outcome = result_or_refusal(read_token_request, body)
    if isinstance(outcome, TokenRequest):
        assert decide_token_created(ALICE, "alice", Index("a/b", {}), outcome, PUBLIC, "", NOW)
    else:
        assert isinstance(outcome, BadRequest)
        assert len(str(outcome)) < 600


# What changes ------------------------------------------------------------------------------------------------------


def test_a_token_is_created_as_asked() -> None:
    request = TokenRequest(("upload",), "alice/dev", "demo", 1.5, "ci")
    assert decide_token_created(ALICE, "alice", Index("alice/dev", {}), request, PUBLIC, "digest", NOW) == (
        TokenCreated(PUBLIC, "alice", "digest", ("upload",), "alice/dev", "demo", "2026-11-24T05:00:00Z", "ci"),
    )


def test_a_token_without_days_is_good_for_ever() -> None:
    (change,) = decide_token_created(ALICE, "alice", None, TokenRequest(("read",)), PUBLIC, "digest", NOW)
    assert isinstance(change, TokenCreated)
    assert change.expires is None


def test_the_end_of_a_token_is_told_in_universal_time() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    (change,) = decide_token_created(ALICE, "alice", None, TokenRequest(("read",), days=1), PUBLIC, "digest", elsewhere)
    assert isinstance(change, TokenCreated)
    assert change.expires == "2026-11-23T17:00:00Z"


def test_a_token_needs_its_user_and_its_index() -> None:
    with pytest.raises(NotFound, match="no user 'nouser'"):
        decide_token_created(None, "nouser", None, TokenRequest(("read",)), PUBLIC, "digest", NOW)
    with pytest.raises(UnknownIndex, match="alice/none"):
        decide_token_created(ALICE, "alice", None, TokenRequest(("read",), "alice/none"), PUBLIC, "digest", NOW)


def test_a_token_is_revoked_by_its_user_alone() -> None:
    assert decide_token_revoked(TOKEN, "alice", PUBLIC) == (TokenRevoked(PUBLIC),)
    for token, user in ((TOKEN, "bob"), (None, "alice")):
        with pytest.raises(NotFound, match=f"The user {user} has no API token {PUBLIC}") as caught:
            decide_token_revoked(token, user, PUBLIC)
        assert caught.value.status == 404


@pytest.mark.parametrize(
    ("expires", "now", "expired"),
    [
        (None, NOW, False),
        ("2026-11-22T17:00:01Z", NOW, False),
        ("2026-11-22T17:00:00Z", NOW.replace(microsecond=0), True),
        ("2026-11-22T17:00:00Z", NOW, True),
        ("2025-01-01T00:00:00Z", NOW, True),
    ],
)
def test_a_token_is_good_until_its_time_is_over(expires: str | None, now: datetime, expired: bool) -> None:
    assert is_expired(ApiToken(PUBLIC, "alice", "", ("read",), expires=expires), now) is expired


def test_a_token_is_shown_without_its_digest() -> None:
    assert token_facts(TOKEN) == {
        "token": PUBLIC,
        "user": "alice",
        "title": "ci",
        "may": ["read"],
        "index": "alice/dev",
        "project": None,
        "created": "2026-11-01T00:00:00Z",
        "expires": "2026-11-22T17:00:00Z",
    }
