from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.confusion_cases import CASES, Case
from twistpi.model.errors import LoginNeeded, PermissionDenied
from twistpi.model.records import NOBODY, ApiToken, Index, KnownFile, KnownProject, Link, PageHeader, Principal
from twistpi.rules.explanation import Explanation, FileFate, Verdict, explain
from twistpi.rules.inheritance import (
    EVERYBODY,
    Inheritance,
    Ruling,
    inheritance_of,
    resolution_order,
    rule_on_mirrors,
    sources,
    visible_indexes,
    visible_sources,
)

MIRROR: dict[str, Any] = {"type": "mirror"}


def stage(*bases: str, **config: Any) -> dict[str, Any]:
    return {
        "type": "stage",
        "bases": list(bases),
        "mirror_whitelist": [],
        "mirror_whitelist_inheritance": "intersection",
        **config,
    }


def order_of(start: str, indexes: Mapping[str, dict[str, Any]]) -> list[str]:
    return [index.name for index in order_in(start, indexes)]


def order_in(start: str, indexes: Mapping[str, dict[str, Any]]) -> list[Index]:
    def lookup(name: str) -> Index | None:
        return Index(name, indexes[name]) if name in indexes else None

    return resolution_order(Index(start, indexes[start]), lookup)


def allowed(start: str, indexes: Mapping[str, dict[str, Any]], *having: str, project: str = "demo") -> bool:
    def has_project(name: str) -> bool:
        assert indexes[name]["type"] == "stage", "mirrors are never asked"
        return name in having

    return rule_on_mirrors(project, order_in(start, indexes), has_project).allowed


# The order ---------------------------------------------------------------------------------------------------------


def test_bases_are_visited_breadth_first() -> None:
    indexes = {"a/x": stage("a/y", "a/z"), "a/y": stage("a/w"), "a/z": stage(), "a/w": stage()}
    assert order_of("a/x", indexes) == ["a/x", "a/y", "a/z", "a/w"]


def test_mirrors_come_last_in_the_order_they_were_found() -> None:
    indexes = {
        "a/x": stage("m/1", "a/y", "m/2"),
        "a/y": stage("m/3", "a/z"),
        "a/z": stage(),
        "m/1": MIRROR,
        "m/2": MIRROR,
        "m/3": MIRROR,
    }
    assert order_of("a/x", indexes) == ["a/x", "a/y", "a/z", "m/1", "m/2", "m/3"]


def test_a_diamond_lists_its_end_once() -> None:
    indexes = {"a/x": stage("a/y", "a/z"), "a/y": stage("a/w"), "a/z": stage("a/w"), "a/w": stage()}
    assert order_of("a/x", indexes) == ["a/x", "a/y", "a/z", "a/w"]


def test_cycles_self_references_and_missing_bases_do_no_harm() -> None:
    indexes = {"a/x": stage("a/x", "a/y", "a/gone", "a/y"), "a/y": stage("a/x")}
    assert order_of("a/x", indexes) == ["a/x", "a/y"]


def test_a_mirror_answers_for_itself() -> None:
    assert order_of("root/pypi", {"root/pypi": MIRROR}) == ["root/pypi"]


def test_a_mirror_inherits_nothing_whatever_old_data_says() -> None:
    assert order_of("root/pypi", {"root/pypi": {**MIRROR, "bases": ["a/x"]}, "a/x": stage()}) == ["root/pypi"]


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"), max_size=4), min_size=1),
    st.sets(st.sampled_from("abcdef")),
)
def test_any_graph_is_walked_once(graph: dict[str, list[str]], mirrors: set[str]) -> None:
    start = min(graph)
    indexes = {name: MIRROR if name in mirrors else stage(*bases) for name, bases in graph.items()}
    order = order_in(start, indexes)
    assert len({index.name for index in order}) == len(order)
    assert [index.is_mirror for index in order] == sorted(index.is_mirror for index in order)
    assert start in {index.name for index in order}


# Whitelists --------------------------------------------------------------------------------------------------------

BASES = {"base/b": stage("root/pypi"), "root/pypi": MIRROR}


