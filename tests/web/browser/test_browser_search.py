"""The page of results: what matched is marked, and nothing in it can do anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser

from tests.search.search_setup import SearchWorld
from tests.web.web_asking import Person, logged_in, nobody

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SearchWorld]:
    with closing(SearchWorld(str(tmp_path))) as made:
        made.add_user("alice", "secret")
        made.add_stage("alice/dev")
        made.add_stage("alice/closed", acl_read=["alice"])
        yield made


def page(who: Person, query: str) -> Any:
    """The elements of a page of results."""
    answer = who.get(f"/+search?query={query}", **HTML)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return LexborHTMLParser(answer.body.decode())


def test_what_matched_is_marked_and_what_authors_write_is_text(world: SearchWorld) -> None:
    world.upload("alice/dev", "Hello", "1.0", {"summary": "<b>bold</b> & <script>alert(1)</script>", "keywords": '"><img src=x>'})
    world.settle()
    found = page(nobody(world), "bold+img")
    assert [mark.text() for mark in found.css("main mark")] == ["bold", "img"]
    assert found.css("main b, main script, main img") == []
    assert [link.attributes["href"] for link in found.css(".hits h2 a")] == ["/alice/dev/hello"]


def test_the_query_is_repeated_as_text(world: SearchWorld) -> None:
    found = page(nobody(world), "%3Cscript%3E%22%27%26")
    assert found.css("main script") == []
    assert "<script>\"'&" in found.css_first("h1").text()
    assert found.css_first("#search").attributes["value"] == "<script>\"'&"
    assert "did not match anything" in found.css_first("main").text()


def test_only_those_who_may_read_an_index_find_what_is_in_it(world: SearchWorld) -> None:
    world.upload("alice/closed", "hidden", "1.0", {"summary": "Nobody knows"})
    world.settle()
    assert "hidden" not in page(nobody(world), "nobody").css_first("main").text()
    assert "hidden" in page(logged_in(world, "alice"), "nobody").css_first("main").text()


def test_a_search_within_an_index_finds_what_it_has_and_inherits(world: SearchWorld) -> None:
    world.add_stage("alice/heir", bases=["alice/dev", "alice/closed"])
    world.add_stage("alice/other")
    for index in ("alice/dev", "alice/heir", "alice/other", "alice/closed"):
        world.upload(index, f"thing-{index[6:]}", "1.0", {})
    world.settle()

    def found(who: Person) -> set[str]:
        return {link.text() for link in page(who, "thing&within=alice/heir").css(".hits h2 a")}

    assert found(nobody(world)) == {"thing-dev", "thing-heir"}
    assert found(logged_in(world, "alice")) == {"thing-dev", "thing-heir", "thing-closed"}
    assert nobody(world).get("/+search?query=thing&within=alice/closed", **HTML).status == 403
    assert nobody(world).get("/+search?query=thing&within=alice/nothing", **HTML).status == 404


def test_many_results_are_paged(world: SearchWorld) -> None:
    for number in range(12):
        world.upload("alice/dev", f"many-{number:02}", "1.0")
    world.settle()
    assert len(page(nobody(world), "many").css(".hits > li")) == 10
    second = page(nobody(world), "many&page=2")
    assert (len(second.css(".hits > li")), second.css_first("ol").attributes["start"]) == (2, "11")
    assert page(nobody(world), "many&page=x").css_first(".pager").text().split() == ["Page", "1", "of", "2", "Next"]


@pytest.mark.parametrize("path", ["/+search?query=x", "/+searchhelp"])
@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_programs_find_no_page(world: SearchWorld, path: str, accept: str) -> None:
    assert nobody(world).get(path, accept=accept).status == 404


def test_there_is_help(world: SearchWorld) -> None:
    assert "How to search" in nobody(world).get("/+searchhelp", **HTML).body.decode()
