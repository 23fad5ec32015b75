"""What somebody may see of an index and of what it inherits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.model.errors import LoginNeeded, PermissionDenied
from twistpi.model.records import NOBODY, ApiToken, Index, Principal
from twistpi.rules.inheritance import EVERYBODY, Inheritance, inheritance_of, visible_indexes, visible_sources

ALICE, BOB, ROOT = Principal("alice"), Principal("bob"), Principal("root")


def stage(*bases: str, acl_read: list[str] | None = None, **config: Any) -> dict[str, Any]:
    acl = {} if acl_read is None else {"acl_read": acl_read}
    return {"type": "stage", "bases": list(bases), "mirror_whitelist_inheritance": "intersection", **acl, **config}


def mirror(acl_read: list[str] | None = None) -> dict[str, Any]:
    return {"type": "mirror"} if acl_read is None else {"type": "mirror", "acl_read": acl_read}


def inheritance(name: str, indexes: Mapping[str, dict[str, Any]]) -> Inheritance:
    def lookup(other: str) -> Index | None:
        return Index(other, indexes[other]) if other in indexes else None

    return inheritance_of(Index(name, indexes[name]), lookup)


INDEXES = {
    "alice/dev": stage("corp/base", "corp/gone", "root/pypi"),
    "corp/base": stage("root/pypi", acl_read=["alice"]),
    "root/pypi": mirror(),
}


def names(principal: Principal, *having: str, indexes: Mapping[str, dict[str, Any]] = INDEXES) -> list[str]:
    visibility = visible_indexes(principal, inheritance("alice/dev", indexes))
    return [index.name for index in visible_sources("demo", visibility, having.__contains__)]


def test_an_inheritance_names_all_it_depends_on_missing_bases_too() -> None:
    found = inheritance("alice/dev", INDEXES)
    assert [index.name for index in found.order] == ["alice/dev", "corp/base", "root/pypi"]
    assert found.names == {"alice/dev", "corp/base", "corp/gone", "root/pypi"}
    assert not found.is_open
    assert inheritance("root/pypi", INDEXES).is_open


@pytest.mark.parametrize("principal", [NOBODY, ALICE])
def test_everybody_sees_the_same_of_what_is_open(principal: Principal) -> None:
    visibility = visible_indexes(principal, inheritance("root/pypi", INDEXES))
    assert (visibility.audience, visibility.hidden, visibility.is_open) == (EVERYBODY, frozenset(), True)


def test_who_may_not_read_the_index_itself_sees_nothing() -> None:
    closed = inheritance("corp/base", INDEXES)
    with pytest.raises(LoginNeeded):
        visible_indexes(NOBODY, closed)
    with pytest.raises(PermissionDenied):
        visible_indexes(BOB, closed)
    assert visible_indexes(ALICE, closed).hidden == frozenset()
    assert visible_indexes(ROOT, closed).hidden == frozenset()
    assert visible_indexes(Principal("corp"), closed).hidden == frozenset()


def test_an_audience_tells_those_apart_who_see_different_things() -> None:
    found = inheritance("alice/dev", INDEXES)
    audiences = [visible_indexes(principal, found).audience for principal in (NOBODY, BOB, ALICE, ROOT)]
    assert audiences[0] == audiences[1]
    assert audiences[2] == audiences[3]
    assert len({*audiences, EVERYBODY}) == 3, "and none is that of everybody, though some see it all"


def test_a_token_for_another_index_hides_what_is_closed() -> None:
    token = ApiToken("0" * 16, "alice", "", ("read",), index="alice/dev")
    assert visible_indexes(Principal("alice", token=token), inheritance("alice/dev", INDEXES)).hidden == {"corp/base"}


def test_a_hidden_name_still_silences_mirrors() -> None:
    assert names(ALICE, "corp/base") == ["alice/dev", "corp/base"]
    assert names(ALICE) == ["alice/dev", "corp/base", "root/pypi"]


def test_what_a_visible_private_index_has_is_answered_without_the_hidden() -> None:
    assert names(BOB, "alice/dev", "corp/base") == ["alice/dev"]
    assert names(NOBODY, "alice/dev") == ["alice/dev"]


@pytest.mark.parametrize("having", [(), ("corp/base",)])
def test_every_other_name_is_refused_alike(having: tuple[str, ...]) -> None:
    with pytest.raises(LoginNeeded) as anonymous:
        names(NOBODY, *having)
    assert (
        str(anonymous.value)
        == "Log in to read: what alice/dev inherits is not open to everybody, and no valid login came with the request."
    )
    with pytest.raises(PermissionDenied) as known:
        names(BOB, *having)
    assert str(known.value) == "no permission to read all of what alice/dev inherits"


def test_a_whitelisted_name_comes_from_visible_mirrors_beside_a_visible_private_index() -> None:
    indexes = {**INDEXES, "alice/dev": stage("corp/base", "root/pypi", "root/closed", mirror_whitelist=["demo"])}
    indexes["root/closed"] = mirror(["alice"])
    assert names(BOB, "alice/dev", indexes=indexes) == ["alice/dev", "root/pypi"]
    assert names(ALICE, "alice/dev", indexes=indexes) == ["alice/dev", "corp/base", "root/pypi", "root/closed"]


def test_a_hidden_mirror_hides_every_name_that_is_not_private() -> None:
    indexes = {"alice/dev": stage("root/pypi", "root/closed"), "root/pypi": mirror(), "root/closed": mirror(["alice"])}
    with pytest.raises(PermissionDenied):
        names(BOB, indexes=indexes)
    assert names(BOB, "alice/dev", indexes=indexes) == ["alice/dev"]


_NAMES = ["alice/dev", "corp/base", "bob/x", "root/pypi", "root/closed"]


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    acls = st.sampled_from([None, [], ["alice"], ["bob"], ["alice", "bob"], [":AUTHENTICATED:"], [":ANONYMOUS:"]])
    whitelists = st.sampled_from([[], ["demo"], ["*"], ["other"]])
    indexes = {name: mirror(draw(acls)) for name in ("root/pypi", "root/closed")}
    for name in ("alice/dev", "corp/base", "bob/x"):
        bases = draw(st.lists(st.sampled_from(_NAMES), max_size=3))
        how = draw(st.sampled_from(["union", "intersection"]))
        indexes[name] = stage(*bases, acl_read=draw(acls), mirror_whitelist=draw(whitelists), mirror_whitelist_inheritance=how)
    return indexes


def _outcome(principal: Principal, indexes: dict[str, dict[str, Any]], having: set[str]) -> object:
    try:
        return names(principal, *having, indexes=indexes)
    except (LoginNeeded, PermissionDenied) as refusal:
        return refusal.status


@given(worlds(), st.sets(st.sampled_from(["alice/dev", "corp/base", "bob/x"])), st.sampled_from([NOBODY, BOB]))
def test_whether_a_hidden_index_has_a_project_makes_no_difference_to_who_may_not_see_it(
    indexes: dict[str, dict[str, Any]], having: set[str], principal: Principal
) -> None:
    try:
        visibility = visible_indexes(principal, inheritance("alice/dev", indexes))
    except (LoginNeeded, PermissionDenied):
        return
    outcome = _outcome(principal, indexes, having)
    for hidden in visibility.hidden:
        assert _outcome(principal, indexes, having ^ {hidden}) == outcome
    if isinstance(outcome, list):
        assert not visibility.hidden & set(outcome)