def test_mirrors_are_free_when_no_private_index_has_the_project() -> None:
    assert allowed("a/x", {"a/x": stage("root/pypi"), **BASES})


@pytest.mark.parametrize("owner", ["a/x", "base/b"])
def test_R66_a_private_project_silences_mirrors(owner: str) -> None:
    assert not allowed("a/x", {"a/x": stage("root/pypi", "base/b"), **BASES}, owner)


def test_R66_sources_leave_the_mirrors_out_and_keep_the_order() -> None:
    indexes = {"a/x": stage("root/pypi", "base/b"), **BASES}
    order = order_in("a/x", indexes)
    assert [index.name for index in sources("demo", order, lambda name: name == "base/b")] == ["a/x", "base/b"]
    assert sources("demo", order, lambda _name: False) == order


@pytest.mark.parametrize("entry", ["demo", "*"])
@pytest.mark.parametrize("inheritance", ["intersection", "union"])
def test_an_entry_on_the_asked_index_always_suffices(entry: str, inheritance: str) -> None:
    top = stage("base/b", mirror_whitelist=[entry], mirror_whitelist_inheritance=inheritance)
    assert allowed("a/x", {"a/x": top, **BASES}, "a/x", "base/b")


def test_an_entry_for_another_project_does_not_count() -> None:
    assert not allowed("a/x", {"a/x": stage("base/b", mirror_whitelist=["other"]), **BASES}, "a/x")


@pytest.mark.parametrize(("inheritance", "counts"), [("intersection", False), ("union", True)])
def test_an_entry_on_a_base_alone_counts_with_union_only(inheritance: str, counts: bool) -> None:
    indexes = {"a/x": stage("base/b", mirror_whitelist_inheritance=inheritance), **BASES}
    indexes["base/b"] = stage("root/pypi", mirror_whitelist=["demo"])
    assert allowed("a/x", indexes, "base/b") is counts
    assert allowed("a/x", indexes, "a/x") is counts, "a hit before the entry is reached is forgiven"


def test_it_is_the_asked_index_that_says_how_lists_combine() -> None:
    indexes = {"a/x": stage("base/b"), **BASES}
    indexes["base/b"] = stage("root/pypi", mirror_whitelist=["demo"], mirror_whitelist_inheritance="union")
    assert not allowed("a/x", indexes, "base/b")


def test_old_indexes_that_do_not_say_it_widen() -> None:
    indexes = {"a/x": stage("base/b"), **BASES, "base/b": stage("root/pypi", mirror_whitelist=["demo"])}
    del indexes["a/x"]["mirror_whitelist_inheritance"]
    assert allowed("a/x", indexes, "base/b")


@pytest.mark.parametrize("reserved", ["demo", "de*", "*"])
@pytest.mark.parametrize("where", ["a/x", "base/b"])
def test_a_reserved_name_stays_private_whoever_has_it_or_not_and_whatever_is_whitelisted(reserved: str, where: str) -> None:
    indexes = {"a/x": stage("base/b"), **BASES, "base/b": stage("root/pypi", mirror_whitelist=["*"])}
    assert allowed("a/x", {**indexes, "a/x": stage("base/b", mirror_whitelist=["*"])})
    indexes[where] = {**indexes[where], "reserved": [reserved], "mirror_whitelist": ["*"]}
    order = order_in("a/x", indexes)
    assert rule_on_mirrors("demo", order, lambda name: False) == Ruling(False, reserved=where)
    assert rule_on_mirrors("other", order, lambda name: False).allowed is (reserved != "*")
    fate = explain(order, "demo", None, {}).fates[2]
    assert (fate.verdict, fate.silenced_by) == (Verdict.SILENCED, where)


def test_a_mirror_asked_itself_is_always_allowed() -> None:
    assert allowed("root/pypi", BASES)


# Dependency confusion ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_R66_who_answers_when_names_collide(case: Case) -> None:
    order = order_in(case.asked, {name: dict(config) for name, config in case.indexes.items()})
    found = sources("demo", order, case.private.__contains__)
    having = [index.name for index in found if index.is_mirror or index.name in case.private]
    assert tuple(having) == case.answers
    assert rule_on_mirrors("demo", order, case.private.__contains__) == Ruling(*case.ruling)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_R66_another_name_is_not_affected(case: Case) -> None:
    order = order_in(case.asked, {name: dict(config) for name, config in case.indexes.items()})
    assert sources("free", order, lambda _name: False) == order


