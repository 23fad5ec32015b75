"""Names and file names, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from tests import strategies
from twistpi.model.errors import InvalidName
from twistpi.model.names import (
    IndexName,
    check_filename,
    comparable_version,
    find_version,
    is_of_project,
    is_of_version,
    is_same_version,
    is_wheel,
    is_wheel_name,
    kind_of_filename,
    normalize_project,
    project_of_filename,
    version_of_filename,
)


@given(strategies.spelled_project_names())
def test_normalisation_is_idempotent_and_what_the_specification_says(name: str) -> None:
    normal = normalize_project(name)
    assert normalize_project(normal) == normal
    assert normal == canonicalize_name(name)


@given(strategies.spelled_project_names(), st.sampled_from(["-", "_", ".", "--", "-_-", "..."]))
def test_all_spellings_of_a_name_are_one(name: str, separator: str) -> None:
    normal = normalize_project(name)
    assert normalize_project(normal.replace("-", separator).upper()) == normal


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "ä", "a/b", "..", ".", "a\n", "a\0", "ａ", "+simple", "a%2f"])
def test_what_no_project_may_be_called_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        normalize_project(name)


@given(st.text())
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        normal = normalize_project(text)
    except InvalidName:
        return
    assert normal.isascii()
    assert normal.lower() == normal


@given(strategies.index_names())
def test_an_index_name_reads_as_it_is_written(name: str) -> None:
    assert str(IndexName.parse(name)) == name


@pytest.mark.parametrize("text", ["", "root", "root/", "/pypi", "root/pypi/x", "ro ot/pypi", "root/+simple", "a\0/b", "a/b\n"])
def test_what_is_no_index_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        IndexName.parse(text)


@given(strategies.filenames())
def test_ordinary_file_names_pass(filename: str) -> None:
    assert check_filename(filename) == filename


@pytest.mark.parametrize(
    "filename",
    [
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "a\\b",
        "../a.whl",
        "a\0b",
        "a\nb",
        "a\x7f",
        "a\u2028b",
        "\ud800.whl",
        "x" * 241,
        "ä" * 121,
    ],
)
def test_file_names_that_are_unsafe_in_a_path_or_a_url_are_refused(filename: str) -> None:
    with pytest.raises(InvalidName):
        check_filename(filename)


@given(st.text())
def test_a_checked_file_name_is_one_part_of_a_path(text: str) -> None:
    try:
        filename = check_filename(text)
    except InvalidName:
        return
    assert "/" not in filename
    assert filename not in ("", ".", "..")
    assert len((filename + ".metadata").encode()) <= 255


@pytest.mark.parametrize(
    ("filename", "project", "version"),
    [
        ("demo-1.0-py3-none-any.whl", "demo", "1.0"),
        ("demo-1.0-1-py3-none-any.whl", "demo", "1.0"),
        ("demo-1.0.tar.gz", "demo", "1.0"),
        ("demo_kit-2!1.0rc1.zip", "demo-kit", "2!1.0rc1"),
        ("demo-kit-1.0.tar.bz2", "demo-kit", "1.0"),
        ("Demo.Kit-1.0.tar.gz", "demo-kit", "1.0"),
        ("demo-2-1.0.tar.gz", "demo-2", "1.0"),
        ("demo-1.0-py2.7.egg", "demo", "1.0"),
        ("demo-1.0.win-amd64-py3.8.exe", "demo", "1.0"),
        ("demo-1.0-1.noarch.rpm", "demo", "1.0"),
        ("demo-1.0.rpm", "demo", "1.0"),
        ("demo-1.0-2.fc40.x86_64.rpm", "demo", "1.0"),
        ("demo_1.0-1_all.deb", "demo", "1.0"),
        ("demo_1.0_amd64.deb", "demo", "1.0"),
        ("demo-1.0+ubuntu~1.deb", "demo", None),
        ("demo-1.0.linux-x86_64.tar.gz", "demo", "1.0"),
        ("demo-1.0.win-amd64.zip", "demo", "1.0"),
        ("demo-1.0.macosx-14.0-arm64.tar.gz", "demo", "1.0"),
        ("demo-1.0.tlz", "demo", "1.0"),
        ("demo-1.0.tar.zst", "demo", "1.0"),
        ("demo-1.0.tar.gz", "other", None),
        ("demo.whl", "demo", None),
        ("demo-1.0", "demo", None),
        ("", "demo", None),
    ],
)
def test_the_version_in_a_file_name(filename: str, project: str, version: str | None) -> None:
    assert version_of_filename(filename, project) == version


@given(strategies.project_names(), strategies.versions())
def test_the_version_of_an_ordinary_file_is_found_whatever_the_project_is_called(project: str, version: str) -> None:
    stem = project.replace("-", "_")
    assert version_of_filename(f"{stem}-{version}-py3-none-any.whl", project) == version
    assert version_of_filename(f"{stem}-{version}.tar.gz", project) == version


@pytest.mark.parametrize(
    ("filename", "project"),
    [
        ("Demo_Kit-1.0-py3-none-any.whl", "demo-kit"),
        ("demo-kit-1.0.tar.gz", "demo-kit"),
        ("demo.tar.gz", None),
        ("demo", None),
        ("-1.0.tar.gz", None),
    ],
)
def test_the_project_in_a_file_name(filename: str, project: str | None) -> None:
    assert project_of_filename(filename) == project


@given(st.text(max_size=40), strategies.project_names())
def test_no_text_breaks_the_readers_of_file_names(text: str, project: str) -> None:
    version_of_filename(text, project)
    project_of_filename(text)


@pytest.mark.parametrize(("filename", "answer"), [("a-1-py3-none-any.whl", True), ("A.WHL", True), ("a.whl.metadata", False)])
def test_wheels_are_known_by_their_suffix(filename: str, answer: bool) -> None:
    assert is_wheel(filename) is answer


# Distributions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "kind"),
    [
        ("a-1.0-py3-none-any.whl", "wheel"),
        ("a-1.0-py3-none-any.WHL", "wheel"),
        ("a-1.0.tar.gz", "sdist"),
        ("a-1.0.TGZ", "sdist"),
        ("a-1.0.tar.bz2", "sdist"),
        ("a-1.0.zip", "sdist"),
        ("python-linux-procfs-0.6.tar.gz", "sdist"),
        ("win32-1.0.tar.gz", "sdist"),
        ("a.win32.x-1.0.zip", "sdist"),
        ("a-1.0-py3.8.egg", "egg"),
        ("a-1.0.linux-x86_64.tar.gz", "other"),
        ("a-1.0.win-amd64.zip", "other"),
        ("a-1.0.win32.zip", "other"),
        ("a-1.0.macosx-10.9-x86_64.tar.gz", "other"),
        ("a-1.0.win-amd64-py3.8.exe", "other"),
        ("a-1.0-1.noarch.rpm", "other"),
        ("a-1.0.bz2", "other"),
        ("a-1.0.tar.xz", "other"),
        ("", "other"),
    ],
)
def test_the_name_of_a_file_says_what_it_is(filename: str, kind: str) -> None:
    assert kind_of_filename(filename) == kind


@pytest.mark.parametrize(
    ("filename", "is_one"),
    [
        ("a-1.0-py3-none-any.whl", True),
        ("a-1.0-7-py3-none-any.whl", True),
        ("a-1.0-7b-py3-none-any.whl", True),
        ("a-1.0-b7-py3-none-any.whl", False),
        ("a-1.0.whl", False),
        ("a-1.0-py3.whl", False),
        ("a--py3-none-any.whl", False),
        ("a-b-1.0-7-py3-none-any.whl", False),
        ("a-1.0-py3-none-any.zip", False),
    ],
)
def test_a_wheels_name_has_its_parts(filename: str, is_one: bool) -> None:
    assert is_wheel_name(filename) is is_one


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("1.0", "1.00", True),
        ("1.0", "1", True),
        ("1.0", "v1.0", True),
        ("1.0rc1", "1.0-RC-1", True),
        ("1.0.post1", "1.0-1", True),
        ("1.0_custom", "1.0-custom", True),
        ("1.0+a.b", "1.0+a-b", True),
        ("2004d", "2004d", True),
        ("1.0", "1.0.1", False),
        ("1.0", "1!1.0", False),
        ("1.0", "1.0+x", False),
        ("2004d", "2004D", False),
        ("9" * 5000, "9" * 5000, False),
        ("", "", True),
    ],
)
def test_versions_are_the_same_in_any_spelling(one: str, other: str, is_same: bool) -> None:
    assert is_same_version(one, other) is is_same


def test_an_sdist_has_a_dash_before_its_version_as_for_installers() -> None:
    assert is_of_project("a-1.0.tar.gz", "a")
    assert is_of_version("a-1.0.tar.gz", "a", "1")
    assert not is_of_project("a-1.0.tar.gz", "a-1"), "it is not 0 of a-1"
    assert not is_of_project("a_1.0.tar.gz", "a")
    assert not is_of_version("a.1.0.tar.gz", "a", "1.0")


@given(st.text(max_size=60), st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_told_apart(filename: str, project: str, version: str) -> None:
    kind_of_filename(filename)
    assert is_of_project(filename, project) in (True, False)
    assert is_of_version(filename, project, version) in (True, False)
    assert is_same_version(version, project) in (True, False)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("4.1", "4.1.0", True), ("4.1", "v4.1", True), ("1.0rc1", "1.0.c_1", True), ("0", "0.0", True), ("1!1.0", "1!1", True),
        ("1.0-1", "1.0_post1", True), ("1.0+a.b", "1+A-b", True), ("01.0", "1", True),
        ("4.10", "4.1", False), ("4.1", "1!4.1", False), ("1.0a", "1.0", False), ("odd", "odd.0", False), ("10", "1.0", False),
    ],
)  # fmt: skip
def test_versions_are_compared_by_PEP_440_and_others_as_they_are_written(one: str, other: str, is_same: bool) -> None:
    assert (comparable_version(one) == comparable_version(other)) is is_same
    assert find_version(one, ["0.1", other]) == (other if is_same else None)
    assert find_version(one, [other, one]) == one
