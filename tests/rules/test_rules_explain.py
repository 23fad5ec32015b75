"""Why an index shows what it shows."""

from __future__ import annotations

import pytest

from tests.rules.confusion_cases import CASES, Case
from twistpi.model.records import Index, KnownFile, KnownProject, Link, PageHeader
from twistpi.rules.inheritance import Explanation, FileFate, Ruling, Verdict, explain, resolution_order

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
