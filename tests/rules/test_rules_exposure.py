"""Names that a removal leaves to mirrors."""

from __future__ import annotations

from typing import Any

import pytest

from twistpi.model.changes import IndexDeleted, IndexModified
from twistpi.model.records import Index
from twistpi.rules.exposure import exposed_by_change, exposed_by_removal, exposure_text, indexes_after

PROJECTS = {"corp/base": ["acme", "tool"], "alice/dev": ["own"]}


def indexes(**more: Any) -> dict[str, Index]:
    """alice/dev inherits from corp/base, that from a mirror; bob/private from corp/base alone."""
    made = [
        Index("root/pypi", {"type": "mirror"}),
        Index("corp/base", {"bases": ["root/pypi"], **more}),
        Index("alice/dev", {"bases": ["corp/base", "root/pypi"]}),
        Index("carol/closed", {"bases": []}),
    ]
    return {index.name: index for index in made}


@pytest.mark.parametrize(
    ("config", "still", "exposed"),
    [
        ({}, (), {"corp/base": ["acme"], "alice/dev": ["acme"]}),
        ({}, ("alice/dev",), {"corp/base": ["acme"]}),
        ({"reserved": ["acme"]}, (), {}),
        ({"reserved": ["ac*"]}, (), {}),
        ({"reserved": ["acmes"]}, (), {"corp/base": ["acme"], "alice/dev": ["acme"]}),
        ({"mirror_whitelist": ["acme"], "mirror_whitelist_inheritance": "union"}, (), {}),
    ],
)
def test_the_last_of_a_project_exposes_its_name_where_nothing_else_keeps_it(config: Any, still: Any, exposed: Any) -> None:
    assert exposed_by_removal(indexes(**config), "corp/base", "acme", still.__contains__) == exposed


def test_a_base_that_goes_exposes_what_it_had() -> None:
    before = indexes()
    gone = indexes_after(before, [IndexModified("alice/dev", {"bases": ["root/pypi"]})])
    assert exposed_by_change(before, gone, lambda name: PROJECTS.get(name, [])) == {"alice/dev": ["acme", "tool"]}
    deleted = indexes_after(before, [IndexDeleted("corp/base")])
    assert "corp/base" not in deleted
    assert exposed_by_change(before, deleted, lambda name: PROJECTS.get(name, [])) == {"alice/dev": ["acme", "tool"]}
    kept = indexes_after(before, [IndexModified("alice/dev", {"bases": ["root/pypi"], "reserved": ["acme"]}, ("title",))])
    assert exposed_by_change(before, kept, lambda name: PROJECTS.get(name, [])) == {"alice/dev": ["tool"]}
    without_mirror = indexes_after(before, [IndexModified("alice/dev", {"bases": []})])
    assert exposed_by_change(before, without_mirror, lambda name: PROJECTS.get(name, [])) == {}


def test_the_sentence_names_projects_and_indexes_and_not_too_many() -> None:
    assert exposure_text({}) == ""
    told = exposure_text({"alice/dev": ["acme"], "corp/base": ["acme"]})
    assert told.endswith(": acme in alice/dev, corp/base")
    assert exposure_text({"alice/dev": [f"p{number}" for number in range(30)]}).endswith("p9 in alice/dev and 20 more")
