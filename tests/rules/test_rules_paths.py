from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.model.records import Link
from twistpi.rules.mirrors import external_directory, file_path


def test_a_file_with_sha256_lies_under_its_digits() -> None:
    link = Link("demo-1.0.zip", "https://upstream.example/x", {"md5": "0" * 32, "sha256": "0123456789abcdef" * 4})
    assert file_path(link) == "+f/012/3456789abcdef/demo-1.0.zip"


@pytest.mark.parametrize("hashes", [{}, {"md5": "0" * 32}])
def test_a_file_without_sha256_lies_under_its_address(hashes: dict[str, str]) -> None:
    link = Link("x.zip", "http://upstream.example:8080/files/sub%20dir/x.zip", hashes)
    assert file_path(link) == "+e/http_upstream.example_8080_files_sub_20dir/x.zip"


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("https://upstream.example/x.zip", "https_upstream.example"),
        ("https://user:secret@upstream.example/a/x.zip", "https_upstream.example_a"),
        ("https://upstream.example/a/x.zip?token=1/2", "https_upstream.example_a"),
        ("https://[2001:db8::1]/a/../x.zip", "https__2001_db8__1__a_.."),
    ],
)
def test_directories_name_host_and_folder_and_no_secret(url: str, directory: str) -> None:
    assert external_directory(url) == directory


def test_long_directories_stay_short_and_different() -> None:
    one, two = (external_directory(f"https://upstream.example/{'a' * 500}{end}/x.zip") for end in "bc")
    assert one != two
    assert len(one) < 230


@given(st.from_regex(r"https?://[a-z.]{1,20}(:[0-9]{1,5})?/[!-~]*", fullmatch=True))
def test_any_address_gives_one_harmless_component(url: str) -> None:
    assert re.fullmatch(r"https?_[a-zA-Z0-9_.-]+", external_directory(url))
