"""A few hundred shapes of bad input: each is refused with a sentence that helps, and changes nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.web_asking import (
    STAGE,
    Person,
    Worlds,
    add_mirror,
    add_stage,
    ask_raw,
    basic,
    logged_in,
    nobody,
    serial_of,
)
from tests.web.web_wire import Answer, Wire, read_answer
from tests.web.web_world import World
from twistpi.auth.tokens import LoginTokens
from twistpi.model.records import User

DEEP = b"[" * 5000 + b"]" * 5000
RATHER_DEEP = b'{"custom_data": ' + b"[" * 200 + b"]" * 200 + b"}"
HUGE = b'{"title": "' + b"x" * (1024 * 1024) + b'"}'

NO_JSON = {
    "empty": b"",
    "blank": b" \r\n",
    "half": b'{"password": "x"',
    "single quotes": b"{'password': 'x'}",
    "comma at the end": b'{"password": "x",}',
    "no quotes": b"{password: x}",
    "two values": b"{} {}",
    "NaN": b'{"custom_data": NaN}',
    "infinity": b'{"custom_data": Infinity}',
    "latin-1": b'{"password": "\xe4"}',
    "utf-16": '{"password": "x"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"password": "x"}',
    "lone surrogate": b'{"password": "\\ud800"}',
    "bad escape": b'{"password": "\\x41"}',
    "raw control character": b'{"password": "a\x01b"}',
    "NUL": b"\x00",
    "form": b"password=x&email=y",
    "html": b"<html></html>",
    "too deep": DEEP,
}
NO_OBJECT = {"null": b"null", "number": b"5", "text": b'"password=x"', "true": b"true", "list in a list": b"[[]]"}
WRITES = {
    "create user": ("PUT", "/new"),
    "modify user": ("PATCH", "/alice"),
    "create index": ("PUT", "/alice/new"),
    "modify stage": ("PATCH", "/alice/dev"),
    "modify mirror": ("PATCH", "/alice/mirror"),
    "create token": ("POST", "/alice/+tokens"),
    "log in": ("POST", "/+login"),
    "push": ("PUSH", "/alice/dev"),
    "post": ("POST", "/alice/dev/"),
}


def _each(wrong: dict[str, list[Any]], **beside: Any) -> list[Any]:
    """A body for each value of each field, with ``beside``."""
    return [{**beside, field: value} for field, values in wrong.items() for value in values]


WRONG_NEW_USER: list[Any] = [
    {}, [], {"email": "x"}, {"pwhash": "x"},
    *_each({"password": [5, True, ["x"], {}]}),
    *_each(
        {
            "foo": ["bar", None], "email": [5, ["a"]], "title": [{}, False], "description": [1.5], "PASSWORD": ["y"], "": ["y"],
            "custom_data": [10**400],
        },
        password="x",
    ),
]  # fmt: skip
WRONG_USER_PATCH: list[Any] = [
    [], ["title=x"],
    *_each({"password": [5, None, []], "email": [5, True], "title": [["x"], {"a": 1}], "description": [0.5]}),
]  # fmt: skip
WRONG_STAGE: list[Any] = _each(
    {
        "type": ["foo", 5, None, ["stage"], "Stage"],
        "volatile": ["maybe", 5, 0, None, "0", ["true"]],
        "bases": [5, True, {}, "foo", "alice/none", ["alice/dev", "alice/none"], [5], [None], [["alice/dev"]]],
        "acl_upload": [5, [5], {"alice": True}],
        "acl_toxresult_upload": [1.5],
        "acl_read": [5, [{}]],
        "mirror_whitelist": [5, [None]],
        "mirror_whitelist_inheritance": ["foo", 5, []],
        "title": [5, ["x"]],
        "description": [{}],
        "foo": ["bar"],
        "mirror_url": ["https://upstream.example/"],
        "": [""],
    }
)
WRONG_MIRROR: list[Any] = _each(
    {
        "mirror_url": [
            "ftp://upstream.example/", "file:wheels", "upstream.example", "", 5, ["https://upstream.example/"], "https://",
            "https:///simple/", "https://upstream.example:99999/", "https://[::1/", "https://up\nstream.example/",
            "gopher://upstream.example/",
        ],
        "mirror_cache_expiry": ["soon", "1.5", [], {}],
        "mirror_use_external_urls": ["maybe", 2],
        "mirror_no_project_list": ["0"],
        "mirror_ignore_serial_header": [[]],
        "mirror_unknown_status": ["500"],
        "mirror_url_kind": ["page"],
        "mirror_provides_core_metadata": ["si"],
        "mirror_web_url_fmt": [5],
        "acl_toxresult_upload": [["alice"]],
        "mirror_whitelist_inheritance": ["union"],
        "mirror_title": ["x"],
        "title": [5],
        "volatile": ["never"],
    }
)  # fmt: skip
WRONG_ITEMS: list[Any] = [
    [5], [None], [["title=x"]], [{"title": "x"}],
    *(
        [item]
        for item in (
            "=x", "foo=bar", "foo+=bar", "foo-=bar", "title+=x", "title-=x", "volatile+=x", "volatile=maybe", "volatile-=",
            "bases+=alice/none", "bases+=foo", "bases-=alice/none", "acl_upload-=nobody", "acl_upload-=", "type=mirror",
            "mirror_whitelist-=x", "mirror_whitelist_inheritance=foo",
        )
    ),
]  # fmt: skip
WRONG_TOKENS: list[Any] = [
    {}, [],
    *_each({"may": ["", [], "write", ["read", "fly"], [5], {"read": True}, None]}),
    *_each({"project": ["-x-", 5]}, may="upload"),
    *_each(
        {
            "index": ["alice", "alice/none", 5, "alice/dev/x", "../etc"],
            "project": ["x"],
            "days": [0, -1, "soon", 10**9, 10**400, True, []],
            "title": [5, "x" * 10_000],
            "user": ["root"],
        },
        may="read",
    ),
]  # fmt: skip
WRONG_LOGINS: list[Any] = [
    {}, [], {"user": "alice"}, {"password": "x"},
    *_each({"user": [None, 5, ["alice"]]}, password="x"),
    *_each({"password": [None, 5, {"x": 1}, True]}, user="alice"),
]  # fmt: skip

ODD_NAMES = (
    "%20", "a%20b", "a%21", "a%22", "a%23b", "a%24", "a%25", "a%26b", "a%27", "a%28", "a%29", "a%2a", "a%2b", "+a", "a+b", "a,b",
    "a%2c", "a%2fb", "a%2Fb", "%2f", "a%3ab", "a:b", "a;b", "a%3cb%3e", "a=b", "a%3fb", "a%5bb%5d", "a%5cb", "a%5eb", "a%60b",
    "a%7bb%7d", "a%7cb", "a~b", "a%7eb", ".", "..", "%2e", "%2e%2e", "a%00", "a%0ab", "a%0d%0aX-Evil:1", "a%1bb", "a%7fb", "a%ff",
    "%c3%28", "%ed%a0%80", "a%c2%80b", "a%e2%80%a8b", "a%e2%80%aeb", "a" * 201, "x" * 3000, "a%C2%A0b", "%E3%80%80",
)  # fmt: skip

ODD_HEADERS: dict[str, dict[str, str]] = {
    "no base64": {"x_devpi_auth": "!!!"},
    "empty": {"x_devpi_auth": ""},
    "no colon": {"x_devpi_auth": base64.b64encode(b"alice").decode()},
    "only a colon": {"x_devpi_auth": basic(":")},
    "no name": {"x_devpi_auth": basic(":secret")},
    "no secret": {"x_devpi_auth": basic("alice:")},
    "half a padding": {"x_devpi_auth": basic("alice:secret").rstrip("=") + "="},
    "not text": {"x_devpi_auth": base64.b64encode(b"\xff\xfe:\x00\x01").decode()},
    "with the scheme": {"x_devpi_auth": f"Basic {basic('alice:alice')}"},
    "long": {"x_devpi_auth": "A" * 12000},
    "latin-1": {"x_devpi_auth": "\xe4\xf6"},
    "two of them": {"x_devpi_auth": f"{basic('alice:alice')}, {basic('root:')}"},
    "basic without credentials": {"authorization": "Basic"},
    "basic with blanks": {"authorization": "Basic    "},
    "basic without base64": {"authorization": "Basic alice:alice"},
    "bearer": {"authorization": f"Bearer {basic('alice:alice')}"},
    "digest": {"authorization": 'Digest username="alice"'},
    "no scheme": {"authorization": basic("alice:alice")},
    "nothing": {"authorization": ""},
    "two schemes": {"authorization": f"Basic {basic('x:y')}, Basic {basic('root:')}"},
    "wrong password": {"authorization": f"Basic {basic('alice:wrong')}"},
    "unknown user": {"authorization": f"Basic {basic('nouser:x')}"},
    "blank root from far away": {"authorization": f"Basic {basic('root:')}"},
    "blank root that says it is near": {"authorization": f"Basic {basic('root:')}", "x_forwarded_for": "127.0.0.1"},
    "blank root that says it really is": {"authorization": f"Basic {basic('root:')}", "x_real_ip": "127.0.0.1"},
    "user with a newline": {"authorization": f"Basic {basic('al' + chr(10) + 'ice:alice')}"},
    "replica": {"authorization": f"Basic {basic('+replica:x')}"},
    "api token of nobody": {"authorization": f"Basic {basic('__token__:twistpi-0123456789abcdef-' + 'a' * 43)}"},
    "half an api token": {"authorization": f"Basic {basic('__token__:twistpi-0123456789abcdef')}"},
}


def _make(folder: str, _kind: None) -> World:
    made = World(folder)
    made.add_user("alice", "alice")
    made.add_user("bob", "bob")
    add_stage(made)
    add_stage(made, "alice/kept", volatile=False)
    add_stage(made, "alice/closed", acl_read=["alice"])
    add_mirror(made)
    return made


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    made = Worlds(tmp_path_factory.mktemp("bad-input"), _make)
    yield made
    made.close()


@pytest.fixture
def world(worlds: Worlds) -> World:
    return worlds.get()


@pytest.fixture
def alice(world: World) -> Person:
    return logged_in(world, "alice")


def refused(world: World, answer: Answer, before: int, *, statuses: tuple[int, ...] = (400,)) -> str:
    """The message of a proper refusal."""
    assert answer.status in statuses, answer.raw
    assert serial_of(world) == before, "something was changed"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-devpi-api-version"] == "2"
    message = answer.json()["message"]
    assert isinstance(message, str)
    assert len(message) >= 8
    assert "Traceback" not in message
    assert len(message) < 1000
    return message


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
@pytest.mark.parametrize(("method", "path"), WRITES.values(), ids=WRITES)
def test_what_is_no_json_is_called_so(world: World, alice: Person, method: str, path: str, body: bytes) -> None:
    before = serial_of(world)
    message = refused(world, alice.ask(method, path, body), before)
    assert message == "Bad request: could not decode json" or "levels deep" in message


@pytest.mark.parametrize("body", NO_OBJECT.values(), ids=NO_OBJECT)
@pytest.mark.parametrize(("method", "path"), WRITES.values(), ids=WRITES)
def test_json_of_another_kind_is_refused(world: World, alice: Person, method: str, path: str, body: bytes) -> None:
    before = serial_of(world)
    refused(world, alice.ask(method, path, body), before)


@pytest.mark.parametrize(("method", "path"), WRITES.values(), ids=WRITES)
def test_a_body_that_is_too_large_is_called_so(world: World, alice: Person, method: str, path: str) -> None:
    before = serial_of(world)
    assert "1048576 bytes" in refused(world, alice.ask(method, path, HUGE), before, statuses=(413,))


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/new"), ("PATCH", "/alice"), ("PUT", "/alice/new"), ("PATCH", "/alice/dev")]
)
def test_nesting_that_could_not_be_written_down_is_refused(world: World, alice: Person, method: str, path: str) -> None:
    before = serial_of(world)
    assert "levels deep" in refused(world, alice.ask(method, path, RATHER_DEEP), before)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        *(("PUT", "/new", body) for body in WRONG_NEW_USER),
        *(("PATCH", "/alice", body) for body in WRONG_USER_PATCH),
        *(("PUT", "/alice/new", body) for body in WRONG_STAGE),
        *(("PATCH", "/alice/dev", body) for body in WRONG_STAGE),
        *(("PUT", "/alice/new", {"type": "mirror", **body}) for body in WRONG_MIRROR),
        *(("PATCH", "/alice/mirror", body) for body in WRONG_MIRROR),
        ("PATCH", "/alice/mirror", {"type": "stage"}),
        ("PATCH", "/alice/dev", {"type": "mirror"}),
        *(("PATCH", "/alice/dev", body) for body in WRONG_ITEMS),
        ("PATCH", "/alice/dev?error_on_noop=", {}),
        ("PATCH", "/alice/dev?error_on_noop", {"volatile": True}),
        *(("POST", "/+login", body) for body in WRONG_LOGINS),
    ],
)
def test_values_of_the_wrong_kind_are_refused_by_name(world: World, alice: Person, method: str, path: str, body: Any) -> None:
    before = serial_of(world)
    refused(world, alice.ask(method, path, _json_with_large_numbers(body)), before)


@pytest.mark.parametrize("body", WRONG_TOKENS)
def test_api_tokens_that_cannot_be_are_refused(world: World, alice: Person, body: Any) -> None:
    before = serial_of(world)
    refused(world, alice.ask("POST", "/alice/+tokens", _json_with_large_numbers(body)), before, statuses=(400, 404))


def _json_with_large_numbers(body: Any) -> bytes:
    return json.dumps(body).encode()  # orjson takes no numbers that are too large


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("where", ["/{}", "/alice/{}", "/{}/dev"])
def test_nobody_and_nothing_gets_an_odd_name(world: World, where: str, name: str) -> None:
    root = logged_in(world, "root")
    before = serial_of(world)
    answer = root.ask("PUT", where.format(name), {"password": "x"} if where == "/{}" else {})
    refused(world, answer, before, statuses=(400, 404, 414))
    assert b"X-Evil" not in answer.raw.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE", "PUT", "POST"])
@pytest.mark.parametrize("name", ODD_NAMES)
def test_nothing_is_found_under_an_odd_name(world: World, alice: Person, method: str, name: str) -> None:
    before = serial_of(world)
    for path in (f"/{name}", f"/alice/{name}", f"/{name}/+api/x", f"/alice/{name}/+api", f"/alice/+tokens/{name}"):
        answer = alice.ask(method, path, b"{}")
        assert 400 <= answer.status < 500 or (method in ("GET", "POST") and path.endswith("+api")), (path, answer.raw)
        assert serial_of(world) == before


@pytest.mark.parametrize("headers", ODD_HEADERS.values(), ids=ODD_HEADERS)
def test_odd_credentials_are_those_of_nobody(world: World, headers: dict[str, str]) -> None:
    before = serial_of(world)
    accepting = {"accept": "application/json", **headers}
    status = ask_raw(world, "GET", "/+api", headers=accepting)
    assert status.json()["result"]["authstatus"] == ["noauth", "", []]
    assert ask_raw(world, "GET", "/alice/dev", headers=accepting).status == 200
    refused(world, ask_raw(world, "PATCH", "/alice/dev", b'["title=x"]', accepting), before, statuses=(403,))
    refused(world, ask_raw(world, "GET", "/alice/closed", b"", accepting), before, statuses=(401,))


def _forged(world: World) -> dict[str, str]:
    user = world.readers.get().user("alice")
    assert isinstance(user, User)
    now = world.clock.seconds()
    good = world.authenticator.tokens.make(user, now)
    stranger = LoginTokens(b"the secret of another server, long enough", 36000)
    return {
        "of another server": f"alice:{stranger.make(user, now)}",
        "expired": f"alice:{world.authenticator.tokens.make(user, now - 36001)}",
        "from the future": f"alice:{world.authenticator.tokens.make(user, now + 86400)}",
        "of another user": f"root:{good}",
        "cut": f"alice:{good[:-1]}",
        "longer": f"alice:{good}A",
        "upper case": f"alice:{good.upper()}",
        "first half changed": f"alice:{'A' if good[0] != 'A' else 'B'}{good[1:]}",
        "without a signature": f"alice:{good.rpartition('.')[0]}.",
        "before another password": f"alice:{world.authenticator.tokens.make(User('alice', {}, 'another'), now)}",
        "of a user who is gone": f"eve:{world.authenticator.tokens.make(User('eve', {}, 'x'), now)}",
    }


def test_forged_and_expired_and_foreign_tokens_prove_nothing(world: World) -> None:
    for credentials in _forged(world).values():
        person, before = Person(world, credentials), serial_of(world)
        assert person.get("/+api").json()["result"]["authstatus"] == ["noauth", "", []]
        assert person.get("/alice/dev").status == 200
        refused(world, person.ask("PATCH", "/alice/dev", ["title=x"]), before, statuses=(403,))
        refused(world, person.ask("DELETE", "/alice"), before, statuses=(403,))
        refused(world, person.get("/alice/closed"), before, statuses=(401,))


NOT_THERE = {
    404: [
        "GET /+login", "PUT /+login", "DELETE /+api", "POST /+status", "OPTIONS /", "OPTIONS /alice", "POST /", "POST /alice",
        "PUT /", "DELETE /", "BREW /alice", "PUT /alice/dev/hello", "PATCH /alice/dev/hello/1.0", "PUT /alice/+tokens",
        "GET /alice/+tokens/0123456789abcdef", "GET /alice/dev/+simple/hello/refresh", "GET /+nothing", "GET /+changelog/1",
        "PUT /+user", "PUT /alice/+index", "GET /alice/none", "GET /nouser", "GET /nouser/dev", "GET /alice/none/+api",
        "PATCH /nouser", "PUT /nouser/dev",
    ],
    405: ["POST /alice/dev/+simple/", "PUT /alice/dev/+simple"],
    403: ["DELETE /alice/none", "PATCH /alice/none", "DELETE /alice/kept", "DELETE /alice"],
    409: ["PUT /bob", "PUT /alice/dev"],
}  # fmt: skip


@pytest.mark.parametrize(("line", "status"), [(line, status) for status, lines in NOT_THERE.items() for line in lines])
def test_what_is_not_there_or_takes_no_such_request_is_refused(world: World, alice: Person, line: str, status: int) -> None:
    (method, path), before = line.split(), serial_of(world)
    refused(world, alice.ask(method, path, b"{}"), before, statuses=(status,))


@pytest.mark.parametrize("headers", [{"sec_fetch_site": "cross-site"}, {"origin": "http://evil.example"}], ids=str)
def test_a_page_of_another_site_changes_nothing_with_the_login_a_browser_remembers(
    world: World, alice: Person, headers: dict[str, str]
) -> None:
    before = serial_of(world)
    for method, path, body in (("POST", "/alice/+tokens", {"may": ["upload"]}), ("PUT", "/alice/new", {})):
        assert "another site" in refused(world, alice.ask(method, path, body, **headers), before, statuses=(403,))
    assert alice.get("/alice/+tokens", **headers).status == 200


def test_it_is_told_so_before_its_body_is_read(world: World) -> None:
    wire = Wire(world)
    head = "POST /alice/dev HTTP/1.1\r\nHost: devpi.example\r\nOrigin: null\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    wire.send(f"{head}Content-Length: 2000000\r\n\r\n".encode())
    world.clock.advance(0)
    answer = read_answer(wire.send(b"--x\r\n"))
    assert (answer.status, answer.headers["connection"]) == (403, "close")


@pytest.mark.parametrize(
    "raw",
    [
        b"GET\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_no_http_is_cut_off_with_400(world: World, raw: bytes) -> None:
    before = serial_of(world)
    wire = Wire(world)
    answer = wire.send(raw)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert wire.transport.disconnecting or wire.transport.disconnected
    assert serial_of(world) == before


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*STAGE, "acl_read", "mirror_url", "mirror_cache_expiry", "title", "password", "email", "user"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(place=st.sampled_from(sorted(WRITES)), body=st.dictionaries(KEYS, JSON_VALUES, max_size=4) | JSON_VALUES)
def test_no_json_whatever_makes_the_server_stumble(world: World, place: str, body: Any) -> None:
    method, path = WRITES[place]
    answer = nobody(world).ask(method, path, _json_with_large_numbers(body))
    assert answer.status < 500, answer.raw
    answer = logged_in(world, "bob").ask(method, path.replace("alice", "bob"), _json_with_large_numbers(body))
    assert answer.status < 500, answer.raw


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    path=st.lists(st.binary(max_size=12), max_size=6), method=st.sampled_from(["GET", "PUT", "PATCH", "DELETE", "POST", "PUSH"])
)
def test_no_path_whatever_makes_the_server_stumble(world: World, path: list[bytes], method: str) -> None:
    encoded = "/" + "/".join("".join(f"%{byte:02x}" for byte in part) for part in path)
    answer = nobody(world).ask(method, encoded, b"{}")
    assert answer.status < 500, answer.raw
