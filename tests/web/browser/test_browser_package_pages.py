"""The pages of projects and releases: what they show, and to whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.fakes.wheels import make_wheel, metadata
from tests.web.browser.browser_asking import BROWSER, links, page, texts
from tests.web.web_asking import Person, add_stage, logged_in, nobody, signed_in
from tests.web.web_uploads import upload
from tests.web.web_world import MIRROR, MakeWorld, World, link
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.model.changes import Change
from twistpi.model.codec import encode_content
from twistpi.model.records import PageHeader
from twistpi.model.releases import FileUploaded, FileYanked, ProjectMarked, ReleaseDescribed

DEV, BASE = "alice/dev", "alice/base"
WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def alice(world: World) -> Person:
    world.add_user("alice", "secret")
    add_stage(world, BASE, bases=[MIRROR])
    add_stage(world, DEV, bases=[BASE])
    return logged_in(world, "alice")


def release(world: World, version: str, index: str = DEV, project: str = "demo", **fields: Any) -> None:
    """A release with a file."""
    world.list_links(project, [link(f"{project}-{version}.tar.gz")], index=index)
    if fields:
        world.commit(ReleaseDescribed(index, project, version, fields))


# Projects ----------------------------------------------------------------------------------------------------------


def test_a_project_lists_its_versions_and_says_which_is_the_newest(world: World, alice: Person) -> None:
    for version in ("1.0", "1.10", "1.9", "2.0rc1"):
        release(world, version, summary=f"Summary of {version}")
    world.commit(FileYanked(DEV, "demo", "demo-1.9.tar.gz", "it <b>breaks</b>"))
    shown = page(nobody(world), f"/{DEV}/demo")
    assert texts(shown, "h1") == ["demo 1.10"]
    assert texts(shown, ".lead") == ["Summary of 1.10"]
    assert texts(shown, ".versions .name") == ["1.10 newest", "1.9 yanked", "1.0", "2.0rc1 pre-release"]
    assert texts(shown, ".versions .reason") == ["Yanked: it <b>breaks</b>"]
    assert f"--index-url http://devpi.example/{DEV}/+simple/ demo" in texts(shown, ".copyable code")[0]


def test_versions_say_where_they_come_from(world: World, alice: Person) -> None:
    release(world, "2.0")
    release(world, "1.0", BASE)
    release(world, "2.0.0", BASE)
    assert texts(page(nobody(world), f"/{DEV}/demo"), ".versions .from") == ["own , also in alice/base", "inherited alice/base"]
    told = texts(page(nobody(world), f"/{DEV}/demo"), ".origins li")
    assert told[0].startswith("alice/dev own")
    assert told[1].startswith("alice/base inherited")
    assert "Not asked: alice/dev has a project of this name" in told[2]


def test_a_mirrored_project_says_what_is_stored_here(world: World, alice: Person) -> None:
    one = link(WHEEL)
    world.list_links("demo", [one, link("demo-1.0.tar.gz")])
    world.cache_file("demo", one, b"bytes")
    assert texts(page(nobody(world), f"/{DEV}/demo"), ".versions .from") == [f"mirrored {MIRROR} , 1 of 2 stored here"]


@pytest.mark.parametrize("status", ["archived", "deprecated", "quarantined"])
def test_the_status_of_a_project_is_told_with_its_reason(world: World, alice: Person, status: str) -> None:
    release(world, "1.0")
    world.commit(ProjectMarked(DEV, "demo", status, "see <i>there</i>"))
    for path in (f"/{DEV}/demo", f"/{DEV}/demo/1.0"):
        (told,) = texts(page(nobody(world), path), ".notice")
        assert told.startswith(f"This project is {status} on {DEV}.")
        assert told.endswith("see <i>there</i>")


def test_of_a_release_in_quarantine_no_file_is_shown(world: World, alice: Person) -> None:
    release(world, "1.0", summary="Still told")
    world.commit(ProjectMarked(DEV, "demo", "quarantined"))
    shown = page(nobody(world), f"/{DEV}/demo/1.0")
    assert texts(shown, ".lead") == ["Still told"]
    assert texts(shown, ".files li") == ["The files are not offered, because the project is in quarantine."]
    assert shown.css(".history") == []


def test_a_mirrors_status_is_told(world: World) -> None:
    world.list_links("demo", [link(WHEEL)], header=PageHeader("archived"))
    assert texts(page(nobody(world), f"/{MIRROR}/demo"), ".notice")[0].startswith("This project is archived on root/pypi.")


def test_a_long_list_of_versions_is_shown_in_parts_and_filtered(world: World) -> None:
    world.list_links("demo", [link(f"demo-{major}.{minor}.tar.gz") for major in range(20) for minor in range(100)])
    path = f"/{MIRROR}/demo"
    assert len(texts(page(nobody(world), path), ".versions li")) == 10
    whole = page(nobody(world), f"{path}?page=2")
    assert texts(whole, ".versions .name")[::99] == ["18.99", "18.0"]
    assert texts(whole, ".pager span") == ["Page 2 of 20"]
    assert texts(page(nobody(world), f"{path}?filter=7.7"), ".versions .name")[0] == "17.79"
    assert texts(page(nobody(world), f"{path}?filter=%3Cb%3E"), ".versions li") == ["No version here contains <b> ."]
    for odd in ("page=0", "page=x", "page=99999999", "kind=evil", "filter=%ff%00'", "page=-1"):
        page(nobody(world), f"{path}?{odd}")


def test_another_spelling_of_the_name_leads_to_the_page(world: World, alice: Person) -> None:
    release(world, "1.0")
    answer = nobody(world).get(f"/{DEV}/De.Mo", accept=BROWSER)
    assert answer.status == 302
    answer = nobody(world).get(f"/{DEV}/Demo/1.0?x=1", accept=BROWSER)
    assert (answer.status, answer.headers["location"]) == (302, "../demo/1.0?x=1")


def test_what_is_not_there_is_told(world: World, alice: Person) -> None:
    release(world, "1.0")
    assert "1.5" in page(nobody(world), f"/{DEV}/demo/1.5", 404).text()
    page(nobody(world), f"/{DEV}/nothing", 404)


# Releases ----------------------------------------------------------------------------------------------------------


def test_a_release_shows_its_metadata_files_dependencies_and_history(world: World, alice: Person) -> None:
    body = b"x" * 2048
    fields = {
        "summary": "Shows it",
        "description": "# Title\n\n*text*",
        "description_content_type": "text/markdown",
        "license_expression": "MIT",
        "requires_dist": ["Six_Pack>=1", "pytest; extra == 'test'"],
        "provides_extras": ["test"],
        "project_urls": ["Source, https://code.example/demo"],
    }
    more = [value if isinstance(value, list) else [value] for value in fields.values()]
    upload(
        alice, DEV, WHEEL, make_wheel("demo", "1.0", (), body), name="demo", version="1.0", **dict(zip(fields, more, strict=True))
    )
    shown = page(nobody(world), f"/{DEV}/demo/1.0")
    assert texts(shown, ".lead") == ["Shows it"]
    assert texts(shown, ".description h3") == ["Title"]
    assert texts(shown, ".dependencies li") == ["Six_Pack >=1", "pytest"]
    assert links(shown, ".dependencies a") == [f"/{DEV}/six-pack", f"/{DEV}/pytest"]
    assert "https://code.example/demo" in links(shown, ".links a")
    assert texts(shown, ".about dd")[0] == "MIT"
    (file,) = texts(shown, ".files li")
    assert "any Python 3, any platform" in file
    assert "by alice" in file
    assert links(shown, ".files a")[0].endswith(f"/{WHEEL}")
    assert nobody(world).get(links(shown, ".files a")[0], accept=BROWSER).status == 200
    assert nobody(world).get(links(shown, ".files a")[1], accept=BROWSER).status == 200, "its core metadata"
    assert texts(shown, ".history li")[0].endswith(f"alice uploaded {WHEEL} to {DEV}")


def test_the_history_of_a_release_has_what_only_the_changelog_tells(world: World, alice: Person, tmp_path: Path) -> None:
    log = FileChangelog.open(str(tmp_path), Disk())

    def history(*changes: Change) -> list[str]:
        """What the page shows after further ``changes``, without the date."""
        if changes:
            world.commit(*changes, by="alice")
        bodies = [encode_content("2026-11-22T17:00:00.000000Z", by, changed) for by, changed in world.entries[log.last.serial :]]
        log.append(bodies, log.last.serial)
        return [text[12:] for text in texts(page(nobody(world), f"/{DEV}/demo/1.0"), ".history li")]

    release(world, "1.0")
    add_stage(world, "alice/secret", acl_read=["alice"])
    world.rebuild(changelog_folder=str(tmp_path))
    uploaded = f"uploaded demo-1.0.tar.gz to {DEV}"
    (first,) = history()
    assert first.endswith(uploaded)
    pushed = FileUploaded("alice/secret", "demo", "1.0", "demo-1.0.tar.gz", "0" * 64, 1, pushed_from=DEV)
    assert len(history(ReleaseDescribed("alice/secret", "demo", "1.0", {"name": "demo"}), pushed)) == 1, "the target is closed"
    yanked = history(FileYanked(DEV, "demo", "demo-1.0.tar.gz", "it <b>breaks</b>"))
    assert any(text.endswith(f"alice yanked demo-1.0.tar.gz on {DEV} it <b>breaks</b>") for text in yanked)
    assert len(yanked) == 2
    log.close()


def test_latest_and_stable_are_versions_and_better_ones_are_named(world: World, alice: Person) -> None:
    for version in ("1.0", "2.0", "2.1a1"):
        release(world, version)
    assert texts(page(nobody(world), f"/{DEV}/demo/latest"), "h1") == ["demo 2.1a1 pre-release"]
    assert texts(page(nobody(world), f"/{DEV}/demo/stable"), "h1") == ["demo 2.0"]
    assert "Stable version available: 2.0" in page(nobody(world), f"/{DEV}/demo/2.1a1").text()
    assert "Newer version available: 2.0" in " ".join(texts(page(nobody(world), f"/{DEV}/demo/1"), "main p"))
    assert "available" not in " ".join(texts(page(nobody(world), f"/{DEV}/demo/2.0"), "main p.quiet"))


def test_metadata_of_a_mirrored_release_comes_from_its_core_metadata_file(world: World) -> None:
    one = link(WHEEL, core_metadata={"sha256": "0" * 64})
    world.list_links("demo", [one])
    world.cache_metadata("demo", one, metadata("demo", "1.0", ("six",), ("Summary: From the wheel",), "*text*"))
    for path in (f"/{MIRROR}/demo/1.0", f"/{MIRROR}/demo"):
        assert texts(page(nobody(world), path), ".lead") == ["From the wheel"]
    assert links(page(nobody(world), f"/{MIRROR}/demo/1.0"), ".dependencies a") == [f"/{MIRROR}/six"]


def test_a_mirrored_release_is_shown_without_its_metadata_where_there_is_none(world: World) -> None:
    world.list_links("demo", [link(WHEEL, core_metadata=True)])
    shown = page(nobody(world), f"/{MIRROR}/demo/1.0")
    assert texts(shown, ".file a") == [WHEEL]
    assert "its upstream did not tell it in time" in shown.text()


def test_a_page_does_not_wait_long_for_the_metadata_of_an_upstream(world: World) -> None:
    class Silent:
        async def metadata(self, *_arguments: object) -> object:
            return await Deferred()

    services: Any = world.components.mirrors
    services.metadata = Silent()
    world.rebuild()
    world.list_links("demo", [link(WHEEL, core_metadata=True)])
    before = world.clock.seconds()
    assert texts(page(nobody(world), f"/{MIRROR}/demo/1.0"), ".file a") == [WHEEL]
    assert world.clock.seconds() - before <= 3


def test_no_whole_file_is_downloaded_for_a_page(world: World) -> None:
    class Counting:
        asked = 0

        async def metadata(self, *_arguments: object) -> object:
            self.asked += 1
            raise AssertionError

    services: Any = world.components.mirrors
    services.metadata = counting = Counting()
    world.rebuild()
    world.list_links("demo", [link(WHEEL), link("demo-1.0.tar.gz", core_metadata=True)], header=None)
    world.list_links("other", [link("other-1.0-py3-none-any.whl")])
    page(nobody(world), f"/{MIRROR}/other/1.0")
    assert counting.asked == 0


def test_a_release_with_very_many_files_is_bounded(world: World) -> None:
    world.list_links("demo", [link(f"demo-1.0-{build}-py3-none-any.whl") for build in range(1, 1000)])
    shown = page(nobody(world), f"/{MIRROR}/demo/1.0")
    assert len(texts(shown, ".files li")) == 100
    assert "899 further files" in shown.text()


# Safety ------------------------------------------------------------------------------------------------------------

PROBE = "\"><b data-probe>'x</b>"


def test_whatever_an_uploader_writes_is_shown_as_text(world: World, alice: Person) -> None:
    fields: dict[str, Any] = {
        "summary": PROBE,
        "author": PROBE,
        "author_email": f"{PROBE} <a@b.example>",
        "maintainer": PROBE,
        "license": PROBE,
        "keywords": f"{PROBE},x",
        "home_page": f"javascript:{PROBE}",
        "download_url": f"https://a.example/{PROBE}",
        "project_urls": [f"{PROBE}, javascript:x", f"Y, https://a.example/{PROBE}", "Z, data:text/html,x"],
        "classifiers": [f"{PROBE} :: {PROBE}"],
        "requires_dist": [PROBE, f'six; extra == "{PROBE}"', "y @ javascript:x"],
        "provides_extras": [PROBE],
        "requires_python": PROBE,
        "dynamic": [PROBE],
        "description": PROBE,
        "description_content_type": PROBE,
        "name": PROBE,
    }
    release(world, "1.0", **fields)
    world.commit(FileYanked(DEV, "demo", "demo-1.0.tar.gz", PROBE), ProjectMarked(DEV, "demo", "archived", PROBE))
    for path in (f"/{DEV}/demo", f"/{DEV}/demo/1.0", f"/{DEV}/demo?filter={PROBE}"):
        shown = page(alice, path.replace('"', "%22").replace(">", "%3E").replace("<", "%3C").replace(" ", "%20"))
        assert shown.css("[data-probe]") == []
        assert "data-probe" in shown.text()
        schemes = {href.partition(":")[0] for href in links(shown) if ":" in href}
        assert schemes <= {"https", "mailto"}


def test_nothing_of_a_closed_index_is_told_to_others(world: World, alice: Person) -> None:
    add_stage(world, "alice/closed", acl_read=["alice"])
    add_stage(world, "alice/heir", bases=["alice/closed"])
    release(world, "7.7", "alice/closed", summary="Hidden plans")
    release(world, "1.0", "alice/heir")
    release(world, "9.0", "alice/closed", "secret-thing")
    for path in (
        "heir/demo",
        "heir/demo/1.0",
        "heir/demo/7.7",
        "heir/demo/latest",
        "heir/secret-thing",
        "closed/demo",
        "closed/demo/7.7",
    ):
        told = nobody(world).get(f"/alice/{path}", accept=BROWSER).content
        for secret in (b"Hidden plans", b"demo-7.7", b">7.7<", b"9.0"):
            assert secret not in told, path
    assert b"alice/closed" not in nobody(world).get("/alice/heir/demo", accept=BROWSER).content
    assert texts(page(alice, "/alice/heir/demo/7.7"), ".lead") == ["Hidden plans"]


def test_a_page_is_for_its_reader_alone_and_runs_nothing(world: World, alice: Person) -> None:
    release(world, "1.0")
    answer = nobody(world).get(f"/{DEV}/demo/1.0", accept=BROWSER)
    assert answer.headers["cache-control"] == "private, no-cache"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert b"style=" not in answer.content
    assert b"<script>" not in answer.content


def test_links_begin_with_the_prefix_of_the_server(make_world: MakeWorld) -> None:
    world = make_world(outside_url="https://packages.example/py")
    add_stage(world, "root/dev")
    world.list_links("demo", [link(WHEEL)], index="root/dev")
    for path in ("/py/root/dev/demo", "/py/root/dev/demo/1.0"):
        inside = [href for href in links(page(nobody(world), path)) if not href.startswith(("?", "#"))]
        assert inside
        assert all(href.startswith("/py/") for href in inside)


# What a reader may do ----------------------------------------------------------------------------------------------


def test_pages_offer_what_the_reader_may_do_and_nothing_else(world: World, alice: Person) -> None:
    world.add_user("bob")
    release(world, "1.0")
    offered = {f"/{DEV}/demo/{what}" for what in ("+status", "+delete", "+quarantine")}
    offered |= {f"/{DEV}/demo/1.0/{what}" for what in ("+push", "+yank", "+delete", "+quarantine")}
    owner, reader = signed_in(world, "alice"), signed_in(world, "bob")

    def found(person: Person) -> set[str]:
        return {href for path in ("demo", "demo/1.0") for href in links(page(person, f"/{DEV}/{path}"), ".actions a")}

    assert found(owner) == offered
    assert found(reader) == set(), "there is no index to which bob may push"
    add_stage(world, "bob/dev", acl_upload=["bob"])
    assert found(reader) == {f"/{DEV}/demo/1.0/+push"}
    assert "devpi push demo==1.0 pypi:NAME" in page(reader, f"/{DEV}/demo/1.0/+push").text()
    assert found(nobody(world)) == set()
    files = links(page(owner, f"/{DEV}/demo/1.0"), ".files a")
    assert [href.rpartition("/")[2] for href in files[1:]] == ["+yank", "+delete"]
    for href in (*offered, *files[1:]):
        page(owner, href)


def test_an_inherited_release_is_changed_where_it_is(world: World, alice: Person) -> None:
    release(world, "1.0", BASE)
    owner = signed_in(world, "alice")
    assert links(page(owner, f"/{DEV}/demo/1.0"), ".actions a") == [f"/{DEV}/demo/1.0/+quarantine"]
    assert f"/{BASE}/demo/1.0" in links(page(owner, f"/{DEV}/demo/1.0"))
    assert links(page(owner, f"/{BASE}/demo/1.0"), ".actions a")
