"""Requirements of releases, as their metadata has them."""

from __future__ import annotations

import pytest
from packaging.version import Version

from twistpi.rules.dependencies import Dependency, dependencies_on


@pytest.mark.parametrize(
    ("text", "project", "extras", "marker"),
    [
        ("Hello_World", "hello-world", (), ""),
        ("hello[tls,cli]>=1; extra == 'docs'", "hello", ("cli", "tls"), 'extra == "docs"'),
        ("hello (>=1)", "hello", (), ""),
        ("hello @ https://files.example/hello.tar.gz", "hello", (), ""),
    ],
)
def test_name_extras_and_marker_of_a_requirement_are_read(text: str, project: str, extras: tuple[str, ...], marker: str) -> None:
    found = Dependency.parse(text)
    assert found is not None
    assert (found.project, found.text, found.extras, found.marker) == (project, text, extras, marker)


@pytest.mark.parametrize("text", ["hello>=1.*", "hello >= what, 2", "Hello; (broken"])
def test_of_a_requirement_that_no_installer_reads_the_name_is_known_and_it_may_mean_any_version(text: str) -> None:
    found = Dependency.parse(text)
    assert found is not None
    assert found.project == "hello"
    assert found.admits([Version("0.1")])


@pytest.mark.parametrize("text", ["", "  ", "@@@", "-r other.txt"])
def test_what_names_no_project_is_no_requirement(text: str) -> None:
    assert Dependency.parse(text) is None


def test_a_requirement_admits_the_versions_of_its_specifiers_prereleases_too() -> None:
    found = Dependency.parse("hello>=1,<2")
    assert found is not None
    assert found.admits([Version("3"), Version("1.5rc1")])
    assert not found.admits([Version("2")])


def test_a_name_that_only_begins_alike_is_another_project() -> None:
    required = ["hello-world", "Hello>=1", "othello", "hello[tls]; extra == 'tls'"]
    assert [one.text for one in dependencies_on("hello", required)] == ["Hello>=1", "hello[tls]; extra == 'tls'"]
