"""Where a bucket is."""

from __future__ import annotations

import pytest

from twistpi.model.errors import TwistpiError
from twistpi.s3.address import Style, parse_bucket


@pytest.mark.parametrize(
    ("url", "endpoint", "style", "expected"),
    [
        ("s3://demo", None, "auto", "https://demo.s3.eu-central-1.amazonaws.com/a/b"),
        ("s3://demo/", None, "path", "https://s3.eu-central-1.amazonaws.com/demo/a/b"),
        ("s3://with.dots/some/prefix/", None, "auto", "https://s3.eu-central-1.amazonaws.com/with.dots/some/prefix/a/b"),
        ("s3://demo/p", "http://127.0.0.1:9000", "auto", "http://127.0.0.1:9000/demo/p/a/b"),
        ("s3://demo/p", "https://s3.example/", "virtual", "https://demo.s3.example/p/a/b"),
        ("s3://demo", "http://[::1]:9000", "auto", "http://[::1]:9000/demo/a/b"),
        ("s3://demo/ü p", "https://s3.example", "auto", "https://s3.example/demo/%C3%BC%20p/a/b"),
    ],
)
def test_an_object_has_one_address(url: str, endpoint: str | None, style: Style, expected: str) -> None:
    assert parse_bucket(url, endpoint=endpoint, region="eu-central-1", style=style).url("a/b") == expected


def test_the_bucket_itself_has_an_address_for_questions() -> None:
    assert (
        parse_bucket("s3://demo/p", endpoint="http://s3.example").url(None, "list-type=2") == "http://s3.example/demo?list-type=2"
    )
    assert parse_bucket("s3://demo/p", endpoint="http://s3.example", style="virtual").url(None) == "http://demo.s3.example/"


@pytest.mark.parametrize(
    "url",
    ["", "demo", "s3:demo", "s3://", "s3:///p", "s3://De/p", "s3://demo/a//b", "s3://demo/../b", "s3://demo/a\nb", "s3://u@demo"],
)
def test_what_is_no_bucket_is_refused_with_how_to_write_one(url: str) -> None:
    with pytest.raises(TwistpiError, match="write"):
        parse_bucket(url)


@pytest.mark.parametrize(
    "endpoint",
    ["", "s3.example", "ftp://s3.example", "https://key:secret@s3.example", "https://s3.example/x", "http://[", "http://h:x"],
)
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(TwistpiError, match="write http://HOST:PORT"):
        parse_bucket("s3://demo", endpoint=endpoint)


def test_a_region_is_a_word() -> None:
    with pytest.raises(TwistpiError, match="such as eu-central-1"):
        parse_bucket("s3://demo", region="eu central/1")
