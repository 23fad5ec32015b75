"""Every case of the dependency-confusion rule, for the pure functions and for the handlers.

``alice/dev`` is asked for ``demo``.  Every mirror has it; of the private indexes those named ``private``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from twistpi.model.records import Index

ASKED = "alice/dev"

_LEAVE_OUT = object()


@attrs.frozen
class Case:
    """Indexes, which of them have the project, and who answers."""

    name: str
    indexes: Mapping[str, Mapping[str, Any]]
    private: frozenset[str]
    answers: tuple[str, ...]
    """Nearest first."""
    ruling: tuple[bool, str | None, str | None]
    """Whether mirrors may answer; the private index that has the project; the one where the whitelist held it."""
    asked: str = ASKED

    def order_names(self) -> Mapping[str, Index]:
        return {name: Index(name, config) for name, config in self.indexes.items()}


def stage(*bases: str, whitelist: tuple[str, ...] = (), inheritance: Any = "intersection") -> dict[str, Any]:
    config = {"type": "stage", "bases": list(bases), "mirror_whitelist": list(whitelist)}
    return config if inheritance is _LEAVE_OUT else {**config, "mirror_whitelist_inheritance": inheritance}


def mirror() -> dict[str, Any]:
    return {"type": "mirror", "mirror_url": "https://upstream.example/simple/"}


def case(
    name: str, dev: dict[str, Any], private: str, answers: str, ruling: tuple[bool, str | None, str | None], **more: Any
) -> Case:
    """``more`` are other indexes, ``corp_base=`` for ``corp/base``; the usual ones are there already."""
    others = {one.replace("_", "/"): config for one, config in more.items()}
    indexes = {ASKED: dev, "corp/base": stage("root/pypi"), "root/pypi": mirror(), **others}
    present = {one: config for one, config in indexes.items() if config}
    return Case(name, present, frozenset(private.split()), tuple(answers.split()), ruling)


CASES = (
    case("nobody_private_has_it", stage("corp/base"), "", "root/pypi", (True, None, None)),
    case("nobody_private_has_it_and_there_are_two_mirrors", stage("root/other", "corp/base"), "", "root/other root/pypi",
         (True, None, None), root_other=mirror()),
    case("the_asked_index_has_it", stage("corp/base"), "alice/dev", "alice/dev", (False, "alice/dev", None)),
    case("a_base_has_it", stage("corp/base"), "corp/base", "corp/base", (False, "corp/base", None)),
    case("both_have_it", stage("corp/base"), "alice/dev corp/base", "alice/dev corp/base", (False, "alice/dev", None)),
    case("the_mirror_is_listed_before_the_base_that_has_it", stage("root/pypi", "corp/base"), "corp/base", "corp/base",
         (False, "corp/base", None)),
    case("a_base_of_a_base_has_it", stage("corp/base"), "corp/deep", "corp/deep", (False, "corp/deep", None),
         corp_base=stage("root/pypi", "corp/deep"), corp_deep=stage()),
    case("a_private_name_silences_every_mirror", stage("root/other", "corp/base"), "corp/base", "corp/base",
         (False, "corp/base", None), root_other=mirror()),
    case("an_index_that_is_not_inherited_has_it", stage("root/pypi"), "corp/base", "root/pypi", (True, None, None)),
    case("the_base_that_had_it_does_not_exist", stage("corp/gone", "root/pypi"), "", "root/pypi", (True, None, None)),
    case("the_asked_index_whitelists_what_it_has", stage("corp/base", whitelist=("demo",)), "alice/dev", "alice/dev root/pypi",
         (True, None, "alice/dev")),
    case("the_asked_index_whitelists_what_a_base_has", stage("corp/base", whitelist=("demo",)), "corp/base",
         "corp/base root/pypi", (True, None, "alice/dev")),
    case("the_asked_index_whitelists_it_with_union", stage("corp/base", whitelist=("demo",), inheritance="union"), "corp/base",
         "corp/base root/pypi", (True, None, "alice/dev")),
    case("the_asked_index_whitelists_everything", stage("corp/base", whitelist=("*",)), "alice/dev corp/base",
         "alice/dev corp/base root/pypi", (True, None, "alice/dev")),
    case("the_asked_index_whitelists_another_project", stage("corp/base", whitelist=("other",)), "corp/base", "corp/base",
         (False, "corp/base", None)),
    case("a_base_alone_whitelists_it_and_lists_intersect", stage("corp/base"), "corp/base", "corp/base",
         (False, "corp/base", None), corp_base=stage("root/pypi", whitelist=("demo",))),
    case("a_base_alone_whitelists_everything_and_lists_intersect", stage("corp/base"), "corp/base", "corp/base",
         (False, "corp/base", None), corp_base=stage("root/pypi", whitelist=("*",))),
    case("a_base_alone_whitelists_it_and_lists_unite", stage("corp/base", inheritance="union"), "corp/base",
         "corp/base root/pypi", (True, None, "corp/base"), corp_base=stage("root/pypi", whitelist=("demo",))),
    case("a_base_whitelists_what_the_asked_index_has_and_lists_unite", stage("corp/base", inheritance="union"), "alice/dev",
         "alice/dev root/pypi", (True, "alice/dev", "corp/base"), corp_base=stage("root/pypi", whitelist=("demo",))),
    case("two_bases_whitelist_it_but_the_asked_index_does_not", stage("corp/base"), "corp/deep", "corp/deep",
         (False, "corp/deep", None), corp_base=stage("corp/deep", "root/pypi", whitelist=("demo",)),
         corp_deep=stage(whitelist=("demo",))),
    case("the_asked_index_decides_how_lists_combine_not_its_base", stage("corp/base"), "corp/base", "corp/base",
         (False, "corp/base", None), corp_base=stage("root/pypi", whitelist=("demo",), inheritance="union")),
    case("the_asked_index_unites_though_its_base_intersects", stage("corp/base", inheritance="union"), "corp/base",
         "corp/base root/pypi", (True, None, "corp/base"),
         corp_base=stage("root/pypi", whitelist=("demo",), inheritance="intersection")),
    case("an_old_index_that_does_not_say_how_unites", stage("corp/base", inheritance=_LEAVE_OUT), "corp/base",
         "corp/base root/pypi", (True, None, "corp/base"), corp_base=stage("root/pypi", whitelist=("demo",))),
    case("everything_at_the_top_is_consulted_before_a_base_narrows_it", stage("corp/base", whitelist=("*",)), "corp/base",
         "corp/base root/pypi", (True, None, "alice/dev"), corp_base=stage("root/pypi", whitelist=("other",))),
    case("a_cycle_of_bases_changes_nothing", stage("corp/base", "alice/dev"), "corp/base", "corp/base",
         (False, "corp/base", None), corp_base=stage("alice/dev", "root/pypi")),
    case("a_diamond_of_bases_changes_nothing", stage("corp/base", "corp/twin"), "corp/deep", "corp/deep",
         (False, "corp/deep", None), corp_base=stage("corp/deep"), corp_twin=stage("corp/deep", "root/pypi"), corp_deep=stage()),
    attrs.evolve(
        case("a_mirror_asked_by_itself_knows_no_private_names", stage("corp/base"), "alice/dev", "root/pypi",
             (True, None, None)), asked="root/pypi"),
)  # fmt: skip
