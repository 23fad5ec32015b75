"""Addresses lead into the tree and nowhere else."""

from __future__ import annotations

import os.path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.blobs.address import BlobAddress, blob_address, metadata_address, provenance_address
from twistpi.model.errors import InvalidName

DIGEST = "ab12cd34ef567890" + "f" * 48


def test_the_path_is_three_digits_thirteen_digits_and_the_name() -> None:
    assert blob_address(DIGEST, "Demo-1.0.zip").relative == "ab1/2cd34ef567890/Demo-1.0.zip"


def test_metadata_has_the_digits_of_its_distribution() -> None:
    assert metadata_address(blob_address(DIGEST, "d-1.whl")) == BlobAddress("ab12cd34ef567890", "d-1.whl.metadata")


def test_provenance_has_digits_of_its_own() -> None:
    assert provenance_address(DIGEST, "d-1.whl") == BlobAddress("ab12cd34ef567890", "d-1.whl.provenance")
    assert provenance_address(DIGEST, "x" * 240).filename == "x" * 240 + ".provenance"
    with pytest.raises(InvalidName):
        provenance_address(DIGEST, "x" * 240 + ".metadata")


@pytest.mark.parametrize(
    "sha256", ["", DIGEST[:-1], DIGEST + "0", DIGEST.upper(), "g" * 64, DIGEST[:-1] + "\n", "../" + DIGEST[3:]]
)
def test_what_is_no_digest_is_refused(sha256: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        blob_address(sha256, "demo.zip")


@pytest.mark.parametrize(
    "digits", ["", "ab12cd34ef56789", "AB12CD34EF567890", "../../../../../..", "ab12cd34ef56789/", "ab12cd34ef567890\n"]
)
def test_what_are_no_digits_is_refused(digits: str) -> None:
    with pytest.raises(ValueError, match="16 lower-case"):
        BlobAddress(digits, "demo.zip")


@pytest.mark.parametrize(
    "filename", ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "a\0b", "a\nb", ".hidden", ".metadata", "x" * 241, "\ud800"]
)
def test_names_that_could_lead_elsewhere_are_refused(filename: str) -> None:
    with pytest.raises(InvalidName):
        BlobAddress("0" * 16, filename)


@given(st.text(max_size=60))
def test_no_text_leads_out_of_the_tree(filename: str) -> None:
    try:
        address = BlobAddress("0" * 16, filename)
    except InvalidName:
        return
    assert os.path.normpath(address.relative) == address.relative
    assert address.relative.count("/") == 2
