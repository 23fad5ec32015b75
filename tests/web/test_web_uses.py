"""Where a project is, as a page and as JSON, for those who may read it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.web.browser.browser_asking import page, texts
from tests.web.web_asking import Person, add_stage, logged_in, nobody
from tests.web.web_world import MIRROR, World, link
from twistpi.model.releases import FileUploaded, ReleaseDescribed


@pytest.fixture
def world(world: World) -> World:
    """A mirror with ``hello``, and the closed index ``corp/closed`` whose ``app`` requires it; alice may read that."""
    for name in ("corp", "alice"):
        world.add_user(name, f"{name}-password")
    add_stage(world, "corp/closed", acl_read=["alice"])
    hello = link("hello-1.0.tar.gz", b"hello")
    world.list_links("hello", [hello, link("hello-2.0.tar.gz", b"more")])
    world.cache_file("hello", hello, b"hello")
    world.commit(
        ReleaseDescribed("corp/closed", "app", "1", {"name": "app", "version": "1", "requires_dist": ["hello>=1"]}),
        FileUploaded("corp/closed", "app", "1", "app-1.tar.gz", "0" * 64, 1),
    )
    return world


def asked(person: Person, project: str) -> dict[str, Any]:
    answer = person.get(f"/+uses?project={project}")
    assert answer.status == 200
    told = json.loads(answer.body)
    assert told["type"] == "uses"
    found: dict[str, Any] = told["result"]
    return found


def test_programs_are_told_what_the_caller_may_read_and_nothing_else(world: World) -> None:
    told = asked(logged_in(world, "alice"), "Hello")
    assert [(one["index"], len(one["files"]), one["not_here"]) for one in told["indexes"]] == [(MIRROR, 1, 1)]
    assert [(one["index"], one["project"], one["requirement"]) for one in told["dependents"]] == [
        ("corp/closed", "app", "hello>=1")
    ]
    assert asked(nobody(world), "hello")["dependents"] == []
    assert asked(nobody(world), "app")["indexes"] == []


def test_a_version_may_be_named(world: World) -> None:
    assert [file["filename"] for file in asked(nobody(world), "hello%3D%3D1.0")["indexes"][0]["files"]] == ["hello-1.0.tar.gz"]
    assert asked(nobody(world), "hello%3D%3D7")["indexes"] == []


@pytest.mark.parametrize("project", ["", "hello%2A", "hello%3D%3D", "..%2F.."])
def test_what_names_no_project_is_refused(world: World, project: str) -> None:
    assert nobody(world).get(f"/+uses?project={project}").status == 400


def test_people_see_a_page_with_links_to_indexes_and_releases(world: World) -> None:
    shown = page(logged_in(world, "alice"), "/+uses?project=hello")
    assert texts(shown, "h1") == ["Where is hello?"]
    assert texts(shown, "h3") == ["root/pypi mirror"]
    assert [row.css("a")[0].attributes["href"] for row in shown.css("#dependents ~ .scroll tbody tr")] == ["/corp/closed/app/1"]
    assert texts(page(nobody(world), "/+uses?project=app"), "section p")[0] == "No index that you may read has it."


def test_a_page_without_a_project_is_a_form_and_a_wrong_name_is_explained_there(world: World) -> None:
    assert texts(page(nobody(world), "/+uses"), "h1") == ["Where is it?"]
    answer = nobody(world).get("/+uses?project=hello%2A", accept="text/html")
    assert answer.status == 400
    assert b"names more than one project" in answer.body
