"""What may be a secret file."""

from __future__ import annotations

import stat

import pytest

from twistpi.server.directory import secret_in, what_is_wrong

GOOD = b"0123456789abcdef0123456789abcdef\n"
FILE = stat.S_IFREG | 0o600
FOLDER = stat.S_IFDIR | 0o755


def test_a_file_of_32_bytes_that_only_its_owner_can_use_is_fine() -> None:
    assert what_is_wrong(GOOD, FILE, FOLDER) is None
    assert what_is_wrong(GOOD, stat.S_IFREG | 0o400, stat.S_IFDIR | 0o700) is None
    assert secret_in(GOOD) == GOOD[:-1]


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o666])
def test_a_file_that_others_can_use_is_not(mode: int) -> None:
    assert f"mode 0{mode:o}" in str(what_is_wrong(GOOD, stat.S_IFREG | mode, FOLDER))


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o757, 0o1777])
def test_nor_one_in_a_folder_where_others_can_replace_it(mode: int) -> None:
    assert f"mode {mode:04o}" in str(what_is_wrong(GOOD, FILE, stat.S_IFDIR | mode))
    assert what_is_wrong(GOOD, FILE, None) is None


def test_nor_what_is_no_file() -> None:
    assert what_is_wrong(GOOD, stat.S_IFIFO | 0o600, FOLDER) == "it is not a file"


@pytest.mark.parametrize("content", [b"", b"0123456789abcdef0123456789abcde", b"0123456789abcdef0123456789abcde\n", b"\n" * 40])
def test_nor_one_that_is_short(content: bytes) -> None:
    assert "32 are needed" in str(what_is_wrong(content, FILE, FOLDER))


def test_nor_one_of_few_different_bytes() -> None:
    assert "different bytes" in str(what_is_wrong(b"abcde" * 10, FILE, FOLDER))
    assert what_is_wrong(b"abcdef" * 10, FILE, FOLDER) is None
