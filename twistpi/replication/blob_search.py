"""What a replica lacks: what the view names, of the indexes that matter, and the disk does not have.  Blocking; for threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from twistpi.blobs.address import BlobAddress, blob_address, metadata_address, provenance_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.model.changes import Change, FileCached, MetadataCached
from twistpi.model.release_changes import AttachmentAdded, FileUploaded
from twistpi.replication.blob_policy import BlobPolicy
from twistpi.view.read import KeptBlob, NamedBlob, Reader, Readers
from twistpi.view.read_blobs import Mark

NAMING = (FileUploaded, FileCached, MetadataCached, AttachmentAdded)
"""The changes that name blobs."""
_ROWS = 500
"""Of the view, looked at in one go."""
Adopt = Callable[[BlobAddress, str, int], bool]
"""Makes a file that lies about the blob at an address, with a SHA-256 and a size; whether there was one."""


@attrs.frozen
class Lack:
    """A blob that is named and not here."""

    is_private: bool
    blob: KeptBlob

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others."""
        return self.blob.digits, self.blob.filename


@attrs.define(eq=False)
class BlobSearch:
    """Finds out what is not here; what lies about in a search path is made a blob on the way."""

    _readers: Readers
    _blobs: IBlobs
    _policy: BlobPolicy
    _adopt: Adopt | None = None

    def walk(self, after: Mark) -> tuple[list[Lack], Mark | None]:
        """The next part of a walk through what the view names: what is lacking there, and how far it came; None at the end."""
        named, mark = self._readers.get().named_blobs(after, _ROWS)
        return list(self._lacking(named)), mark

    def look(self, changes: Sequence[Change]) -> list[Lack]:
        """What is lacking of that which ``changes`` name, as far as it is named still."""
        reader = self._readers.get()
        return list(self._lacking(named for change in changes for named in _named_by(change, reader)))

    def still(self, lacks: Sequence[Lack]) -> list[Lack]:
        """Which of ``lacks`` are named still, and still not here."""
        reader = self._readers.get()
        named = [lack for lack in lacks if reader.names_blob(lack.blob.digits, lack.blob.filename)]
        return [lack for lack in named if not self._is_here(lack.blob)]

    def _lacking(self, named: Iterable[NamedBlob]) -> Iterator[Lack]:
        for one in named:
            if self._policy.wants(one.index) and not self._is_here(one.blob):
                yield Lack(one.is_private, one.blob)

    def _is_here(self, blob: KeptBlob) -> bool:
        address = BlobAddress(blob.digits, blob.filename)
        found = self._blobs.find(address)
        if found is None and self._adopt is not None:
            return self._adopt(address, blob.sha256, blob.size)
        return found == blob.size


def _named_by(change: Any, reader: Reader) -> Iterator[NamedBlob]:
    """The blobs that ``change`` names, as the view speaks of them now."""
    is_private = isinstance(change, FileUploaded | AttachmentAdded)
    for address in _addresses(change, reader):
        blob = reader.kept_blob(address.digits, address.filename)
        if blob is not None:
            yield NamedBlob(change.index, is_private, blob)


def _addresses(change: Change, reader: Reader) -> Iterator[BlobAddress]:
    match change:
        case FileUploaded():
            file = blob_address(change.sha256, change.filename)
            yield file
            if change.metadata_sha256 is not None:
                yield metadata_address(file)
            if change.provenance_sha256 is not None:
                yield provenance_address(change.provenance_sha256, change.filename)
        case FileCached():
            yield blob_address(change.sha256, change.filename)
        case MetadataCached():
            for _, known in reader.files_by_filename(change.index, change.filename):
                digest = known.metadata_blob_sha256
                if known.metadata_sha256 == change.sha256 and digest is not None:
                    yield metadata_address(blob_address(digest, change.filename))
        case AttachmentAdded():
            _, three, thirteen, filename = change.path.split("/")
            yield BlobAddress(three + thirteen, filename)
        case _:
            pass
