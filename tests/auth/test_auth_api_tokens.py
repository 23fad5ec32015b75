"""API tokens: made of chance, kept as digests."""

from __future__ import annotations

import os
import re

import pytest

from twistpi.auth.tokens import digest_of, make, matches, split


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
