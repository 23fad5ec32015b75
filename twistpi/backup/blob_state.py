"""Whether a blob is on the disk as the view says, and where it lies in a backup."""

from __future__ import annotations

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.interfaces import IBlobs
from twistpi.blobs.tree import ROOT
from twistpi.view.read import KeptBlob

MISSING = "it is missing"
"""What is wrong with a blob that is not there at all."""


def address_of(blob: KeptBlob) -> BlobAddress:
    """Return the address of a blob."""
    return BlobAddress(blob.digits, blob.filename)


def blob_path(address: BlobAddress) -> str:
    """Return the path of a blob in a backup, and below a server directory."""
    return f"{ROOT}/{address.relative}"


def what_is_wrong(blobs: IBlobs, blob: KeptBlob, *, only_size: bool = False) -> str | None:
    """Return why the bytes of a blob are not what they should be; None when they are.  Blocking."""
    address = address_of(blob)
    try:
        size = blobs.find(address)
        if size is None:
            return MISSING
        if size != blob.size:
            return f"it has {size} bytes instead of {blob.size}"
        if not only_size and (digest := blobs.digest(address)) != blob.sha256:
            return f"it has the SHA-256 {digest} instead of {blob.sha256}"
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None
