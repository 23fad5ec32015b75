"""Tokens of servers: good for one request, for a minute, with one secret."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from twistpi.auth.tokens import AHEAD, WINDOW, LoginTokens, NodeClaim, NodeTokens, target_of
from twistpi.model.records import User
from twistpi.model.server_errors import NodeRefused

SECRET = b"s" * 32
NODE = "5" * 32
AT = 1_795_000_000.123456
TARGET = "/+changelog?after=17&chain=ab"
TOKENS = NodeTokens(SECRET)


def token(target: str = TARGET, method: str = "GET", at: float = AT) -> str:
    return TOKENS.make(NODE, method, target, at, "c0ffee")


def why_refused(read: Callable[[], object]) -> str:
    with pytest.raises(NodeRefused) as refusal:
        read()
    return refusal.value.reason


def test_a_token_tells_who_asks() -> None:
    assert TOKENS.read(token(), "GET", TARGET, AT + 1) == NodeClaim(NODE, AT, "c0ffee")


@given(st.text(max_size=100), st.floats(1e9, 4e9), st.sampled_from(["GET", "POST"]))
def test_a_token_fits_into_a_header_whatever_is_asked(target: str, at: float, method: str) -> None:
    text = token(target, method, at)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert TOKENS.read(text, method, target, at).at == at


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", TARGET),
        ("HEAD", TARGET),
        ("GET", "/+changelog?after=18&chain=ab"),
        ("GET", "/+changelog"),
        ("GET", "/+changelog?chain=ab&after=17"),
        ("GET", "/+changelog/segments?after=17&chain=ab"),
        ("GET", f"{TARGET}#"),
        ("GET", ""),
    ],
)
def test_a_token_is_no_good_for_another_request(method: str, target: str) -> None:
    assert why_refused(lambda: TOKENS.read(token(), method, target, AT)) == "other request"


def test_the_prefix_under_which_a_proxy_serves_a_server_is_not_signed() -> None:
    assert target_of("/packages/+changelog?after=1") == target_of("/+changelog?after=1") == "/+changelog?after=1"
    assert TOKENS.read(token(f"/packages{TARGET}"), "GET", TARGET, AT).node == NODE
    assert TOKENS.read(token(TARGET), "GET", f"/packages{TARGET}", AT).node == NODE


@pytest.mark.parametrize(
    ("age", "good"), [(0, True), (WINDOW, True), (-AHEAD, True), (WINDOW + 0.1, False), (-AHEAD - 0.1, False)]
)
def test_a_token_is_good_for_a_minute(age: float, good: bool) -> None:
    if good:
        assert TOKENS.read(token(), "GET", TARGET, AT + age).at == AT
    else:
        assert why_refused(lambda: TOKENS.read(token(), "GET", TARGET, AT + age)) == "expired"


def test_a_token_of_another_secret_is_refused_as_that() -> None:
    assert why_refused(lambda: NodeTokens(b"t" * 32).read(token(), "GET", TARGET, AT)) == "wrong secret"


@given(st.data())
def test_a_token_with_any_character_changed_is_refused(data: st.DataObject) -> None:
    text = token()
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(max_codepoint=127).filter(lambda character: character != text[place]))
    changed = text[:place] + other + text[place + 1 :]
    if place == len(text) - 1 and other.isalnum():
        return  # the last character of a digest carries bits that mean nothing
    assert why_refused(lambda: TOKENS.read(changed, "GET", TARGET, AT)) in {"malformed", "wrong secret"}


@pytest.mark.parametrize("text", ["", "a", "a.b", "." * 60, f"a.{'b' * 44}", "é" * 60, "x" * 20_000])
def test_what_is_no_token_is_malformed(text: str) -> None:
    assert why_refused(lambda: TOKENS.read(text, "GET", TARGET, AT)) == "malformed"


@pytest.mark.parametrize("claims", [[], {}, 5, {"node": 5, "method": "GET", "target": TARGET, "at": AT, "nonce": "00"}])
def test_what_is_signed_and_says_something_else_is_malformed(claims: object) -> None:
    text = str(TOKENS._serializer.dumps(claims))
    assert why_refused(lambda: TOKENS.read(text, "GET", TARGET, AT)) == "malformed"


def test_what_the_secret_signed_for_something_else_is_no_token_of_a_server() -> None:
    login = LoginTokens(SECRET, 36000).make(User("root", password_hash=""), AT).removeprefix("login-")
    assert why_refused(lambda: TOKENS.read(login, "GET", TARGET, AT)) == "wrong secret"
    plain = str(URLSafeSerializer(SECRET).dumps({"node": NODE}))
    assert why_refused(lambda: TOKENS.read(plain, "GET", TARGET, AT)) in {"wrong secret", "malformed"}
