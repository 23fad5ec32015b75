"""Signing in and out in a browser, and the forms of other sites."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.web.browser.web_browsing import Browser
from tests.web.web_asking import FAR, add_stage, ask_raw, serial_of, signed_in
from tests.web.web_world import MakeWorld, World
from twistpi.model.changes import UserModified

CLOSED = "/alice/closed"


@pytest.fixture
def alices(world: World) -> World:
    world.add_user("alice", "alice-password")
    world.add_user("bob", "bob-password")
    add_stage(world, CLOSED[1:], acl_read=["alice"])
    return world


def test_a_closed_index_opens_to_who_signs_in_and_closes_when_they_sign_out(alices: World) -> None:
    browser = Browser(alices, FAR)
    assert browser.open(CLOSED).status == 403
    assert 'href="/+login?next=%2Falice%2Fclosed"' in browser.text
    browser.open("/+login?next=%2Falice%2Fclosed")
    assert browser.send("/+login", user="alice", password="alice-password").status == 200
    assert browser.path == CLOSED
    assert browser.answer.headers["cache-control"] == "private, no-cache"
    assert "Cookie" in browser.answer.headers["vary"]
    browser.open("/+account")
    browser.send("/+logout")
    assert browser.path == "/"
    assert "alice/closed" not in browser.text
    assert browser.open(CLOSED).status == 403
    assert browser.cookies == {}


def test_a_wrong_password_is_told_in_the_form_and_slows_the_next_try(alices: World) -> None:
    browser = Browser(alices, FAR)
    browser.open("/+login?next=/alice/closed")
    answer = browser.send("/+login", user="alice", password="wrong")
    assert answer.status == 401
    assert "could not be authenticated" in browser.text
    assert "www-authenticate" not in answer.headers, "the browser's own window would open"
    assert {"user": "alice", "next": CLOSED}.items() <= browser.form("/+login").fields.items()
    before = alices.clock.seconds()
    for _ in range(3):
        browser.send("/+login", user="alice", password="wrong")
    assert alices.clock.seconds() > before
    assert browser.cookies == {}


@pytest.mark.parametrize(
    ("asked", "after"),
    [
        ("/alice/closed?page=2", "/alice/closed?page=2"),
        *((wrong, "/") for wrong in ("//evil.example/", "https://evil.example/", "/\\evil.example", "/%5Cevil.example", "evil")),
        *((wrong, "/") for wrong in ("/%2Fevil.example", "/+logout", "/x/../../other", "/%2e%2e/x", "/\x01", "")),
    ],
)
def test_signing_in_leads_nowhere_else(alices: World, asked: str, after: str) -> None:
    browser = Browser(alices, FAR)
    browser.post("/+login", user="alice", password="alice-password", next=asked)
    assert browser.path == after


def test_behind_a_prefix_every_path_and_the_cookie_have_it(make_world: MakeWorld) -> None:
    world = make_world(outside_url="https://pkgs.example/devpi")
    world.add_user("alice", "alice-password")
    browser = Browser(world, FAR)
    browser.open("/devpi/+login?next=/devpi/root/pypi")
    assert browser.form("/+login").action == "/devpi/+login"
    browser.send("/+login", user="alice", password="alice-password")
    assert browser.path == "/devpi/root/pypi"
    browser.open("/devpi/+account")
    assert browser.path == "/devpi/alice/+account"


@pytest.mark.parametrize("asked", ["/devpi/+logout", "/devpi/%2Blogout", "/devpi/../other", "/devpi", "/devpievil", "/other"])
def test_behind_a_prefix_signing_in_leads_nowhere_else_either(make_world: MakeWorld, asked: str) -> None:
    world = make_world(outside_url="https://pkgs.example/devpi")
    world.add_user("alice", "alice-password")
    browser = Browser(world, FAR)
    browser.post("/devpi/+login", user="alice", password="alice-password", next=asked)
    assert browser.path == "/devpi/"


def test_roots_blank_password_is_enough_on_this_machine_alone_and_leads_to_setting_one(world: World) -> None:
    world.commit(UserModified("root", {}, (), ""))
    far, near = Browser(world, FAR), Browser(world)
    far.open("/+login")
    assert far.send("/+login", user="root", password="").status == 401
    assert "has a blank password and can log in from the server" in far.text
    near.sign_in("root", "")
    assert near.path == "/root/+account"
    assert "Your password is blank" in near.text
    near.send("/password", current="", new="better", again="better")
    assert "You have another password now" in near.text
    assert "password is blank" not in near.text


@pytest.mark.parametrize("headers", [{"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}])
def test_no_other_site_signs_anybody_in(alices: World, headers: dict[str, str]) -> None:
    browser = Browser(alices, FAR)
    assert browser.post("/+login", headers, user="alice", password="alice-password").status == 403
    assert browser.cookies == {}


def test_a_login_form_of_unknown_origin_is_refused_and_json_is_not(alices: World) -> None:
    form = {"accept": "*/*", "content_type": "application/x-www-form-urlencoded"}
    refused = ask_raw(alices, "POST", "/+login", b"user=alice&password=alice-password", form)
    assert (refused.status, "set-cookie" in refused.headers) == (403, False)
    answer = ask_raw(alices, "POST", "/+login", b'{"user": "alice", "password": "alice-password"}', form)
    assert answer.json()["type"] == "proxyauth"
    assert "set-cookie" not in answer.headers


def test_only_who_is_signed_in_sends_large_forms(alices: World) -> None:
    browser, large = Browser(alices), "%41" * 30_000
    assert browser.post("/+login", user=large, password="x").status == 413
    browser.sign_in("alice", "alice-password")
    browser.open("/alice/+account")
    assert browser.send("/+account", title="", email="", description=large).status == 400
    assert "the description has 90,000 characters; up to 10,000 are allowed" in browser.text


def test_no_other_site_signs_anybody_out(alices: World) -> None:
    browser = Browser(alices, FAR)
    browser.sign_in("alice", "alice-password")
    assert browser.post("/+logout", form_token="").status == 403
    assert browser.open(CLOSED).status == 200


FILE = "/alice/closed/+f/000/0000000000000/a"
FORMS = [
    "/+users", "/alice/+account", "/alice/+account/password", "/alice/+account/tokens", "/alice/+new-index",
    "/alice/+account/tokens/0123456789abcdef", "/bob/+delete", "/alice/closed/+settings", "/alice/closed/+delete",
    "/alice/closed/demo/+delete", "/alice/closed/demo/+status", "/alice/closed/demo/+refresh", "/alice/closed/demo/1/+delete",
    "/alice/closed/demo/1/+yank", "/alice/closed/demo/1/+push", f"{FILE}/+delete", f"{FILE}/+yank",
    "/alice/closed/+e/x/a/+delete",
]  # fmt: skip


@pytest.mark.parametrize("path", FORMS)
def test_a_form_without_the_token_of_its_session_changes_nothing(alices: World, path: str) -> None:
    session = str(signed_in(alices, "alice").session)
    browser = Browser(alices, FAR, {"twistpi_session": session})
    sessions, before = alices.authenticator.tokens, serial_of(alices)
    right = sessions.form_token(session, "00")
    others = sessions.form_token(str(signed_in(alices, "alice").session), "00")
    for token in ("", "00.x", others):
        assert browser.post(path, form_token=token).status == 403
        assert "the form is not one of your session" in browser.text
    assert browser.post(path, {"sec_fetch_site": "cross-site"}, form_token=right).status == 403
    assert "a page of another site" in browser.text
    assert Browser(alices, FAR).post(path, form_token=right).status == 403
    assert browser.post(path, {"authorization": "Basic YTpi"}, form_token=right).status == 403
    assert (serial_of(alices), browser.cookies) == (before, {"twistpi_session": session})


@pytest.mark.parametrize("path", [path for path in FORMS if not path.endswith(("/password", "/tokens", "+refresh"))])
def test_nobody_sees_a_form_without_signing_in(alices: World, path: str) -> None:
    browser = Browser(alices, FAR)
    assert browser.open(path).status == 403
    assert "form_token" not in browser.text


def test_no_secret_is_in_any_log(make_world: MakeWorld, tmp_path: Path) -> None:
    world = make_world(access_log=str(tmp_path / "access.log"))
    world.add_user("alice", "alice-password")
    browser = Browser(world, FAR)
    browser.sign_in("alice", "alice-password")
    browser.open("/+account")
    browser.send("/tokens", title="ci")
    written = (tmp_path / "access.log").read_text()
    assert "POST /+login" in written
    for secret in (
        browser.cookies["twistpi_session"],
        "alice-password",
        "twistpi-",
        browser.form("/tokens").fields["form_token"],
    ):
        assert secret not in written
