from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.confusion_cases import CASES, Case
from twistpi.model.records import Index
from twistpi.rules.inheritance import Ruling, resolution_order, rule_on_mirrors, sources

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
