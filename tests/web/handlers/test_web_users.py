"""Users over HTTP: listed, shown, made, changed, deleted."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.web.web_asking import NEAR, Person, add_mirror, add_stage, logged_in, nobody, serial_of
from tests.web.web_wire import Wire, read_answer, request_bytes
from tests.web.web_world import MakeWorld, World
from twistpi.model.changes import IndexDeleted, UserCreated, UserDeleted, UserModified
from twistpi.rules.permissions import Policy


@pytest.fixture
def alice(world: World) -> Person:
    world.add_user("alice", "secret", email="alice@devpi.example")
    return logged_in(world, "alice")


def authstatus(person: Person) -> Any:
    return person.get("/+api").json()["result"]["authstatus"]


@pytest.mark.parametrize("path", ["/new", "/new/"])
def test_anybody_may_make_a_user(world: World, path: str) -> None:
    answer = nobody(world).ask("PUT", path, {"password": "secret", "email": "new@devpi.example", "custom_data": {"a": [1]}})
    assert (answer.status, answer.headers["content-type"]) == (201, "application/json")
    told = answer.json()
    assert told["type"] == "userconfig"
    assert told["result"] == {
        "email": "new@devpi.example",
        "custom_data": {"a": [1]},
        "username": "new",
        "created": "2026-11-22T17:00:00Z",
        "indexes": {},
    }
    assert nobody(world).get("/new").json() == told
    assert authstatus(Person(world, "new:secret")) == ["ok", "new", []]
    author, (change,) = world.entries[-1]
    assert author == "+anonymous"
    assert isinstance(change, UserCreated)
    assert "secret" not in str(change)


@pytest.mark.parametrize("name", ["a", "UPPER", "a.b-c_d@e", "jürgen", "日本", "0", "-", "_"])
def test_names_may_hold_what_the_protocol_allows(world: World, name: str) -> None:
    path = "/" + "".join(f"%{byte:02X}" for byte in name.encode())
    assert nobody(world).ask("PUT", path, {"password": "x"}).status == 201
    assert nobody(world).get(path).json()["result"]["username"] == name


def test_names_are_told_apart_by_case(world: World) -> None:
    assert nobody(world).ask("PUT", "/Anna", {"password": "x"}).status == 201
    assert nobody(world).ask("PUT", "/anna", {"password": "x"}).status == 201


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/alice", b"no json", 409, "user already exists"),
        ("/root", {"password": "x"}, 409, "user already exists"),
        ("/new", {"email": "x"}, 400, "password needs to be set"),
        ("/new", {"pwhash": "x"}, 400, "password needs to be set"),
        ("/new", {"password": "x", "foo": 1}, 400, "Unknown keys in user config: foo"),
        (
            "/a%20b",
            {"password": "x"},
            400,
            "username 'a b' contains characters that aren't allowed. Any ascii symbol besides -.@_ is blocked.",
        ),
        ("/new", b"", 400, "Bad request: could not decode json"),
    ],
)
def test_a_user_that_cannot_be_made_is_refused(
    world: World, alice: Person, path: str, body: Any, status: int, message: str
) -> None:
    before = serial_of(world)
    answer = nobody(world).ask("PUT", path, body)
    assert (answer.status, answer.json()) == (status, {"message": message})
    assert serial_of(world) == before


def test_what_only_informs_is_passed_over(world: World) -> None:
    body = {"password": "x", "username": "other", "created": "yesterday", "modified": "today", "indexes": {"a": {}}}
    result = nobody(world).ask("PUT", "/new", body).json()["result"]
    assert result == {"username": "new", "created": "2026-11-22T17:00:00Z", "indexes": {}}


def test_a_password_of_null_makes_a_user_who_cannot_log_in(world: World) -> None:
    assert nobody(world).ask("PUT", "/bot", {"password": None}).status == 201
    assert authstatus(Person(world, "bot:")) == ["noauth", "", []]
    assert authstatus(Person(world, "bot:", NEAR)) == ["noauth", "", []]


def test_a_user_is_made_only_by_whom_the_administrator_lets(make_world: MakeWorld) -> None:
    world = make_world(policy=Policy(("dave",)))
    world.add_user("dave", None)
    refused = nobody(world).ask("PUT", "/new", {"password": "x"})
    assert (refused.status, refused.json()["message"]) == (403, "no permission to create user new: log in first")
    assert logged_in(world, "dave").ask("PUT", "/new", {"password": "x"}).status == 201


def test_of_two_who_make_the_same_user_at_once_one_comes_too_late(make_world: MakeWorld) -> None:
    waiting: list[tuple[Deferred[Any], Any, tuple[Any, ...]]] = []

    def hash_later(work: Any, *arguments: Any) -> Deferred[Any]:
        waiting.append((Deferred(), work, arguments))
        return waiting[-1][0]

    world = make_world(hash_offload=hash_later)
    wires = []
    for password in (b"first", b"second"):
        body = b'{"password": "%s"}' % password
        wires.append(Wire(world))
        head = request_bytes("/new", "PUT", accept="application/json", content_length=str(len(body)))
        assert wires[-1].send(head + body) == b""
    assert len(waiting) == 2
    for deferred, work, arguments in waiting:
        deferred.callback(work(*arguments))
    assert [read_answer(wire.send(b"")).status for wire in wires] == [201, 409]
    assert len(world.entries) == 2


def test_the_list_shows_everybody_with_their_indexes(world: World, alice: Person) -> None:
    add_stage(world)
    told = nobody(world).get("/").json()
    assert told["type"] == "list:userconfig"
    assert set(told["result"]) == {"root", "alice"}
    assert set(told["result"]["root"]["indexes"]) == {"pypi"}
    assert told["result"]["alice"] == nobody(world).get("/alice").json()["result"]
    assert told["result"]["alice"]["indexes"]["dev"]["acl_upload"] == ["alice"]
    assert "projects" not in told["result"]["alice"]["indexes"]["dev"]
    assert "password" not in str(told)
    assert "bcrypt" not in str(told)
    of_7 = nobody(world).get("/?v=2").json()["result"]
    assert of_7["alice"] == nobody(world).get("/alice?v=2").json()["result"]
    assert (of_7["root"]["indexes"]["pypi"]["type"], of_7["alice"]["indexes"]["dev"]["type"]) == ("remote", "local")
    assert "project_inheritance_rules" in of_7["alice"]["indexes"]["dev"]


def test_an_unknown_user_is_404(world: World) -> None:
    for method in ("GET", "PATCH"):
        answer = nobody(world).ask(method, "/nouser", {"email": "x"})
        assert (answer.status, answer.json()) == (404, {"message": "no user 'nouser'"})


@pytest.mark.parametrize("path", ["/alice", "/alice/"])
def test_settings_of_a_user_are_changed_and_removed(world: World, alice: Person, path: str) -> None:
    answer = alice.ask("PATCH", path, {"title": "hello", "email": "", "unknown": 5})
    assert (answer.status, answer.json()) == (200, {"message": "user updated"})
    result = alice.get("/alice").json()["result"]
    assert result["title"] == "hello"
    assert "email" not in result
    assert result["modified"] == "2026-11-22T17:00:00Z"
    assert world.entries[-1] == ("alice", (UserModified("alice", {"title": "hello"}, ("email",)),))


def test_what_changes_nothing_is_no_entry(world: World, alice: Person) -> None:
    before = serial_of(world)
    answer = alice.ask("PATCH", "/alice", {"email": "alice@devpi.example", "title": ""})
    assert (answer.status, answer.json()["message"], serial_of(world)) == (200, "user updated", before)


def test_a_new_password_voids_old_tokens_and_brings_a_new_one(world: World, alice: Person) -> None:
    answer = alice.ask("PATCH", "/alice", {"password": "another"})
    told = answer.json()
    assert (answer.status, told["type"], told["message"]) == (200, "userpassword", "user updated, new proxy auth")
    assert told["result"]["expiration"] == 36000
    assert answer.headers["cache-control"] == "no-store"
    assert authstatus(alice) == ["noauth", "", []]
    assert authstatus(Person(world, f"alice:{told['result']['password']}")) == ["ok", "alice", []]
    assert authstatus(Person(world, "alice:another")) == ["ok", "alice", []]
    assert authstatus(Person(world, "alice:secret")) == ["noauth", "", []]


def test_a_password_that_was_just_remembered_is_void_after_a_change(world: World, alice: Person) -> None:
    with_password = Person(world, "alice:secret")
    assert authstatus(with_password) == ["ok", "alice", []]
    alice.ask("PATCH", "/alice", {"password": "another"})
    assert authstatus(with_password) == ["noauth", "", []]


def test_a_password_can_be_blank(world: World, alice: Person) -> None:
    assert alice.ask("PATCH", "/alice", {"password": ""}).json()["type"] == "userpassword"
    assert authstatus(Person(world, "alice:", NEAR)) == ["ok", "alice", []]
    assert authstatus(Person(world, "alice:")) == ["noauth", "", []]


@pytest.mark.parametrize(
    ("changes", "status"),
    [({}, 200), ({"title": "sneaked in"}, 403), ({"email": "another@devpi.example"}, 403), ({"email": ""}, 403)],
)
def test_a_restricted_user_may_change_the_password_the_way_the_client_does(
    make_world: MakeWorld, changes: dict[str, str], status: int
) -> None:
    world = make_world(policy=Policy(("dave",)))
    world.add_user("alice", None, email="alice@devpi.example")
    alice = logged_in(world, "alice")
    record = alice.get("/alice").json()["result"]
    body = {key: value for key, value in record.items() if key not in ("indexes", "username")}
    answer = alice.ask("PATCH", "/alice", {**body, **changes, "password": "new"})
    assert answer.status == status
    if status == 403:
        assert answer.json()["message"] == "no permission to modify user alice"


def test_refusals_name_the_user(world: World, alice: Person) -> None:
    world.add_user("bob", None)
    bob = logged_in(world, "bob")
    for body, what in (({"password": "x"}, "change password for"), ({"email": "x"}, "modify"), ({}, "modify")):
        answer = bob.ask("PATCH", "/alice", body)
        assert (answer.status, answer.json()) == (403, {"message": f"no permission to {what} user alice"})


def test_a_user_goes_with_all_indexes(world: World, alice: Person) -> None:
    add_stage(world)
    add_mirror(world)
    answer = alice.ask("DELETE", "/alice")
    assert (answer.status, answer.json()) == (200, {"message": "user 'alice' deleted"})
    assert world.entries[-1] == ("alice", (IndexDeleted("alice/dev"), IndexDeleted("alice/mirror"), UserDeleted("alice")))
    assert nobody(world).get("/alice").status == 404
    assert nobody(world).get("/alice/dev").status == 404
    assert authstatus(alice) == ["noauth", "", []]


def test_a_user_who_comes_back_is_another(world: World, alice: Person) -> None:
    alice.ask("DELETE", "/alice")
    assert nobody(world).ask("PUT", "/alice", {"password": "new"}).status == 201
    assert authstatus(alice) == ["noauth", "", []]
    assert "email" not in nobody(world).get("/alice").json()["result"]


def test_whoever_takes_a_freed_name_has_none_of_its_rights(world: World, alice: Person) -> None:
    for name in ("bob", "carol"):
        world.add_user(name, None)
    add_stage(world, "carol/x")
    add_stage(world, "bob/prod", acl_upload=["bob", "carol"], acl_read=["bob", "alice"], bases=["carol/x", "root/pypi"])
    told = "user 'carol' deleted, and the name taken out of acl_upload of bob/prod, bases of bob/prod"
    assert logged_in(world, "root").ask("DELETE", "/carol").json() == {"message": told}
    assert len(world.entries[-1][1]) == 3, "one entry"
    assert alice.ask("DELETE", "/alice").json()["message"].endswith("taken out of acl_read of bob/prod")
    config = logged_in(world, "bob").get("/bob/prod").json()["result"]
    assert (config["acl_upload"], config["acl_read"], config["bases"]) == (["bob"], ["bob"], ["root/pypi"])
    for name in ("carol", "alice"):
        assert nobody(world).ask("PUT", f"/{name}", {"password": "x"}).status == 201
    assert logged_in(world, "carol").get("/bob/prod").status == 403


def test_a_deletion_does_not_tell_of_indexes_that_its_author_may_not_read(world: World, alice: Person) -> None:
    world.add_user("bob", None)
    add_stage(world, "bob/secret", acl_read=["bob"], acl_upload=["alice"])
    assert alice.ask("DELETE", "/alice").json() == {"message": "user 'alice' deleted"}
    assert logged_in(world, "bob").get("/bob/secret").json()["result"]["acl_upload"] == []


def test_a_name_entered_before_its_user_is_warned_of_and_waits_for_an_administrator(world: World, alice: Person) -> None:
    entered = alice.ask("PUT", "/alice/dev", {"acl_upload": ["alice", "ci", ":team", ":ANONYMOUS:"]}).json()
    assert entered["message"] == "there are no such users, and only an administrator can create them now: ci"
    assert "message" not in alice.ask("PATCH", "/alice/dev", ["title=x"]).json()
    assert alice.ask("PATCH", "/alice/dev", ["acl_read=cd"]).json()["message"].endswith(": cd")
    for name in ("ci", "cd"):
        refused = nobody(world).ask("PUT", f"/{name}", {"password": "x"})
        assert (refused.status, "alice/dev" in refused.json()["message"]) == (403, False)
        assert alice.ask("PUT", f"/{name}", {"password": "x"}).status == 403
    assert logged_in(world, "root").ask("PUT", "/ci", {"password": "x"}).status == 201


def test_who_has_an_index_that_is_kept_is_kept(world: World, alice: Person) -> None:
    add_stage(world, "alice/prod", volatile=False)
    add_stage(world)
    before = serial_of(world)
    answer = alice.ask("DELETE", "/alice")
    assert (answer.status, answer.json()) == (403, {"message": "user 'alice' has non-volatile index: prod"})
    assert serial_of(world) == before


def test_who_may_delete_hears_that_there_is_nobody_to_delete(world: World, alice: Person) -> None:
    assert logged_in(world, "root").ask("DELETE", "/nouser").json() == {"message": "no user 'nouser'"}
    assert alice.ask("DELETE", "/nouser").status == 403
    refused = logged_in(world, "root").ask("DELETE", "/root")
    assert (refused.status, refused.json()["message"]) == (403, "no permission to delete user root")


def test_credentials_of_an_upstream_are_shown_to_who_may_change_them(world: World, alice: Person) -> None:
    add_mirror(world, mirror_url="https://me:secret@upstream.example/simple/")
    for person, url in (
        (nobody(world), "https://upstream.example/"),
        (alice, "https://me:secret@upstream.example/simple/"),
        (logged_in(world, "root"), "https://me:secret@upstream.example/simple/"),
    ):
        assert person.get("/").json()["result"]["alice"]["indexes"]["mirror"]["mirror_url"] == url
        assert person.get("/alice").json()["result"]["indexes"]["mirror"]["mirror_url"] == url
        assert "secret" not in person.get("/alice", accept="text/html").body.decode()
    assert "secret" not in str(alice.get("/").json()["result"]["root"])


@pytest.mark.parametrize("path", ["/", "/root", "/root/", "/root/pypi", "/root/pypi/"])
@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/plain", "application/json"),
        ("text/html, application/json;q=0.5", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("TEXT/HTML", "text/html; charset=utf-8"),
    ],
)
def test_people_get_pages_and_everybody_else_json(world: World, path: str, accept: str, kind: str) -> None:
    answer = nobody(world).get(path, accept=accept, user_agent="curl/8.0")
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert answer.headers["cache-control"] == "private, no-cache"
    assert "Authorization" in answer.headers["vary"]


def test_pages_for_people_hold_nothing_that_acts(world: World) -> None:
    world.add_user("mallory", None)
    add_mirror(world, "mallory/x", mirror_url="https://upstream.example/<script>alert(1)</script>/", title="<b>")
    add_stage(world, "mallory/y", bases=["mallory/x", "<script>"])
    for path in ("/", "/mallory", "/mallory/x", "/mallory/y"):
        answer = nobody(world).get(path, accept="text/html")
        assert answer.status == 200
        assert answer.content.count(b"<script") == answer.content.count(b'<script src="/+static/') == 1
        assert b"<b>" not in answer.content
        assert "script-src 'self'" in answer.headers["content-security-policy"]
