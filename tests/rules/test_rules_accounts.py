from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.model.changes import IndexDeleted, IndexModified, TokenCreated, TokenRevoked, UserCreated, UserDeleted, UserModified
from twistpi.model.errors import BadRequest, PermissionDenied, TwistpiError, UnknownIndex
from twistpi.model.names import IndexName
from twistpi.model.records import ApiToken, Index, User
from twistpi.rules.accounts import (
    UserRequest,
    check_name,
    decide_user_created,
    decide_user_deleted,
    decide_user_modified,
    needs_full_rights,
    read_new_user,
    read_user_patch,
)
from twistpi.rules.token_requests import (
    TokenRequest,
    decide_token_created,
    decide_token_revoked,
    is_expired,
    read_token_request,
    token_facts,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(["email", "title", "description", "custom_data", "password", "pwhash", "username", "modified", "foo"])


def result_or_refusal(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """What ``function`` gives, or how it refuses."""
    try:
        return function(*arguments, **keywords)
    except TwistpiError as refusal:
        return refusal


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


# Names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["alice", "UPPER", "a.b-c_d@e", "1", "-", "jürgen", "日本", "__token__", "a..b", ".hidden", "x" * 200]
)
def test_a_user_may_be_called_almost_anything(name: str) -> None:
    assert check_name("username", name) == name


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "",
        ".",
        "..",
        *(f"a{character}b" for character in "!\"#$%&'()*+,/:;<=>?[\\]^`{|}~\x00\n\t\x7f\x85\x9f\u200b\u202e\u2028"),
    ],
)
def test_the_name_of_a_user_or_an_index_has_no_symbols_and_nothing_invisible(name: str) -> None:
    for what in ("username", "indexname"):
        with pytest.raises(BadRequest) as caught:
            check_name(what, name)
        allowed = "contains characters that aren't allowed. Any ascii symbol besides -.@_ is blocked."
        assert str(caught.value) == f"{what} {name!r} {allowed}"


@pytest.mark.parametrize("name", ["x" * 201, "ü" * 101])
def test_a_user_name_fits_into_the_name_of_a_folder(name: str) -> None:
    with pytest.raises(BadRequest, match="longer than 200 bytes"):
        check_name("username", name)


@given(name=st.text(st.characters()))
def test_every_user_name_that_is_taken_makes_names_of_indexes(name: str) -> None:
    try:
        check_name("username", name)
    except BadRequest as refusal:
        str(refusal).encode()
    else:
        assert IndexName.parse(f"{name}/dev") == IndexName(name, "dev")


# What a body asks for ----------------------------------------------------------------------------------------------


def test_a_new_user_needs_a_password_only() -> None:
    assert read_new_user({"password": "secret"}) == UserRequest({}, (), "secret")


def test_a_new_user_can_be_described() -> None:
    body = {"password": "", "email": "a@b.example", "title": "A", "description": "B", "custom_data": {"x": [1]}}
    assert read_new_user(body) == UserRequest(
        {"email": "a@b.example", "title": "A", "description": "B", "custom_data": {"x": [1]}}, (), ""
    )


def test_a_new_user_without_a_password_cannot_log_in() -> None:
    assert read_new_user({"password": None}).password is None


def test_what_only_others_know_of_a_new_user_is_passed_over() -> None:
    body = {"password": "p", "username": "x", "created": "y", "modified": "z", "indexes": {}, "pwhash": "h", "pwsalt": "s"}
    assert read_new_user(body) == UserRequest({}, (), "p")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "password needs to be set"),
        ({"pwhash": "x"}, "password needs to be set"),
        ({"password": "x", "foo": 1}, "Unknown keys in user config: foo"),
        ({"password": "x", "foo": 1, "bar": 2}, "Unknown keys in user config: bar, foo"),
        ({"password": 5}, "the password has to be a string"),
        ({"password": ["x"]}, "the password has to be a string"),
        ({"password": "x", "email": 5}, "the email has to be a string, not 5"),
        ({"password": "x", "title": 0}, "the title has to be a string, not 0"),
        ({"password": "x", "description": ["y"]}, "the description has to be a string, not ['y']"),
        (
            {"password": "x", "custom_data": nested(250)},
            "the custom_data is nested too deeply or holds numbers that are too large",
        ),
    ],
)
def test_a_new_user_that_cannot_be_is_refused(body: Any, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_new_user(body)
    assert str(caught.value) == message
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [None, [], ["password=x"], "password", 5, True])
def test_a_user_is_described_by_an_object(body: Any) -> None:
    for read in (read_new_user, read_user_patch):
        with pytest.raises(BadRequest, match="Bad request: a user is described by a JSON object"):
            read(body)


