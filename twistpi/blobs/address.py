"""Blob addresses: sixteen hexadecimal digits and a file name, which are the tail of the URL that installers see."""

from __future__ import annotations

import hashlib
import re
from typing import BinaryIO, Final

import attrs

from twistpi.model.names import check_filename

_DIGITS: Final = re.compile(r"[0-9a-f]{16}\Z")
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
METADATA: Final = ".metadata"
"""What a path ends with that leads to the core metadata of the distribution at the rest of it (PEP 658)."""
PROVENANCE: Final = ".provenance"
"""The same for its provenance object (PEP 740)."""


@attrs.frozen
class BlobAddress:
    """The place of a blob.  ``InvalidName`` or ``ValueError`` for parts that could lead anywhere else."""

    digits: str = attrs.field()
    """The first 16 digits of the blob's SHA-256, or for core metadata of its distribution's."""
    filename: str = attrs.field()
    """The last part of the path; at most 240 bytes, not counting ``.metadata`` and ``.provenance``."""

    @digits.validator
    def _check_digits(self, _: object, digits: str) -> None:
        if not _DIGITS.match(digits):
            raise ValueError(f"{digits!r} is not 16 lower-case hexadecimal digits")

    @filename.validator
    def _check_filename(self, _: object, filename: str) -> None:
        ending = next((ending for ending in (METADATA, PROVENANCE) if filename.endswith(ending)), "")
        check_filename(filename.removesuffix(ending))

    @property
    def relative(self) -> str:
        """``ab1/2cd34ef567890/NAME``, below the folder of blobs and below ``+f/`` in URLs."""
        return f"{self.digits[:3]}/{self.digits[3:]}/{self.filename}"


@attrs.frozen
class BlobTimes:
    """When something happened to a blob, in Unix seconds."""

    kept: float
    """When it was last kept or claimed."""
    accessed: float
    """When a client last asked for it; when it was kept, if nobody did since."""


def blob_address(sha256: str, filename: str) -> BlobAddress:
    """The address of the file ``filename`` whose bytes have the SHA-256 ``sha256`` (64 lower-case hexadecimal digits)."""
    if not _SHA256.match(sha256):
        raise ValueError(f"{sha256!r} is not a SHA-256")
    return BlobAddress(sha256[:16], filename)


def path_address(path: str) -> BlobAddress:
    """The address of the blob at ``path`` below an index: ``+f/{3}/{13}/{filename}``.  ``ValueError`` for other paths."""
    _, three, thirteen, filename = path.split("/")
    return BlobAddress(three + thirteen, filename)


def metadata_address(address: BlobAddress) -> BlobAddress:
    """The address of the core metadata of the distribution at ``address``: beside it (PEP 658)."""
    return BlobAddress(address.digits, address.filename + METADATA)


def provenance_address(sha256: str, filename: str) -> BlobAddress:
    """The address of the provenance object with the SHA-256 ``sha256`` of the distribution ``filename``.

    Unlike core metadata it lies under digits of its own: two indexes may hold one file with different attestations.
    """
    return blob_address(sha256, filename + PROVENANCE)


def sha256_of(file: BinaryIO) -> str:
    """The SHA-256 of everything from where ``file`` stands to its end, as lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    while chunk := file.read(256 * 1024):
        digest.update(chunk)
    return digest.hexdigest()
