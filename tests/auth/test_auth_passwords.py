"""What is kept of passwords, and how it is compared."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twistpi.auth.passwords import BLANK, hash_password, is_password_hash, verify_password

COST = 4
PASSWORDS = st.text(st.characters(codec=None), min_size=1, max_size=100)


@settings(max_examples=25)
@given(PASSWORDS, PASSWORDS)
def test_a_password_is_verified_by_its_hash_and_no_other_is(password: str, other: str) -> None:
    kept = hash_password(password, COST)
    assert is_password_hash(kept)
    assert verify_password(password, kept)
    assert verify_password(other, kept) == (password == other)


@pytest.mark.parametrize("length", [72, 73, 200, 100_000])
def test_no_character_of_a_long_password_is_cut_off(length: int) -> None:
    password = "x" * length
    kept = hash_password(password, COST)
    assert verify_password(password, kept)
    assert not verify_password(password[:-1], kept)
    assert not verify_password(password[:-1] + "y", kept)
    assert not verify_password(password + "x", kept)


def test_a_zero_in_a_password_ends_nothing() -> None:
    kept = hash_password("before\0after", COST)
    assert verify_password("before\0after", kept)
    assert not verify_password("before\0", kept)
    assert not verify_password("before", kept)


def test_the_blank_password_is_kept_as_itself_and_matches_nothing_else() -> None:
    assert hash_password("", COST) == BLANK == ""
    assert verify_password("", BLANK)
    assert not verify_password("x", BLANK)
    assert not verify_password("", hash_password("x", COST))


@pytest.mark.parametrize("password", ["", "x", "None"])
def test_nothing_is_the_password_of_a_user_who_cannot_log_in(password: str) -> None:
    assert not verify_password(password, None)


def test_the_same_password_is_kept_differently_each_time() -> None:
    assert hash_password("x", COST) != hash_password("x", COST)
    assert hash_password("x", COST, b"$2b$04$abcdefghijklmnopqrstuu") == hash_password(
        "x", COST, b"$2b$04$abcdefghijklmnopqrstuu"
    )


def test_a_hash_tells_its_cost_so_the_setting_may_change() -> None:
    kept = hash_password("x", 5)
    assert kept.startswith("$bcrypt-sha256$v=2,t=2b,r=5$")
    assert verify_password("x", kept)


def test_hashes_are_those_of_passlib() -> None:
    # The example in the documentation of passlib.hash.bcrypt_sha256.
    kept = "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2"
    assert verify_password("password", kept)
    assert not verify_password("Password", kept)


@pytest.mark.parametrize(
    "kept",
    [
        "x",
        "$2b$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuuabcdefghi",
        "$bcrypt-sha256$v=2,t=2b,r=4$short$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
        "$bcrypt-sha256$v=2,t=2b,r=31$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
        "$bcrypt-sha256$v=2,t=2b,r=0$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
        "$bcrypt-sha256$v=2,t=2b,r=4$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2\n",
        "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG",
    ],
)
def test_what_is_no_hash_or_would_take_for_ever_matches_nothing(kept: str) -> None:
    assert not is_password_hash(kept)
    assert not verify_password("password", kept)
    assert not verify_password("", kept)
