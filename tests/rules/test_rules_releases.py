"""Which releases an index has of a project."""

from __future__ import annotations

import pytest

from twistpi.model.records import KnownFile, KnownProject, Link, PageHeader
from twistpi.rules.releases import find_release, releases


def known(*filenames: str, **more: object) -> KnownProject:
    files = tuple(KnownFile(Link(name, f"https://files.example/{name}"), f"+e/x/{name}") for name in filenames)
    return KnownProject("root/pypi", "demo", files, **more)  # type: ignore[arg-type]


def shown(project: KnownProject) -> dict[str, list[str]]:
    return {version: [file.link.filename for file in files] for version, files in releases(project).items()}


def test_files_are_gathered_by_version_in_their_order() -> None:
    assert shown(known("demo-2.0.tar.gz", "demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz")) == {
        "2.0": ["demo-2.0.tar.gz"],
        "1.0": ["demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"],
    }


def test_spellings_of_one_version_are_one_release_spelled_as_the_index_does() -> None:
    assert shown(known("demo-1.0.tar.gz", "demo-1.0.0.zip")) == {"1.0": ["demo-1.0.tar.gz", "demo-1.0.0.zip"]}
    assert shown(known("demo-1.0.tar.gz", versions=("1",))) == {"1": ["demo-1.0.tar.gz"]}
    assert shown(known("demo-1.0_1-py3-none-any.whl", versions=("1.0-1",))) == {"1.0-1": ["demo-1.0_1-py3-none-any.whl"]}


def test_versions_the_index_keeps_apart_stay_apart() -> None:
    assert list(shown(known("demo-1.0.tar.gz", "demo-1.00.tar.gz", versions=("1.0", "1.00")))) == ["1.0", "1.00"]


def test_what_tells_no_version_or_is_not_offered_belongs_to_no_release() -> None:
    assert shown(known("demo.txt", "other-1.0.tar.gz")) == {}
    assert shown(known("demo-1.0.tar.gz", header=PageHeader("quarantined"))) == {}
    assert shown(known("demo-1.0.tar.gz", vanished=True)) == {}, "nothing of it is cached"


@pytest.mark.parametrize(("asked", "found"), [("1.0", "1.0"), ("1.00", "1.0"), ("1", "1.0"), ("v1.0", "1.0"), ("2", None)])
def test_a_release_is_found_by_any_spelling(asked: str, found: str | None) -> None:
    release = find_release(asked, known("demo-1.0.tar.gz"))
    assert (None if release is None else release[0]) == found


def test_the_very_spelling_is_found_first() -> None:
    project = known("demo-1.0.tar.gz", "demo-1.00.tar.gz", versions=("1.0", "1.00"))
    release = find_release("1.00", project)
    assert release is not None
    assert [file.link.filename for file in release[1]] == ["demo-1.00.tar.gz"]


def test_versions_that_are_none_are_compared_as_text() -> None:
    assert find_release("2010a-final", known("demo-2010a-final.zip")) is not None
