"""Login: passwords are exchanged for tokens, tokens are accepted, and front ends ask whether access is allowed."""

from __future__ import annotations

import base64
from ipaddress import ip_network
from typing import Any

import pytest

from tests.web.web_asking import NEAR, Person, add_stage, ask_raw, basic, logged_in, nobody, serial_of
from tests.web.web_wire import Answer
from tests.web.web_world import MakeWorld, World

PASSWORD = "a password with more than seventy-two bytes, of which bcrypt itself would see but a part: ü"


@pytest.fixture(autouse=True)
def alice(world: World) -> None:
    world.add_user("alice", PASSWORD)
    add_stage(world, acl_read=["alice"])


def log_in(world: World, user: str, password: str, address: str = "192.0.2.77") -> Answer:
    return Person(world, address=address).ask("POST", "/+login", {"user": user, "password": password})


@pytest.mark.parametrize("path", ["/+login", "/+login/"])
def test_a_password_is_exchanged_for_a_token(world: World, path: str) -> None:
    answer = nobody(world).ask("POST", path, {"user": "alice", "password": PASSWORD}, accept="*/*")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    told = answer.json()
    assert (told["type"], told["message"], told["result"]["expiration"]) == ("proxyauth", "login successful", 36000)
    token = told["result"]["password"]
    assert token.isascii()
    assert token.isprintable()
    assert Person(world, f"alice:{token}").get("/alice/dev").status == 200
    assert answer.headers["cache-control"] == "no-store"


def test_a_token_is_good_in_either_header_and_for_ten_hours(world: World) -> None:
    token = log_in(world, "alice", PASSWORD).json()["result"]["password"]
    for headers in ({"x_devpi_auth": basic(f"alice:{token}")}, {"authorization": f"Basic {basic(f'alice:{token}')}"}):
        assert ask_raw(world, "GET", "/alice/dev", headers=headers).status == 200
    world.clock.advance(35999)
    assert Person(world, f"alice:{token}").get("/alice/dev").status == 200
    world.clock.advance(2)
    assert Person(world, f"alice:{token}").get("/alice/dev").status == 401


def test_a_password_is_good_in_either_header(world: World) -> None:
    pair = basic(f"alice:{PASSWORD}")
    assert ask_raw(world, "GET", "/alice/dev", headers={"x_devpi_auth": pair}).status == 200
    assert ask_raw(world, "GET", "/alice/dev", headers={"authorization": f"Basic {pair}"}).status == 200
    latin = base64.b64encode(f"alice:{PASSWORD}".encode("latin-1")).decode()
    assert ask_raw(world, "GET", "/alice/dev", headers={"x_devpi_auth": latin}).status == 200


@pytest.mark.parametrize(
    ("user", "password"), [("alice", "wrong"), ("alice", PASSWORD[:72]), ("alice", ""), ("nouser", "x"), ("", "")]
)
def test_a_wrong_password_and_an_unknown_user_sound_alike(world: World, user: str, password: str) -> None:
    answer = log_in(world, user, password)
    assert (answer.status, answer.json()) == (401, {"message": f"user {user!r} could not be authenticated"})
    assert "www-authenticate" not in answer.headers
    assert "location" not in answer.headers


def test_a_blank_password_is_good_here_alone(world: World) -> None:
    assert log_in(world, "root", "", NEAR).status == 200
    refused = log_in(world, "root", "")
    assert refused.status == 401
    assert "twistpi passwd root" in refused.json()["message"]
    assert Person(world, "root:", NEAR).get("/+api").json()["result"]["authstatus"] == ["ok", "root", []]
    assert Person(world, "root:").get("/+api").json()["result"]["authstatus"] == ["noauth", "", []]


@pytest.mark.parametrize("header", ["x_forwarded_for", "x_real_ip", "forwarded", "via", "x_forwarded_proto"])
def test_a_blank_password_is_not_good_through_a_proxy_that_nobody_named(world: World, header: str) -> None:
    body = {"user": "root", "password": ""}
    assert Person(world, address=NEAR).ask("POST", "/+login", body, **{header: "127.0.0.1"}).status == 401