def test_a_patch_drops_what_it_does_not_know_and_what_is_not_settable() -> None:
    body = {"foo": 1, "created": "x", "modified": "y", "indexes": 5, "username": "z", "pwhash": "h", "title": "T"}
    assert read_user_patch(body) == UserRequest({"title": "T"})


@pytest.mark.parametrize("falsy", ["", None])
def test_an_empty_value_removes_a_key(falsy: Any) -> None:
    request = read_user_patch({"email": falsy, "title": falsy, "description": falsy, "custom_data": falsy})
    assert request == UserRequest({}, ("email", "title", "description", "custom_data"))


@pytest.mark.parametrize("falsy", [0, False, {}, []])
def test_custom_data_goes_with_any_empty_value(falsy: Any) -> None:
    assert read_user_patch({"custom_data": falsy}) == UserRequest({}, ("custom_data",))


@pytest.mark.parametrize("password", [None, 5, ["x"], {}, True])
def test_a_patched_password_is_a_string(password: Any) -> None:
    with pytest.raises(BadRequest, match="the password has to be a string"):
        read_user_patch({"password": password})


def test_a_request_does_not_show_its_password() -> None:
    assert "geheim" not in repr(read_new_user({"password": "geheim"}))


@given(body=JSON_VALUES | st.dictionaries(KEYS, JSON_VALUES))
def test_no_body_fails_other_than_with_a_refusal(body: Any) -> None:
    for read in (read_new_user, read_user_patch):
        outcome = result_or_refusal(read, body)
        if isinstance(outcome, TwistpiError):
            assert isinstance(outcome, BadRequest | BadRequest)
            assert len(str(outcome)) < 400
        else:
            assert set(outcome.changed) <= {"email", "title", "description", "custom_data"}
            assert not set(outcome.changed) & set(outcome.removed)


@pytest.mark.parametrize("key", ["email", "custom_data", "password", "foo"])
def test_a_body_nested_as_deeply_as_can_be_sent_is_refused(key: str) -> None:
    with pytest.raises(BadRequest):
        read_new_user({"password": "x", key: nested(1000)})


# What changes ------------------------------------------------------------------------------------------------------

ALICE = User("alice", {"title": "T", "custom_data": 1}, "hash")


def test_a_user_is_created_as_asked() -> None:
    request = UserRequest({"title": "T"}, ("email",), "p")
    made = decide_user_created(None, "alice", request, "hash", (), by_administrator=False)
    assert made == (UserCreated("alice", {"title": "T"}, "hash"),)


def test_a_user_is_created_once() -> None:
    with pytest.raises(TwistpiError, match=r"^user already exists$") as caught:
        decide_user_created(ALICE, "alice", UserRequest(password="p"), "hash", (), by_administrator=True)
    assert caught.value.status == 409


def test_a_user_is_not_created_under_a_bad_name() -> None:
    with pytest.raises(BadRequest):
        decide_user_created(None, "a b", UserRequest(password="p"), "hash", (), by_administrator=True)


@pytest.mark.parametrize("key", ["acl_read", "acl_upload", "acl_toxresult_upload", "bases"])
def test_a_name_with_rights_is_given_away_by_an_administrator_alone(key: str) -> None:
    indexes = [Index("bob/dev", {key: ["alice/dev" if key == "bases" else "alice"]})]
    with pytest.raises(TwistpiError, match="only an administrator can create the user 'alice'") as caught:
        decide_user_created(None, "alice", UserRequest(password="p"), "hash", indexes, by_administrator=False)
    assert caught.value.status == 403
    assert len(decide_user_created(None, "alice", UserRequest(password="p"), "hash", indexes, by_administrator=True)) == 1
    namesake = [Index("bob/dev", {"acl_read": ["alice2"], "bases": ["alicea/dev"], "title": "alice"})]
    assert len(decide_user_created(None, "alice", UserRequest(password="p"), "hash", namesake, by_administrator=False)) == 1


