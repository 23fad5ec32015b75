"""Addresses that releases are pushed to."""

from __future__ import annotations

import base64

import pytest

from twistpi.model.errors import BadRequest
from twistpi.push.repository import read_repository


@pytest.mark.parametrize(
    "url",
    [
        "", "legacy", "/legacy/", "ftp://up.example/", "file:///etc/passwd", "http://", "https:///x", "http://[::1/", "http://a:b/",
        "http://up.example:99999/", "http://up.example:0/", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_only_web_addresses_are_taken(url: str) -> None:
    with pytest.raises(BadRequest, match="posturl must be an http or https address"):
        read_repository(url, "u", "p")


@pytest.mark.parametrize(
    ("url", "username", "password", "clean", "login"),
    [
        ("https://up.example/legacy/", "u", "p:q", "https://up.example/legacy/", "u:p:q"),
        ("https://up.example", "", "", "https://up.example/", None),
        ("https://u:p%40@up.example:8443/x#f", "", "", "https://up.example:8443/x", "u:p@"),
        ("https://u:p@up.example/x?y=z", "v", "", "https://up.example/x?y=z", "v:"),
        ("http://up.example/ä b", "ü", "ü", "http://up.example/%C3%A4%20b", "ü:ü"),
    ],
)
def test_a_login_in_the_address_counts_when_no_other_is_given(
    url: str, username: str, password: str, clean: str, login: str | None
) -> None:
    repository = read_repository(url, username, password)
    assert repository.url == clean
    told = (
        None if repository.authorization is None else base64.b64decode(repository.authorization.removeprefix("Basic ")).decode()
    )
    assert told == login


def test_the_password_is_not_shown() -> None:
    assert "c2VjcmV0" not in repr(read_repository("https://up.example/", "", "secret"))
    assert read_repository("https://u:secret@up.example:1/", "", "").host == "up.example:1"


def test_no_address_can_smuggle_another_line() -> None:
    assert read_repository("http://up.example/a\r\nX: y", "", "").url.isprintable()
    assert " " not in read_repository("http://up.example/a b\x00", "", "").url
