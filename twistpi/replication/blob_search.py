"""The search for blobs that the view of a replica names, of the indexes that are replicated, and its disk lacks.  Blocking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from twistpi.blobs.address import BlobAddress, blob_address, metadata_address, provenance_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.model.changes import FileCached, MetadataCached
from twistpi.model.releases import AttachmentAdded, FileUploaded
from twistpi.rules.replication import BlobPolicy
from twistpi.view.read import KeptBlob, NamedBlob, Reader, Readers
from twistpi.view.read_blobs import Mark

Naming = FileUploaded | FileCached | MetadataCached | AttachmentAdded
"""The changes that name blobs."""
_ROWS = 500
"""Of the view, looked at in one go."""
Key = tuple[str, str]
"""Digits and file name of a blob."""
Adopt = Callable[[BlobAddress, str, int], bool]
"""Makes a blob, of an address, SHA-256 and size, from a file of the search path; tells whether there was one."""


@attrs.frozen
class MissingBlob:
    """A blob that is named and not here."""

    is_uploaded: bool
    """Whether it was uploaded, so that no upstream has it."""
    blob: KeptBlob

    @property
    def key(self) -> Key:
        """Digits and file name."""
        return self.blob.digits, self.blob.filename


@attrs.define(eq=False)
class BlobSearch:
    """Finds missing blobs; files of the search path are made blobs on the way."""

    _readers: Readers
    _blobs: IBlobs
    _policy: BlobPolicy
    _adopt: Adopt | None = None

    def walk(self, after: Mark) -> tuple[list[MissingBlob], Mark | None]:
        """Search the next part of the view.  Return what is missing there, and where the next part begins; None at the end."""
        named, mark = self._readers.get().named_blobs(after, _ROWS)
        return list(self._missing(named)), mark

    def look(self, changes: Sequence[Naming]) -> list[MissingBlob]:
        """Return the missing blobs that ``changes`` name, as far as they are named still."""
        reader = self._readers.get()
        return list(self._missing(named for change in changes for named in _named_by(change, reader)))

    def still(self, missing: Sequence[MissingBlob]) -> list[MissingBlob]:
        """Return those of ``missing`` that are named still, and still not here."""
        reader = self._readers.get()
        named = [one for one in missing if reader.names_blob(one.blob.digits, one.blob.filename)]
        return [one for one in named if not self._is_here(one.blob)]

    def _missing(self, named: Iterable[NamedBlob]) -> Iterator[MissingBlob]:
        for one in named:
            if self._policy.wants(one.index) and not self._is_here(one.blob):
                yield MissingBlob(one.is_private, one.blob)

    def _is_here(self, blob: KeptBlob) -> bool:
        address = BlobAddress(blob.digits, blob.filename)
        found = self._blobs.find(address)
        if found is None and self._adopt is not None:
            return self._adopt(address, blob.sha256, blob.size)
        return found == blob.size


def _named_by(change: Naming, reader: Reader) -> Iterator[NamedBlob]:
    """Yield the blobs that ``change`` names, as the view has them now."""
    is_uploaded = isinstance(change, FileUploaded | AttachmentAdded)
    for address in _addresses(change, reader):
        blob = reader.kept_blob(address.digits, address.filename)
        if blob is not None:
            yield NamedBlob(change.index, is_uploaded, blob)


def _addresses(change: Naming, reader: Reader) -> Iterator[BlobAddress]:
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
