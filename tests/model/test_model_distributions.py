from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.model.names import is_of_project, is_of_version, is_same_version, is_wheel_name, kind_of_filename


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
