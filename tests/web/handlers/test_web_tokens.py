"""API tokens over HTTP: made, listed, used, revoked."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.web.web_asking import Person, add_stage, ask_raw, basic, logged_in, nobody, serial_of
from tests.web.web_world import World
from twistpi.model.changes import TokenCreated, TokenRevoked


@pytest.fixture
def alice(world: World) -> Person:
    world.add_user("alice", "secret")
    add_stage(world, acl_read=["alice"])
    return logged_in(world, "alice")


def make(person: Person, body: Any, path: str = "/alice/+tokens") -> dict[str, Any]:
    answer = person.ask("POST", path, body)
    assert answer.status == 201, answer.raw
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert told["type"] == "apitoken"
    result: dict[str, Any] = told["result"]
    return result


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_token_is_made_and_its_password_shown_once(world: World, alice: Person, slash: str) -> None:
    made = make(
        alice,
        {"may": "read,upload", "index": "alice/dev", "project": "Foo.Bar", "days": 1, "title": "ci"},
        f"/alice/+tokens{slash}",
    )
    password = made.pop("password")
    assert re.fullmatch(r"twistpi-[0-9a-f]{16}-[A-Za-z0-9_-]{43}", password)
    assert made == {
        "token": password[8:24],
        "user": "alice",
        "title": "ci",
        "may": ["read", "upload"],
        "index": "alice/dev",
        "project": "foo-bar",
        "created": "2026-11-22T17:00:00Z",
        "expires": "2026-11-19T11:06:40Z",
    }
    listed = alice.get(f"/alice/+tokens{slash}").json()
    assert listed == {"type": "list:apitoken", "result": [made]}
    author, (change,) = world.entries[-1]
    assert author == "alice"
    assert isinstance(change, TokenCreated)
    assert password not in str(world.entries)
    assert password[25:] not in str(world.entries)


@pytest.mark.parametrize("user", ["__token__", "alice", "whoever", ""])
def test_a_token_is_a_password_with_any_name(world: World, alice: Person, user: str) -> None:
    password = make(alice, {"may": ["read"]})["password"]
    assert Person(world, f"{user}:{password}").get("/alice/dev").status == 200
    headers = {"authorization": f"Basic {basic(f'{user}:{password}')}"}
    assert ask_raw(world, "GET", "/alice/dev", headers=headers).status == 200
    assert ask_raw(world, "GET", "/+api", headers=headers).json()["result"]["authstatus"] == ["ok", "alice", []]


def test_a_token_expires(world: World, alice: Person) -> None:
    person = Person(world, f"__token__:{make(alice, {'may': 'read', 'days': 1})['password']}")
    world.clock.advance(86399)
    assert person.get("/alice/dev").status == 200
    world.clock.advance(2)
    assert person.get("/alice/dev").status == 401


def test_a_token_is_revoked(world: World, alice: Person) -> None:
    made = make(alice, {"may": "read"})
    person = Person(world, f"__token__:{made['password']}")
    assert person.get("/alice/dev").status == 200
    answer = alice.ask("DELETE", f"/alice/+tokens/{made['token']}")
    assert (answer.status, answer.json()) == (200, {"message": f"API token {made['token']} revoked"})
    assert world.entries[-1] == ("alice", (TokenRevoked(made["token"]),))
    assert person.get("/alice/dev").status == 401
    assert alice.get("/alice/+tokens").json()["result"] == []
    again = alice.ask("DELETE", f"/alice/+tokens/{made['token']}")
    assert (again.status, serial_of(world)) == (404, world.view.position.serial)


def test_a_token_outlives_another_password_and_not_its_user(world: World, alice: Person) -> None:
    person = Person(world, f"__token__:{make(alice, {'may': 'read'})['password']}")
    alice.ask("PATCH", "/alice", {"password": "another"})
    assert person.get("/alice/dev").status == 200
    assert logged_in(world, "root").ask("DELETE", "/alice").status == 200
    nobody(world).ask("PUT", "/alice", {"password": "x"})
    assert person.get("/+api").json()["result"]["authstatus"] == ["noauth", "", []]


def test_a_token_for_one_index_opens_no_other(world: World, alice: Person) -> None:
    add_stage(world, "alice/other", acl_read=["alice"])
    person = Person(world, f"__token__:{make(alice, {'may': 'read', 'index': 'alice/other'})['password']}")
    assert person.get("/alice/other").status == 200
    assert person.get("/alice/dev").status == 403


@pytest.mark.parametrize("body", [{"may": "read"}, {"may": "read,upload"}])
def test_a_token_never_makes_a_token(world: World, alice: Person, body: Any) -> None:
    person = Person(world, f"__token__:{make(alice, body)['password']}")
    before = serial_of(world)
    assert person.ask("POST", "/alice/+tokens", {"may": "read"}).status == 403
    assert person.get("/alice/+tokens").status == 403
    assert person.ask("PATCH", "/alice", {"password": "stolen"}).status == 403
    assert serial_of(world) == before


def test_root_makes_tokens_for_others_and_hears_of_nobody(world: World, alice: Person) -> None:
    root = logged_in(world, "root")
    made = make(root, {"may": "read"})
    assert made["user"] == "alice"
    assert Person(world, f"__token__:{made['password']}").get("/alice/dev").status == 200
    for method, path in (("GET", "/nouser/+tokens"), ("POST", "/nouser/+tokens"), ("DELETE", "/nouser/+tokens/0123456789abcdef")):
        assert root.ask(method, path, {"may": "read"}).status == 404


def test_a_token_of_another_user_is_not_to_be_found(world: World, alice: Person) -> None:
    world.add_user("bob", None)
    token = make(alice, {"may": "read"})["token"]
    answer = logged_in(world, "bob").ask("DELETE", f"/bob/+tokens/{token}")
    assert answer.status == 404
    assert token in answer.json()["message"]
    assert len(alice.get("/alice/+tokens").json()["result"]) == 1


def test_nobody_learns_of_a_hidden_index_by_asking_for_a_token(world: World, alice: Person) -> None:
    world.add_user("bob", None)
    bob = logged_in(world, "bob")
    hidden = bob.ask("POST", "/bob/+tokens", {"may": "read", "index": "alice/dev"})
    missing = bob.ask("POST", "/bob/+tokens", {"may": "read", "index": "alice/none"})
    assert (hidden.status, missing.status) == (404, 404)
    assert hidden.json()["message"] == missing.json()["message"].replace("none", "dev")
