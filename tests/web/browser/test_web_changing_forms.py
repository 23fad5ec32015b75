"""What is changed by clicking: the same entry as by the API, after a page that names what will happen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.web.browser.web_browsing import Browser
from tests.web.web_asking import FAR, Person, add_mirror, add_stage, logged_in, serial_of
from tests.web.web_world import World, link
from twistpi.model.changes import IndexModified, TokenCreated, UserCreated, UserModified
from twistpi.rules.index_config import KEYS
from twistpi.rules.mirrors import file_path
from twistpi.rules.permissions import Policy
from twistpi.web.browser.index_fields import HELP

WHEEL, SDIST = link("demo-1.0-py3-none-any.whl", b"wheel"), link("demo-1.0.tar.gz", b"sdist")
MIRRORED = link("other-2.0.tar.gz", b"mirrored")
DEV, KEPT, MIRROR = "alice/dev", "alice/kept", "alice/mirror"
TOKEN = "0123456789abcdef"
TITLE = {"title": "of another kind", "later": [1, 2]}


def fill(world: World) -> World:
    world.add_user("alice", "alice-password")
    world.add_user("bob", "bob-password")
    add_mirror(world, MIRROR, mirror_url="https://me:secret@upstream.example/simple/", strange="kept")
    add_stage(world, KEPT, volatile=False)
    add_stage(world, DEV, bases=[MIRROR], custom_data=TITLE)
    add_stage(world, "alice/heir", bases=[DEV])
    for index in (DEV, KEPT):
        world.list_links("demo", [WHEEL, SDIST], index=index)
        for one, body in ((WHEEL, b"wheel"), (SDIST, b"sdist")):
            world.cache_file("demo", one, body, index)
    world.list_links("other", [MIRRORED], index=MIRROR)
    world.cache_file("other", MIRRORED, b"mirrored", MIRROR)
    world.commit(TokenCreated(TOKEN, "alice", "0" * 64, ("read",), title="ci"))
    return world


@attrs.frozen
class Worlds:
    """Two servers that hold the same: one is for pages, the other for the API."""

    pages: World
    api: World

    @property
    def alice(self) -> Person:
        return logged_in(self.api, "alice")


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Worlds]:
    for name in ("pages", "api"):
        (tmp_path / name).mkdir()
    with closing(fill(World(str(tmp_path / "pages")))) as pages, closing(fill(World(str(tmp_path / "api")))) as api:
        yield Worlds(pages, api)


@pytest.fixture
def browser(worlds: Worlds) -> Browser:
    browser = Browser(worlds.pages, FAR)
    browser.sign_in("alice", "alice-password")
    return browser


FILE = file_path(WHEEL)
CASES: dict[str, tuple[str, dict[str, str], tuple[str, str, Any]]] = {
    "yank": ("/alice/dev/demo/1.0/+yank", {"reason": "bad"}, ("PUT", "/alice/dev/demo/1.0/+yank", {"reason": "bad"})),
    "yank a file": (f"/{DEV}/{FILE}/+yank", {}, ("PUT", f"/{DEV}/{FILE}/+yank", b"")),
    "remove a project": ("/alice/dev/demo/+delete", {}, ("DELETE", "/alice/dev/demo", b"")),
    "remove a release": ("/alice/dev/demo/1.0/+delete", {}, ("DELETE", "/alice/dev/demo/1.0", b"")),
    "remove a file": (f"/{DEV}/{FILE}/+delete", {}, ("DELETE", f"/{DEV}/{FILE}", b"")),
    "remove from what is kept": ("/alice/kept/demo/1.0/+delete", {"force": "1"}, ("DELETE", "/alice/kept/demo/1.0?force", b"")),
    "fetch again": (f"/{MIRROR}/{file_path(MIRRORED)}/+delete", {}, ("DELETE", f"/{MIRROR}/{file_path(MIRRORED)}", b"")),
    "fetch a release again": ("/alice/mirror/other/2.0/+delete", {}, ("DELETE", "/alice/mirror/other/2.0", b"")),
    "forget a project": ("/alice/mirror/other/+delete", {}, ("DELETE", "/alice/mirror/other", b"")),
    "status": (
        "/alice/dev/demo/+status",
        {"status": "deprecated", "reason": "use another"},
        ("PUT", "/alice/dev/demo/+status", {"status": "deprecated", "reason": "use another"}),
    ),
    "quarantine a project": (
        "/alice/dev/other/+quarantine",
        {"reason": "it steals"},
        ("PATCH", "/alice/dev", ["quarantined+=other it steals"]),
    ),
    "quarantine a release": (
        "/alice/mirror/other/2.0/+quarantine",
        {"reason": "it steals"},
        ("PATCH", "/alice/mirror", ["quarantined+=other==2.0 it steals"]),
    ),
    "quarantine what is no version by PEP 440": (
        "/alice/mirror/other/2004d/+quarantine",
        {"reason": "it steals"},
        ("PATCH", "/alice/mirror", ["quarantined+=other===2004d it steals"]),
    ),
    "push": (
        "/alice/dev/demo/1.0/+push?target=alice/heir",
        {},
        ("PUSH", "/alice/dev", {"name": "demo", "version": "1.0", "targetindex": "alice/heir"}),
    ),
    "push from a mirror": (
        "/alice/mirror/other/2.0/+push?target=alice/heir",
        {},
        ("PUSH", "/alice/mirror", {"name": "other", "version": "2.0", "targetindex": "alice/heir"}),
    ),
    "delete an index": ("/alice/dev/+delete", {}, ("DELETE", "/alice/dev", b"")),
    "delete a user": ("/alice/+delete", {}, ("DELETE", "/alice", b"")),
    "revoke a token": (f"/alice/+account/tokens/{TOKEN}", {}, ("DELETE", f"/alice/+tokens/{TOKEN}", b"")),
    "make an index": (
        "/alice/+new-index",
        {"name": "new", "bases": "alice/dev, root/pypi", "title": "New", "volatile": "no", "custom_data": '{"a": 1}'},
        ("PUT", "/alice/new", {"bases": ["alice/dev", "root/pypi"], "title": "New", "volatile": False, "custom_data": {"a": 1}}),
    ),
    "make a mirror": (
        "/alice/+new-index?type=mirror",
        {"name": "new", "mirror_url": "https://upstream.example/", "mirror_cache_expiry": "60"},
        ("PUT", "/alice/new", {"type": "mirror", "mirror_url": "https://upstream.example/", "mirror_cache_expiry": 60}),
    ),
    "configure": (
        "/alice/dev/+settings",
        {"acl_read": "bob", "title": "Dev", "reserved": "acme-*", "upload_checks": "lenient"},
        ("PATCH", "/alice/dev", {"acl_read": ["bob"], "title": "Dev", "reserved": ["acme-*"], "upload_checks": "lenient"}),
    ),
    "configure data": ("/alice/dev/+settings", {"custom_data": '["x"]'}, ("PATCH", "/alice/dev", {"custom_data": ["x"]})),
    "unset": ("/alice/dev/+settings", {"custom_data": ""}, ("PATCH", "/alice/dev", ["custom_data-="])),
    "configure a mirror": (
        "/alice/mirror/+settings",
        {"mirror_use_external_urls": "yes"},
        ("PATCH", "/alice/mirror", {"mirror_use_external_urls": True}),
    ),
    "profile": ("/alice/+account", {"email": "alice@devpi.example"}, ("PATCH", "/alice", {"email": "alice@devpi.example"})),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_clicking_makes_the_entry_that_the_api_makes(worlds: Worlds, browser: Browser, case: str) -> None:
    path, entered, (method, target, body) = CASES[case]
    if case == "delete a user":
        for world in (worlds.pages, worlds.api):
            world.commit(IndexModified(KEPT, {"volatile": True}))
    before = serial_of(worlds.pages)
    assert browser.open(path).status == 200, browser.text
    assert serial_of(worlds.pages) == before
    action = path.partition("?")[0] if path.endswith("+account") or "+push" in path else ""
    assert browser.send(action, **entered).status in (200, 404), browser.text
    assert worlds.alice.ask(method, target, body).status in (200, 201)
    assert worlds.pages.entries[-1] == worlds.api.entries[-1]
    assert worlds.pages.entries[-1][0] == "alice"
    assert serial_of(worlds.pages) == serial_of(worlds.api)
    assert browser.path == "/" or 'role="status"' in browser.text or "twistpi_message" in browser.cookies


def test_a_yank_is_undone_on_the_same_page(worlds: Worlds, browser: Browser) -> None:
    browser.open("/alice/dev/demo/1.0/+yank")
    browser.send(reason="bad")
    browser.open("/alice/dev/demo/1.0/+yank")
    assert 'value="bad"' in browser.text
    browser.send(undo="1")
    release = worlds.pages.readers.get().release(DEV, "demo", "1.0")
    assert release is not None
    assert [file.known.link.yanked for file in release.files] == [False, False]


def test_the_question_names_each_file_and_names_that_mirrors_get(worlds: Worlds, browser: Browser) -> None:
    browser.open("/alice/dev/demo/1.0/+delete")
    assert f"{WHEEL.filename} (5 bytes) is removed" in browser.text
    assert f"{SDIST.filename} (5 bytes) is removed" in browser.text
    assert "mirrors will answer for these names" in browser.text
    assert "demo in alice/dev, alice/heir" in browser.text
    browser.open(f"/{DEV}/{FILE}/+delete")
    assert "mirrors will answer" not in browser.text, "the other file is still there"
    browser.open("/alice/dev/+delete")
    assert "The index alice/dev is deleted, with 1 project: demo." in browser.text
    assert "alice/heir inherits from alice/dev" in browser.text


def test_an_heir_that_goes_with_its_base_loses_nothing(world: World) -> None:
    world.add_user("bob", "secret")
    add_stage(world, "bob/dev")
    add_stage(world, "bob/heir", bases=["bob/dev"])
    browser = Browser(world)
    browser.sign_in("bob", "secret")
    browser.open("/bob/+delete")
    assert "The index bob/heir is deleted" in browser.text
    assert "inherits from" not in browser.text


def test_what_is_said_before_is_what_happens(worlds: Worlds, browser: Browser) -> None:
    browser.open("/alice/dev/demo/+delete")
    browser.send()
    assert "mirrors answer for these names now" in browser.text
    assert "demo in alice/dev, alice/heir" in browser.text
    browser.open(browser.path)
    assert "mirrors answer for these names now" not in browser.text, "a message is shown once"


def test_what_is_kept_needs_a_tick_and_an_index_that_is_not_volatile_stays(worlds: Worlds, browser: Browser) -> None:
    before = serial_of(worlds.pages)
    browser.open("/alice/kept/demo/1.0/+delete")
    assert "This index keeps what was published" in browser.text
    assert browser.send().status == 403
    assert "non-volatile" in browser.text
    assert f"{WHEEL.filename} (5 bytes) is removed" in browser.text
    assert browser.open("/alice/kept/+delete").status == 403
    assert serial_of(worlds.pages) == before


def test_settings_that_leave_names_to_mirrors_are_asked_for_once_more(worlds: Worlds, browser: Browser) -> None:
    before = serial_of(worlds.pages)
    browser.open("/alice/heir/+settings")
    browser.send("/+settings", bases="alice/mirror")
    assert "Nothing was changed yet:" in browser.text
    assert serial_of(worlds.pages) == before
    browser.send("/+settings", force="1")
    assert worlds.pages.entries[-1][1] == (IndexModified("alice/heir", {"bases": ["alice/mirror"]}),)


def test_a_refused_form_comes_back_with_the_reason_and_what_was_entered(worlds: Worlds, browser: Browser) -> None:
    before = serial_of(worlds.pages)
    browser.open("/alice/dev/+settings")
    assert browser.send("/+settings", bases="nobody/nothing", title="<b>New</b>").status == 400
    assert "base index &#39;nobody/nothing&#39; does not exist" in browser.text
    assert {"bases": "nobody/nothing", "title": "<b>New</b>", "was-title": ""}.items() <= browser.form(
        "/+settings"
    ).fields.items()
    assert "<b>New" not in browser.text
    assert browser.send("/+settings", bases="alice/mirror", custom_data="{").status == 400
    assert "is no JSON" in browser.text
    browser.open("/alice/+new-index")
    assert browser.send("/+new-index", name="dev").status == 409
    assert browser.send("/+new-index", name="a b").status == 400
    assert browser.form("/+new-index").fields["name"] == "a b"
    assert serial_of(worlds.pages) == before


def test_a_form_undoes_nothing_that_was_changed_meanwhile_and_keeps_what_it_does_not_know(
    worlds: Worlds, browser: Browser
) -> None:
    browser.open("/alice/mirror/+settings")
    assert "strange" in browser.text
    assert "secret" not in browser.text
    worlds.pages.commit(IndexModified(MIRROR, {"title": "by another"}))
    browser.send("/+settings", description="line\r\nline")
    index = worlds.pages.readers.get().index(MIRROR)
    assert index is not None
    assert index.config["title"] == "by another"
    assert index.config["description"] == "line\nline"
    assert index.config["strange"] == "kept"
    assert index.config["mirror_url"] == "https://me:secret@upstream.example/simple/"


def test_an_age_is_shown_as_people_write_it(worlds: Worlds, browser: Browser) -> None:
    worlds.pages.commit(IndexModified(MIRROR, {"min_release_age": 7 * 86400}))
    browser.open("/alice/mirror/+settings")
    assert browser.form("/+settings").fields["min_release_age"] == "7d"


def test_every_key_of_the_api_has_a_field() -> None:
    assert set(HELP) == {name for keys in KEYS.values() for name in keys}


def test_the_secret_of_a_new_token_is_shown_once_and_works(worlds: Worlds, browser: Browser) -> None:
    browser.open("/+account")
    answer = browser.send("/tokens", title="CI of <demo>", upload="1", index=DEV, project="demo", days="7")
    assert answer.headers["cache-control"] == "no-store"
    secret = browser.text.partition("<code>twistpi-")[2].partition("<")[0]
    author, (made,) = worlds.pages.entries[-1]
    assert isinstance(made, TokenCreated)
    assert (author, made.title, made.may, made.index, made.project) == ("alice", "CI of <demo>", ("read", "upload"), DEV, "demo")
    upload = Person(worlds.pages, f"__token__:twistpi-{secret}").get(f"/{DEV}/+api")
    assert upload.json()["result"]["authstatus"][:2] == ["ok", "alice"]
    browser.open("/+account")
    assert "CI of &lt;demo&gt;" in browser.text
    assert secret not in browser.text
    assert browser.send("/tokens", days="-1").status == 400
    assert browser.form("/tokens").fields["days"] == "-1"


def test_another_password_needs_the_present_one_and_ends_other_sessions(worlds: Worlds, browser: Browser) -> None:
    other = Browser(worlds.pages, FAR)
    other.sign_in("alice", "alice-password")
    before = serial_of(worlds.pages)
    browser.open("/+account")
    assert browser.send("/password", current="wrong", new="new", again="new").status == 401
    assert browser.send("/password", current="alice-password", new="new", again="other").status == 400
    assert serial_of(worlds.pages) == before
    browser.send("/password", current="alice-password", new="new", again="new")
    assert "You have another password now" in browser.text
    assert browser.open("/+account").status == 200
    assert other.open("/+account").status == 403
    Browser(worlds.pages, FAR).sign_in("alice", "new")


def test_an_administrator_makes_a_user_sets_a_password_and_deletes_the_user(worlds: Worlds) -> None:
    worlds.pages.commit(UserModified("root", {}, (), worlds.pages.readers.get().user("alice").password_hash))  # type: ignore[union-attr]
    root = Browser(worlds.pages, FAR)
    root.sign_in("root", "alice-password")
    root.open("/+users")
    assert root.send("/+users", name="carol/x", password="p").status in (400, 404)
    root.send("/+users", name="carol", password="carol-password", email="c@devpi.example")
    made = worlds.pages.entries[-1][1][0]
    assert isinstance(made, UserCreated)
    assert (made.user, made.config) == ("carol", {"email": "c@devpi.example"})
    root.open("/carol/+account")
    root.send("/password", new="other", again="other")
    assert "carol has another password now" in root.text
    Browser(worlds.pages, FAR).sign_in("carol", "other")
    root.open("/carol/+delete")
    root.send()
    assert worlds.pages.readers.get().user("carol") is None


def test_others_get_no_form_for_what_they_may_not_do(worlds: Worlds) -> None:
    bob = Browser(worlds.pages, FAR)
    bob.sign_in("bob", "bob-password")
    before = serial_of(worlds.pages)
    bob.open("/+account")
    token = bob.form("/tokens").fields["form_token"]
    for path in [path for path, _entered, _api in CASES.values() if "+push" not in path]:
        assert bob.open(path).status == 403, path
        assert bob.post(path, form_token=token).status == 403, path
    bob.open("/alice/dev/demo/1.0/+push?target=alice/heir")
    assert "There is no other index that you may upload to" in bob.text or "cannot upload" in bob.text
    assert bob.post("/alice/dev/demo/1.0/+push", form_token=token, target="alice/heir").status == 401
    assert serial_of(worlds.pages) == before


OFFERED = {
    "/alice/dev": {"/+settings"},
    "/alice/dev/demo": {"/demo/+status", "/demo/+delete"},
    "/alice/dev/demo/1.0": {"/1.0/+yank", "/1.0/+push", "/1.0/+delete", f"/{WHEEL.filename}/+yank", f"/{WHEEL.filename}/+delete"},
    "/alice/heir/demo": set(),
    "/alice/heir/demo/1.0": set(),
    "/alice/mirror/other": {"/other/+refresh", "/other/+delete"},
    "/alice/mirror/other/2.0": {"/2.0/+push", "/2.0/+delete", f"/{MIRRORED.filename}/+delete"},
    "/alice": {"/+new-index", "/+account"},
}


def offered(page: str) -> set[str]:
    """The addresses on a page at which something is changed."""
    return set(re.findall(r'"(/alice[^"]*/\+(?:settings|delete|yank|push|status|refresh|new-index|account))"', page))


@pytest.mark.parametrize("path", OFFERED)
def test_pages_offer_what_their_reader_may_do_and_nothing_else(worlds: Worlds, browser: Browser, path: str) -> None:
    browser.open(path)
    found = offered(browser.text)
    ends = {end for end in OFFERED[path] if any(one.endswith(end) for one in found)}
    assert (ends, bool(found)) == (OFFERED[path], bool(OFFERED[path]))
    for one in found:
        assert one.endswith("/+refresh") or browser.open(one).status == 200, one
    bob = Browser(worlds.pages, FAR)
    bob.sign_in("bob", "bob-password")
    bob.open(path)
    assert all(one.endswith(("/+refresh", "/+push")) for one in offered(bob.text))
    assert not offered(Browser(worlds.pages, FAR).open(path).content.decode())


def test_asking_the_upstream_now_is_for_who_is_signed_in(worlds: Worlds, browser: Browser) -> None:
    browser.open("/+account")
    token = browser.form("/tokens").fields["form_token"]
    browser.post("/alice/mirror/other/+refresh", form_token=token)
    assert (MIRROR, "other", True) in worlds.pages.mirror.asked


@pytest.mark.parametrize("allowed", [("ops",), (), (":AUTHENTICATED:",)])
@pytest.mark.parametrize("who", ["root", "alice", "bob", "ops"])
def test_where_changes_are_restricted_pages_offer_what_is_allowed_and_nothing_else(
    tmp_path: Path, allowed: tuple[str, ...], who: str
) -> None:
    links = re.compile(r'(?:href|action)="(/alice[^"?#]*/\+(?:settings|delete|yank|status|new-index|account))"')
    changes = {"/alice/+account", "/alice/+new-index", "/alice/+delete", "/alice/dev/+settings", "/alice/dev/+delete"}
    changes |= {f"/alice/dev/demo/{change}" for change in ("+delete", "+status", "1.0/+yank", "1.0/+delete")}
    with closing(fill(World(str(tmp_path), policy=Policy(allowed)))) as world:
        world.commit(IndexModified(KEPT, {"volatile": True}))
        for name in ("ops", "root"):
            world.add_user(name, f"{name}-password")
        browser = Browser(world, FAR)
        browser.sign_in(who, f"{who}-password")
        offered = set[str]()
        for path in ("/alice", "/alice/dev", "/alice/dev/demo", "/alice/dev/demo/1.0", "/alice/+account", "/alice/dev/+settings"):
            if browser.open(path).status == 200:
                offered |= set(links.findall(browser.text))
        if who != "alice":  # their own account is at the top of each page, that of others in the list of users
            offered |= {"/alice/+account"} if browser.open("/alice/+account").status == 200 else set()
        assert {change for change in changes | offered if browser.open(change).status == 200} == offered


def test_who_may_only_manage_themselves_sees_no_more(tmp_path: Path) -> None:
    with closing(World(str(tmp_path), policy=Policy(("root",)))) as world:
        world.add_user("alice", "alice-password")
        browser = Browser(world, FAR)
        browser.sign_in("alice", "alice-password")
        browser.open("/+account")
        assert "New index" not in browser.text
        assert "Delete user" not in browser.text
        assert browser.open("/alice/+new-index").status == 403
        browser.open("/+account")
        assert browser.send("/password", current="alice-password", new="n", again="n").status == 200
