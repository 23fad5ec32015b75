"""Which versions here an advisory affects, as a page, as JSON and as CSV, for those who may read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.inventory.advisories import store_of
from tests.web.browser.browser_asking import page, texts
from tests.web.web_asking import Person, add_mirror, add_stage, logged_in, nobody
from tests.web.web_world import MIRROR, MakeWorld, World, link
from twistpi.advisories.service import Advisories

HELLO, EVIL = link("hello-1.0.tar.gz", b"hello"), link("evil-6.6.tar.gz", b"evil")
CLOSED = "alice/mirror"


@pytest.fixture
def world(make_world: MakeWorld, tmp_path: Path) -> Iterator[World]:
    """An open mirror with ``hello``, a closed one of alice's with ``evil``, and advisories about both."""
    store, accepted = store_of(tmp_path)
    world = make_world(advisories=Advisories(store))
    world.commit(accepted)
    world.add_user("alice", None)
    add_mirror(world, CLOSED, acl_read=["alice"])
    add_stage(world, "alice/dev", bases=[CLOSED])
    for index, project, one in ((MIRROR, "hello", HELLO), (CLOSED, "evil", EVIL)):
        world.list_links(project, [one], index=index)
        world.cache_file(project, one, project.encode(), index)
    yield world
    store.close()


def affected(person: Person, query: str = "") -> list[str]:
    answer = person.get(f"/+audit{query}")
    assert answer.status == 200, answer.body
    told: dict[str, Any] = json.loads(answer.body)
    assert (told["type"], told["result"]["advisories"]) == ("audit", 4)
    return [f"{one['index']} {one['project']} {one['version']}" for one in told["result"]["affected"]]


def test_programs_are_told_what_the_caller_may_read_and_nothing_else(world: World) -> None:
    assert affected(logged_in(world, "alice")) == [f"{CLOSED} evil 6.6", f"{MIRROR} hello 1.0"]
    assert affected(nobody(world)) == [f"{MIRROR} hello 1.0"]


def test_index_and_severity_choose(world: World) -> None:
    alice = logged_in(world, "alice")
    assert affected(alice, "?index=alice/dev") == [f"{CLOSED} evil 6.6"]
    assert affected(alice, "?severity=malware") == [f"{CLOSED} evil 6.6"]
    assert affected(alice, "?severity=critical&index=root/pypi") == []


@pytest.mark.parametrize(
    ("query", "status"), [("?severity=bad", 400), ("?format=xml", 400), ("?index=no/one", 404), ("?index=alice/mirror", 401)]
)
def test_what_cannot_be_answered_is_refused(world: World, query: str, status: int) -> None:
    assert nobody(world).get(f"/+audit{query}").status == status


def test_tables_are_for_spreadsheets(world: World) -> None:
    answer = nobody(world).get("/+audit?format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.body.decode().splitlines() == [
        "index,project,version,files,downloads,advisory,malware,severity,fixed,published,summary",
        "root/pypi,hello,1.0,1,0,GHSA-1,no,high,2.0,2026-01-02T00:00:00Z,it leaks",
    ]
    assert nobody(world).get("/+audit", accept="text/csv").body == answer.body


def test_people_see_a_page_with_what_is_known_against_each_version(world: World) -> None:
    shown = page(logged_in(world, "alice"), "/+audit")
    assert texts(shown, "h1") == ["Affected versions 2"]
    assert texts(shown, "tbody th") == ["evil 6.6 where is it?", "hello 1.0 where is it?"]
    assert texts(shown, "tbody li") == ["MAL-3 malware it steals", "GHSA-1 high fixed in 2.0 it leaks"]
    assert shown.css("tbody th a")[1].attributes["href"] == "/+uses?project=evil%3D%3D6.6"


def test_a_new_file_is_in_the_audit_after_half_a_minute_and_new_advisories_at_once(world: World, tmp_path: Path) -> None:
    person = nobody(world)
    assert affected(person) == [f"{MIRROR} hello 1.0"]
    more = link("hello-1.7.tar.gz", b"more")
    world.list_links("hello", [more])
    world.cache_file("hello", more, b"more")
    assert affected(person) == [f"{MIRROR} hello 1.0"]
    world.clock.advance(30)
    assert affected(person) == [f"{MIRROR} hello 1.0", f"{MIRROR} hello 1.7"]
    world.components.advisories.store.close()
    answer = json.loads(person.get("/+audit").body)["result"]
    assert answer == {"advisories": 0, "affected": []}
    assert "has no advisories, so nothing is known" in " ".join(texts(page(person, "/+audit"), ".notice"))