# Why an index shows what it shows ------------------------------------------------------------------------------------


STAGE = {"type": "stage", "mirror_whitelist_inheritance": "intersection"}
ORDER = (
    Index("alice/dev", {**STAGE, "bases": ["corp/base", "corp/gone"]}),
    Index("corp/base", {**STAGE, "bases": ["root/pypi"]}),
    Index("root/pypi", {"type": "mirror"}),
)
FREE = (Index("alice/dev", {**STAGE, "mirror_whitelist": ["*"]}), *ORDER[1:])


def known(index: str, *filenames: str, header: PageHeader = PageHeader()) -> KnownProject:  # noqa: B008
    files = tuple(KnownFile(Link(name, f"https://files.example/{name}"), f"+e/x/{name}") for name in filenames)
    return KnownProject(index, "demo", files, header=header)


def told(*projects: KnownProject, version: str | None = None, order: tuple[Index, ...] = FREE, **failures: str) -> Explanation:
    by_name = {name.replace("_", "/"): reason for name, reason in failures.items()}
    return explain(order, "demo", version, {project.index: project for project in projects}, by_name)


def verdicts(explanation: Explanation) -> list[Verdict]:
    return [fate.verdict for fate in explanation.fates]


def test_an_index_without_the_project_has_nothing_to_do_with_it() -> None:
    found = told(known("root/pypi", "demo-1.0.tar.gz"))
    assert verdicts(found) == [Verdict.ABSENT, Verdict.ABSENT, Verdict.ANSWERS]
    assert found.answering == ("root/pypi",)


def test_the_nearest_file_of_a_name_shadows_the_others_file_by_file() -> None:
    found = told(known("alice/dev", "demo-1.0.tar.gz"), known("root/pypi", "demo-1.0.tar.gz", "demo-2.0.tar.gz"))
    assert found.fates[2].files == (FileFate("demo-1.0.tar.gz", shadowed_by="alice/dev"), FileFate("demo-2.0.tar.gz"))
    assert found.answering == ("alice/dev", "root/pypi")
    whole = told(known("alice/dev", "demo-1.0.tar.gz"), known("corp/base", "demo-1.0.tar.gz"))
    assert verdicts(whole)[:2] == [Verdict.ANSWERS, Verdict.SHADOWED]


def test_a_silenced_mirror_says_who_silences_it_and_what_it_is_known_to_have() -> None:
    found = told(known("corp/base", "demo-1.0.tar.gz"), known("root/pypi", "demo-9.0.tar.gz"), order=ORDER)
    fate = found.fates[2]
    assert (fate.verdict, fate.silenced_by) == (Verdict.SILENCED, "corp/base")
    assert fate.files == (FileFate("demo-9.0.tar.gz", withheld="silenced"),)
    assert not fate.files[0].shown
    assert found.ruling == Ruling(False, "corp/base")


def test_a_mirror_is_silenced_though_nobody_knows_whether_it_has_the_project() -> None:
    assert verdicts(told(known("alice/dev"), order=ORDER)) == [Verdict.EMPTY, Verdict.ABSENT, Verdict.SILENCED]


def test_one_version_is_told_apart_from_the_others_in_any_spelling() -> None:
    projects = (known("corp/base", "demo-1.0.tar.gz"), known("root/pypi", "demo-2.0.tar.gz", "demo-2.0-py3-none-any.whl"))
    found = told(*projects, version="2.00")
    assert verdicts(found) == [Verdict.ABSENT, Verdict.NO_VERSION, Verdict.ANSWERS]
    assert [fate.filename for fate in found.fates[2].files] == ["demo-2.0.tar.gz", "demo-2.0-py3-none-any.whl"]


def test_an_upstream_that_cannot_be_asked_is_named_with_its_reason() -> None:
    fate = told(root_pypi="no route").fates[2]
    assert (fate.verdict, fate.reason) == (Verdict.FAILED, "no route")
    stale = told(known("root/pypi", "demo-1.0.tar.gz"), root_pypi="no route").fates[2]
    assert (stale.verdict, stale.reason) == (Verdict.ANSWERS, "no route"), "what is known answers"


