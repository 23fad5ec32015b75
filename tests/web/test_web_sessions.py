"""Sessions of browsers: what their cookie allows, how it is written, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import pytest
from twisted.internet.address import IPv4Address
from twisted.web.test.requesthelper import DummyChannel

from tests.web.web_asking import Person, add_stage, ask_raw, basic, signed_in, with_api_token
from tests.web.web_world import MakeWorld, World
from twistpi.model.changes import UserCreated, UserDeleted, UserModified
from twistpi.model.errors import TwistpiError
from twistpi.web.request import TwistpiRequest

CLOSED = "/alice/closed"


@pytest.fixture
def alices(world: World) -> World:
    world.add_user("alice", "alice-password")
    world.add_user("bob", "bob-password")
    add_stage(world, CLOSED[1:], acl_read=["alice"])
    return world


def request_with(method: str = "GET", **headers: str) -> TwistpiRequest:
    request = TwistpiRequest(DummyChannel())
    request.method = method.encode()
    request.client = IPv4Address("TCP", "192.0.2.77", 5000)
    for name, value in headers.items():
        request.requestHeaders.addRawHeader(name.replace("_", "-"), value)
    return request


@pytest.mark.parametrize(
    "end",
    [
        lambda world: world.commit(UserModified("alice", {}, (), "$another")),
        lambda world: world.commit(UserDeleted("alice")),
        lambda world: world.commit(UserDeleted("alice"), UserCreated("alice", {}, "$later")),
        lambda world: world.clock.advance(36001),
    ],
    ids=["another password", "deleted", "created anew", "time"],
)
def test_a_session_ends(alices: World, end: Callable[[World], object]) -> None:
    alice = signed_in(alices, "alice")
    assert alice.get(CLOSED).status == 200
    end(alices)
    assert alice.get(CLOSED).status == 401


def test_a_cookie_counts_only_without_credentials(alices: World) -> None:
    session = signed_in(alices, "alice").session
    assert Person(alices, "bob:bob-password", session=session).get(CLOSED).status == 403
    assert Person(alices, "alice:wrong", session=session).get(CLOSED).status == 401
    assert signed_in(alices, "alice").get(CLOSED, authorization="Bearer of something else").status == 401
    token = with_api_token(alices, "bob", "read")
    assert Person(alices, token.credentials, session=session).get(CLOSED).status == 403


def test_the_first_good_one_of_several_cookies_counts(alices: World) -> None:
    good = signed_in(alices, "alice").session
    other = {"accept": "application/json", "cookie": f"a=b; twistpi_session=of-another-server; twistpi_session={good}"}
    assert ask_raw(alices, "GET", CLOSED, headers=other).status == 200
    for cookie in ("twistpi_session", "twistpi_session=", f"twistpi_session={good}x", f"Twistpi_Session={good}", "\xff=;;"):
        assert ask_raw(alices, "GET", CLOSED, headers={"accept": "application/json", "cookie": cookie}).status == 401


@pytest.mark.parametrize(
    ("trusted", "headers", "expected"),
    [
        ("", {}, "; HttpOnly; Path=/; SameSite=Lax"),
        ("", {"x_outside_url": "https://pkgs.example/devpi"}, "; HttpOnly; Path=/; SameSite=Lax"),
        ("192.0.2.77", {"x_forwarded_proto": "https"}, "; Secure; HttpOnly; Path=/; SameSite=Lax"),
        ("192.0.2.77", {"x_outside_url": "https://pkgs.example/devpi"}, "; Secure; HttpOnly; Path=/devpi; SameSite=Lax"),
    ],
)
def test_the_cookie_is_for_the_address_by_which_the_reader_came(
    make_world: MakeWorld, trusted: str, headers: dict[str, str], expected: str
) -> None:
    world = make_world(trusted_proxies=tuple(map(ip_network, trusted.split())))
    sessions, root = world.authenticator.sessions, world.readers.get().user("root")
    assert root is not None
    request = request_with(host="pkgs.example", **headers)
    assert sessions.begin(request, root)[0][1].decode().partition("; ")[2] == f"Max-Age=36000{expected}"
    assert sessions.end(request)[1].decode() == f"twistpi_session=; Max-Age=0{expected}"


def test_a_form_needs_the_token_of_its_session(alices: World) -> None:
    sessions = alices.authenticator.sessions
    mine, others = (f"twistpi_session={signed_in(alices, name).session}" for name in ("alice", "alice"))
    token = sessions.form_token(request_with(cookie=mine))
    assert sessions.form_principal(request_with("POST", cookie=mine), token).user == "alice"
    assert sessions.form_token(request_with()) == ""
    for wrong in (
        request_with("POST"),
        request_with("POST", cookie=others),
        request_with("POST", cookie=mine, authorization=f"Basic {basic('alice:alice-password')}"),
    ):
        with pytest.raises(TwistpiError) as refused:
            sessions.form_principal(wrong, token)
        assert refused.value.status == 403
    with pytest.raises(TwistpiError):
        sessions.form_principal(request_with("POST", cookie=mine), "")
