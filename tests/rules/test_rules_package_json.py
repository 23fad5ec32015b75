"""The choices behind the documents of the JSON API."""

from __future__ import annotations

from typing import Any

import pytest

from twistpi.model.records import KnownFile, Link
from twistpi.rules.package_json import Package, described_version, metadata_files, package_document


def file(filename: str, *, known: dict[str, Any] | None = None, **link: Any) -> KnownFile:
    return KnownFile(Link(filename, f"https://files.example/{filename}", **link), f"+e/x/{filename}", **(known or {}))


FILE = file("x-1.tar.gz")
YANKED = file("x-2.tar.gz", yanked="broken")


@pytest.mark.parametrize(
    ("releases", "newest"),
    [
        ({}, None),
        ({"1.9": [FILE], "1.10": [FILE]}, "1.10"),
        ({"1.0": [FILE], "2.0rc1": [FILE]}, "1.0"),
        ({"2.0rc1": [FILE], "2.0rc2": [FILE]}, "2.0rc2"),
        ({"1.0": [FILE], "2.0": [YANKED]}, "1.0"),
        ({"1.0": [FILE], "2.0": [YANKED, FILE]}, "2.0"),
        ({"1.0rc1": [FILE], "2.0": [YANKED]}, "1.0rc1"),
        ({"1.0": [FILE], "2.0": []}, "1.0"),
        ({"1.0": [FILE], "2.0": [file("x-2.zip", yanked="")]}, "1.0"),
        ({"0.1": [FILE], "from-2009": [FILE]}, "0.1"),
        ({"from-2009": [FILE]}, "from-2009"),
    ],
)
def test_a_project_is_shown_with_the_version_that_installers_prefer(releases: Any, newest: str | None) -> None:
    assert described_version(releases) == newest


def test_metadata_is_looked_for_where_it_is_cheapest() -> None:
    digest = "1" * 64
    kept = file("x-1-py3-none-kept.whl", known={"metadata_sha256": digest}, size=900)
    cached = file("x-1-py3-none-cached.whl", known={"sha256": digest}, size=800)
    announced = file("x-1-py3-none-announced.whl", core_metadata=True, size=10**9)
    small, large = file("x-1-py3-none-small.whl", size=10_000), file("x-1-py3-none-large.whl", size=10**9)
    others = [
        file("x-1-py3-none-unknown.whl"),
        file("x-1-py3-none-missing.whl", size=1, known={"metadata_missing": True}),
        file("x-1-py3-none-gone.whl", size=1, known={"vanished": True}),
        file("x-1.tar.gz", size=1),
    ]
    assert metadata_files([*others, large, small, announced]) == [announced, small]
    assert metadata_files([small, announced, cached, kept]) == [kept, cached, announced]


def document(version: str, *files: KnownFile, **fields: Any) -> dict[str, Any]:
    package = Package("x", {version: files}, lambda known: known.path, "https://here.example/a/b/x/")
    return package_document(package, version, fields, whole=True)


def test_every_field_of_core_metadata_has_its_place() -> None:
    info = document(
        "1.0+local",
        FILE,
        name="X",
        summary="It is",
        keywords="a,b",
        home_page="https://home.example",
        project_urls=["Source, https://source.example/a,b", "Docs,https://docs.example"],
        requires_dist=["six"],
        provides_extras=["more"],
        license_file=["LICENSE"],
        platform=["linux", "win32"],
        classifiers=["Topic :: X"],
    )["info"]
    assert (info["name"], info["version"], info["summary"], info["keywords"]) == ("X", "1.0+local", "It is", "a,b")
    assert (info["requires_dist"], info["provides_extra"], info["license_files"]) == (["six"], ["more"], ["LICENSE"])
    assert (info["platform"], info["classifiers"], info["dynamic"]) == ("linux,win32", ["Topic :: X"], None)
    assert info["project_urls"] == {
        "Homepage": "https://home.example",
        "Source": "https://source.example/a,b",
        "Docs": "https://docs.example",
    }
    assert info["release_url"] == "https://here.example/a/b/x/1.0+local/"


def test_a_release_is_yanked_when_all_its_files_are() -> None:
    info = document("2", YANKED)["info"]
    assert (info["yanked"], info["yanked_reason"]) == (True, "broken")
    told = document("2", YANKED, file("x-2.zip", yanked=True), FILE)
    assert (told["info"]["yanked"], told["info"]["yanked_reason"]) == (False, None)
    assert [(one["yanked"], one["yanked_reason"]) for one in told["urls"]] == [(True, "broken"), (True, None), (False, None)]


@pytest.mark.parametrize(
    ("filename", "kind", "python"),
    [
        ("x-1-py2.py3-none-any.whl", "bdist_wheel", "py2.py3"),
        ("x-1-7-cp312-cp312-win32.whl", "bdist_wheel", "cp312"),
        ("x-1.zip", "sdist", "source"),
        ("x-1-py3.8.egg", "bdist_egg", "3.8"),
        ("x-1.win32-py3.8.exe", "bdist_wininst", "3.8"),
    ],
)
def test_a_file_says_what_it_is(filename: str, kind: str, python: str) -> None:
    [told] = document("1", file(filename))["urls"]
    assert (told["packagetype"], told["python_version"]) == (kind, python)


def test_what_is_not_known_of_a_file_is_none() -> None:
    [told] = document("1", FILE)["urls"]
    unknown = {key for key, value in told.items() if value is None}
    assert unknown >= {"md5_digest", "size", "upload_time", "upload_time_iso_8601", "requires_python"}
    assert (told["digests"], told["downloads"]) == ({}, -1)
