"""The table of permissions: who, what, to which kind of index, restricted or not, with a password or an API token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import attrs
import pytest

from twistpi.model.errors import LoginNeeded, PermissionDenied
from twistpi.model.records import NOBODY, ApiToken, Index, Principal
from twistpi.rules.permissions import Action, Policy, check, is_allowed, is_open, may_read

OPEN = Policy()
RESTRICTED = Policy.parse("carol, :admins")
"""Carol and the group ``admins`` are listed; root and alice are not."""

PRINCIPALS = {
    "nobody": NOBODY,
    "root": Principal("root"),
    "alice": Principal("alice"),
    "bob": Principal("bob", groups=("staff",)),
    "carol": Principal("carol"),
    "dora": Principal("dora", groups=("admins",)),
}
"""Alice owns all that is asked about."""


def stage(**config: Any) -> Index:
    return Index("alice/dev", {"type": "stage", "volatile": True, "acl_upload": ["alice"], **config})


INDEXES = {
    "stage": stage(),
    "stage for bob": stage(acl_upload=["bob"]),
    "stage for staff": stage(acl_upload=[":staff"], acl_toxresult_upload=[":staff"]),
    "stage for logins": stage(acl_upload=[":AUTHENTICATED:"], acl_toxresult_upload=[":AUTHENTICATED:"]),
    "stage for all": stage(acl_upload=[":ANONYMOUS:"]),
    "stage for none": stage(acl_upload=[], acl_toxresult_upload=[]),
    "read by bob": stage(acl_read=["bob"]),
    "read by staff": stage(acl_read=[":staff"]),
    "read by logins": stage(acl_read=[":AUTHENTICATED:"]),
    "read by all": stage(acl_read=["bob", ":ANONYMOUS:"]),
    "read by none": stage(acl_read=[]),
    "mirror": Index("alice/copy", {"type": "mirror", "volatile": True}),
    "mirror read by bob": Index("alice/copy", {"type": "mirror", "volatile": True, "acl_read": ["bob"]}),
    "a mirror with rights": Index("alice/copy", {"type": "mirror", "acl_upload": [":ANONYMOUS:"]}),
}

# Each row: what, to which index or user, and who may: without restriction | with --restrict-modify carol,:admins.
TABLE = """
create index       | user alice           | root alice                       | carol dora
create user        | user erik            | nobody root alice bob carol dora | carol dora
modify user        | user alice           | root alice                       | carol dora
modify user        | user root            | root                             | carol dora
modify user        | user carol           | root carol                       | carol dora
change password    | user alice           | root alice                       | alice carol dora
change password    | user root            | root                             | root carol dora
manage tokens      | user alice           | root alice                       | alice carol dora
manage tokens      | user root            | root                             | root carol dora
administer         | user root            | root                             | root carol dora
delete user        | user alice           | root alice                       | carol dora
delete user        | user root            |                                  |
delete user        | user carol           | root carol                       | dora
modify index       | stage                | root alice                       | carol dora
modify index       | mirror               | root alice                       | carol dora
modify index       | stage for all        | root alice                       | carol dora
modify index       | read by bob          | root alice                       | carol dora
delete index       | stage                | root alice                       | carol dora
delete index       | mirror               | root alice                       | carol dora
upload             | stage                | alice                            | alice
upload             | stage for bob        | bob                              | bob
upload             | stage for staff      | bob                              | bob
upload             | stage for logins     | root alice bob carol dora        | root alice bob carol dora
upload             | stage for all        | nobody root alice bob carol dora | nobody root alice bob carol dora
upload             | stage for none       |                                  |
upload             | mirror               |                                  |
upload             | a mirror with rights |                                  |
upload toxresult   | stage                | nobody root alice bob carol dora | nobody root alice bob carol dora
upload toxresult   | stage for staff      | bob                              | bob
upload toxresult   | stage for logins     | root alice bob carol dora        | root alice bob carol dora
upload toxresult   | stage for none       |                                  |
upload toxresult   | mirror               | nobody root alice bob carol dora | nobody root alice bob carol dora
remove             | stage                | root alice                       | alice carol dora
remove             | stage for bob        | root alice bob                   | bob carol dora
remove             | stage for staff      | root alice bob                   | bob carol dora
remove             | stage for all        | nobody root alice bob carol dora | nobody root alice bob carol dora
remove             | stage for none       | root alice                       | carol dora
remove             | mirror               | root alice                       | carol dora
read               | stage                | nobody root alice bob carol dora | nobody root alice bob carol dora
read               | mirror               | nobody root alice bob carol dora | nobody root alice bob carol dora
read               | read by all          | nobody root alice bob carol dora | nobody root alice bob carol dora
read               | read by bob          | root alice bob                   | root alice bob
read               | mirror read by bob   | root alice bob                   | root alice bob
read               | read by staff        | root alice bob                   | root alice bob
read               | read by logins       | root alice bob carol dora        | root alice bob carol dora
read               | read by none         | root alice                       | root alice
"""
SPELLED = {
    "upload toxresult": Action.UPLOAD_TOXRESULT,
    "change password": Action.CHANGE_PASSWORD,
    **{action.name.lower().replace("_", " "): action for action in Action},
}


@attrs.frozen
class Case:
    action: Action
    target: str
    policy: Policy
    who: str
    allowed: bool

    @property
    def about(self) -> dict[str, Any]:
        is_user = self.target.startswith("user ")
        return {"user": self.target[len("user ") :]} if is_user else {"index": INDEXES[self.target]}


def cases() -> Iterator[Case]:
    for row in TABLE.strip().splitlines():
        action, target, *columns = (cell.strip() for cell in row.split("|"))
        for policy, column in zip((OPEN, RESTRICTED), columns, strict=True):
            for who in PRINCIPALS:
                yield Case(SPELLED[action], target, policy, who, who in column.split())


@pytest.mark.parametrize("action", Action, ids=lambda action: action.value)
def test_the_table_says_who_may_do_what(action: Action) -> None:
    rows = [case for case in cases() if case.action is action]
    assert rows
    for case in rows:
        assert is_allowed(action, PRINCIPALS[case.who], case.policy, **case.about) is case.allowed, case
        with nullcontext() if case.allowed else pytest.raises((PermissionDenied, LoginNeeded)):
            check(action, PRINCIPALS[case.who], case.policy, **case.about)


@pytest.mark.parametrize("action", Action, ids=lambda action: action.value)
def test_a_token_is_good_for_reading_and_uploading_only_and_never_gives_what_its_user_has_not(action: Action) -> None:
    for case in [case for case in cases() if case.action is action]:
        principal = PRINCIPALS[case.who]
        token = ApiToken("0" * 16, principal.user or "", "", ("read", "upload"))
        allowed = is_allowed(action, attrs.evolve(principal, token=token), case.policy, **case.about)
        assert allowed is (case.allowed and action in (Action.READ, Action.UPLOAD)), case


@pytest.mark.parametrize("action", [Action.READ, Action.UPLOAD, Action.MODIFY_INDEX, Action.DELETE_INDEX, Action.REMOVE])
def test_nobody_may_do_anything_to_an_index_that_does_not_exist(action: Action) -> None:
    for who, principal in PRINCIPALS.items():
        assert not is_allowed(action, principal, OPEN, index=None), who
        assert not is_allowed(action, principal, RESTRICTED, index=None), who


def test_without_a_name_nobody_may_do_anything_to_a_user() -> None:
    assert not is_allowed(Action.MODIFY_USER, NOBODY, OPEN)


def test_an_index_is_created_for_its_owner_also_when_it_is_handed_over_itself() -> None:
    index = Index("alice/new", {})
    assert is_allowed(Action.CREATE_INDEX, PRINCIPALS["alice"], OPEN, index=index)
    assert not is_allowed(Action.CREATE_INDEX, PRINCIPALS["bob"], OPEN, index=index)


def test_an_empty_restriction_leaves_nobody_who_may_modify() -> None:
    nobody_at_all = Policy.parse("")
    for who, principal in PRINCIPALS.items():
        assert not is_allowed(Action.MODIFY_INDEX, principal, nobody_at_all, index=INDEXES["stage"]), who
    assert is_allowed(Action.CHANGE_PASSWORD, PRINCIPALS["alice"], nobody_at_all, user="alice")


def test_no_setting_is_no_restriction() -> None:
    assert Policy.parse(None) == OPEN


def test_a_user_called_like_a_group_is_not_in_it() -> None:
    assert not is_allowed(Action.UPLOAD, Principal("staff"), OPEN, index=INDEXES["stage for staff"])


def test_a_group_called_like_a_user_has_not_the_users_rights() -> None:
    intruder = Principal("mallory", groups=("alice", "root"))
    assert not is_allowed(Action.UPLOAD, intruder, OPEN, index=INDEXES["stage"])
    assert not is_allowed(Action.MODIFY_USER, intruder, OPEN, user="alice")


# API tokens --------------------------------------------------------------------------------------------------------


def with_token(user: str, may: str = "read upload", index: str | None = None, project: str | None = None) -> Principal:
    return Principal(user, token=ApiToken("0" * 16, user, "", tuple(may.split()), index, project))


TOKEN_TABLE = [
    # whose, may, index, project | action, index, project -> allowed
    (with_token("alice"), Action.UPLOAD, "stage", "demo", True),
    (with_token("alice", "upload"), Action.UPLOAD, "stage", "demo", True),
    (with_token("alice", "read"), Action.UPLOAD, "stage", "demo", False),
    (with_token("alice", index="alice/dev"), Action.UPLOAD, "stage", "demo", True),
    (with_token("alice", index="alice/prod"), Action.UPLOAD, "stage", "demo", False),
    (with_token("alice", project="demo"), Action.UPLOAD, "stage", "demo", True),
    (with_token("alice", project="demo"), Action.UPLOAD, "stage", "other", False),
    (with_token("alice", project="demo"), Action.UPLOAD, "stage", None, False),
    (with_token("bob"), Action.UPLOAD, "stage", "demo", False),
    (with_token("root"), Action.UPLOAD, "stage", "demo", False),
    (with_token("alice", index="alice/prod"), Action.UPLOAD, "stage for all", "demo", False),
    (with_token("bob"), Action.READ, "read by bob", None, True),
    (with_token("bob", "read"), Action.READ, "read by bob", None, True),
    (with_token("bob", "read", index="alice/dev"), Action.READ, "read by bob", None, True),
    (with_token("bob", "read", index="alice/prod"), Action.READ, "read by bob", None, False),
    (with_token("bob", "upload"), Action.READ, "read by bob", None, False),
    (with_token("bob", project="demo"), Action.READ, "read by bob", None, True),
    (with_token("carol"), Action.READ, "read by bob", None, False),
    (with_token("alice", "read"), Action.READ, "read by none", None, True),
    (with_token("root", "read"), Action.READ, "read by none", None, True),
    (with_token("root", "read", index="root/pypi"), Action.READ, "read by none", None, False),
    # What everybody may see is not hidden from who shows a token for something else.
    (with_token("bob", "upload", index="bob/dev"), Action.READ, "stage", None, True),
    (with_token("bob", "upload", index="bob/dev"), Action.READ, "read by all", None, True),
]


@pytest.mark.parametrize(("principal", "action", "index", "project", "allowed"), TOKEN_TABLE)
def test_a_token_narrows_what_its_user_may_do(
    principal: Principal, action: Action, index: str, project: str | None, allowed: bool
) -> None:
    for policy in (OPEN, RESTRICTED):
        assert is_allowed(action, principal, policy, index=INDEXES[index], project=project) is allowed


# Reading -----------------------------------------------------------------------------------------------------------


def test_an_index_is_open_when_somebody_unknown_may_read_it() -> None:
    for name, index in INDEXES.items():
        assert is_open(index) is may_read(NOBODY, index), name


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "about", "sentence"),
    [
        (Action.CREATE_INDEX, {"user": "alice", "subject": "alice/x1"}, "no permission to create index alice/x1"),
        (Action.CREATE_INDEX, {"index": Index("alice/x1", {})}, "no permission to create index alice/x1"),
        (Action.MODIFY_INDEX, {"index": stage()}, "no permission to modify index alice/dev"),
        (Action.MODIFY_INDEX, {"subject": "alice/none"}, "no permission to modify index alice/none"),
        (Action.MODIFY_INDEX, {}, "no permission to modify index"),
        (Action.DELETE_INDEX, {"index": stage()}, "no permission to delete index alice/dev"),
        (Action.MODIFY_USER, {"user": "alice"}, "no permission to modify user alice"),
        (Action.CHANGE_PASSWORD, {"user": "alice"}, "no permission to change password for user alice"),
        (Action.DELETE_USER, {"user": "alice"}, "no permission to delete user alice"),
        (Action.MANAGE_TOKENS, {"user": "alice"}, "no permission to manage API tokens of user alice"),
        (Action.UPLOAD, {"index": stage()}, "no permission to submit"),
        (Action.REMOVE, {"index": stage()}, "no permission to remove anything from alice/dev"),
        (Action.READ, {"index": stage(acl_read=[])}, "no permission to read index alice/dev"),
    ],
)
def test_a_refusal_names_what_was_refused(action: Action, about: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PermissionDenied) as caught:
        check(action, PRINCIPALS["bob"], OPEN, **about)
    assert str(caught.value) == sentence
    assert caught.value.status == 403


@pytest.mark.parametrize(("action", "verb"), [(Action.READ, "read"), (Action.UPLOAD, "upload")])
def test_who_is_unknown_is_asked_to_log_in_and_simply_refused_everything_else(action: Action, verb: str) -> None:
    with pytest.raises(LoginNeeded) as caught:
        check(action, NOBODY, OPEN, index=stage(acl_read=[]))
    assert (
        str(caught.value)
        == f"Log in to {verb}: alice/dev is not open to everybody (Unauthorized: no valid login came with the request)."
    )
    assert caught.value.status == 401
    with pytest.raises(PermissionDenied):
        check(Action.MODIFY_INDEX, NOBODY, OPEN, index=stage())
