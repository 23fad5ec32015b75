"""Where a project comes from and what is hidden, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twistpi.model.records import NOBODY, Index, KnownFile, KnownProject, Link, PageHeader
from twistpi.rules.inheritance import inheritance_of, visible_indexes, visible_sources
from twistpi.rules.origins import Origin, explain_visible

OWN, BASE, MIRROR = "alice/dev", "alice/base", "root/pypi"


def stage(*bases: str, **config: Any) -> dict[str, Any]:
    return {
        "type": "stage",
        "bases": list(bases),
        "mirror_whitelist": [],
        "mirror_whitelist_inheritance": "intersection",
        **config,
    }


def origins(
    has: Mapping[str, list[str]],
    *,
    failures: Mapping[str, str] | None = None,
    header: PageHeader | None = None,
    **configs: dict[str, Any],
) -> list[Origin]:
    """What is told of demo on alice/dev, which inherits from alice/base, which inherits from root/pypi."""
    indexes = {OWN: stage(BASE), BASE: stage(MIRROR), MIRROR: {"type": "mirror"}}
    for name, config in configs.items():
        indexes[name.replace("_", "/")].update(config)
    known = {
        index: KnownProject(
            index,
            "demo",
            tuple(KnownFile(Link(one, f"https://f.example/{one}"), one) for one in files),
            header=header or PageHeader(),
        )
        for index, files in has.items()
    }
    lookup = lambda name: Index(name, indexes[name]) if name in indexes else None  # noqa: E731
    visibility = visible_indexes(NOBODY, inheritance_of(Index(OWN, indexes[OWN]), lookup))
    contributing = [index.name for index in visible_sources("demo", visibility, lambda name: name in has)]
    knowledge = {name: found for name, found in known.items() if name in contributing}
    return list(explain_visible(visibility, "demo", knowledge, contributing, failures or {}))


def test_an_index_that_alone_has_the_project_is_the_only_origin() -> None:
    assert origins({MIRROR: ["demo-1.0.zip"]}) == [Origin(MIRROR, "mirrored", True, "1 file shown.")]


def test_a_private_project_keeps_mirrors_away_and_the_page_says_how_to_change_that() -> None:
    inherited, mirrored = origins({BASE: ["demo-1.0.zip", "demo-1.1.zip"], MIRROR: ["demo-9.zip"]})
    assert inherited == Origin(BASE, "inherited", True, "2 files shown.")
    assert not mirrored.contributes
    assert mirrored.sentence == (
        "Not asked: alice/base has a project of this name, and a mirror must not add to it. "
        "To allow it, add demo to the mirror_whitelist of alice/dev."
    )


def test_a_whitelisted_mirror_says_why_it_may_add() -> None:
    own, mirrored = origins({OWN: ["demo-1.zip"], MIRROR: ["demo-9.zip"]}, alice_dev={"mirror_whitelist": ["demo"]})
    assert (own.kind, own.contributes, mirrored.contributes) == ("own", True, True)
    assert "because the mirror_whitelist of alice/dev says so" in mirrored.sentence


def test_a_reserved_name_is_told() -> None:
    (mirrored,) = origins({MIRROR: ["demo-9.zip"]}, alice_dev={"reserved": ["de*"]})
    assert mirrored.sentence.startswith("Not asked: alice/dev reserves the name demo")


def test_files_that_a_nearer_index_has_are_told_to_be_hidden() -> None:
    _own, inherited = origins({OWN: [f"demo-{n}.zip" for n in range(9)], BASE: [f"demo-{n}.zip" for n in range(10)]})[:2]
    assert inherited.sentence == (
        "1 file shown. 9 files hidden (demo-0.zip, demo-1.zip, demo-2.zip and 6 more): alice/dev is nearer and has files of the"
        " same names."
    )


def test_an_upstream_that_cannot_tell_is_named_with_the_reason() -> None:
    (mirrored,) = origins({}, failures={MIRROR: "it timed out"})
    assert mirrored == Origin(MIRROR, "mirrored", False, "Cannot tell now what it has: it timed out")


def test_files_in_quarantine_are_told_to_be_withheld() -> None:
    (own, *_) = origins({OWN: ["demo-1.zip"]}, header=PageHeader("quarantined"))
    assert (own.contributes, own.sentence) == (False, "Its files are not offered: the project is in quarantine.")


def test_nothing_is_said_of_an_index_that_the_reader_may_not_see() -> None:
    told = origins({OWN: ["demo-1.zip"], BASE: ["demo-2.zip"], MIRROR: []}, alice_base={"acl_read": ["alice"]})
    assert BASE not in str(told)
    assert [one.index for one in told] == [OWN, MIRROR]
    assert "alice/dev has a project of this name" in told[1].sentence


def test_a_hidden_index_that_reserves_the_name_is_not_named() -> None:
    told = origins(
        {OWN: ["demo-1.zip"], MIRROR: ["demo-2.zip"]},
        alice_dev={"mirror_whitelist": ["demo"]},
        alice_base={"acl_read": ["alice"], "reserved": ["demo"]},
    )
    assert BASE not in str(told)
    assert not told[1].contributes
    assert told[1].sentence.startswith("Not asked: ")
