"""API tokens: made of chance, kept as digests."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from twistpi.auth.tokens import (
    AHEAD,
    WINDOW,
    LoginTokens,
    NodeClaim,
    NodeTokens,
    digest_of,
    is_valid_for,
    looks_like_one,
    make,
    matches,
    split,
    target_of,
)
from twistpi.model.records import User
from twistpi.model.server_errors import NodeRefused


def test_a_new_token_has_a_public_half_and_256_secret_bits_of_which_only_the_digest_is_kept() -> None:
    text, public, digest = make(lambda count: bytes(range(count)))
    assert text == "twistpi-0001020304050607-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert public == "0001020304050607"
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert split(text) == (public, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")


def test_no_two_are_alike() -> None:
    assert len({part for _ in range(50) for part in make(os.urandom)}) == 150


def test_only_its_own_secret_matches_a_digest() -> None:
    text, _public, digest = make(os.urandom)
    halves = split(text)
    assert halves is not None
    assert matches(halves[1], digest)
    assert not matches(halves[1].swapcase(), digest)
    assert not matches("", digest)
    assert not matches(digest, digest)
    assert not matches(halves[1], "é")
    assert digest_of(halves[1]) == digest


@pytest.mark.parametrize(
    "text", ["", "twistpi-", "twistpi-0001020304050607-short", f"twistpi-000102030405060G-{'a' * 43}", f"login-a.{'a' * 43}"]
)
def test_another_shape_is_no_token(text: str) -> None:
    assert split(text) is None
    assert split(make(os.urandom)[0] + "\n") is None


# Login tokens: what they prove, for how long, and what makes them void -----------------------------------------------


SECRET = b"s" * 32
NOW = 1_795_000_000.75
ALICE = User("alice", password_hash="$hash", created="2026-11-22T17:12:19Z")
TOKENS = LoginTokens(SECRET, 36000)


def test_a_token_tells_user_and_groups_and_holds_for_the_user_it_was_made_for() -> None:
    claim = TOKENS.read(TOKENS.make(ALICE, NOW, ("team", "ops")), NOW)
    assert claim is not None
    assert (claim.user, claim.groups) == ("alice", ("team", "ops"))
    assert is_valid_for(claim, ALICE)


@given(st.text(min_size=1, max_size=50))
def test_a_token_of_any_name_is_ascii_that_urls_and_headers_can_carry(name: str) -> None:
    user = User(name, password_hash="")
    text = TOKENS.make(user, NOW)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert looks_like_one(text)
    claim = TOKENS.read(text, NOW)
    assert claim is not None
    assert is_valid_for(claim, user)


def test_a_token_holds_as_long_as_it_says_and_no_longer() -> None:
    text = TOKENS.make(ALICE, NOW)
    made = int(NOW)
    assert TOKENS.read(text, made + 36000) is not None
    assert TOKENS.read(text, made + 36001) is None


def test_secret_lifetime_and_clock_of_the_server_that_reads_it_count() -> None:
    text = TOKENS.make(ALICE, NOW)
    assert LoginTokens(SECRET, 36000).read(text, NOW) is not None, "after a restart"
    assert LoginTokens(SECRET, 60).read(text, NOW + 62) is None
    assert LoginTokens(b"t" * 32, 36000).read(text, NOW) is None
    assert TOKENS.read(TOKENS.make(ALICE, NOW + 200), NOW) is not None
    assert TOKENS.read(TOKENS.make(ALICE, NOW + 4000), NOW) is None, "its clock is far ahead"


def test_a_session_is_one_of_its_user_for_as_long_as_a_token() -> None:
    session = TOKENS.make_session(ALICE, NOW, "1")
    claim = TOKENS.read_session(session, NOW)
    assert claim is not None
    assert is_valid_for(claim, ALICE)
    assert not is_valid_for(claim, User("alice", password_hash="$other", created=ALICE.created))
    assert TOKENS.read_session(session, int(NOW) + 36000) is not None
    assert TOKENS.read_session(session, int(NOW) + 36001) is None
    assert LoginTokens(b"t" * 32, 36000).read_session(session, NOW) is None


def test_a_session_is_no_token_and_a_token_no_session() -> None:
    session, token = TOKENS.make_session(ALICE, NOW, "1"), TOKENS.make(ALICE, NOW)
    assert TOKENS.read(session, NOW) is None
    assert TOKENS.read(f"login-{session}", NOW) is None
    assert TOKENS.read_session(token, NOW) is None
    assert TOKENS.read_session(token.removeprefix("login-"), NOW) is None


@pytest.mark.parametrize("text", ["", ".", "x" * 43, "\udcff", "a" * 100_000])
def test_the_form_token_of_a_session_is_that_of_no_other(text: str) -> None:
    one, other = TOKENS.make_session(ALICE, NOW, "1"), TOKENS.make_session(ALICE, NOW, "2")
    assert TOKENS.is_form_token(one, TOKENS.form_token(one, "0f"))
    assert not TOKENS.is_form_token(other, TOKENS.form_token(one, "0f"))
    assert not TOKENS.is_form_token(one, text)
    assert not LoginTokens(b"t" * 32, 36000).is_form_token(one, TOKENS.form_token(one, "0f"))
    assert TOKENS.read_session(text, NOW) is None


def test_a_message_is_for_its_session() -> None:
    one, other = TOKENS.make_session(ALICE, NOW, "1"), TOKENS.make_session(ALICE, NOW, "2")
    text = TOKENS.make_message(one, "yanked – ä")
    assert TOKENS.read_message(one, text) == "yanked – ä"
    assert TOKENS.read_message(other, text) == TOKENS.read_message(one, text + "x") == TOKENS.read_message(one, "") == ""


def is_good_for(present: User | None, shown: User = ALICE) -> bool:
    """Whether a token that was made for ``shown`` is one of ``present``."""
    claim = TOKENS.read(TOKENS.make(shown, NOW), NOW)
    assert claim is not None
    return is_valid_for(claim, present)


@pytest.mark.parametrize(
    ("changed", "good"),
    [
        ({"password_hash": "$other"}, False),
        ({"password_hash": ""}, False),
        ({"password_hash": None}, False),
        ({"created": "2026-11-23T00:00:00Z"}, False),
        ({"name": "bob"}, False),
        ({"config": {"email": "a@example.com"}, "modified": "2026-11-23T00:00:00Z"}, True),
    ],
)
def test_another_password_or_another_user_of_the_name_makes_it_void(changed: dict[str, Any], good: bool) -> None:
    assert is_good_for(attrs.evolve(ALICE, **changed)) is good


def test_it_is_void_when_the_user_is_gone_and_no_password_is_not_a_blank_one() -> None:
    assert not is_good_for(None)
    assert not is_good_for(attrs.evolve(ALICE, password_hash=""), attrs.evolve(ALICE, password_hash=None))


@given(st.data())
def test_a_token_with_any_character_changed_says_nothing(data: st.DataObject) -> None:
    text = TOKENS.make(ALICE, NOW)
    place = data.draw(st.integers(0, len(text) - 2))  # the last character holds bits that mean nothing
    character = data.draw(st.characters(codec="ascii").filter(lambda other: other != text[place]))
    assert TOKENS.read(text[:place] + character + text[place + 1 :], NOW) is None


@given(st.one_of(st.text(), st.from_regex(r"login-\.?[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}", fullmatch=True)))
def test_no_made_up_text_is_a_token(text: str) -> None:
    assert TOKENS.read(text, NOW) is None


@pytest.mark.parametrize(
    "text", ["", "login-", "login-a.b", "verysecurepassword", f"login-{'a' * 20000}.{'b' * 43}", f"a.{'b' * 43}"]
)
def test_passwords_do_not_look_like_tokens(text: str) -> None:
    assert not looks_like_one(text)


# Tokens of servers: good for one request, for a minute, with one secret ----------------------------------------------


NODE_SECRET = b"s" * 32
NODE = "5" * 32
AT = 1_795_000_000.123456
TARGET = "/+changelog?after=17&chain=ab"
NODE_TOKENS = NodeTokens(NODE_SECRET)


def token(target: str = TARGET, method: str = "GET", at: float = AT) -> str:
    return NODE_TOKENS.make(NODE, method, target, at, "c0ffee")


def why_refused(read: Callable[[], object]) -> str:
    with pytest.raises(NodeRefused) as refusal:
        read()
    return refusal.value.reason


def test_a_token_tells_who_asks() -> None:
    assert NODE_TOKENS.read(token(), "GET", TARGET, AT + 1) == NodeClaim(NODE, AT, "c0ffee")


@given(st.text(max_size=100), st.floats(1e9, 4e9), st.sampled_from(["GET", "POST"]))
def test_a_token_fits_into_a_header_whatever_is_asked(target: str, at: float, method: str) -> None:
    text = token(target, method, at)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert NODE_TOKENS.read(text, method, target, at).at == at


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
    assert why_refused(lambda: NODE_TOKENS.read(token(), method, target, AT)) == "other request"


def test_the_prefix_under_which_a_proxy_serves_a_server_is_not_signed() -> None:
    assert target_of("/packages/+changelog?after=1") == target_of("/+changelog?after=1") == "/+changelog?after=1"
    assert NODE_TOKENS.read(token(f"/packages{TARGET}"), "GET", TARGET, AT).node == NODE
    assert NODE_TOKENS.read(token(TARGET), "GET", f"/packages{TARGET}", AT).node == NODE


@pytest.mark.parametrize(
    ("age", "good"), [(0, True), (WINDOW, True), (-AHEAD, True), (WINDOW + 0.1, False), (-AHEAD - 0.1, False)]
)
def test_a_token_is_good_for_a_minute(age: float, good: bool) -> None:
    if good:
        assert NODE_TOKENS.read(token(), "GET", TARGET, AT + age).at == AT
    else:
        assert why_refused(lambda: NODE_TOKENS.read(token(), "GET", TARGET, AT + age)) == "expired"


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
    assert why_refused(lambda: NODE_TOKENS.read(changed, "GET", TARGET, AT)) in {"malformed", "wrong secret"}


@pytest.mark.parametrize("text", ["", "a", "a.b", "." * 60, f"a.{'b' * 44}", "é" * 60, "x" * 20_000])
def test_what_is_no_token_is_malformed(text: str) -> None:
    assert why_refused(lambda: NODE_TOKENS.read(text, "GET", TARGET, AT)) == "malformed"


@pytest.mark.parametrize("claims", [[], {}, 5, {"node": 5, "method": "GET", "target": TARGET, "at": AT, "nonce": "00"}])
def test_what_is_signed_and_says_something_else_is_malformed(claims: object) -> None:
    text = str(NODE_TOKENS._serializer.dumps(claims))
    assert why_refused(lambda: NODE_TOKENS.read(text, "GET", TARGET, AT)) == "malformed"


def test_what_the_secret_signed_for_something_else_is_no_token_of_a_server() -> None:
    login = LoginTokens(NODE_SECRET, 36000).make(User("root", password_hash=""), AT).removeprefix("login-")
    assert why_refused(lambda: NODE_TOKENS.read(login, "GET", TARGET, AT)) == "wrong secret"
    plain = str(URLSafeSerializer(NODE_SECRET).dumps({"node": NODE}))
    assert why_refused(lambda: NODE_TOKENS.read(plain, "GET", TARGET, AT)) in {"wrong secret", "malformed"}