def test_only_what_differs_is_said_of_a_modified_user() -> None:
    request = UserRequest({"title": "T", "email": "e"}, ("description", "custom_data"))
    assert decide_user_modified(ALICE, "alice", request, None) == (UserModified("alice", {"email": "e"}, ("custom_data",)),)


def test_nothing_is_said_of_a_user_who_stays_the_same() -> None:
    assert decide_user_modified(ALICE, "alice", UserRequest({"title": "T"}, ("email",)), None) == ()


def test_true_is_not_one() -> None:
    assert decide_user_modified(ALICE, "alice", UserRequest({"custom_data": True}), None) == (
        UserModified("alice", {"custom_data": True}),
    )


@pytest.mark.parametrize("password_hash", ["", "other"])
def test_a_new_password_is_a_change(password_hash: str) -> None:
    changes = decide_user_modified(ALICE, "alice", UserRequest(password="p"), password_hash)
    assert changes == (UserModified("alice", password_hash=password_hash),)


def test_a_user_who_does_not_exist_is_neither_modified_nor_deleted() -> None:
    with pytest.raises(TwistpiError, match="no user 'nouser'"):
        decide_user_modified(None, "nouser", UserRequest(), None)
    with pytest.raises(TwistpiError, match="no user 'nouser'"):
        decide_user_deleted(None, "nouser", (), ())


@pytest.mark.parametrize(
    ("body", "full"),
    [
        ({"password": "new"}, False),
        ({"password": "new", "title": "T", "custom_data": 1, "created": "x", "modified": "y"}, False),
        ({"password": "new", "email": ""}, False),
        ({"password": "new", "title": "other"}, True),
        ({"password": "new", "title": ""}, True),
        ({"password": "new", "email": "e"}, True),
        ({"title": "other"}, True),
        ({"title": "T"}, True),
        ({}, True),
    ],
)
def test_changing_nothing_but_the_password_needs_less_than_full_rights(body: Any, full: bool) -> None:
    assert needs_full_rights(read_user_patch(body), ALICE) is full


def test_a_user_goes_with_all_indexes() -> None:
    indexes = [Index("alice/a", {"volatile": True}), Index("alice/b", {})]
    assert decide_user_deleted(ALICE, "alice", indexes, indexes) == (
        IndexDeleted("alice/a"),
        IndexDeleted("alice/b"),
        UserDeleted("alice"),
    )


def test_with_a_user_go_the_rights_and_bases_of_that_name_in_other_indexes() -> None:
    others = [
        Index("bob/dev", {"acl_upload": ["bob", "alice"], "acl_read": ["alice"], "bases": ["alice/a", "root/pypi", "alice2/x"]}),
        Index("bob/mirror", {"type": "mirror", "acl_read": [":AUTHENTICATED:", "alice"]}),
        Index("bob/other", {"acl_upload": ["alice2", ":alice"], "title": "alice", "bases": []}),
    ]
    assert decide_user_deleted(ALICE, "alice", [Index("alice/a", {})], others) == (
        IndexDeleted("alice/a"),
        IndexModified("bob/dev", {"acl_read": [], "acl_upload": ["bob"], "bases": ["root/pypi", "alice2/x"]}),
        IndexModified("bob/mirror", {"acl_read": [":AUTHENTICATED:"]}),
        UserDeleted("alice"),
    )


def test_a_user_with_an_index_that_is_not_volatile_stays() -> None:
    indexes = [Index("alice/a", {"volatile": True}), Index("alice/prod", {"volatile": False})]
    with pytest.raises(TwistpiError, match=r"^user 'alice' has non-volatile index: prod$") as caught:
        decide_user_deleted(ALICE, "alice", indexes, ())
    assert caught.value.status == 403


def test_root_stays() -> None:
    with pytest.raises(PermissionDenied, match="no permission to delete user root"):
        decide_user_deleted(User("root"), "root", (), ())


