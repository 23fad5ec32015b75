"""Yanked files and the status of projects over HTTP, and how pages show them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.web_asking import Person, logged_in, nobody, serial_of
from tests.web.web_uploads import DEV, NAME, PROD, SDIST, WHEEL, files, page, path_of, release, sdist, upload, wheel, with_stages
from tests.web.web_wire import Wire
from tests.web.web_world import MIRROR, World, link

RELEASE = f"/{DEV}/{NAME}/1.0/+yank"
STATUS = f"/{DEV}/{NAME}/+status"


@pytest.fixture
def alice(world: World) -> Person:
    made = with_stages(world)
    upload(made, DEV, WHEEL, wheel())
    upload(made, DEV, SDIST, sdist())
    return made


def yanked(world: World) -> list[Any]:
    """What the page says of the wheel and of the sdist."""
    told = files(world, DEV)
    return [told[name].get("yanked", False) for name in (WHEEL, SDIST)]


@pytest.mark.parametrize("slash", ["", "/"])
def test_R55_a_release_is_yanked_with_a_reason_and_not_any_more(world: World, alice: Person, slash: str) -> None:
    etag = Wire(world).ask(f"/{DEV}/+simple/{NAME}/").headers["etag"]
    assert alice.ask("PUT", RELEASE + slash, {"reason": 'broken "on" <x>'}).status == 200
    assert yanked(world) == ['broken "on" <x>'] * 2
    shown = Wire(world).ask(f"/{DEV}/+simple/{NAME}/", if_none_match=etag)
    assert shown.status == 200
    assert shown.content.count(b'data-yanked="broken') == 2
    assert release(alice, DEV)["yanked"] == 'broken "on" <x>'
    before = serial_of(world)
    assert alice.ask("PUT", RELEASE, {"reason": 'broken "on" <x>'}).status == 200
    assert serial_of(world) == before, "nothing had to change"
    assert alice.ask("DELETE", RELEASE + slash).status == 200
    assert yanked(world) == [False, False]
    assert Wire(world).ask(f"/{DEV}/+simple/{NAME}/").headers["etag"] == etag


def test_a_single_file_is_yanked_without_a_reason(world: World, alice: Person) -> None:
    path = f"{path_of(world, DEV, WHEEL)}/+yank"
    assert alice.ask("PUT", path).json()["message"] == f"file {WHEEL} on {DEV} is yanked"
    assert yanked(world) == [True, False]
    assert Wire(world).ask(path_of(world, DEV, WHEEL)).status == 200, "who names its version still gets it"
    assert alice.ask("DELETE", path).json()["message"] == f"file {WHEEL} on {DEV} is not yanked any more"
    assert yanked(world) == [False, False]


def test_yanking_stays_possible_where_nothing_may_be_replaced(world: World, alice: Person) -> None:
    upload(alice, PROD, WHEEL, wheel())
    assert alice.ask("PUT", f"/{PROD}/{NAME}/1.0/+yank").status == 200
    assert files(world, PROD)[WHEEL]["yanked"] is True


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"/{DEV}/{NAME}/9.9/+yank", {}, 404),
        (f"/{DEV}/nope/1.0/+yank", {}, 404),
        (f"/{DEV}/+f/123/4567890123456/{WHEEL}/+yank", {}, 404),
        (f"/{MIRROR}/hello/1.0/+yank", {}, 400),
        (RELEASE, {"reasons": "x"}, 400),
        (RELEASE, {"reason": 1}, 400),
        (RELEASE, [], 400),
        (RELEASE, b"{", 400),
        (STATUS, {"status": "gone"}, 400),
        (STATUS, {"reason": "x"}, 400),
        (f"/{DEV}/nope/+status", {"status": "archived"}, 404),
        (f"/{MIRROR}/hello/+status", {"status": "archived"}, 400),
    ],
)
def test_what_cannot_be_marked_is_refused(world: World, alice: Person, path: str, body: Any, status: int) -> None:
    world.list_links("hello", [link("hello-1.0.zip")])
    before = serial_of(world)
    answer = logged_in(world, "root").ask("PUT", path, body)
    assert (answer.status, serial_of(world)) == (status, before)
    assert answer.json()["message"]


def test_a_removed_file_is_gone_for_yanking_too(world: World, alice: Person) -> None:
    path = path_of(world, DEV, WHEEL)
    alice.ask("DELETE", path)
    assert alice.ask("PUT", f"{path}/+yank").status == 410


@pytest.mark.parametrize("status", ["archived", "deprecated", "active"])
def test_a_project_has_a_status_on_its_pages(world: World, alice: Person, status: str) -> None:
    assert alice.get(STATUS).json() == {"type": "projectstatus", "result": {"status": None, "reason": None}}
    assert alice.ask("PUT", STATUS, {"status": status, "reason": "so <it> is"}).status == 200
    assert page(world, DEV)["project-status"] == {"status": status, "reason": "so <it> is"}
    html = Wire(world).ask(f"/{DEV}/+simple/{NAME}/").content.decode()
    assert f'<meta name="pypi:project-status" content="{status}">' in html
    assert nobody(world).get(STATUS).json()["result"] == {"status": status, "reason": "so <it> is"}
    assert alice.ask("DELETE", STATUS).status == 200
    assert "project-status" not in page(world, DEV)


def test_R63_a_project_in_quarantine_offers_no_file(world: World, alice: Person) -> None:
    path = path_of(world, DEV, WHEEL)
    for _again in range(2):
        assert Wire(world).ask(path).status == 200
    assert alice.ask("PUT", STATUS, {"status": "quarantined"}).status == 200
    assert page(world, DEV)["files"] == []
    for suffix in ("", ".metadata"):
        assert Wire(world).ask(path + suffix).status == 404
    told = release(alice, DEV)
    assert (told["name"], "+links" in told) == (NAME, False)
    assert alice.ask("DELETE", STATUS).status == 200
    assert Wire(world).ask(path).status == 200


def test_quarantine_is_for_who_may_change_the_index(world: World, alice: Person) -> None:
    world.add_user("bob", None)
    alice.ask("PATCH", f"/{DEV}", ["acl_upload+=bob"])
    bob = logged_in(world, "bob")
    assert bob.ask("PUT", STATUS, {"status": "archived"}).status == 200
    assert bob.ask("PUT", STATUS, {"status": "quarantined"}).status == 403
    assert alice.ask("PUT", STATUS, {"status": "quarantined"}).status == 200
    for answer in (bob.ask("DELETE", STATUS), bob.ask("PUT", STATUS, {"status": "active"})):
        assert answer.status == 403
    assert alice.ask("DELETE", STATUS).status == 200


def test_only_who_may_remove_may_mark(world: World, alice: Person) -> None:
    world.add_user("carol", None)
    before = serial_of(world)
    for person in (nobody(world), logged_in(world, "carol")):
        for path, body in ((RELEASE, {}), (STATUS, {"status": "archived"}), (f"{path_of(world, DEV, WHEEL)}/+yank", {})):
            assert person.ask("PUT", path, body).status == 403
            assert person.ask("DELETE", path).status == 403
    assert serial_of(world) == before


def test_an_unknown_index_is_refused_before_anything_else(world: World, alice: Person) -> None:
    assert alice.ask("PUT", f"/alice/none/{NAME}/1.0/+yank").status == 403
    assert alice.get(f"/alice/none/{NAME}/+status").status == 404
    assert alice.get(f"/{DEV}/nope/+status").status == 404
