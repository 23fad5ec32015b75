"""The facts of a release, from its core metadata."""

from __future__ import annotations

from typing import Any

import pytest

from twistpi.rules.release_facts import NO_FACTS, Dependency, Person, ProjectLink, is_safe_link, release_facts


def facts(**metadata: Any) -> Any:
    return release_facts({"name": "Demo", "version": "1.0", **metadata})


def test_a_release_without_metadata_has_no_facts() -> None:
    assert NO_FACTS.summary == NO_FACTS.license == ""
    assert (NO_FACTS.links, NO_FACTS.dependencies, NO_FACTS.extras) == ((), (), ())
    assert release_facts({}) == NO_FACTS


def test_metadata_of_the_wrong_type_is_left_out() -> None:
    found = facts(summary=7, classifiers={"a": 1}, requires_dist=[None, 3], keywords=None, project_urls=True, description=["x"])
    assert found == facts()


@pytest.mark.parametrize(
    ("author", "email", "people"),
    [
        ("Alice", "alice@example.com", [Person("Alice", "alice@example.com")]),
        ("", "Alice <alice@example.com>", [Person("Alice", "alice@example.com")]),
        (
            "Alice, Bob",
            "Alice <alice@example.com>, b@example.com",
            [Person("Alice, Bob"), Person("Alice", "alice@example.com"), Person("", "b@example.com")],
        ),
        ("Alice", "", [Person("Alice")]),
        ("UNKNOWN", "UNKNOWN", []),
        ("Alice", "not an address", [Person("Alice", "")]),
        ("", '"<b>Eve" <eve"x@example.com>', [Person("<b>Eve")]),
    ],
)
def test_people_are_told_with_their_addresses(author: str, email: str, people: list[Person]) -> None:
    assert list(facts(author=author, author_email=email).authors) == people


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"license_expression": "MIT", "license": "other"}, "MIT"),
        ({"license": "BSD"}, "BSD"),
        ({"license": "The text\nof a license", "classifiers": ["License :: OSI Approved :: MIT License"]}, "MIT License"),
        ({"license": "The text\nof a license"}, "The text"),
        ({"license": "UNKNOWN"}, ""),
    ],
)
def test_the_license_is_told_in_one_line(metadata: dict[str, Any], words: str) -> None:
    assert facts(**metadata).license == words


def test_links_with_well_known_labels_come_first_and_an_address_comes_once() -> None:
    urls = ["Chat, https://chat.example/", "Bug-Tracker, https://bugs.example/", "Source Code, https://code.example/x"]
    found = facts(project_urls=urls, home_page="https://code.example/x/", download_url="https://files.example/")
    assert [(link.label, link.url) for link in found.links] == [
        ("Source", "https://code.example/x"),
        ("Issues", "https://bugs.example/"),
        ("Download", "https://files.example/"),
        ("Chat", "https://chat.example/"),
    ]


@pytest.mark.parametrize("url", ["https://a.example/x?y=1#z", "http://[::1]:80/", "mailto:a@b.example", "HTTPS://a.example"])
def test_addresses_of_the_web_and_of_mail_become_links(url: str) -> None:
    assert is_safe_link(url)
    assert facts(project_urls=[f"Docs, {url}"]).links == (ProjectLink("Documentation", url, True),)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:x", "JaVaScRiPt:x", "java\tscript:x", " javascript:x",
        "data:text/html,x", "vbscript:x", "//a.example", "/x", "x", "file:///x",
        "https:", "https://", "http:/a", "https://a b", "ftp://a.example",
        'https://a.example/"x', "https://a.example/<b>", "mailto:", "http://[::1",
    ],
)  # fmt: skip
def test_other_addresses_do_not(url: str) -> None:
    assert not is_safe_link(url)
    assert not any(link.is_safe for link in facts(project_urls=[f"Docs, {url}"], home_page=url).links if link.url == url)


def test_classifiers_are_grouped() -> None:
    found = facts(classifiers=["Topic :: B", "Framework :: Twisted", "Topic :: A :: C", "Odd"])
    assert found.classifiers == (("Framework", ("Twisted",)), ("Odd", ("Odd",)), ("Topic", ("B", "A :: C")))


@pytest.mark.parametrize(
    ("text", "words"), [("a b  c", ("a", "b", "c")), ("a b, c", ("a b", "c")), (["x", "x"], ("x",)), ("", ())]
)
def test_keywords_are_separated_by_commas_or_else_by_spaces(text: Any, words: tuple[str, ...]) -> None:
    assert facts(keywords=text).keywords == words


def test_dependencies_are_grouped_by_extra() -> None:
    found = facts(
        requires_dist=[
            "Six_Pack[all]>=1,<2",
            "colorama; sys_platform == 'win32'",
            "pytest>=8; extra == 'Test'",
            "tomli; python_version < '3.11' and extra == 'test'",
            "thing @ https://files.example/thing.whl",
            "what is this",
        ],
        provides_extras=["Test", "docs"],
    )
    assert [(one.project, one.extras, one.specifier, one.marker, one.url) for one in found.dependencies] == [
        ("six-pack", ("all",), "<2,>=1", "", ""),
        ("colorama", (), "", 'sys_platform == "win32"', ""),
        ("thing", (), "", "", "https://files.example/thing.whl"),
        ("", (), "", "", ""),
    ]
    assert found.dependencies[-1] == Dependency("what is this")
    assert [(extra, [(one.name, one.marker) for one in of_it]) for extra, of_it in found.extras] == [
        ("test", [("pytest", ""), ("tomli", 'python_version < "3.11"')]),
        ("docs", []),
    ]


def test_a_long_field_is_cut() -> None:
    found = facts(requires_dist=[f"a{number}" for number in range(2000)], summary="x" * 9999)
    assert len(found.dependencies) == 200
    assert len(found.summary) == 2000
