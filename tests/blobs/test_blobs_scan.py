"""All blobs below a folder are found, in order, though threads look ahead."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.scan import scan

_DIGITS = st.text("0123456789abcdef", min_size=16, max_size=16)


def _make(root: Path, digits: str) -> None:
    path = root / BlobAddress(digits, "six-1.0.tar.gz").relative
    path.parent.mkdir(parents=True)
    path.write_bytes(b"six")


@given(st.sets(_DIGITS, max_size=40))
def test_blobs_are_found_in_the_order_of_their_digits(many: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for digits in many:
            _make(Path(folder), digits)
        assert list(scan(folder)) == [(BlobAddress(digits, "six-1.0.tar.gz"), 3) for digits in sorted(many)]


def test_what_is_given_up_early_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    for number in range(50):
        _make(tmp_path, f"{number:016x}"[::-1])
    found = scan(os.fspath(tmp_path))
    next(found)
    assert threading.active_count() > before
    del found
    assert threading.active_count() == before


def test_folders_that_disappear_meanwhile_are_passed_over(tmp_path: Path) -> None:
    for number in range(50):
        _make(tmp_path, f"{number:016x}"[::-1])
    found = scan(os.fspath(tmp_path))
    next(found)
    for path in tmp_path.iterdir():
        path.rename(tmp_path / f"gone-{path.name}")
    assert len(list(found)) <= 4  # those that threads had looked at