def test_what_is_quarantined_or_vanished_is_withheld_and_shadows_nothing() -> None:
    quarantined = known("corp/base", "demo-1.0.tar.gz", header=PageHeader("quarantined"))
    found = told(quarantined, known("root/pypi", "demo-1.0.tar.gz"))
    assert verdicts(found)[1:] == [Verdict.EMPTY, Verdict.ANSWERS]
    assert found.fates[1].files == (FileFate("demo-1.0.tar.gz", withheld="quarantined"),)
    gone = KnownProject("corp/base", "demo", (KnownFile(Link("demo-1.0.zip", "https://x.example"), "+e/x", vanished=True),))
    assert told(gone).fates[1].files == (FileFate("demo-1.0.zip", withheld="vanished"),)


def test_bases_that_do_not_exist_are_named() -> None:
    assert told(order=ORDER).missing_bases == (("alice/dev", "corp/gone"),)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_explains_just_what_the_rule_does(case: Case) -> None:
    indexes = case.order_names()
    order = resolution_order(indexes[case.asked], indexes.get)
    having = [index.name for index in order if index.is_mirror or index.name in case.private]
    knowledge = {name: known(name, f"demo-{number}.tar.gz") for number, name in enumerate(having, 1)}
    found = explain(order, "demo", None, knowledge)
    assert found.answering == case.answers
    assert found.ruling == Ruling(*case.ruling)
    silenced = {fate.index.name for fate in found.fates if fate.verdict is Verdict.SILENCED}
    assert silenced == {index.name for index in order if index.is_mirror and index.name not in case.answers}


# What somebody may see of an index and of what it inherits -----------------------------------------------------------


ALICE, BOB, ROOT = Principal("alice"), Principal("bob"), Principal("root")


def protected(*bases: str, acl_read: list[str] | None = None, **config: Any) -> dict[str, Any]:
    acl = {} if acl_read is None else {"acl_read": acl_read}
    return {"type": "stage", "bases": list(bases), "mirror_whitelist_inheritance": "intersection", **acl, **config}


def mirror(acl_read: list[str] | None = None) -> dict[str, Any]:
    return {"type": "mirror"} if acl_read is None else {"type": "mirror", "acl_read": acl_read}


def inheritance(name: str, indexes: Mapping[str, dict[str, Any]]) -> Inheritance:
    def lookup(other: str) -> Index | None:
        return Index(other, indexes[other]) if other in indexes else None

    return inheritance_of(Index(name, indexes[name]), lookup)


INDEXES = {
    "alice/dev": protected("corp/base", "corp/gone", "root/pypi"),
    "corp/base": protected("root/pypi", acl_read=["alice"]),
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
    told = "what alice/dev inherits is not open to everybody (Unauthorized: no valid login came with the request)."
    assert str(anonymous.value) == f"Log in to read: {told}"
    with pytest.raises(PermissionDenied) as known:
        names(BOB, *having)
    assert str(known.value) == "no permission to read all of what alice/dev inherits"


def test_a_whitelisted_name_comes_from_visible_mirrors_beside_a_visible_private_index() -> None:
    indexes = {**INDEXES, "alice/dev": protected("corp/base", "root/pypi", "root/closed", mirror_whitelist=["demo"])}
    indexes["root/closed"] = mirror(["alice"])
    assert names(BOB, "alice/dev", indexes=indexes) == ["alice/dev", "root/pypi"]
    assert names(ALICE, "alice/dev", indexes=indexes) == ["alice/dev", "corp/base", "root/pypi", "root/closed"]


def test_a_hidden_mirror_hides_every_name_that_is_not_private() -> None:
    indexes = {"alice/dev": protected("root/pypi", "root/closed"), "root/pypi": mirror(), "root/closed": mirror(["alice"])}
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
        indexes[name] = protected(
            *bases, acl_read=draw(acls), mirror_whitelist=draw(whitelists), mirror_whitelist_inheritance=how
        )
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
