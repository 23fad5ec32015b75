"""Who is redirected to the bucket."""

from __future__ import annotations

import pytest

from twistpi.rules.delivery import DeliveryMode, decide_redirect

UV = 'uv/0.9.1 {"installer":{"name":"uv"}}'
PIP = 'pip/26.3 {"ci":null}'
LARGE = 1_000_000


@pytest.mark.parametrize(
    ("mode", "agent", "size", "is_redirected"),
    [
        ("auto", UV, LARGE, True),
        ("auto", PIP, LARGE, False),
        ("auto", "poetry/2.1", LARGE, False),
        ("auto", None, LARGE, False),
        ("auto", "not-uv/1.0", LARGE, False),
        ("auto", UV, 1000, False),
        ("stream", UV, LARGE, False),
        ("redirect", PIP, LARGE, True),
        ("redirect", None, LARGE, True),
        ("redirect", UV, 1000, False),
    ],
)
def test_only_those_are_redirected_whose_caches_do_not_mind(
    mode: DeliveryMode, agent: str | None, size: int, is_redirected: bool
) -> None:
    assert (decide_redirect(mode, agent, size, is_private=False) is not None) is is_redirected


def test_the_address_of_a_private_file_is_valid_for_a_minute_and_never_kept() -> None:
    private, public = (decide_redirect("auto", UV, LARGE, is_private=is_private) for is_private in (True, False))
    assert private is not None
    assert public is not None
    assert (private.seconds, private.cache_control) == (60, b"private, no-store")
    assert public.seconds > 60
    assert b"max-age=60" in public.cache_control
