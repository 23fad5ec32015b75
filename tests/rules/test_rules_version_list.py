"""The versions of a project as its page lists them."""

from __future__ import annotations

from typing import Any

import pytest

from twistpi.model.records import KnownFile, KnownProject, Link, PageHeader
from twistpi.rules.version_list import ListedVersion, chosen_version, list_versions, newest_version

OWN, BASE, MIRROR = "alice/dev", "alice/base", "root/pypi"


def file(filename: str, **more: Any) -> KnownFile:
    cached = more.pop("cached", False)
    return KnownFile(Link(filename, f"https://files.example/{filename}", **more), f"+f/{filename}", "0" * 64 if cached else None)


def known(index: str, *files: KnownFile | str, versions: tuple[str, ...] = (), **more: Any) -> KnownProject:
    return KnownProject(index, "demo", tuple(file(one) if isinstance(one, str) else one for one in files), versions, **more)


def listed(*known_projects: KnownProject) -> list[ListedVersion]:
    return list(list_versions(known_projects, {MIRROR}))


def versions(*texts: str, yanked: bool | str = False) -> list[ListedVersion]:
    return [ListedVersion(text, OWN, False, (file(f"demo-{text}.tar.gz", yanked=yanked),)) for text in texts]


def test_the_newest_version_comes_first_and_invalid_ones_last() -> None:
    found = listed(known(OWN, *(f"demo-{text}.tar.gz" for text in ("1.0", "odd", "2.0rc1", "1.10", "2.0", "1.9.post1"))))
    assert [one.version for one in found] == ["2.0", "2.0rc1", "1.10", "1.9.post1", "1.0", "odd"]
    assert [one.is_prerelease for one in found] == [False, True, False, False, False, False]


def test_a_version_is_that_of_the_nearest_index_in_its_spelling() -> None:
    (found,) = listed(known(OWN, "demo-1.0.tar.gz"), known(BASE, "demo-1.0.0.zip"), known(MIRROR, "demo-1.tar.gz", "demo-1.zip"))
    assert (found.version, found.index, found.also_in, found.is_mirrored) == ("1.0", OWN, (BASE, MIRROR), False)
    assert [one.link.filename for one in found.files] == ["demo-1.0.tar.gz"]


def test_registered_versions_are_listed_and_an_upstreams_versions_without_files_are_not() -> None:
    found = listed(known(OWN, "demo-1.0.zip", versions=("1.0", "2.0")), known(MIRROR, "demo-3.0.zip", versions=("3.0", "4.0")))
    assert [(one.version, len(one.files)) for one in found] == [("3.0", 1), ("2.0", 0), ("1.0", 1)]


def test_a_project_in_quarantine_has_versions_without_files() -> None:
    found = listed(known(OWN, "demo-1.0.zip", versions=("1.0",), header=PageHeader("quarantined")))
    assert [(one.version, one.files) for one in found] == [("1.0", ())]


def test_a_version_tells_its_day_its_kinds_and_what_is_here() -> None:
    wheel = file("demo-1.0-py3-none-any.whl", upload_time="2026-11-22T17:24:48.123456Z", cached=True)
    (found,) = listed(known(MIRROR, wheel, file("demo-1.0.tar.gz", upload_time="2026-11-21T10:00:00Z"), "demo-1.0.zip"))
    assert (found.uploaded_at, found.kinds, found.stored) == ("2026-11-21T10:00:00Z", ("sdist", "wheel"), 1)


def test_a_version_is_yanked_when_all_its_files_are() -> None:
    both = (file("demo-1.0.zip", yanked="broken"), file("demo-1.0.tar.gz", yanked=True))
    assert listed(known(OWN, *both))[0].yanked == "broken"
    assert listed(known(OWN, *both, "demo-1.0-py3-none-any.whl"))[0].yanked is False
    assert listed(known(OWN, both[1]))[0].yanked is True


@pytest.mark.parametrize(
    ("found", "newest"),
    [
        ([*versions("1.0", "2.0", "3.0rc1"), *versions("4.0", yanked=True)], "2.0"),
        ([*versions("3.0rc1", "3.0rc2"), *versions("4.0", yanked=True)], "3.0rc2"),
        (versions("1.0", "2.0", yanked="bad"), "2.0"),
        (versions("odd", "1.0"), "1.0"),
        (versions("odd", "odder"), "odder"),
    ],
)
def test_the_newest_version_is_the_one_that_an_installer_takes(found: list[ListedVersion], newest: str) -> None:
    chosen = newest_version(found)
    assert chosen is not None
    assert chosen.version == newest


def test_no_version_is_the_newest_of_none() -> None:
    assert newest_version([]) is None


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [("latest", "3.0rc1"), ("stable", "2.0"), ("2", "2.0"), ("1.0", "1.0"), ("3.0-rc.1", "3.0rc1"), ("5", None)],
)
def test_a_version_is_chosen_by_its_name_or_by_a_word(asked: str, chosen: str | None) -> None:
    found = chosen_version(asked, versions("1.0", "2.0", "3.0rc1"))
    assert (None if found is None else found.version) == chosen


def test_without_a_stable_version_there_is_none() -> None:
    assert chosen_version("stable", versions("1.0a1", "2.0.dev1")) is None
