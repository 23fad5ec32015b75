"""Indexes over HTTP: shown, made, changed, deleted; uploads refused as the protocol has it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.web_asking import STAGE, Person, add_mirror, add_stage, ask_raw, basic, logged_in, nobody, serial_of
from tests.web.web_world import MIRROR, World, link
from twistpi.model.changes import IndexCreated, IndexDeleted, IndexModified

FORM = {"content_type": "multipart/form-data; boundary=x"}


@pytest.fixture
def alice(world: World) -> Person:
    world.add_user("alice", "secret")
    return logged_in(world, "alice")


@pytest.mark.parametrize("path", ["/alice/dev", "/alice/dev/"])
def test_a_stage_is_made_with_every_default_spelled_out(world: World, alice: Person, path: str) -> None:
    answer = alice.ask("PUT", path, {})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"type": "indexconfig", "result": STAGE}
    assert world.entries[-1] == ("alice", (IndexCreated("alice/dev", STAGE),))
    assert alice.get("/alice/dev").json() == {"type": "indexconfig", "result": {**STAGE, "projects": []}}


def test_the_client_sends_texts_and_gets_values(world: World, alice: Person) -> None:
    add_stage(world, "alice/base")
    body = {
        "volatile": "False",
        "bases": "alice/base,root/pypi",
        "acl_upload": ":anonymous:, bob",
        "mirror_whitelist": "Foo_Bar,*",
    }
    result = alice.ask("PUT", "/alice/dev", body).json()["result"]
    assert (result["volatile"], result["bases"]) == (False, ["alice/base", "root/pypi"])
    assert (result["acl_upload"], result["mirror_whitelist"]) == ([":ANONYMOUS:", "bob"], ["foo-bar", "*"])


def test_a_mirror_is_made(alice: Person) -> None:
    body = {"type": "mirror", "mirror_url": "https://upstream.example/whl/cu124/", "mirror_cache_expiry": "60"}
    result = alice.ask("PUT", "/alice/pytorch", body).json()["result"]
    assert result == {
        "type": "mirror",
        "volatile": True,
        "mirror_url": "https://upstream.example/whl/cu124/",
        "mirror_cache_expiry": 60,
    }


def test_only_an_administrator_makes_a_mirror_of_a_folder_that_the_settings_name(world: World, alice: Person) -> None:
    body, root = {"type": "mirror", "mirror_url": "file:///srv/wheels/ours"}, logged_in(world, "root")
    none = root.ask("PUT", "/alice/wheels", body)
    assert (none.status, none.json()["message"].partition(". ")[2]) == (403, "The setting local-folders allows none.")
    world.rebuild(local_folders=["/srv/wheels"])
    refusal = alice.ask("PUT", "/alice/wheels", body)
    assert (refusal.status, "a mirror of a folder" in refusal.json()["message"]) == (403, True)
    assert root.ask("PUT", "/alice/wheels", body).status == 200
    assert alice.ask("PATCH", "/alice/wheels", {**body, "title": "Ours"}).status == 200, "she names no other folder"
    assert nobody(world).get("/alice/wheels").json()["result"]["mirror_url"] == "file:///"
    for url in ("file:///srv/wheels2", "file:///etc", "file:///srv"):
        answer = root.ask("PATCH", "/alice/wheels", {"mirror_url": url})
        assert (answer.status, "those below /srv/wheels" in answer.json()["message"]) == (403, True), url
    for url in (
        "file:///srv/wheels/../x",
        "file:///srv/wheels/%2e%2e/x",
        "file://other.example/srv/wheels",
        "file:///srv/w?x",
        "file:x",
    ):
        assert root.ask("PATCH", "/alice/wheels", [f"mirror_url={url}"]).status == 400, url


@pytest.mark.parametrize(
    ("who", "path", "body", "status", "message"),
    [
        ("alice", "/nouser/dev", {}, 404, "no user 'nouser'"),
        ("nobody", "/nouser/dev", b"", 404, "no user 'nouser'"),
        ("nobody", "/alice/dev", b"", 409, "index 'alice/dev' exists"),
        ("bob", "/alice/new", b"", 403, "no permission to create index alice/new"),
        ("nobody", "/alice/new", {"type": "mirror", "mirror_url": "https://upstream.example/"}, 403, None),
        ("alice", "/alice/new", b"", 400, "Bad request: could not decode json"),
        (
            "alice",
            "/alice/a%20b",
            {},
            400,
            "indexname 'a b' contains characters that aren't allowed. Any ascii symbol besides -.@_ is blocked.",
        ),
        ("alice", "/alice/new", {"type": "foo"}, 400, "unknown index type 'foo'"),
        ("alice", "/alice/new", {"bases": "alice/none"}, 400, "base index 'alice/none' does not exist"),
        ("alice", "/alice/new", {"bases": "foo"}, 400, "invalid base index spec: 'foo'"),
        ("alice", "/alice/new", {"foo": "bar", "x": "y"}, 400, "indexconfig got unexpected keyword arguments: foo=bar, x=y"),
        ("alice", "/alice/new", {"volatile": "maybe"}, 400, "Unknown boolean value 'maybe'."),
    ],
)
def test_an_index_that_cannot_be_made_is_refused_in_the_order_of_the_protocol(
    world: World, alice: Person, who: str, path: str, body: Any, status: int, message: str | None
) -> None:
    world.add_user("bob", None)
    add_stage(world)
    before = serial_of(world)
    person = nobody(world) if who == "nobody" else logged_in(world, who)
    answer = person.ask("PUT", path, body)
    assert answer.status == status
    assert answer.json()["message"] == (message or "no permission to create index alice/new: log in first")
    assert serial_of(world) == before


def test_an_index_shows_its_own_projects(world: World, alice: Person) -> None:
    add_stage(world, bases=[MIRROR])
    world.list_links("hello", [link("hello-1.0.tar.gz")])
    world.list_links("Zope".lower(), [link("zope-1.0.tar.gz")])
    assert alice.get(f"/{MIRROR}").json()["result"]["projects"] == ["hello", "zope"]
    assert alice.get("/alice/dev").json()["result"]["projects"] == []
    assert world.mirror.asked == []


@pytest.mark.parametrize("count", [0, 1, 2_001])
def test_a_mirror_shows_what_its_upstream_lists_and_what_it_knows(world: World, alice: Person, count: int) -> None:
    listed = [f"p{number:05}" for number in range(count)]
    world.names.put("names.txt", "".join(f"{name}\n" for name in listed).encode())
    world.list_links("hello", [link("hello-1.0.tar.gz")])
    answer = alice.get(f"/{MIRROR}")
    told = answer.json()
    assert told["result"].pop("projects") == ["hello", *listed]
    assert told == alice.get(f"/{MIRROR}?no_projects").json()
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert "Authorization" in answer.headers["vary"]


def test_a_mirror_whose_upstream_gives_no_list_shows_what_it_knows(world: World, alice: Person) -> None:
    world.commit(IndexModified(MIRROR, {"mirror_no_project_list": True}))
    world.list_links("hello", [link("hello-1.0.tar.gz")])
    assert alice.get(f"/{MIRROR}").json()["result"]["projects"] == ["hello"]
    assert world.names.asked == 0


@pytest.mark.parametrize("query", ["?no_projects=", "?no_projects", "?no_projects=1", "?a=b&no_projects="])
def test_projects_are_left_out_when_nobody_wants_them(alice: Person, query: str) -> None:
    for path in (f"/{MIRROR}{query}", f"/{MIRROR}/{query}"):
        assert "projects" not in alice.get(path).json()["result"]


def test_an_index_is_answered_in_the_words_that_made_it(world: World, alice: Person) -> None:
    body = {"type": "remote", "remote_url": "https://upstream.example/simple/", "remote_refresh_delay": "60"}
    told = alice.ask("PUT", "/alice/m", body).json()["result"]
    assert told == {"type": "remote", "volatile": True, "remote_url": body["remote_url"], "remote_refresh_delay": 60}
    assert alice.get("/alice/m?v=2&no_projects=").json()["result"] == told
    assert alice.get("/alice/m?no_projects=").json()["result"]["mirror_url"] == body["remote_url"]
    assert alice.get("/alice/m?v=2").json()["result"] == {**told, "projects": []}
    stage = alice.ask("PUT", "/alice/new", {"type": "local", "project_inheritance_rules": "allow all"}).json()["result"]
    assert (stage["type"], stage["project_inheritance_rules"]) == ("local", ["allow all"])
    changed = alice.ask("PATCH", "/alice/new", ["trust_inheritance_rules_from=type:not remote"]).json()["result"]
    assert changed["trust_inheritance_rules_from"] == "type:not remote"
    assert alice.ask("PATCH", "/alice/new?v=2", ["title=x"]).json()["result"] == {**changed, "title": "x"}
    shown = alice.ask("PATCH", "/alice/new", ["title=y"]).json()["result"]
    assert (shown["type"], shown["mirror_whitelist"], shown["mirror_whitelist_inheritance"]) == ("stage", ["*"], "union")
    assert alice.get("/alice/new?v=3").json()["message"] == "The requested result version must be 1 to 2, got 3"


def test_an_unknown_index_is_404(alice: Person) -> None:
    answer = alice.get("/alice/none")
    assert (answer.status, answer.json()) == (404, {"message": "The stage alice/none could not be found."})


@pytest.mark.parametrize("path", ["/alice/dev", "/alice/dev/"])
@pytest.mark.parametrize(
    ("body", "changed", "removed"),
    [
        ({"title": "foo"}, {"title": "foo"}, ()),
        ({"type": "indexconfig", "result": {"title": "foo"}}, {"title": "foo"}, ()),
        ({"projects": ["x"], "type": "stage", "volatile": False}, {"volatile": False}, ()),
        (["title=foo=bar"], {"title": "foo=bar"}, ()),
        (["title"], {"title": ""}, ()),
        (["acl_upload+=bob", "acl_upload+=bob", "bases=root/pypi"], {"acl_upload": ["alice", "bob"], "bases": [MIRROR]}, ()),
        (["acl_upload-=alice"], {"acl_upload": []}, ()),
        (["description-="], {}, ("description",)),
        (["acl_read+=bob"], {"acl_read": [":ANONYMOUS:", "bob"]}, ()),
    ],
)
def test_settings_are_changed_in_either_form(
    world: World, alice: Person, path: str, body: Any, changed: dict[str, Any], removed: tuple[str, ...]
) -> None:
    add_stage(world, description="old")
    answer = alice.ask("PATCH", path, body)
    assert answer.status == 200, answer.raw
    assert world.entries[-1] == ("alice", (IndexModified("alice/dev", changed, removed),))
    told = answer.json()
    assert told["type"] == "indexconfig"
    assert "projects" not in told["result"]
    assert told["result"] == alice.get("/alice/dev?no_projects=").json()["result"]
    assert told["result"].items() >= changed.items()


@pytest.mark.parametrize("body", [{}, [], {"volatile": "yes"}, ["bases="], ["title-="]])
def test_what_changes_nothing_is_no_entry(world: World, alice: Person, body: Any) -> None:
    add_stage(world)
    before = serial_of(world)
    answer = alice.ask("PATCH", "/alice/dev", body)
    assert (answer.status, serial_of(world)) == (200, before)


def test_who_wants_to_know_hears_that_nothing_changed(world: World, alice: Person) -> None:
    add_stage(world)
    answer = alice.ask("PATCH", "/alice/dev?error_on_noop=", {"volatile": True})
    assert (answer.status, answer.json()["message"]) == (400, "The requested modifications resulted in no changes")


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/alice/dev", ["acl_upload-=nobody"], "The 'acl_upload' setting doesn't have value 'nobody'"),
        ("/alice/dev", ["acl_upload-="], "Default values can't be removed."),
        ("/alice/dev", {"type": "mirror"}, "the 'type' of an index can't be changed"),
        ("/alice/dev", {"foo": "bar"}, "indexconfig got unexpected keyword arguments: foo=bar"),
        ("/alice/mirror", {"mirror_url": "ftp://x"}, "'mirror_url' option must be a URL."),
        ("/alice/mirror", {"mirror_cache_expiry": "x"}, "'mirror_cache_expiry' option must be an integer"),
        ("/alice/mirror", ["volatile-="], "Default values can't be removed."),
    ],
)
def test_settings_that_cannot_be_are_refused_in_the_words_of_the_protocol(
    world: World, alice: Person, path: str, body: Any, message: str
) -> None:
    add_stage(world)
    add_mirror(world)
    before = serial_of(world)
    answer = alice.ask("PATCH", path, body)
    assert (answer.status, answer.json(), serial_of(world)) == (400, {"message": message}, before)


def test_a_dangling_base_hinders_a_list_and_not_an_object(world: World, alice: Person) -> None:
    add_stage(world, bases=["alice/gone"])
    refused = alice.ask("PATCH", "/alice/dev", ["title=x"])
    assert (refused.status, refused.json()["message"]) == (400, "base index 'alice/gone' does not exist")
    assert alice.ask("PATCH", "/alice/dev", {"title": "x"}).status == 200


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("who", ["root", "alice", "nobody"])
def test_to_an_unknown_index_nothing_may_be_done(world: World, alice: Person, method: str, who: str) -> None:
    person = nobody(world) if who == "nobody" else logged_in(world, who)
    answer = person.ask(method, "/alice/none", b"no json")
    assert answer.status == 403
    what = "modify" if method == "PATCH" else "delete"
    assert answer.json()["message"].startswith(f"no permission to {what} index alice/none")


@pytest.mark.parametrize("path", ["/alice/dev", "/alice/dev/"])
def test_an_index_is_deleted_and_stays_among_the_bases_of_others(world: World, alice: Person, path: str) -> None:
    add_stage(world)
    add_stage(world, "alice/other", bases=["alice/dev"])
    answer = alice.ask("DELETE", path)
    assert (answer.status, answer.json()) == (201, {"message": "index alice/dev deleted"})
    assert world.entries[-1] == ("alice", (IndexDeleted("alice/dev"),))
    assert alice.get("/alice/dev").status == 404
    assert alice.get("/alice/other").json()["result"]["bases"] == ["alice/dev"]
    assert alice.ask("PUT", "/alice/dev", {}).status == 200


@pytest.mark.parametrize("query", ["", "?force=", "?force"])
def test_an_index_that_is_not_volatile_is_kept(world: World, alice: Person, query: str) -> None:
    add_stage(world, "alice/prod", volatile=False)
    for person in (alice, logged_in(world, "root")):
        answer = person.ask("DELETE", f"/alice/prod{query}")
        assert (answer.status, answer.json()) == (403, {"message": "index alice/prod non-volatile, cannot delete"})


def test_credentials_of_an_upstream_survive_what_strangers_are_shown(world: World, alice: Person) -> None:
    add_mirror(world, mirror_url="https://me:secret@upstream.example/simple/")
    assert nobody(world).get("/alice/mirror").json()["result"]["mirror_url"] == "https://upstream.example/"
    shown = alice.ask("PATCH", "/alice/mirror", {"mirror_url": "https://upstream.example/simple/", "title": "x"}).json()["result"]
    assert shown["mirror_url"] == "https://me:secret@upstream.example/simple/"


def test_hiding_an_index_takes_effect_at_once(world: World, alice: Person) -> None:
    add_stage(world)
    assert nobody(world).get("/alice/dev").status == 200
    alice.ask("PATCH", "/alice/dev", ["acl_read=alice"])
    refused = nobody(world).get("/alice/dev")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Basic realm="pypi"')
    assert (
        refused.json()["message"]
        == "Log in to read: alice/dev is not open to everybody (Unauthorized: no valid login came with the request)."
    )
    alice.ask("PATCH", "/alice/dev", ["acl_read-="])
    assert nobody(world).get("/alice/dev").status == 200


# Installers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("user_agent", "accept"), [("pip/24.0", "*/*"), ("curl/8.0", "application/vnd.pypi.simple.v1+json")])
def test_installers_are_shown_the_names(world: World, alice: Person, user_agent: str, accept: str) -> None:
    add_stage(world)
    answer = ask_raw(world, "GET", "/alice/dev/", headers={"user_agent": user_agent, "accept": accept})
    assert answer.status == 200
    assert "indexconfig" not in answer.content.decode()


# Uploads -----------------------------------------------------------------------------------------------------------


def form(action: str) -> bytes:
    return (
        f'--x\r\nContent-Disposition: form-data; name=":action"\r\n\r\n{action}\r\n'
        '--x\r\nContent-Disposition: form-data; name="content"; filename="a"\r\n\r\nbytes\r\n--x--\r\n'
    ).encode()


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    ("who", "path", "action", "status", "reason"),
    [
        ("nobody", "/alice/none", "file_upload", 404, "The stage alice/none could not be found."),
        ("nobody", f"/{MIRROR}", "file_upload", 404, "cannot submit to mirror index"),
        ("bob", "/alice/dev", "file_upload", 403, "no permission to submit"),
        ("root", "/alice/dev", "submit", 403, "no permission to submit"),
        ("alice", "/alice/dev", "foo", 400, "action 'foo' not supported"),
    ],
)
def test_uploads_are_refused_in_the_status_line(
    world: World, alice: Person, who: str, path: str, action: str, status: int, reason: str, slash: str
) -> None:
    world.add_user("bob", None)
    add_stage(world)
    person = nobody(world) if who == "nobody" else logged_in(world, who)
    answer = person.ask("POST", path + slash, form(action), accept="*/*", **FORM)
    assert answer.raw.startswith(f"HTTP/1.1 {status} {reason}\r\n".encode())
    assert answer.body.decode() == f"{reason}\n"
    answer = person.ask("POST", path + slash, form(action), **FORM)
    assert answer.json() == {"message": reason, "code": f"{status} {reason}", "title": reason}


def test_R69_an_upload_without_a_login_is_challenged(world: World, alice: Person) -> None:
    add_stage(world)
    answer = nobody(world).ask("POST", "/alice/dev/", form("file_upload"), **FORM)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Basic realm="pypi"')
    assert answer.headers.get("connection", "keep-alive") != "close"
    assert (
        ask_raw(world, "POST", "/alice/dev/", form("foo"), {"authorization": f"Basic {basic('alice:secret')}", **FORM}).status
        == 400
    )


def test_a_form_without_an_action_is_no_upload(world: World, alice: Person) -> None:
    add_stage(world)
    for body, kind in ((b"name=x", "application/x-www-form-urlencoded"), (b"--x--\r\n", FORM["content_type"])):
        answer = alice.ask("POST", "/alice/dev", body, content_type=kind)
        assert (answer.status, answer.json()["title"]) == (400, "Bad request: could not decode json")
    answer = alice.ask("POST", "/alice/dev", b":action=foo&name=x", content_type="application/x-www-form-urlencoded")
    assert (answer.status, answer.json()["title"]) == (400, "action 'foo' not supported")


def test_a_mirror_of_an_index_of_this_server_needs_one_that_everybody_may_read(world: World, alice: Person) -> None:
    add_stage(world, "alice/open")
    add_stage(world, "alice/closed", acl_read=["alice"])
    for url, status in (
        ("http://root:@devpi.example/alice/closed/+simple/", 403),
        ("https://DEVPI.example:443/alice/closed", 403),
        ("http://devpi.example/alice/open/+simple/", 200),
        ("http://devpi.example/another/program/", 200),
        ("http://devpi.example/", 200),
        ("http://devpi.example:8080/alice/closed/+simple/", 200),
        ("http://upstream.example/alice/closed/+simple/", 200),
    ):
        answer = alice.ask("PUT", "/alice/copy", {"type": "mirror", "mirror_url": url})
        assert (answer.status, url) == (status, url)
        if status == 200:
            assert alice.ask("PATCH", "/alice/copy", ["mirror_url=http://devpi.example/alice/closed/+simple/"]).status == 403
            assert alice.ask("DELETE", "/alice/copy").status == 201
        else:
            assert "not everybody may read" in answer.json()["message"]
