"""Dependency confusion, over HTTP: who answers when a private and a public project have one name."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import pytest
from twisted.internet.defer import Deferred

from tests.rules.confusion_cases import CASES, Case
from tests.web.web_asking import nobody
from tests.web.web_wire import HTML_PAGE, JSON_PAGE, Wire
from tests.web.web_world import MIRROR, World, link
from twistpi.model.changes import IndexCreated, IndexDeleted, IndexModified, LinksChanged

CASES_PARAMETER = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def filename(index: str) -> str:
    """The file of ``demo`` that ``index`` has, and no other."""
    return f"demo-1.0+{index.replace('/', '.')}-py3-none-any.whl"


def set_up(world: World, case: Case, project: str = "demo") -> None:
    world.commit(IndexDeleted(MIRROR))
    for name, config in case.indexes.items():
        world.commit(IndexCreated(name, config))
        if config["type"] == "mirror" or name in case.private:
            world.list_links(project, [link(filename(name))], index=name)


def owners(case: Case, urls: list[str]) -> tuple[str, ...]:
    """The indexes that the links on a page lead to."""
    found = [urljoin(f"/{case.asked}/+simple/demo/", url).lstrip("/").partition("/+f/")[0] for url in urls]
    return tuple(found)


@CASES_PARAMETER
@pytest.mark.parametrize("fast", [True, False])
def test_R66_pages_list_just_who_may_answer(world: World, case: Case, *, fast: bool) -> None:
    set_up(world, case)
    wire = Wire(world, fast=fast)
    for _ in range(2):
        page = wire.ask(f"/{case.asked}/+simple/demo/", accept=JSON_PAGE).json()
        assert owners(case, [file["url"] for file in page["files"]]) == case.answers
        markup = wire.ask(f"/{case.asked}/+simple/demo/", accept=HTML_PAGE).body.decode()
        assert owners(case, re.findall(r'href="([^"#]+)', markup)) == case.answers


@CASES_PARAMETER
def test_R66_json_tells_the_releases_of_just_those(world: World, case: Case) -> None:
    set_up(world, case)
    person = nobody(world)
    releases = person.get(f"/{case.asked}/demo").json()["result"]
    versions = {f"1.0+{name.replace('/', '.')}" for name in case.answers}
    assert set(releases) == versions
    for name in case.indexes:
        version = f"1.0+{name.replace('/', '.')}"
        assert person.get(f"/{case.asked}/demo/{version}").status == (200 if version in versions else 404)


@CASES_PARAMETER
def test_R66_a_mirror_that_must_stay_silent_is_not_even_asked(world: World, case: Case) -> None:
    set_up(world, case)
    person = nobody(world)
    for path in ("+simple/demo/", "demo", "demo/1.0"):
        person.get(f"/{case.asked}/{path}")
    person.ask("POST", f"/{case.asked}/+simple/demo/refresh")
    asked = {index for index, _project, _force in world.mirror.asked}
    assert asked == {name for name in case.answers if case.indexes[name]["type"] == "mirror"}


@CASES_PARAMETER
def test_R66_another_project_comes_from_mirrors_all_the_same(world: World, case: Case) -> None:
    set_up(world, case)
    for name, config in case.indexes.items():
        if config["type"] == "mirror":
            world.list_links("free", [link("free-1.0.tar.gz")], index=name)
    answer = nobody(world).get(f"/{case.asked}/+simple/free/", accept=JSON_PAGE)
    assert [file["filename"] for file in answer.json()["files"]] == ["free-1.0.tar.gz"]


STAGE = {"type": "stage", "bases": [MIRROR], "mirror_whitelist": [], "mirror_whitelist_inheritance": "intersection"}


@pytest.fixture
def dev(world: World) -> World:
    """``root/dev`` inherits from the mirror, which has ``demo``."""
    world.commit(IndexCreated("root/dev", STAGE))
    world.list_links("demo", [link(filename(MIRROR))])
    return world


def shown(world: World, accept: str = JSON_PAGE) -> list[str]:
    answer = Wire(world).ask("/root/dev/+simple/demo/", accept=accept)
    return [file["filename"] for file in answer.json()["files"]]


def test_R66_a_mere_registration_without_files_silences_mirrors(dev: World) -> None:
    dev.list_links("demo", [], index="root/dev")
    assert shown(dev) == []
    assert ["+links" in told for told in nobody(dev).get("/root/dev/demo").json()["result"].values()] == [False]


def test_R66_a_name_becomes_private_at_once_and_stops_being_so(dev: World) -> None:
    assert shown(dev) == [filename(MIRROR)]
    dev.list_links("demo", [link(filename("root/dev"))], index="root/dev")
    assert shown(dev) == [filename("root/dev")]
    dev.commit(IndexModified("root/dev", {"mirror_whitelist": ["demo"]}))
    assert shown(dev) == [filename("root/dev"), filename(MIRROR)]
    dev.commit(IndexModified("root/dev", {"mirror_whitelist": []}))
    assert shown(dev) == [filename("root/dev")]
    dev.commit(IndexDeleted("root/dev"), IndexCreated("root/dev", STAGE))
    assert shown(dev) == [filename(MIRROR)]


def test_R66_a_name_that_becomes_private_while_the_mirror_is_asked_is_private(dev: World) -> None:
    dev.mirror.gate = Deferred()
    wire = Wire(dev)
    assert wire.send(b"GET /root/dev/+simple/demo/ HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    dev.list_links("demo", [link(filename("root/dev"))], index="root/dev")
    dev.mirror.gate.callback(None)
    answer = bytes(wire.transport.value())
    assert filename("root/dev").encode() in answer
    assert filename(MIRROR).encode() not in answer


def test_the_list_of_names_is_not_filtered(dev: World) -> None:
    dev.list_links("demo", [], index="root/dev")
    dev.commit(IndexModified(MIRROR, {"mirror_no_project_list": True}))
    dev.commit(LinksChanged(MIRROR, "other"))
    answer = Wire(dev).ask("/root/dev/+simple/", accept=JSON_PAGE)
    assert [project["name"] for project in answer.json()["projects"]] == ["demo", "other"]


def test_files_are_not_blocked_by_their_names(dev: World) -> None:
    body = b"bytes"
    path = dev.cache_file("demo", link(filename(MIRROR), body), body)
    dev.list_links("demo", [], index="root/dev")
    assert Wire(dev).ask(path).body == body, "lock files hold such addresses"
