"""Pages for people: the server, users, indexes, errors, and the files that all pages use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from selectolax.lexbor import LexborHTMLParser

from tests.web.web_asking import Person, add_stage, logged_in, nobody
from tests.web.web_uploads import upload, wheel
from tests.web.web_wire import JSON_PAGE, Answer
from tests.web.web_world import MIRROR, MakeWorld, World, link
from twistpi.web.browser.drawing import Box, columns_of, draw_inheritance

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
UV = f"{JSON_PAGE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"


def page(person: Person, path: str, status: int = 200, **headers: str) -> LexborHTMLParser:
    answer = person.get(path, accept=BROWSER, **headers)
    assert (answer.status, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    return LexborHTMLParser(answer.content)


def links(parsed: LexborHTMLParser) -> set[str]:
    return {node.attributes.get("href") or "" for node in parsed.css("main a")}


@pytest.fixture
def alice(world: World) -> Person:
    world.add_user("alice", "secret", title="Alice's things")
    add_stage(world, bases=[MIRROR])
    return logged_in(world, "alice")


def put(person: Person, name: str, version: str = "1.0", index: str = "alice/dev") -> Answer:
    stem = name.replace("-", "_")
    filename = f"{stem}-{version}-py3-none-any.whl"
    return upload(person, index, filename, wheel(version, name=stem), name=name, version=version, summary=f"About {name}")


def test_the_first_page_shows_indexes_and_the_latest_uploads(world: World, alice: Person) -> None:
    put(alice, "first-thing")
    put(alice, "second-thing")
    shown = page(nobody(world), "/")
    assert {"/alice", "/alice/dev", f"/{MIRROR}", "/alice/dev/second-thing/1.0"} <= links(shown)
    uploads = [node.text(strip=True, separator=" ") for node in shown.css(".uploads li")]
    assert [line.split()[0] for line in uploads] == ["second-thing", "first-thing"]
    assert "by alice" in uploads[0]


def test_nothing_of_a_closed_index_is_on_the_pages_of_others(world: World, alice: Person) -> None:
    add_stage(world, "alice/closed", acl_read=["alice"], title="Hidden plans")
    put(alice, "secret-thing", index="alice/closed")
    add_stage(world, "alice/heir", bases=["alice/closed"])
    for path in ("/", "/alice", "/alice/heir", "/alice/heir?filter=secret", "/alice/close", "/alice/heir/secret-thin"):
        told = nobody(world).get(path, accept=BROWSER).content
        assert b"secret-thing" not in told, path
        assert b"Hidden plans" not in told, path
    refused = page(nobody(world), "/alice/closed", 403)
    assert any(href.startswith("/+login?next=") for href in links(refused))
    assert "/alice/closed/secret-thing" in links(page(alice, "/alice/closed"))


def test_an_index_lists_its_own_projects_filtered_sorted_and_in_parts(world: World, alice: Person) -> None:
    for number in range(60):
        put(alice, f"thing-{number:02}")
    first = page(nobody(world), "/alice/dev")
    rows = [node.text(strip=True) for node in first.css("tbody th")]
    assert rows == [f"thing-{number:02}" for number in range(30)]
    second = page(nobody(world), "/alice/dev?page=2&sort=newest")
    assert [node.text(strip=True) for node in second.css("tbody th")] == [f"thing-{number:02}" for number in reversed(range(30))]
    found = page(nobody(world), "/alice/dev?filter=Thing_07")
    assert [node.text(strip=True) for node in found.css("tbody td.summary")] == ["About thing-07"]
    for odd in ("page=0", "page=x", "page=99999999", "sort=evil", "filter=%ff%00'"):
        assert nobody(world).get(f"/alice/dev?{odd}", accept=BROWSER).status == 200


def test_a_mirror_lists_what_is_stored_and_says_how_its_upstream_is(world: World, alice: Person) -> None:
    one = link("hello-1.0.tar.gz")
    world.list_links("hello", [one])
    world.list_links("unused", [link("unused-1.0.tar.gz")])
    world.cache_file("hello", one, b"bytes")
    shown = page(nobody(world), f"/{MIRROR}")
    assert [node.text(strip=True) for node in shown.css("tbody th")] == ["hello"]
    assert shown.css_first(".health.good") is not None
    world.mirror.failures[MIRROR] = OSError("it is away")
    world.clock.advance(2)
    assert "it is away" in page(nobody(world), f"/{MIRROR}").css(".health.bad")[0].text()


def test_a_page_is_repeated_for_a_moment_until_anything_changes_and_never_to_somebody_else(world: World, alice: Person) -> None:
    add_stage(world, "alice/closed", acl_read=["alice"])
    assert "/alice/closed" in links(page(alice, "/"))
    before = page(nobody(world), "/").html
    world.mirror.failures[MIRROR] = OSError("it is away")
    assert "/alice/closed" not in links(page(nobody(world), "/"))
    assert page(nobody(world), "/").html == before
    put(alice, "first-thing")
    assert page(nobody(world), "/").html != before
    assert 'data-theme="dark"' in (page(nobody(world), "/", cookie="twistpi-theme=dark").html or "")
    assert "/alice/closed" in links(page(alice, "/"))
    assert "/alice/closed" not in links(page(nobody(world), "/"))
    shown = page(nobody(world), f"/{MIRROR}")
    assert "it is away" in shown.css(".health.bad")[0].text()
    world.mirror.failures.clear()
    assert page(nobody(world), f"/{MIRROR}").html == shown.html
    world.clock.advance(2)
    assert page(nobody(world), f"/{MIRROR}").css_first(".health.good") is not None


def test_the_address_is_the_one_by_which_the_reader_came(make_world: MakeWorld) -> None:
    world = make_world(outside_url="https://packages.example/py")
    add_stage(world, "root/dev")
    shown = page(nobody(world), "/py/root/dev")
    assert "https://packages.example/py/root/dev/+simple/" in shown.css(".copyable code")[0].text()
    inside = [href for href in links(shown) if not href.startswith(("?", "#"))]
    assert inside
    assert all(href.startswith("/py/") for href in inside)


@pytest.mark.parametrize("agent", ["pip/26.0 {}", "uv/0.9"])
def test_installers_get_no_page_whatever_they_accept(world: World, agent: str) -> None:
    answer = nobody(world).get(f"/{MIRROR}/", accept=BROWSER, user_agent=agent)
    assert b"/+static/" not in answer.content


def test_a_list_of_types_with_those_of_the_simple_api_is_no_browsers(world: World) -> None:
    add_stage(world, "root/dev")
    assert nobody(world).get("/root/dev/", accept=UV).headers["content-type"] == JSON_PAGE


def test_a_reader_who_signed_in_is_told_who_may_and_nobody_else_is(world: World, alice: Person) -> None:
    add_stage(world, "alice/closed", acl_read=["alice", "carol"])
    world.add_user("bob", "secret")
    shown = page(logged_in(world, "bob"), "/alice/closed", 403)
    assert next(node.text(strip=True) for node in shown.css("main dl dd")) == "alice, carol"
    assert b"carol" not in nobody(world).get("/alice/closed", accept=BROWSER).content


def test_errors_name_what_was_probably_meant(world: World, alice: Person) -> None:
    put(alice, "first-thing")
    assert "/alice/dev" in links(page(nobody(world), "/alice/dve", 404))
    assert "/alice" in links(page(nobody(world), "/alcie", 404))
    assert nobody(world).get("/alice/dve", accept="*/*").headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/alice/dev/+nothing", "/alice/dev/-x-/1.0/+nothing"])
def test_what_is_no_name_is_like_none(world: World, alice: Person, path: str) -> None:
    put(alice, "nothing")
    assert "/alice/dev/nothing" not in links(page(alice, path, 404))


def test_pages_of_many_indexes_with_long_texts_are_small(world: World, alice: Person) -> None:
    for number in range(210):
        before = [f"alice/many-{one:03}" for one in range(number)]
        add_stage(world, f"alice/many-{number:03}", title="t" * 3000, description="d" * 300_000, bases=before[-60:])
    for path in ("/", "/alice", "/alice?page=2", "/alice/many-209"):
        assert len(nobody(world).get(path, accept=BROWSER).content) < 300_000, path
    first, second = links(page(nobody(world), "/alice")), links(page(nobody(world), "/alice?page=2"))
    assert {"/alice/many-000", "?page=2"} <= first
    assert {"/alice/many-209", "?page=1"} <= second
    drawn = page(nobody(world), "/alice/many-209")
    assert len(drawn.css("svg.drawing rect")) == 50
    assert "not drawn" in drawn.text()


def test_the_files_of_pages_are_kept_by_browsers_and_lead_nowhere_else(world: World) -> None:
    shown = page(nobody(world), "/")
    style = shown.css_first("link[rel=stylesheet]")
    assert style is not None
    path = style.attributes["href"] or ""
    answer = nobody(world).get(path)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in answer.headers["cache-control"]
    assert "immutable" not in nobody(world).get(re.sub("static/[0-9a-f]+", "static/000000000000", path)).headers["cache-control"]
    for name in ("nothing.css", "..%2frendering.py", "__init__.py"):
        assert nobody(world).get(f"/+static/000000000000/{name}").status in (400, 404)


def test_a_theme_replaces_templates_and_style(make_world: MakeWorld, tmp_path: Path) -> None:
    (tmp_path / "theme" / "templates").mkdir(parents=True)
    (tmp_path / "theme" / "static").mkdir()
    (tmp_path / "theme" / "templates" / "user.html").write_text(
        '{% extends "base.html" %}{% block content %}<h1>Ours</h1>{% endblock %}'
    )
    (tmp_path / "theme" / "static" / "site.css").write_text("body { color: teal }")
    world = make_world(theme=str(tmp_path / "theme"))
    shown = page(nobody(world), "/root")
    assert shown.css("h1")[0].text() == "Ours"
    style = shown.css("link[rel=stylesheet]")[0].attributes["href"] or ""
    assert nobody(world).get(style).content == b"body { color: teal }"


def test_a_drawing_has_a_column_for_each_step_of_inheritance() -> None:
    boxes = [Box("a/1", ("a/2", "a/3")), Box("a/2", ("r/m",)), Box("a/3", ("r/m", "a/1")), Box("r/m"), Box("a/<b>")]
    assert [[box.name for box in column] for column in columns_of(boxes)] == [["a/1"], ["a/2", "a/3"], ["r/m"]]
    drawing = draw_inheritance([Box("a/1", ("a/<b>",)), Box("a/<b>")])
    assert "<b>" not in drawing
    assert drawing.count("<rect") == 2
    assert drawing.count('class="arrow"') == 1