def test_a_blank_password_is_not_good_through_a_named_proxy_or_under_a_foreign_name(make_world: MakeWorld) -> None:
    world = make_world(trusted_proxies=(ip_network("127.0.0.1"),))
    body = {"user": "root", "password": ""}
    near = Person(world, address=NEAR)
    assert near.ask("POST", "/+login", body, x_forwarded_for="127.0.0.1").status == 401
    rebound = near.ask("POST", "/+login", body, host="evil.example:3141")
    assert (rebound.status, "localhost" in rebound.json()["message"]) == (401, True)
    assert near.ask("POST", "/+login", body).status == 200


def test_a_user_without_a_password_cannot_log_in(world: World) -> None:
    world.add_user("bot", None)
    assert log_in(world, "bot", "").status == 401
    assert log_in(world, "bot", "None").status == 401


def test_guessing_is_slowed_down_and_then_refused(world: World) -> None:
    began = world.clock.seconds()
    statuses = [log_in(world, "alice", f"guess {number}").status for number in range(12)]
    assert set(statuses) <= {401, 429}
    assert world.clock.seconds() - began > 5
    # Elsewhere, the user can log in all the same.
    assert log_in(world, "alice", PASSWORD, "198.51.100.9").status == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"user": "alice"}, "Bad request: no user/password specified"),
        ({"user": None, "password": "x"}, "Bad request: no user/password specified"),
        ([], "Bad request: no user/password specified"),
        (b"", "Bad request: could not decode json"),
        (b"user=alice&password=x", "Bad request: could not decode json"),
        ({"user": 5, "password": "x"}, "Bad request: user and password have to be strings"),
    ],
)
def test_a_login_without_what_it_takes_is_refused(world: World, body: Any, message: str) -> None:
    answer = nobody(world).ask("POST", "/+login", body)
    assert (answer.status, answer.json()["message"]) == (400, message)


def test_logging_in_is_no_entry(world: World) -> None:
    before = serial_of(world)
    log_in(world, "alice", PASSWORD)
    assert serial_of(world) == before


JUDGED = {
    (401, 403, 200): [
        "/alice/dev", "/alice/dev/", "/alice/dev/+simple/hello/", "/alice/dev/%2Bsimple/hello/?x=y",
        "//alice/dev/+f/abc/1234567890123/hello-1.0.tar.gz", "http://devpi.example/alice/dev/hello/1.0", "/alice/dev/hello/+api",
        "/alice/dev/+f/abc/1234567890123/+api", "/alice/dev/+simple/hello/refresh",
        "/alice//dev/+simple/hello/", "/alice/dev/+simple//hello/", "/alice/dev//",
    ],
    (200, 200, 200): [
        "/alice/dev/+api", "/alice/dev/%2Bapi/", "/+api", "/+login", "/", "/alice", "/root/pypi/+simple/", "/alice/none/",
    ],
    (403, 403, 403): ["/a/b/c/d/e/f", "/+nothing", "/alice%2Fdev/+simple/hello/", "/alice/../alice/dev/", "/%ff"],
}  # fmt: skip
"""What nobody, bob and alice are told of each address."""


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(("uri", "statuses"), [(uri, statuses) for statuses, uris in JUDGED.items() for uri in uris])
def test_authcheck_judges_the_address_that_a_proxy_was_asked_for(
    world: World, method: str, uri: str, statuses: tuple[int, ...]
) -> None:
    world.add_user("bob", None)
    people = (nobody(world), logged_in(world, "bob"), logged_in(world, "alice"))
    for person, status in zip(people, statuses, strict=True):
        answer = person.ask(method, "/+authcheck", x_original_uri=uri)
        assert answer.status == status, answer.raw
        assert ("www-authenticate" in answer.headers) == (status == 401)


def test_authcheck_says_403_to_the_devpi_client(world: World) -> None:
    answer = nobody(world).get("/+authcheck", x_original_uri="/alice/dev", user_agent="devpi-client/7.3.0 (py3.11; linux)")
    assert answer.status == 403


def test_authcheck_without_an_address_judges_its_own(world: World) -> None:
    assert nobody(world).get("/+authcheck").status == 200