@given(
    body=st.dictionaries(KEYS, JSON_VALUES),
    config=st.dictionaries(st.sampled_from(["email", "title", "custom_data"]), JSON_VALUES),
)
def test_what_a_patch_asks_for_is_so_afterwards_and_then_nothing_more_changes(body: Any, config: Any) -> None:
    try:
        request = read_user_patch(body)
    except TwistpiError:
        return
    user = User("alice", config, "hash")
    for change in decide_user_modified(user, "alice", request, None):
        assert isinstance(change, UserModified)
        config = {key: value for key, value in {**config, **change.changed}.items() if key not in change.removed}
    assert all(config[key] == value for key, value in request.changed.items())
    assert not set(config) & set(request.removed)
    assert decide_user_modified(User("alice", config, "hash"), "alice", request, None) == ()


# Api tokens ----------------------------------------------------------------------------------------------------------


NOW = datetime(2026, 11, 22, 17, 0, 0, 999999, tzinfo=UTC)
PUBLIC = "0123456789abcdef"
OWNER = User("alice")
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
def test_no_body_of_a_token_fails_other_than_with_a_refusal(body: Any) -> None:
    outcome = result_or_refusal(read_token_request, body)
    if isinstance(outcome, TokenRequest):
        assert decide_token_created(OWNER, "alice", Index("a/b", {}), outcome, PUBLIC, "", NOW)
    else:
        assert isinstance(outcome, BadRequest)
        assert len(str(outcome)) < 600


# What changes ------------------------------------------------------------------------------------------------------


def test_a_token_is_created_as_asked() -> None:
    request = TokenRequest(("upload",), "alice/dev", "demo", 1.5, "ci")
    assert decide_token_created(OWNER, "alice", Index("alice/dev", {}), request, PUBLIC, "digest", NOW) == (
        TokenCreated(PUBLIC, "alice", "digest", ("upload",), "alice/dev", "demo", "2026-11-24T05:00:00Z", "ci"),
    )


def test_a_token_without_days_is_good_for_ever() -> None:
    (change,) = decide_token_created(OWNER, "alice", None, TokenRequest(("read",)), PUBLIC, "digest", NOW)
    assert isinstance(change, TokenCreated)
    assert change.expires is None


def test_the_end_of_a_token_is_told_in_universal_time() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    (change,) = decide_token_created(OWNER, "alice", None, TokenRequest(("read",), days=1), PUBLIC, "digest", elsewhere)
    assert isinstance(change, TokenCreated)
    assert change.expires == "2026-11-23T17:00:00Z"


def test_a_token_needs_its_user_and_its_index() -> None:
    with pytest.raises(TwistpiError, match="no user 'nouser'"):
        decide_token_created(None, "nouser", None, TokenRequest(("read",)), PUBLIC, "digest", NOW)
    with pytest.raises(UnknownIndex, match="alice/none"):
        decide_token_created(OWNER, "alice", None, TokenRequest(("read",), "alice/none"), PUBLIC, "digest", NOW)


def test_a_token_is_revoked_by_its_user_alone() -> None:
    assert decide_token_revoked(TOKEN, "alice", PUBLIC) == (TokenRevoked(PUBLIC),)
    for token, user in ((TOKEN, "bob"), (None, "alice")):
        with pytest.raises(TwistpiError, match=f"The user {user} has no API token {PUBLIC}") as caught:
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


# Lengths -------------------------------------------------------------------------------------------------------------


def test_a_text_about_a_user_has_a_limit_that_the_refusal_names() -> None:
    longest = {"title": "t" * 10_000}
    assert decide_user_modified(User("alice"), "alice", read_user_patch(longest), None)
    for key in ("email", "title", "description"):
        with pytest.raises(BadRequest, match=f"the {key} has 10,001 characters; up to 10,000 are allowed"):
            decide_user_modified(User("alice"), "alice", read_user_patch({key: "t" * 10_001}), None)
        new = read_new_user({"password": None, key: "t" * 10_001})
        with pytest.raises(BadRequest, match="up to 10,000"):
            decide_user_created(None, "alice", new, None, (), by_administrator=True)


def test_a_longer_text_from_former_times_comes_back_with_other_changes() -> None:
    former = User("alice", {"title": "t" * 300_000})
    (change,) = decide_user_modified(former, "alice", read_user_patch({**former.config, "email": "alice@example.com"}), None)
    assert change == UserModified("alice", {"email": "alice@example.com"})
