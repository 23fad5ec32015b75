"""Login tokens: what they prove, for how long, and what makes them void."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.auth.tokens import LoginTokens, is_valid_for, looks_like_one
from twistpi.model.records import User

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


def test_a_shorter_lifetime_counts_for_tokens_made_before() -> None:
    assert LoginTokens(SECRET, 60).read(TOKENS.make(ALICE, NOW), NOW + 62) is None


def test_a_token_survives_a_restart_with_the_same_secret_only() -> None:
    text = TOKENS.make(ALICE, NOW)
    assert LoginTokens(SECRET, 36000).read(text, NOW) is not None
    assert LoginTokens(b"t" * 32, 36000).read(text, NOW) is None


def test_a_token_from_a_clock_far_ahead_is_no_good() -> None:
    assert TOKENS.read(TOKENS.make(ALICE, NOW + 200), NOW) is not None
    assert TOKENS.read(TOKENS.make(ALICE, NOW + 4000), NOW) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"password_hash": "$other"},
        {"password_hash": ""},
        {"password_hash": None},
        {"created": "2026-11-23T00:00:00Z"},
        {"name": "bob"},
    ],
)
def test_another_password_or_another_user_of_the_name_makes_it_void(changed: dict[str, Any]) -> None:
    claim = TOKENS.read(TOKENS.make(ALICE, NOW), NOW)
    assert claim is not None
    assert not is_valid_for(claim, attrs.evolve(ALICE, **changed))


def test_it_is_void_when_the_user_is_gone() -> None:
    claim = TOKENS.read(TOKENS.make(ALICE, NOW), NOW)
    assert claim is not None
    assert not is_valid_for(claim, None)


def test_a_change_of_anything_but_the_password_leaves_it_good() -> None:
    claim = TOKENS.read(TOKENS.make(ALICE, NOW), NOW)
    assert claim is not None
    assert is_valid_for(claim, attrs.evolve(ALICE, config={"email": "a@example.com"}, modified="2026-11-23T00:00:00Z"))


def test_a_user_without_a_password_and_one_with_a_blank_one_are_told_apart() -> None:
    claim = TOKENS.read(TOKENS.make(attrs.evolve(ALICE, password_hash=None), NOW), NOW)
    assert claim is not None
    assert not is_valid_for(claim, attrs.evolve(ALICE, password_hash=""))


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
