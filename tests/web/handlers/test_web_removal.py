"""Removals over HTTP, and what is left afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from tests.archives.made_archives import zip_of
from tests.web.web_asking import Person, add_stage, logged_in, nobody, serial_of, with_api_token
from tests.web.web_uploads import DEV, NAME, PROD, SDIST, WHEEL, files, path_of, release, sdist, upload, wheel, with_stages
from tests.web.web_wire import Wire
from tests.web.web_world import MIRROR, World, link
from twistpi.model.changes import LinksChanged
from twistpi.model.releases import AttachmentAdded

STAY = "cannot delete version on non-volatile index"


@pytest.fixture
def alice(world: World) -> Person:
    made = with_stages(world)
    for index in (DEV, PROD):
        upload(made, index, WHEEL, wheel())
        upload(made, index, SDIST, sdist())
        upload(made, index, "demo_pkg-2.0.tar.gz", sdist("2.0"), version="2.0")
    return made


def said(answer: Any) -> tuple[int, str]:
    return answer.status, answer.json()["message"]


def page_status(world: World, index: str = DEV) -> int:
    return Wire(world).ask(f"/{index}/+simple/{NAME}/").status


# Files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_file_is_removed_and_its_url_is_gone_at_once(world: World, alice: Person, slash: str) -> None:
    path = path_of(world, DEV, WHEEL)
    for suffix in ("", ".metadata"):
        for _again in range(2):
            assert Wire(world).ask(path + suffix).status == 200
    etag = Wire(world).ask(f"/{DEV}/+simple/{NAME}/").headers["etag"]
    assert said(alice.ask("DELETE", path + slash)) == (200, f"package '{path[1:]}' deleted")
    assert sorted(files(world, DEV)) == [SDIST, "demo_pkg-2.0.tar.gz"]
    assert Wire(world).ask(f"/{DEV}/+simple/{NAME}/", if_none_match=etag).status == 200
    for suffix in ("", ".metadata"):
        assert Wire(world).ask(path + suffix).status == 410
        assert Wire(world).ask(path + suffix, "HEAD").status == 410
    assert said(nobody(world).get(path)) == (410, f"file '{path[1:]}' existed, deleted in later serial")
    assert said(alice.ask("DELETE", path)) == (410, f"file '{path[1:]}' existed, deleted in later serial")
    assert Wire(world).ask(path_of(world, PROD, WHEEL)).status == 200


def test_a_file_that_never_was_is_unknown(world: World, alice: Person) -> None:
    path = f"{DEV}/+f/123/4567890123456/nope-1.0.zip"
    assert said(alice.ask("DELETE", f"/{path}")) == (404, f"package '{path}' doesn't exist")
    assert Wire(world).ask(f"/{path}").status == 404


def test_what_is_not_volatile_goes_by_force_alone(world: World, alice: Person) -> None:
    path = path_of(world, PROD, WHEEL)
    for asked, message in (
        (path, STAY), (f"/{PROD}/+f/123/4567890123456/nope-1.0.zip", STAY),
        (f"/{PROD}/{NAME}/1.0", STAY), (f"/{PROD}/nope/1.0", STAY),
        (f"/{PROD}/{NAME}", f"project '{NAME}' is on non-volatile index {PROD}"),
    ):  # fmt: skip
        assert said(alice.ask("DELETE", asked)) == (403, message)
    assert alice.ask("DELETE", f"{path}?force").status == 200
    assert alice.ask("DELETE", f"/{PROD}/{NAME}/2.0?force=").status == 200
    assert alice.ask("DELETE", f"/{PROD}/{NAME}/?force=1").status == 200
    assert page_status(world, PROD) == 404


def test_the_last_file_takes_its_release_along_and_the_last_release_its_project(world: World, alice: Person) -> None:
    for filename in (WHEEL, SDIST):
        assert alice.ask("DELETE", path_of(world, DEV, filename)).status == 200
    assert set(alice.get(f"/{DEV}/{NAME}").json()["result"]) == {"2.0"}
    assert alice.get(f"/{DEV}/{NAME}/1.0").status == 404
    assert alice.ask("DELETE", path_of(world, DEV, "demo_pkg-2.0.tar.gz")).status == 200
    assert page_status(world) == 404
    assert alice.get(f"/{DEV}").json()["result"]["projects"] == []


def test_documentation_and_test_results_are_removed_by_their_own_paths(world: World, alice: Person) -> None:
    upload(alice, DEV, "docs.zip", zip_of(), action="doc_upload")
    tested = path_of(world, DEV, WHEEL).removeprefix(f"/{DEV}/")
    path = f"{tested}.toxresult-20261122170000-0"
    world.commit(AttachmentAdded(DEV, NAME, "1.0", "toxresult", path.rpartition("/")[2], "f" * 64, 5, path, WHEEL))
    hrefs = {told["rel"]: told["href"].partition(".example")[2] for told in release(alice, DEV)["+links"]}
    for kind in ("doczip", "toxresult"):
        assert said(alice.ask("DELETE", hrefs[kind])) == (200, f"package '{hrefs[kind][1:]}' deleted")
        assert alice.ask("DELETE", hrefs[kind]).status == 410
    assert {told["rel"] for told in release(alice, DEV)["+links"]} == {"releasefile"}


# Releases and projects ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelled", [NAME, "Demo_Pkg"])
def test_a_release_is_removed_with_its_files(world: World, alice: Person, spelled: str) -> None:
    path = path_of(world, DEV, WHEEL)
    assert said(alice.ask("DELETE", f"/{DEV}/{spelled}/1.0/")) == (200, f"project '{NAME}' version '1.0' deleted")
    assert list(files(world, DEV)) == ["demo_pkg-2.0.tar.gz"]
    assert Wire(world).ask(path).status == 410
    message = f"version '1.0' of project '{NAME}' not found on stage '{DEV}'"
    assert said(alice.ask("DELETE", f"/{DEV}/{NAME}/1.0")) == (404, message)
    assert said(alice.ask("DELETE", f"/{DEV}/nope/1.0")) == (404, f"project 'nope' not found on stage '{DEV}'")


@pytest.mark.parametrize("spelled", [NAME, "Demo.Pkg"])
def test_a_project_is_removed_and_no_base_is_touched(world: World, alice: Person, spelled: str) -> None:
    alice.ask("PATCH", f"/{PROD}", [f"bases={DEV}"])
    assert said(alice.ask("DELETE", f"/{PROD}/{spelled}?force")) == (200, f"project {NAME} deleted from stage {PROD}")
    assert page_status(world, PROD) == 200, "the base has it still"
    assert said(alice.ask("DELETE", f"/{PROD}/{NAME}?force")) == (404, "project not found")
    assert len(files(world, DEV)) == 3


def test_a_removal_shows_wherever_the_project_is_inherited(world: World, alice: Person) -> None:
    alice.ask("PUT", "/alice/heir", {"bases": [DEV]})
    assert len(files(world, "alice/heir")) == 3
    alice.ask("DELETE", f"/{DEV}/{NAME}/1.0")
    assert list(files(world, "alice/heir")) == ["demo_pkg-2.0.tar.gz"]
    alice.ask("DELETE", f"/{DEV}/{NAME}")
    assert page_status(world, "alice/heir") == 404


def test_a_mirror_forgets_a_project_and_only_the_bytes_of_files_and_releases(world: World, alice: Person) -> None:
    one = link("hello-1.0.zip", b"x")
    world.list_links("hello", [one])
    path = world.cache_file("hello", one, b"x")
    root = logged_in(world, "root")
    assert alice.ask("DELETE", path).status == 403
    assert root.ask("DELETE", path).status == 200
    assert f"{one.filename}<" in Wire(world).ask(f"/{MIRROR}/+simple/hello/").body.decode()
    world.cache_file("hello", one, b"x")
    assert root.ask("DELETE", f"/{MIRROR}/hello/1.0").status == 200
    assert root.ask("DELETE", path).status == 404, "its bytes are gone already"
    assert alice.ask("DELETE", f"/{MIRROR}/hello").status == 403
    assert said(root.ask("DELETE", f"/{MIRROR}/hello")) == (200, f"project hello deleted from stage {MIRROR}")
    assert Wire(world).ask(f"/{MIRROR}/+simple/hello/").status == 404
    assert Wire(world).ask(path).status == 404
    assert said(root.ask("DELETE", f"/{MIRROR}/hello")) == (404, "project not found")


# Who may -----------------------------------------------------------------------------------------------------------


def test_only_who_may_upload_the_owner_and_root_remove(world: World, alice: Person) -> None:
    world.add_user("bob", None)
    path = path_of(world, DEV, WHEEL)
    before = serial_of(world)
    for asked in (path, f"/{DEV}/{NAME}/1.0", f"/{DEV}/{NAME}", "/alice/none/demo", "/alice/none/demo/1.0"):
        for person in (nobody(world), logged_in(world, "bob")):
            answer = person.ask("DELETE", asked)
            assert answer.status == 403
            assert "no permission to remove anything from alice/" in answer.json()["message"]
    token = with_api_token(world, "alice", "upload", "read")
    assert token.ask("DELETE", path).status == 403
    assert serial_of(world) == before + 1, "the token"
    assert logged_in(world, "root").ask("DELETE", path).status == 200
    assert alice.ask("DELETE", f"/{DEV}/{NAME}").status == 200


# Names that are left to mirrors ------------------------------------------------------------------------------------


OPENED = "mirrors answer for these names now, which no private index has any more and none reserves: demo-pkg in "


def _change(person: Person, index: str, *items: str) -> str:
    answer = person.ask("PATCH", f"/{index}", list(items))
    assert answer.status == 200
    return str(answer.json().get("message", ""))


def test_the_last_file_release_or_base_that_shadows_a_public_name_says_so(world: World, alice: Person) -> None:
    add_stage(world, "alice/team", bases=[DEV, MIRROR])
    assert alice.ask("DELETE", path_of(world, DEV, WHEEL)).json()["message"].endswith("deleted")
    assert alice.ask("DELETE", path_of(world, DEV, SDIST)).json()["message"].endswith("deleted")
    last = alice.ask("DELETE", path_of(world, DEV, "demo_pkg-2.0.tar.gz")).json()["message"]
    assert last.endswith(f"deleted; {OPENED}alice/team")
    assert _change(alice, "alice/team", f"bases={PROD},{MIRROR}") == ""
    assert _change(alice, "alice/team", f"bases={MIRROR}") == f"{OPENED}alice/team"
    assert _change(alice, "alice/team", f"bases={PROD},{MIRROR}", "reserved=demo-*") == ""
    assert _change(alice, "alice/team", f"bases={MIRROR}") == "", "it is reserved"


def test_so_does_the_deletion_of_an_index_or_a_user(world: World, alice: Person) -> None:
    for name in ("bob", "carol"):
        world.add_user(name, None)
    for name in ("bob/base", "bob/gone"):
        add_stage(world, name)
        upload(logged_in(world, "bob"), name, WHEEL, wheel())
    add_stage(world, "carol/one", bases=["bob/gone", MIRROR])
    add_stage(world, "carol/two", bases=["bob/base", MIRROR], acl_read=["carol"])
    bob = logged_in(world, "bob")
    assert bob.ask("DELETE", "/bob/gone").json()["message"] == f"index bob/gone deleted; {OPENED}carol/one"
    told = bob.ask("DELETE", "/bob").json()["message"]
    assert told == "user 'bob' deleted, and the name taken out of bases of carol/one", "what bob may not read is not told"
    config = logged_in(world, "carol").get("/carol/two").json()["result"]
    assert config["bases"] == [MIRROR]


def test_a_reserved_name_never_comes_from_a_mirror(world: World, alice: Person) -> None:
    world.commit(LinksChanged(MIRROR, NAME, (link("demo_pkg-9.0.tar.gz"),)))
    add_stage(world, "alice/team", bases=[DEV, MIRROR])
    assert alice.ask("DELETE", f"/{DEV}/{NAME}").json()["message"].endswith("alice/team")
    assert b"demo_pkg-9.0" in Wire(world).ask(f"/alice/team/+simple/{NAME}/").content
    assert _change(alice, DEV, f"reserved+={NAME}") == ""
    asked = len(world.mirror.asked)
    assert page_status(world, "alice/team") == 404
    assert len(world.mirror.asked) == asked, "no upstream hears the name"
